"""The plan of a planned change: what it says, what it refuses, how it goes on, and when nothing is left to do."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.nano.ops.plugins.filter.failback_plan import FilterModule as Failback
from ansible_collections.nano.ops.plugins.filter.switchover_plan import FilterModule as Switchover

GROUPS = {
    "site_a": ["app1", "db1"],
    "site_b": ["app2", "db2"],
    "postgresql": ["db1", "db2"],
    "nano_api": ["app1", "app2"],
    "dns": ["ops1"],
}


def server(**more: Any) -> dict[str, Any]:
    base = {"is_standby": True, "timeline": 1, "is_paused": False, "is_streaming": True}
    return {**base, **more}


def member(**more: Any) -> dict[str, Any]:
    base = {"holds": "standby", "timeline": 1, "system_identifier": "7", "note": {}, "rejoin": {}, "followers": {}}
    return {**base, "archive": {"waiting": 0, "fails": False}, "server": server(), **more}


def primary(standby: str, **more: Any) -> dict[str, Any]:
    followers = {standby: {"state": "streaming", "lag_bytes": 1024}}
    return member(holds="primary", server=server(is_standby=False), followers=followers, **more)


def variables(db1: dict[str, Any], db2: dict[str, Any], record: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {
        "app1": {"ansible_host": "10.0.0.1"},
        "app2": {"ansible_host": "10.0.0.2", "nano_api_role": "cold"},
    }
    for name, seen in (("db1", db1), ("db2", db2)):
        found[name] = {"ansible_host": f"10.0.1.{name[-1]}", "dns_zone": "nano.example"}
        found[name]["switchover_seen"] = {"member": seen}
        if record:
            told = {"record": {"host": record, "epoch": 4}}
            found[name]["switchover_record"] = {"rc": 0, "stdout": json.dumps(told)}
    return found


def plan(
    db1: dict[str, Any], db2: dict[str, Any], host: str = "db2", record: str = "", **groups: Any
) -> dict[str, Any]:
    return Switchover().filters()["switchover_plan"]({**GROUPS, **groups}, variables(db1, db2, record), host)


def failback(db1: dict[str, Any], db2: dict[str, Any], site: str = "site_a") -> dict[str, Any]:
    return Failback().filters()["failback_plan"](GROUPS, variables(db1, db2), site)


def hosts(made: dict[str, Any], group: str) -> list[str]:
    return [each["host"] for each in made["groups"] if each["group"] == f"switchover_{group}"]


def test_plan_says_who_does_what_and_where_the_names_lead() -> None:
    made = plan(primary("db2"), member())
    assert (made["problems"], made["old"], made["is_done"], made["others"]) == ([], "db1", False, ["db1"])
    assert made["records"] == [{"name": "db", "value": "10.0.1.2"}, {"name": "api", "value": "10.0.0.2"}]
    assert (hosts(made, "applications"), hosts(made, "cold")) == (["app2"], [])
    assert made["url"] == "https://api.nano.example/v1/nanos"
    text = "\n".join(made["lines"])
    assert "db2: streaming, 0.0 MiB behind" in text
    assert "db1 stops and becomes a standby, db2 becomes the primary" in text
    back = plan(member(), primary("db1"), "db1")
    assert (hosts(back, "applications"), hosts(back, "cold")) == (["app1"], ["app2"])


LAGGING = {"db2": {"state": "streaming", "lag_bytes": 64 << 20}}


@pytest.mark.parametrize(
    ("one", "two", "words"),
    [
        (primary("db2"), primary("db1"), "db1 and db2 are both primaries"),
        (primary("db3"), member(), "db2 does not follow db1"),
        (primary("db2") | {"followers": LAGGING}, member(), "db2 is 64 MiB behind"),
        (primary("db2"), member(server=server(is_paused=True)), "Replay is paused on db2"),
        (primary("db2"), member(system_identifier="8"), "are different clusters"),
        (primary("db2"), member(server={}), "db2 is no standby that runs"),
        (primary("db2"), member(rejoin={"stage": "rewinding"}), "The data of db2 are being rebuilt"),
        (primary("db2", archive={"waiting": 3, "fails": True}), member(), "WAL archived (3 segments wait)"),
        (member(), member(), "No member is a primary. Start it"),
        (member(note={"stage": "stopped", "target": "db3"}), member(), "A switchover from db1 to db3 was begun"),
    ],
)
def test_doubt_refuses(one: dict[str, Any], two: dict[str, Any], words: str) -> None:
    assert words in " ".join(plan(one, two)["problems"])


def test_record_has_to_name_the_primary() -> None:
    guarded = {"primary_record": ["ops1"]}
    assert "No majority" in plan(primary("db2"), member(), **guarded)["problems"][0]
    assert "names db9" in plan(primary("db2"), member(), record="db9", **guarded)["problems"][0]
    made = plan(primary("db2"), member(), record="db1", **guarded)
    assert (made["problems"], made["epoch"], made["is_claimed"]) == ([], 4, False)
    begun = member(note={"stage": "stopped", "target": "db2"})
    assert plan(begun, member(), record="db2", **guarded)["is_claimed"]


def test_goes_on_where_it_was_cut_off() -> None:
    begun = member(note={"stage": "stopped", "target": "db2"})
    between = plan(begun, member(server=server(is_streaming=False)))
    assert (between["problems"], between["old"], between["is_done"]) == ([], "db1", False)
    after = plan(begun, primary("db1"))
    assert (after["problems"], after["old"], after["is_done"]) == ([], "db1", False)
    assert hosts(after, "target") == ["db2"] and after["primaries"] == ["db2"]


def test_nothing_is_done_twice() -> None:
    made = plan(member(), primary("db1"))
    assert made["is_done"] and made["groups"] == [] and "nothing is to be done" in made["lines"][-1]
    lost = plan(member(), primary("db3"))
    assert lost["is_done"] and "db1 does not follow it: playbooks/failback.yml" in lost["lines"][-1]


def test_failback_finds_who_is_rebuilt_and_who_becomes_the_primary() -> None:
    lost = failback(member(holds="primary", server={}), primary("db3"))
    assert (lost["host"], lost["primary"], lost["rebuild"], lost["problems"]) == ("db1", "db2", ["db1"], [])
    assert "it is made its standby" in lost["lines"][0]
    assert "then becomes the primary in place of db2" in lost["lines"][1]
    follows = failback(member(), primary("db1"))
    assert (follows["rebuild"], follows["problems"]) == ([], []) and "becomes the primary" in follows["lines"][0]
    done = failback(primary("db2"), member())
    assert (done["host"], done["rebuild"], done["problems"]) == ("db1", [], []) and "already" in done["lines"][0]
    begun = failback(member(), member(note={"stage": "stopped", "target": "db1"}))
    assert (begun["host"], begun["problems"]) == ("db1", [])


def test_failback_refuses_what_could_lose_data() -> None:
    both = failback(primary("db2"), primary("db1"))
    assert "both primaries" in both["problems"][0]
    assert "No member is a primary" in failback(member(), member())["problems"][0]
    empty = failback(member(holds="empty", server={}), primary("db3"))
    assert "db1 is empty: site.yml" in empty["problems"][0]
    cut = failback(member(holds="empty", server={}, rejoin={"stage": "restoring"}), primary("db3"))
    assert cut["problems"] == [] and cut["rebuild"] == ["db1"]
    assert "has no member" in failback(member(), primary("db1"), "site_ops")["problems"][0]
