"""A rule file that others put beside ours, and that is broken, is refused before anything is loaded.

With the role's own templates, Prometheus' own promtool, and a stand-in for systemd.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .machine import Machine
from .modules import Result, run_module
from .rule_files import ROLE, promtool, render

GOOD = "groups: [{name: mine, rules: [{alert: Mine, expr: up == 0}]}]\n"
BROKEN = {
    "expression": "groups: [{name: mine, rules: [{alert: Mine, expr: 'up =='}]}]\n",
    "template": "groups: [{name: mine, rules: [{alert: Mine, expr: up, annotations: {summary: '{{ $value'}}]}]\n",
    "word": "groups: [{name: mine, rules: [{alert: Mine, expr: up, four: 5m}]}]\n",
    "no yaml": "groups: [\n",
}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return promtool(tmp_path_factory.mktemp("promtool"))


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(tmp_path_factory.mktemp("rules"))


@pytest.fixture
def place(tmp_path: Path, rendered: Path) -> Path:
    """The folder of a Prometheus with the rules of ours, and the names of two places where users put theirs."""
    folder = tmp_path / "prometheus"
    (folder / "rules").mkdir(parents=True)
    for path in rendered.glob("*.yml"):
        (folder / "rules" / path.name).write_text(path.read_text())
    (folder / "own.yml").write_text(GOOD)
    named = [f"{folder}/rules/*.yml", f"{folder}/own.yml"]
    (folder / "prometheus.yml").write_text(json.dumps({"rule_files": named}))
    return folder


def reload(machine: Machine, program: Path, place: Path) -> Result:
    machine.set(active="active", starts=1)
    check = f"{program} check config {place}/prometheus.yml"
    return run_module("restart", {"unit": "prometheus.service", "reload": True, "validate": check}, path=machine.path)


def test_rules_of_both_are_loaded(tmp_path: Path, program: Path, place: Path) -> None:
    (place / "rules/mine.yml").write_text(GOOD)
    machine = Machine(tmp_path)
    result = reload(machine, program, place)
    assert not result.failed, result.message
    assert machine.get("reloads") == "1"


@pytest.mark.parametrize("where", ["rules/mine.yml", "own.yml"])
@pytest.mark.parametrize("mistake", BROKEN)
def test_broken_rules_of_others_are_refused_by_name(
    tmp_path: Path, program: Path, place: Path, where: str, mistake: str
) -> None:
    (place / where).write_text(BROKEN[mistake])
    machine = Machine(tmp_path)
    result = reload(machine, program, place)
    assert result.failed
    assert "prometheus.service was not reloaded, and what runs goes on as before" in result.message
    assert str(place / where) in result.message, "the user is not told which file it is"
    assert (machine.get("reloads"), machine.get("starts")) == ("0", "1")


def test_both_handlers_check_all_that_prometheus_reads() -> None:
    """What is tested above is what the role does."""
    text = (ROLE / "handlers/main.yml").read_text()
    assert text.count('validate: "{{ __prometheus_check }}"') == text.count("nano.ops.restart:") == 2


def test_broken_rules_of_others_keep_a_new_configuration_out(tmp_path: Path, program: Path, place: Path) -> None:
    """The checker of prometheus.yml reads the files of rules that it names."""
    (place / "rules/mine.yml").write_text(BROKEN["expression"])
    text = (place / "prometheus.yml").read_text()
    folder = {"dest": str(place / "prometheus.yml"), "validate": f"{program} check config %s", "content": text + "\n"}
    result = run_module("files", {"files": [{**folder, "owner": place.owner(), "group": place.group()}]})
    assert result.failed
    assert "prometheus.yml is refused by its checker, nothing was written" in result.message
    assert str(place / "rules/mine.yml") in result.message
    assert (place / "prometheus.yml").read_text() == text
