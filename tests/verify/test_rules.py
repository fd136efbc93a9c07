"""The rules are loaded, know what they ask for, and are silent while all is well."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.verify.conftest import Run
from tests.verify.lab import Lab

ROOT = Path(__file__).resolve().parents[2]
FOLDER = "/etc/prometheus/rules"
PROMETHEUS = ("site.yml", "--limit", "ops1", "--tags", "prometheus")
SUBJECTS = {"backup": ("backup", "postgresql"), "object_store": ("minio",)}
METRIC = re.compile(r"\b(?:nano|pg|minio)_[a-z0-9_]+\b")
# Without a fault there is no series of these; what the program writes is compared in the unit tests.
OF_FAULTS = {"minio_bucket_replication_total_failed_count"}


def rules(lab: Lab) -> list[dict[str, Any]]:
    """Return all rules as Prometheus has loaded them."""
    return [{**rule, "file": group["file"]} for group in lab.api("rules")["groups"] for rule in group["rules"]]


def subjects(lab: Lab) -> list[str]:
    """Return the subjects that this inventory has something of."""
    return [name for name, groups in SUBJECTS.items() if all(lab.group(group) for group in groups)]


def test_rules_of_each_subject_are_loaded_and_evaluated(lab: Lab, eventually: Callable[..., Any]) -> None:
    def evaluated() -> bool:
        found = rules(lab)
        assert {rule["file"] for rule in found} == {f"{FOLDER}/{name}.yml" for name in subjects(lab)}
        wrong = [
            f"{rule['name']}: {rule['health']} {rule.get('lastError', '')}" for rule in found if rule["health"] != "ok"
        ]
        assert wrong == []
        return True

    eventually(evaluated, 40, "not every rule is loaded and evaluated without an error")


def test_no_alert_fires_while_all_is_well(lab: Lab, eventually: Callable[..., Any]) -> None:
    def silent() -> bool:
        firing = [
            f"{alert['labels']['alertname']} {alert['annotations']['description']}"
            for alert in lab.api("alerts")["alerts"]
            if alert["state"] == "firing"
        ]
        assert firing == []
        return True

    # What other tests disturbed may take a while to calm down.
    eventually(silent, 60, "alerts fire on a healthy lab")


@pytest.mark.parametrize("subject", SUBJECTS)
def test_every_metric_that_rules_ask_for_is_there(lab: Lab, subject: str, eventually: Callable[..., Any]) -> None:
    if subject not in subjects(lab):
        pytest.skip(f"the inventory has nothing of {subject}")
    queries = " ".join(rule["query"] for rule in rules(lab) if rule["file"].endswith(f"/{subject}.yml"))
    wanted = set(METRIC.findall(re.sub(r"\bnano_backup:[a-z_:]+", "", queries))) - OF_FAULTS
    assert wanted

    def known() -> bool:
        there = set(lab.api("label/__name__/values"))
        assert wanted - there == set()
        return True

    eventually(known, 90, f"rules on {subject} ask for metrics that nobody has")


def test_alerts_lead_to_pages_of_this_tree(lab: Lab) -> None:
    alerts = [rule for rule in rules(lab) if rule["type"] == "alerting"]
    assert alerts
    for rule in alerts:
        page = rule["annotations"]["runbook_url"].rsplit("/", 1)[1]
        assert (ROOT / "docs/runbooks" / page).is_file(), rule["name"]


@pytest.fixture
def restored(lab: Lab, playbook: Callable[..., Run]) -> Iterator[None]:
    """Prometheus as the inventory has it, afterwards."""
    yield
    lab.command("ops1", ["rm", "--force", f"{FOLDER}/verify.yml", f"{FOLDER}/verify_old.yml"])
    run = playbook(*PROMETHEUS)
    assert run.rc == 0, run.output


@pytest.mark.disturbs
@pytest.mark.usefixtures("restored")
def test_broken_rules_of_a_user_are_refused_and_what_runs_goes_on(lab: Lab, playbook: Callable[..., Run]) -> None:
    before = lab.main_pids("ops1")["prometheus"]
    broken = "groups: [{name: verify, rules: [{alert: Verify, expr: 'up =='}]}]\n"
    lab.command("ops1", ["tee", f"{FOLDER}/verify.yml"], input=broken)
    run = playbook(*PROMETHEUS, extra_vars={"prometheus_alert_teams": {"object_store": "verify"}})
    assert run.rc == 2, run.output
    told = " ".join(run.output.split())
    assert "prometheus.service was not reloaded, and what runs goes on as before" in told
    assert f"{FOLDER}/verify.yml" in told
    assert lab.main_pids("ops1")["prometheus"] == before
    assert {rule["labels"].get("team", "") for rule in rules(lab) if rule["type"] == "alerting"} == {""}


@pytest.mark.disturbs
@pytest.mark.usefixtures("restored")
def test_rules_of_ours_that_are_not_shipped_any_more_go_and_a_users_stay(
    lab: Lab, playbook: Callable[..., Run]
) -> None:
    before = lab.main_pids("ops1")["prometheus"]
    text = "groups: [{name: NAME, rules: [{alert: Verify, expr: vector(0) > 1}]}]\n"
    lab.command("ops1", ["tee", f"{FOLDER}/verify.yml"], input=text.replace("NAME", "verify"))
    ours = "# Role prometheus of nano.ops owns this file.\n" + text.replace("NAME", "verify_old")
    lab.command("ops1", ["tee", f"{FOLDER}/verify_old.yml"], input=ours)
    run = playbook(*PROMETHEUS)
    assert run.rc == 0, run.output
    assert not lab.host("ops1").file(f"{FOLDER}/verify_old.yml").exists
    assert "Verify" in {rule["name"] for rule in rules(lab)}
    assert lab.main_pids("ops1")["prometheus"] == before, "it was restarted where a reload is enough"


@pytest.fixture
def stopped_metrics(lab: Lab) -> Iterator[str]:
    """The backup host without the timer that writes its figures."""
    if not lab.group("backup"):
        pytest.skip("the inventory has no backup host")
    (keeper,) = lab.group("backup")
    lab.host(keeper).run_expect([0], "systemctl stop nano-backup-metrics.timer")
    yield keeper
    lab.host(keeper).run_expect([0], "systemctl start nano-backup-metrics.timer")


@pytest.mark.disturbs
@pytest.mark.usefixtures("restored")
def test_figures_that_are_no_longer_written_are_noticed(
    lab: Lab, playbook: Callable[..., Run], stopped_metrics: str, eventually: Callable[..., Any]
) -> None:
    """With a threshold of 45 s instead of 300; that it waits before it fires is promtool's to prove."""
    run = playbook(*PROMETHEUS, extra_vars={"prometheus_alert_backup_metrics_age_warning_seconds": 45})
    assert run.rc == 0, run.output

    def noticed() -> bool:
        alerts = [
            alert for alert in lab.api("alerts")["alerts"] if alert["labels"]["alertname"] == "BackupMetricsStale"
        ]
        assert [alert["labels"]["instance"] for alert in alerts] == [stopped_metrics], alerts
        return True

    eventually(noticed, 120, "nobody notices that the figures are old")
    lab.host(stopped_metrics).run_expect([0], "systemctl start nano-backup-metrics.timer nano-backup-metrics.service")

    def over() -> bool:
        return not [
            alert for alert in lab.api("alerts")["alerts"] if alert["labels"]["alertname"] == "BackupMetricsStale"
        ]

    eventually(over, 90, "the alert does not go away with its reason")
