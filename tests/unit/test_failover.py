"""The failover's decisions: who becomes the primary, what stands in the way, and how a standby is taken there."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.nano.ops.plugins.filter.failover_measured import failover_measured
from ansible_collections.nano.ops.plugins.filter.failover_plan import failover_plan
from ansible_collections.nano.ops.plugins.module_utils import failover
from ansible_collections.nano.ops.plugins.module_utils.failover import FailoverError

GROUPS = {
    "all": ["app1", "app2", "db1", "db2", "ops1", "store1"],
    "site_a": ["app1", "db1"],
    "site_b": ["app2", "db2", "store1"],
    "postgresql": ["db1", "db2"],
    "nano_api": ["app1", "app2"],
    "dns": ["ops1", "store1"],
    "failover_left": ["app2", "db2", "ops1", "store1"],
}
STANDBY = {
    "is_standby": True,
    "system_identifier": "7301",
    "timeline": 1,
    "received": "0/5000000",
    "replayed": "0/4F00000",
    "is_streaming": False,
    "is_paused": False,
    "heartbeat": 1000.0,
    "age": 12.0,
}


def platform(**changes: Any) -> tuple[dict[str, list[str]], dict[str, dict[str, Any]]]:
    """Return groups and variables after the detection; app1 and db1 are gone."""
    groups = {name: list(hosts) for name, hosts in GROUPS.items()} | changes.pop("groups", {})
    hosts: dict[str, dict[str, Any]] = {
        name: {"ansible_host": f"10.0.0.{number}", "dns_zone": "nano.example"}
        for number, name in enumerate(groups["all"], 1)
    }
    for name in groups["failover_left"]:
        hosts[name]["failover_seen"] = {"answers": {"app1": [], "db1": []}}
    hosts["app2"]["failover_here"] = {"answers": {"app1": [], "db1": []}}
    hosts["db2"]["failover_server"] = {"server": dict(STANDBY)}
    for name, more in changes.items():
        hosts[name] |= more
    return groups, hosts


def plan(site: str = "site_a", host: str = "", **changes: Any) -> dict[str, Any]:
    groups, hosts = platform(**changes)
    made: dict[str, Any] = failover_plan(groups, hosts, site, host)
    return made


GUARDED = {"groups": {"primary_record": ["ops1", "store1", "app2"]}}
RECORD = '{"record": {"host": "%s", "epoch": 3, "time": "2026-03-01T14:00:00Z"}}'


def told(host: str) -> dict[str, Any]:
    return {"failover_record": {"rc": 0, "stdout": RECORD % host}}


def test_the_standby_that_is_left_becomes_the_primary_and_names_follow() -> None:
    made = plan(**GUARDED, db2=told("db1"))
    assert (made["target"], made["problems"], made["epoch"], made["is_claimed"]) == ("db2", [], 3, False)
    assert made["records"] == [{"name": "db", "value": "10.0.0.4"}, {"name": "api", "value": "10.0.0.2"}]
    assert made["dns_from"] == "ops1" and made["url"] == "https://api.nano.example/v1/nanos"
    page = "\n".join(made["lines"])
    for words in ("seen from db2: nobody answers", "seen from this machine: nobody answers", "record: db1 since 2026"):
        assert words in page
    assert "db2 becomes the primary, app2 runs the application, db, api is moved" in page


def test_of_several_the_one_that_has_most_is_taken_unless_another_is_named() -> None:
    groups = {
        "postgresql": ["db1", "db2", "db3"],
        "all": [*GROUPS["all"], "db3"],
        "failover_left": ["app2", "db2", "db3"],
    }
    hosts = platform(groups=dict(groups))[1]
    hosts["db3"]["failover_server"] = {"server": {**STANDBY, "received": "1/0"}}
    groups = {**GROUPS, **groups}
    assert failover_plan(groups, hosts, "site_a")["target"] == "db3"
    assert failover_plan(groups, hosts, "site_a", "db2")["target"] == "db2"
    hosts["db2"]["failover_server"]["server"]["is_standby"] = False
    made = failover_plan(groups, hosts, "site_a", "db3")
    assert made["problems"][-1] == "db2 is a primary already: pass -e failover_host=db2."
    assert failover_plan(groups, hosts, "site_a")["target"] == "db2", "a run that was cut off goes on"


def test_without_any_database_the_way_is_named() -> None:
    with pytest.raises(AnsibleFilterError, match=r"No database outside site_a answers.*restore\.yml"):
        plan(db2={"failover_server": {"msg": "PostgreSQL has not answered", "failed": True}})


@pytest.mark.parametrize(
    ("more", "host", "words"),
    [
        ({}, "", "db1 cannot be reached, and nothing keeps it from serving when it comes back"),
        (GUARDED, "", "No majority of the hosts of group primary_record"),
        ({}, "db1", "failover_host: db1 does not answer as a database outside site_a; db2 do"),
    ],
)
def test_what_could_make_two_primaries_is_refused(more: dict[str, Any], host: str, words: str) -> None:
    assert words in " ".join(plan(host=host, **more)["problems"])


@pytest.mark.parametrize("more", [{"failover_fence_command": ["off"]}, {"failover_unfenced": True}])
def test_without_a_record_the_old_one_is_fenced_or_taken_for_dead(more: dict[str, Any]) -> None:
    made = plan(db2=more)
    assert (made["problems"], made["unfenced"]) == ([], ["db1"])


def test_what_can_be_stopped_is_stopped_and_life_is_told() -> None:
    made = plan(app2={"failover_here": {"answers": {"app1": [], "db1": [22]}}})
    assert {"host": "db1", "group": "failover_stoppable"} in made["groups"] and made["unfenced"] == []
    assert "db1 still answers: is the site lost?" in made["notes"][0]


def test_a_run_that_was_cut_off_after_its_claim_claims_nothing_again() -> None:
    assert plan(**GUARDED, db2=told("db2"))["is_claimed"]


def test_loss_is_bounded_by_the_last_sign_of_life() -> None:
    scraped = {"failover_scraped": {"json": {"data": {"result": [{"value": [0, "1004.5"]}]}}}}
    made = plan(ops1=scraped)
    assert made["facts"]["Would be lost"] == "what the old primary acknowledged after 00:16:40 UTC, 20 s at most"
    assert failover_measured({"last_heartbeat": 1000.0}, made) == {"rpo_seconds": 4.5}
    assert failover_measured({"last_heartbeat": 1000.0}, plan()) == {}


def states(*changes: dict[str, Any]) -> Callable[[str], dict[str, Any]]:
    """Return a look that sees one state after the other, the last one for ever."""
    left = list(changes)
    return lambda _: {**STANDBY, **(left.pop(0) if len(left) > 1 else left[0])}


def test_gate_waits_for_the_replay() -> None:
    seen = failover.gate("nano", 5, states({}, {"replayed": "0/5000000"}))
    assert seen["replayed"] == "0/5000000"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"is_streaming": True}, "the old primary still sends WAL here"),
        ({"is_paused": True}, "replay is paused here"),
        ({}, r"were not enough to replay what was received \(0/4F00000 of 0/5000000\)"),
    ],
)
def test_gate_says_why_it_stays_shut(change: dict[str, Any], words: str) -> None:
    with pytest.raises(FailoverError, match=words):
        failover.gate("nano", 0.2, states(change))


def asked(before: dict[str, Any], promotes: str = "t", segment: str = "000000020000000000000005") -> Callable[..., Any]:
    """Answer as a server would."""
    row = ["t" if before["is_standby"] else "f", "7301", str(before["timeline"]), "0/5", "0/5", "0", "f"]

    def ask(sql: str, database: str, seconds: float) -> list[list[str]]:
        if "pg_promote" in sql:
            return [[promotes]]
        if "UPDATE" in sql:
            return [["1012.5"]]
        if sql.startswith("SELECT pg_walfile_name"):
            return [[segment]]
        return [["1000"]] if "written_at" in sql else [row]

    return ask


def test_promotion_is_proven_by_a_write_and_a_new_timeline() -> None:
    done = failover.promote("nano", "db2", 5, asked(STANDBY))
    assert done == {"changed": True, "timeline": 2, "last_heartbeat": 1000.0, "written": 1012.5}
    primary = {**STANDBY, "is_standby": False, "timeline": 2}
    assert failover.promote("nano", "db2", 5, asked(primary))["changed"] is False
    with pytest.raises(FailoverError, match="has not become the primary in 5 s"):
        failover.promote("nano", "db2", 5, asked(STANDBY, promotes="f"))
    with pytest.raises(FailoverError, match="which is not newer than 1"):
        failover.promote("nano", "db2", 5, asked(STANDBY, segment="000000010000000000000005"))


class Systemd:
    """Units that let themselves be stopped, or do not."""

    def __init__(self, stubborn: bool = False, immortal: bool = False) -> None:
        self.alive, self.enabled, self.calls = True, True, []
        self.stubborn, self.immortal = stubborn, immortal

    def __call__(self, *argv: str, seconds: float) -> bool:
        self.calls.append(argv[0])
        if argv[0] == "is-active":
            return self.alive
        if argv[0] == "is-enabled":
            return self.enabled
        if argv[0] == "disable":
            self.enabled = False
        elif argv[0] == "kill":
            self.alive = self.immortal
            self.stubborn = False
        elif argv[0] == "stop":
            self.alive = self.alive and (self.stubborn or self.immortal)
            return not self.alive
        return True


def test_fenced_units_are_dead_and_stay_so() -> None:
    calm = Systemd()
    assert failover.fence(["postgresql@17-main.service"], calm) == {"changed": True, "killed": []}
    assert not calm.alive and not calm.enabled
    assert failover.fence(["postgresql@17-main.service"], calm)["changed"] is False
    paused = Systemd(stubborn=True)
    assert failover.fence(["postgresql@17-main.service"], paused)["killed"] == ["postgresql@17-main.service"]
    with pytest.raises(FailoverError, match="lives on although it was killed: cut its host off"):
        failover.fence(["postgresql@17-main.service"], Systemd(stubborn=True, immortal=True))


def test_who_answers_is_told_in_time() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        # 192.0.2.0/24 is nobody's.
        found = failover.reach({"here": "127.0.0.1", "away": "192.0.2.1"}, [port], 0.5)
    assert found == {"here": [port], "away": []}
