"""What roles know to be wrong with their own variables reaches the check of the inventory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.nano.ops.plugins.plugin_utils import inventory_check, role_checks

from .conftest import ROOT

GROUPS = {"all": ["a", "b"], "loki": ["a", "b"], "jaeger": ["b"]}
ROOMS = {"loki": role_checks.Room({}, {}), "jaeger": role_checks.Room({}, {})}


def found(answers: dict[tuple[str, str], Any]) -> list[tuple[str, str]]:
    """Return host and text of each problem, where the checks of a host and role come out as given."""
    evaluate = lambda host, role, room: answers.get((host, role), [])  # noqa: E731
    return [(problem.where, problem.text) for problem in role_checks.problems(ROOMS, GROUPS, evaluate)]


@pytest.mark.parametrize("wrong", [True, "True", "yes"])
def test_what_is_wrong_is_told_of_the_host(wrong: object) -> None:
    checks = [{"wrong": wrong, "text": "too few. Add one.\n"}, {"wrong": False, "text": "fine"}]
    assert found({("b", "jaeger"): checks}) == [("b", "too few. Add one.")]


def test_what_cannot_be_computed_is_left_to_the_other_checks() -> None:
    assert found({("a", "loki"): None}) == []


def test_hosts_that_lack_the_role_are_not_asked() -> None:
    assert found({("a", "jaeger"): [{"wrong": True, "text": "never"}]}) == []


def test_same_mistake_of_a_group_is_one_line() -> None:
    more = [role_checks.Problem(host, "too few") for host in GROUPS["loki"]]
    hosts = {name: {"ansible_host": f"10.0.0.{number}"} for number, name in enumerate(GROUPS["all"], 1)}
    groups = {**GROUPS, "site_a": ["a", "b"]}
    assert "all hosts: too few" in inventory_check.problems(inventory_check.Inventory(hosts, groups, {}), more)


def test_rooms_are_read_from_files_and_folders(tmp_path: Path) -> None:
    for role, file in (("one", "vars/main.yml"), ("two", "vars/main/checks.yml"), ("three", "vars/main.yml")):
        path = tmp_path / role / file
        path.parent.mkdir(parents=True)
        path.write_text(f"__{role}_checks: []\n" if role != "three" else "__three_address: x\n")
    (tmp_path / "one/defaults").mkdir()
    (tmp_path / "one/defaults/main.yml").write_text("one_size: 3\n")
    rooms = role_checks.rooms(tmp_path)
    assert sorted(rooms) == ["one", "two"]
    assert rooms["one"].defaults == {"one_size": 3}


def test_every_role_that_asserts_has_checks_that_are_asked_first() -> None:
    """Else its refusal would come after the roles before it have changed something."""
    asserting = {
        path.parents[1].name
        for path in ROOT.glob("roles/*/tasks/*.yml")
        if "ansible.builtin.assert" in path.read_text()
    }
    # Alertmanager's receivers are looked at by the check of the inventory itself.
    assert asserting - {"alertmanager"} <= set(role_checks.rooms(ROOT / "roles"))
