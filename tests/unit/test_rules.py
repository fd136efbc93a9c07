"""Each alert fires on its fault, is silent just below it, goes away with it, and says what the contract wants."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import ROOT
from .rule_files import (
    CASES,
    INVENTORY,
    ROLE,
    SUBJECTS,
    Case,
    Rule,
    Timeline,
    cases,
    passes,
    promtool,
    render,
    rules,
    series,
)

ALL = cases()
QUIET = [
    (path.stem, each["name"])
    for path in sorted(CASES.glob("*.yml"))
    for each in yaml.safe_load(path.read_text())["quiet"]
]
SPECS = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
DEFAULTS = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
THRESHOLDS = sorted(name for name in SPECS if name.startswith("prometheus_alert_") and name != "prometheus_alert_teams")
PAGES = ROOT / "docs/runbooks"
# Which SEV levels a severity may have: 1 pages the manager too, 2 pages, 3 is a ticket, 4 is nobody's hurry.
LEVELS = {"critical": {"1", "2"}, "warning": {"3"}, "info": {"4"}}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return promtool(tmp_path_factory.mktemp("promtool"))


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(tmp_path_factory.mktemp("rules"))


@pytest.fixture(scope="module")
def known(rendered: Path) -> dict[str, Rule]:
    found = rules(rendered)
    assert len({rule.key for rule in found}) == len(found), "two rules of one name and severity can't be told apart"
    return {rule.key: rule for rule in found}


@pytest.fixture(scope="module")
def alone(known: dict[str, Rule], rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each rule by its key in a file of its own, with the recording rules that it may need."""
    folder = tmp_path_factory.mktemp("alone")
    found = {}
    for key, rule in known.items():
        groups = yaml.safe_load((rendered / f"{rule.subject}.yml").read_text())["groups"]
        kept = [{**group, "rules": [each for each in group["rules"] if "record" in each]} for group in groups]
        page = {"groups": [*(group for group in kept if group["rules"]), {"name": "it", "rules": [rule.body]}]}
        found[key] = folder / f"{key.replace('/', '-')}.yml"
        found[key].write_text(yaml.safe_dump(page))
    return found


def test_files_are_those_of_the_subjects(rendered: Path) -> None:
    assert sorted(path.stem for path in rendered.glob("*.yml")) == SUBJECTS


def test_promtool_accepts_every_file(program: Path, rendered: Path) -> None:
    for path in rendered.glob("*.yml"):
        done = subprocess.run([program, "check", "rules", path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def expected(case: Case, rule: Rule) -> dict[str, Any]:
    """Return the alert that a case has to give, as promtool writes it: labels of the target, the rule and the case."""
    labels = {name: value for name, value in rule.body["labels"].items() if value}
    (target,) = [each for each in case.targets.values() if is_of(each, case)]
    own = {name: target[name] for name in ("job", "site", "env") if name in target}
    links = {name: rule.body["annotations"][name] for name in ("runbook_url", "dashboard")}
    return {
        "exp_labels": {**own, **case.labels, **labels},
        "exp_annotations": {"summary": case.summary, "description": case.description, **links},
    }


def is_of(target: dict[str, str], case: Case) -> bool:
    """Whether a target is the one that a case is about."""
    if target["instance"] != case.labels["instance"]:
        return False
    names = [name for name in case.targets if any(key.startswith(f"{name} ") for key in (*case.below, *case.bad))]
    return any(case.targets[name] is target for name in names)


@pytest.mark.parametrize("case", ALL, ids=lambda case: f"{case.key}-{ALL.index(case)}")
def test_alert_fires_on_its_fault_alone_and_resolves(
    case: Case, known: dict[str, Rule], alone: dict[str, Path], program: Path, tmp_path: Path
) -> None:
    rule = known[case.key]
    time = Timeline(case, rule.wait)
    moments = {time.begins - 1: [], time.fires - 1: [], time.fires: [expected(case, rule)], time.ends: []}
    test = {
        "interval": f"{case.step}m",
        "input_series": time.input(),
        "alert_rule_test": [
            {"eval_time": time.at(step), "alertname": case.alert, "exp_alerts": wanted}
            for step, wanted in moments.items()
        ],
    }
    if time.fires - 1 < time.begins:
        # It waits for nothing: there is no step between the beginning and the alert.
        test["alert_rule_test"] = [
            each for each in test["alert_rule_test"] if each["eval_time"] != time.at(time.fires - 1)
        ]
    passes(program, tmp_path, alone[case.key], test, case.step)


@pytest.mark.parametrize("case", ALL, ids=lambda case: f"{case.key}-{ALL.index(case)}")
def test_only_the_expected_alerts_fire(
    case: Case, known: dict[str, Rule], rendered: Path, program: Path, tmp_path: Path
) -> None:
    time = Timeline(case, known[case.key].wait)
    firing = 'count by (alertname, severity) (ALERTS{alertstate="firing"})'
    names = [key.split("/") for key in {case.key, *case.also}]
    wanted = [{"labels": f'{{alertname="{name}", severity="{severity}"}}', "value": 1} for name, severity in names]
    test = {
        "interval": f"{case.step}m",
        "input_series": time.input(),
        "promql_expr_test": [
            {"expr": firing, "eval_time": time.at(time.fires), "exp_samples": wanted},
        ],
    }
    passes(program, tmp_path, rendered / f"{case.subject}.yml", test, case.step)


@pytest.mark.parametrize(("subject", "name"), QUIET, ids=[name for _, name in QUIET])
def test_nothing_fires_without_a_fault(subject: str, name: str, rendered: Path, program: Path, tmp_path: Path) -> None:
    page = yaml.safe_load((CASES / f"{subject}.yml").read_text())
    (quiet,) = [each for each in page["quiet"] if each["name"] == name]
    base = Case(subject, "", "", {}, {}, {}, "", "", healthy=page["healthy"], targets=page["targets"], before=120)
    own = {series(key, page["targets"]): values for key, values in quiet["series"].items()}
    others = [each for each in Timeline(base, 0).input() if each["series"] not in own]
    test = {
        "interval": "1m",
        "input_series": [*others, *({"series": key, "values": values} for key, values in own.items())],
        "promql_expr_test": [
            {"expr": 'ALERTS{alertstate="firing"}', "eval_time": f"{at}m", "exp_samples": []}
            for at in range(1, quiet.get("until", 100))
        ],
    }
    passes(program, tmp_path, rendered / f"{subject}.yml", test)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_healthy_platform_is_silent_for_hours(subject: str, rendered: Path, program: Path, tmp_path: Path) -> None:
    page = yaml.safe_load((CASES / f"{subject}.yml").read_text())
    calm = Case(subject, "", "", {}, {}, {}, "", "", healthy=page["healthy"], targets=page["targets"], before=400)
    test = {
        "interval": "1m",
        "input_series": Timeline(calm, 0).input(),
        "promql_expr_test": [{"expr": "ALERTS", "eval_time": f"{at}m", "exp_samples": []} for at in (5, 100, 399)],
    }
    passes(program, tmp_path, rendered / f"{subject}.yml", test)


def test_every_rule_has_a_case(known: dict[str, Rule]) -> None:
    assert {case.key for case in ALL} == set(known)


def test_every_alert_keeps_the_contract(known: dict[str, Rule]) -> None:
    for rule in known.values():
        labels, annotations = rule.body["labels"], rule.body["annotations"]
        assert set(labels) == {"severity", "sev", "service", "team"}, rule.key
        assert labels["sev"] in LEVELS.get(labels["severity"], ()), rule.key
        assert labels["service"], rule.key
        assert set(annotations) == {"summary", "description", "runbook_url", "dashboard"}, rule.key
        assert all(isinstance(text, str) and text for text in annotations.values()), rule.key
        assert "$value" not in annotations["summary"], (
            f"{rule.key}: a summary that changes is another message each time"
        )
        assert re.match(r"https://\S+$", annotations["dashboard"]), rule.key
        assert re.match(r"[A-Z][A-Za-z0-9]+$", rule.name), rule.key


def test_values_are_in_human_units(known: dict[str, Rule]) -> None:
    """A bare number with six decimals is none."""
    for rule in known.values():
        text = rule.body["annotations"]["description"]
        shown = re.findall(r"{{([^}]*\$value[^}]*)}}", text)
        assert all(re.match(r"\s*(humanize\w*|printf|if (gt|eq|lt)) ", each) for each in shown), rule.key


def test_links_lead_to_the_pages_that_are_there(known: dict[str, Rule]) -> None:
    address = yaml.safe_load((ROOT / "galaxy.yml").read_text())["repository"]
    for rule in known.values():
        link = rule.body["annotations"]["runbook_url"]
        assert link == f"{address}/blob/main/docs/runbooks/{rule.name}.md"
    names = {rule.name for rule in known.values()}
    assert {path.stem for path in PAGES.glob("*.md")} - {"README"} == names
    index = (PAGES / "README.md").read_text()
    assert re.findall(r"^\| \[(\w+)\]\((\w+)\.md\) \|", index, re.M) == [(name, name) for name in sorted(names)]


def test_index_says_how_severe_each_alert_is(known: dict[str, Rule]) -> None:
    shown = dict(re.findall(r"^\| \[(\w+)\]\S+ \| ([\w, ]+) \|", (PAGES / "README.md").read_text(), re.M))
    order = ["info", "warning", "critical"]
    found = {
        name: ", ".join(sorted((rule.severity for rule in known.values() if rule.name == name), key=order.index))
        for name in {rule.name for rule in known.values()}
    }
    assert shown == found


HEADINGS = ["## Meaning", "## Impact", "## First look", "## Fix", "## Escalate"]


@pytest.mark.parametrize(
    "page", sorted(path for path in PAGES.glob("*.md") if path.stem != "README"), ids=lambda p: p.stem
)
def test_pages_have_one_shape(page: Path) -> None:
    text = page.read_text()
    assert text.splitlines()[0] == f"# {page.stem}"
    assert re.findall(r"^## .*", text, re.M) == HEADINGS
    parts = dict(zip(HEADINGS, re.split(r"^## .*\n", text, flags=re.M)[1:], strict=True))
    assert all(part.strip() for part in parts.values())
    assert re.search(r"^ {4}\S", parts["## First look"], re.M), "no command to begin with"
    assert "15 minutes" in parts["## Escalate"]
    assert len(text.splitlines()) < 70


def test_every_threshold_is_used_and_called_as_all_are() -> None:
    text = "\n".join(path.read_text() for path in (ROLE / "templates/rules").glob("*.j2"))
    for name in THRESHOLDS:
        assert re.search(rf"<< {name} >>", text), f"{name} changes nothing"
        found = re.fullmatch(r"prometheus_alert_(\w+)_(info|warning|critical)_([a-z]+)", name)
        assert found and any(found[1].startswith(f"{subject}_") for subject in SUBJECTS), name
    assert set(re.findall(r"<< (prometheus_alert_\w+) >>", text)) == set(THRESHOLDS)


def test_thresholds_that_are_changed_are_those_of_the_rules(tmp_path: Path, rendered: Path) -> None:
    """One render with every figure another: each rule that names a threshold differs."""
    changed = {name: DEFAULTS[name] + 1 for name in THRESHOLDS if not name.endswith("_percent")}
    changed |= {name: DEFAULTS[name] + 2 for name in THRESHOLDS if name.endswith("_percent")}
    into = render(
        tmp_path, **changed, prometheus_alert_teams={"backup": "platform"}, prometheus_runbook_url="https://x/y/"
    )
    text = "\n".join(path.read_text() for path in sorted(into.glob("*.yml")))
    for name, value in changed.items():
        assert re.search(rf"[<>] {value}\b", text), f"{name}: {value} is in no rule"
    found = {rule.key: rule for rule in rules(into)}
    assert {rule.body["labels"]["team"] for rule in found.values() if rule.subject == "backup"} == {"platform"}
    assert {rule.body["labels"]["team"] for rule in found.values() if rule.subject != "backup"} == {""}
    assert found["BackupWalGap/critical"].body["annotations"]["runbook_url"] == "https://x/y/BackupWalGap.md"
    assert json.loads((into / "problems.json").read_text()) == []


def test_rules_are_those_of_what_the_inventory_has(tmp_path: Path, program: Path) -> None:
    one = {"site_a": ["solo"], "prometheus": ["solo"], "postgresql": ["solo"], "backup": ["solo"]}
    into = render(tmp_path, one, pgbackrest_archive_push_queue_max="32 GiB")
    assert [path.name for path in into.glob("*.yml")] == ["backup.yml"]
    names = {rule.name for rule in rules(into)}
    assert "BackupWalGap" in names
    assert not any(name.startswith("BackupVerify") for name in names), "nobody verifies"
    assert f" / {32 * 1024**3} * 100" in (into / "backup.yml").read_text()
    passes(program, tmp_path, into / "backup.yml", {"interval": "1m", "input_series": []})


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        (
            {"prometheus_alert_backup_rpo_critical_seconds": 30},
            "has to be more than prometheus_alert_backup_rpo_warning_seconds",
        ),
        (
            {"prometheus_alert_backup_repository_free_critical_percent": 20},
            "has to be less than prometheus_alert_backup_repository_free_warning_percent, which is 15",
        ),
        ({"prometheus_alert_backup_wal_queue_critical_percent": 150}, "no more than 100 percent"),
        ({"prometheus_alert_backup_full_age_warning_days": 0}, "has to be more than 0"),
        ({"prometheus_alert_teams": {"backups": "platform"}}, "there are no alerts on backups; subjects are backup"),
    ],
)
def test_figures_that_make_no_sense_are_told(tmp_path: Path, variables: dict[str, Any], words: str) -> None:
    (found,) = json.loads((render(tmp_path, **variables) / "problems.json").read_text())
    assert words in found


def metrics(folder: Path, subject: str) -> set[str]:
    """Return the metrics that the rules of a subject ask for, without those that they record."""
    groups = yaml.safe_load((folder / f"{subject}.yml").read_text())["groups"]
    text = " ".join(rule["expr"] for group in groups for rule in group["rules"])
    return set(re.findall(r"\b(?:nano|pg|minio|node)_[a-z0-9_]+\b(?!:)", re.sub(r"\bnano_backup:[a-z_:]+", "", text)))


def test_metrics_on_backups_are_those_that_the_program_writes(rendered: Path) -> None:
    source = ROOT / "roles/backup/files/nano_backup/exposition.py"
    if not source.exists():
        pytest.skip("role backup is not there yet")
    named = {name for name in metrics(rendered, "backup") if name.startswith("nano_backup_")}
    written = {f"nano_backup_{name}" for name in re.findall(r'^ {4}"(\w+)": ', source.read_text(), re.M)}
    assert named - written == set()


def test_limit_of_the_queue_is_role_pgbackrests() -> None:
    """Role prometheus does not see the default of another role."""
    specification = ROOT / "roles/pgbackrest/meta/argument_specs.yml"
    if not specification.exists():
        pytest.skip("role pgbackrest is not there yet")
    options = yaml.safe_load(specification.read_text())["argument_specs"]["main"]["options"]
    text = (ROLE / "templates/rules/backup.yml.j2").read_text()
    limit = options["pgbackrest_archive_push_queue_max"]["default"]
    assert f"attribute='pgbackrest_archive_push_queue_max', default='{limit}'" in text


def test_inventory_of_the_tests_has_what_the_rules_are_for() -> None:
    internals = yaml.safe_load((ROLE / "vars/main.yml").read_text())
    assert sorted(internals["__prometheus_subjects"]) == SUBJECTS == sorted(internals["__prometheus_dashboards"])
    assert {group for groups in internals["__prometheus_subjects"].values() for group in groups} <= set(INVENTORY)
