"""Renders the alert rules as role prometheus does, and asks promtool when they fire."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import ROOT

ROLE = ROOT / "roles/prometheus"
CATALOGUE = yaml.safe_load((ROOT / "catalogue.yml").read_text())["programs"]["prometheus"]
CASES = Path(__file__).parent / "rules"
SUBJECTS = sorted(path.name.removesuffix(".yml.j2") for path in (ROLE / "templates/rules").glob("*.yml.j2"))
# All that a rule is written for; backups are kept by one host and proven by another.
INVENTORY: dict[str, list[str]] = {
    "site_ops": ["ops1"],
    "site_a": ["app1", "db1", "store2"],
    "site_b": ["app2", "db2", "store1"],
    "prometheus": ["ops1"],
    "postgresql": ["db1", "db2"],
    "backup": ["store1"],
    "backup_verify": ["app2"],
    "minio": ["store1", "store2"],
}
PLAYBOOK = [
    {
        "hosts": "prometheus",
        "connection": "local",
        "gather_facts": False,
        "vars_files": [str(ROLE / "defaults/main.yml"), str(ROLE / "vars/main.yml"), "{{ given }}"],
        "tasks": [
            {
                "ansible.builtin.template": {
                    "src": str(ROLE / "templates") + "/{{ item.template }}",
                    "dest": "{{ into }}/{{ item.dest | basename }}",
                    "mode": "0600",
                },
                "loop": "{{ __prometheus_rule_files }}",
            },
            {
                "ansible.builtin.copy": {
                    "content": "{{ __prometheus_problems | to_json }}",
                    "dest": "{{ into }}/problems.json",
                    "mode": "0600",
                }
            },
        ],
    }
]


def promtool(folder: Path) -> Path:
    """Return the program of the lab's mirror, unpacked; NANO_PROMTOOL names another one. Skips where there is none."""
    if named := os.environ.get("NANO_PROMTOOL"):
        return Path(named)
    cache = Path(os.environ.get("NANO_CACHE", "~/.cache/nano.ops")).expanduser()
    version = CATALOGUE["version"]
    archive = cache / "mirror/prometheus" / version / CATALOGUE["file"].format(version=version, arch="amd64")
    if not archive.exists():
        pytest.skip(f"promtool is not in the mirror: python -m lab mirror --program prometheus makes {archive}")
    with tarfile.open(archive) as unpacked:
        member = unpacked.getmember(f"{archive.name.removesuffix('.tar.gz')}/promtool")
        member.name = "promtool"
        unpacked.extract(member, folder, filter="data")
    return folder / "promtool"


def render(folder: Path, inventory: dict[str, list[str]] | None = None, **variables: Any) -> Path:
    """Write the files of rules that the role would write on an inventory, and return their folder."""
    groups = INVENTORY if inventory is None else inventory
    into = folder / "rendered"
    into.mkdir(parents=True)
    children = {name: {"hosts": dict.fromkeys(members)} for name, members in groups.items()}
    (folder / "hosts.yml").write_text(json.dumps({"all": {"children": children, "vars": variables}}))
    (folder / "playbook.yml").write_text(json.dumps(PLAYBOOK))
    (folder / "given.json").write_text(json.dumps(variables))
    extra = json.dumps({"given": str(folder / "given.json"), "into": str(into)})
    argv = ["ansible-playbook", "-i", str(folder / "hosts.yml"), "-e", extra, str(folder / "playbook.yml")]
    env = os.environ | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    done = subprocess.run(argv, env=env, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return into


@dataclass(frozen=True)
class Rule:
    """An alerting rule of a rendered file; `wait` is its `for` in minutes."""

    subject: str
    name: str
    severity: str
    wait: int
    body: dict[str, Any]

    @property
    def key(self) -> str:
        """Name and severity: no two rules have both in common."""
        return f"{self.name}/{self.severity}"


def minutes(duration: str) -> int:
    """Return a duration of Prometheus in minutes."""
    found = re.fullmatch(r"(\d+)([mhd])", duration)
    assert found, f"{duration} is no duration of minutes, hours or days"
    return int(found[1]) * {"m": 1, "h": 60, "d": 1440}[found[2]]


def rules(folder: Path) -> list[Rule]:
    """Return all alerting rules of a rendered folder."""
    found = []
    for path in sorted(folder.glob("*.yml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            for body in group["rules"]:
                if "alert" in body:
                    wait = minutes(body["for"]) if "for" in body else 0
                    severity = body.get("labels", {}).get("severity", "")
                    found.append(Rule(path.stem, body["alert"], severity, wait, body))
    return found


@dataclass(frozen=True)
class Case:
    """A fault: series as they are just below the threshold, then beyond it, then below it again.

    Series are called `target name{labels}`. Values are a number, `age N` (a time N seconds ago), `rising N` (by N each
    step), `anew N` (the same from 0, as after a restart), or `absent`. Steps are minutes unless `step` says how many
    minutes each takes.

    Attributes:
        alert: the alert's name.
        severity: its severity.
        below: series to values that are no fault yet.
        bad: series to values that are one.
        labels: what the alert says beside the labels of its rule.
        summary: its text.
        description: its text, with the value.
        also: keys of other rules that the same fault is one for.
        without: labels that the alert lacks, though the target has them.
        step: minutes of a step.
        before: steps below the threshold at the beginning.
        lag: steps that the figure itself takes until it is beyond the threshold.
        settle: steps until it is below again.
    """

    subject: str
    alert: str
    severity: str
    below: dict[str, Any]
    bad: dict[str, Any]
    labels: dict[str, str]
    summary: str
    description: str
    also: tuple[str, ...] = ()
    step: int = 1
    before: int = 30
    lag: int = 0
    settle: int = 2
    healthy: dict[str, Any] = field(default_factory=dict)
    targets: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The key of its rule."""
        return f"{self.alert}/{self.severity}"


def cases() -> list[Case]:
    """Return the cases of all subjects."""
    found = []
    for path in sorted(CASES.glob("*.yml")):
        page = yaml.safe_load(path.read_text())
        for case in page["cases"]:
            more = {"also": tuple(case.pop("also", ()))}
            found.append(Case(subject=path.stem, healthy=page["healthy"], targets=page["targets"], **case, **more))
    return found


def series(name: str, targets: dict[str, dict[str, str]]) -> str:
    """Return a series as promtool writes it, with the labels of its target."""
    target, _, rest = name.partition(" ")
    metric, _, own = rest.partition("{")
    labels = [f'{key}="{value}"' for key, value in targets[target].items()]
    return f"{metric}{{{','.join([*labels, *([own.rstrip('}')] if own else [])])}}}"


def values(phases: list[tuple[Any, int]], step: int) -> str:
    """Return the values of a series, given what it is for how many steps each."""
    found: list[str] = []
    last: float = 0
    there = False
    for what, count in phases:
        kind, _, figure = str(what).partition(" ")
        if kind == "anew":
            kind, last = "rising", 0
        for _ in range(count):
            if kind == "absent":
                found.append("stale" if there else "_")
                there = False
                continue
            number = float(figure or kind)
            last = len(found) * step * 60 - number if kind == "age" else last + number if kind == "rising" else number
            found.append(f"{last:.10g}")
            there = True
    return " ".join(found)


@dataclass
class Timeline:
    """The steps of a case; `fires` and `ends` are the first steps at which it has to fire, and not to fire any more."""

    case: Case
    wait: int

    def __post_init__(self) -> None:
        """Compute the steps."""
        self.begins = self.case.before
        self.fires = self.begins + self.case.lag + -(-self.wait // self.case.step)
        self.over = self.fires + 3
        self.ends = self.over + self.case.settle

    def at(self, step: int) -> str:
        """Return the time of a step."""
        return f"{step * self.case.step}m"

    def input(self) -> list[dict[str, str]]:
        """Return all series: those of the case, and what is healthy around it."""
        case = self.case
        found = []
        for name in sorted({**case.healthy, **case.below, **case.bad}):
            calm = case.below.get(name, case.healthy.get(name, "absent"))
            phases = [(calm, self.begins), (case.bad.get(name, calm), self.over - self.begins)]
            phases.append((calm, self.ends - self.over + 2))
            found.append({"series": series(name, case.targets), "values": values(phases, case.step)})
        return found


def passes(program: Path, folder: Path, rule_file: Path, test: dict[str, Any], step: int = 1) -> None:
    """Run a test of rules, and fail with what promtool has against them."""
    # Else promtool takes the groups in any order, and what one records may be a step late for another.
    order = [group["name"] for group in yaml.safe_load(rule_file.read_text())["groups"]]
    page = {
        "rule_files": [str(rule_file)],
        "evaluation_interval": f"{step}m",
        "group_eval_order": order,
        "tests": [test],
    }
    path = folder / f"{rule_file.stem}.test.yml"
    path.write_text(yaml.safe_dump(page))
    argv = [str(program), "test", "rules", str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        pytest.fail(f"{path}\n{done.stdout}{done.stderr}", pytrace=False)
