"""The record of who is the primary: kept in three places, asked before a start, and obeyed by a primary that runs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.verify import primary
from tests.verify.controller import read_inventory
from tests.verify.lab import Lab

if "primary_record" not in read_inventory():
    pytest.skip("the inventory has no group primary_record", allow_module_level=True)

KEEPER = "nano-primary-record"
REGISTER = "/var/lib/nano-primary-record/register.json"
Wait = Callable[[Callable[[], Any], float, str], Any]


def keepers(lab: Lab) -> dict[str, str]:
    """Return what each keeper is, as a database host sees it."""
    return {row["keeper"]: row["state"] for row in primary.ask(lab, "db2", "show")[1]["keepers"]}


def test_every_keeper_votes_and_names_the_host_that_takes_writes(lab: Lab) -> None:
    assert keepers(lab) == dict.fromkeys(lab.group("primary_record"), "voting")
    writable = [host for host in lab.group("postgresql") if lab.admin(host, "SELECT pg_is_in_recovery()") == "f"]
    assert [primary.record(lab)["host"]] == writable
    identifier = lab.admin("db2", "SELECT system_identifier FROM pg_control_system()")
    assert primary.record(lab)["system_identifier"] == identifier


def test_guard_says_what_it_would_do(lab: Lab) -> None:
    for host, kind in (("db1", "primary"), ("db2", "standby")):
        rc, found = primary.ask(lab, host, "check")
        assert (rc, found["verdict"], found["data"]["kind"]) == (0, "allowed", kind), host
    unit = lab.host("db1").file(f"/etc/systemd/system/{primary.UNIT}.service").content_string
    assert "ExecStart=/usr/local/sbin/nano-primary-record run " in unit


def test_figures_are_in_prometheus(lab: Lab, eventually: Wait) -> None:
    epoch = primary.record(lab)["epoch"]

    def seen() -> bool:
        found = {
            item["metric"]["instance"]: (item["metric"]["host"], item["value"])
            for item in lab.promql("nano_primary_record_epoch")
        }
        assert found == {host: ("db1", float(epoch)) for host in lab.group("primary_record")}, found
        named = {item["metric"]["instance"]: item["value"] for item in lab.promql("nano_primary_record_is_primary")}
        assert named == {"db1": 1.0, "db2": 0.0}, named
        majority = {item["metric"]["instance"]: item["value"] for item in lab.promql("nano_primary_record_majority")}
        return majority == {"db1": 1.0, "db2": 1.0}

    eventually(seen, 60, "Prometheus does not know the record")


def test_claim_of_the_wrong_epoch_or_by_a_stranger_changes_nothing(lab: Lab) -> None:
    before = primary.record(lab)
    argv = ("--timeline", str(before["timeline"]), "--system-identifier", before["system_identifier"])
    rc, found = primary.ask(lab, "db2", "claim", "--host", "db2", "--expect-epoch", str(before["epoch"] - 1), *argv)
    assert rc == 3 and found["record"] == before
    body = json.dumps({"ballot": [10**9, "x"], "keepers": lab.group("primary_record")})
    tls = "/etc/nano/tls"
    curl = ["curl", "--silent", "--cacert", f"{tls}/ca.crt", "--cert", f"{tls}/host.crt", "--key", f"{tls}/host.key"]
    # What a keeper says to a certificate that may only look is in the unit tests; here the firewall comes first.
    done = lab.command("app1", [*curl, "--max-time", "3", "--data", body, "https://ops1:8433/v1/prepare"])
    assert done["rc"] == 28, f"app1 reaches a keeper: {done}"
    assert primary.record(lab) == before


@pytest.fixture
def healthy(lab: Lab, eventually: Wait) -> Iterator[None]:
    """Keepers that run, and db1 as the primary with db2 behind it, whatever a test has done."""
    yield
    for host in lab.group("primary_record"):
        lab.host(host).run_expect([0], "systemctl start %s", KEEPER)
    eventually(lambda: set(keepers(lab).values()) == {"voting"}, 20, "not every keeper votes")
    if primary.record(lab)["host"] != "db1":
        primary.claim(lab, "db1")
    lab.host("db1").run_expect([0], "systemctl start %s", primary.UNIT)
    sql = "SELECT state FROM pg_stat_replication WHERE application_name = 'db2'"
    eventually(lambda: lab.admin("db1", sql) == "streaming", 60, "db2 does not follow db1")


@pytest.mark.disturbs
@pytest.mark.usefixtures("healthy")
def test_primary_that_is_no_longer_recorded_stops_and_stays_down(lab: Lab, eventually: Wait) -> None:
    primary.claim(lab, "db2")
    eventually(lambda: not primary.serves(lab, "db1"), 15, "db1 serves although the record names db2")
    eventually(lambda: primary.state(lab, "db1") == "failed", 20, "its unit has not given up")
    shown = lab.host("db1").run("systemctl status --no-pager %s", primary.UNIT).stdout
    assert "names db2 as the primary" in shown and "nano-primary-record claim --host db1" in shown
    time.sleep(5)
    assert primary.state(lab, "db1") == "failed", "it is started again and again"
    started = lab.host("db1").run("systemctl start %s", primary.UNIT)
    assert started.rc != 0 and not primary.serves(lab, "db1")
    assert primary.serves(lab, "db2"), "the standby was stopped too"


@pytest.mark.disturbs
@pytest.mark.usefixtures("healthy")
def test_paused_primary_does_not_live_to_wake_up(lab: Lab, eventually: Wait) -> None:
    paused = lab.host("db1").run("pgrep --euid postgres --exact postgres").stdout.split()
    assert len(paused) > 4
    lab.host("db1").run_expect([0], f"kill -STOP {' '.join(paused)}")
    primary.claim(lab, "db2")

    def killed() -> bool:
        left = lab.host("db1").run(f"ls --directory {' '.join(f'/proc/{pid}' for pid in paused)}").stdout
        return not left and primary.state(lab, "db1") == "failed"

    eventually(killed, 30, "a stopped primary is still there")
    assert not primary.serves(lab, "db1")


@pytest.mark.disturbs
@pytest.mark.usefixtures("healthy")
def test_primary_waits_for_the_keepers_and_starts_by_itself(lab: Lab, eventually: Wait) -> None:
    names = lab.group("primary_record")
    for host in names:
        lab.host(host).run_expect([0], "systemctl stop %s", KEEPER)
    assert primary.serves(lab, "db1"), "losing sight of the keepers has stopped the primary"
    lab.host("db1").run_expect([0], "systemctl restart --no-block %s", primary.UNIT)
    eventually(lambda: primary.state(lab, "db1") == "activating", 20, "it does not wait")
    time.sleep(5)
    assert not primary.serves(lab, "db1")
    status = lab.host("db1").run("systemctl show --property=StatusText %s", primary.UNIT).stdout
    assert "No majority of the keepers" in status and " ".join(primary.OVERRIDE) in status
    for host in names[:2]:
        lab.host(host).run_expect([0], "systemctl start %s", KEEPER)
    eventually(lambda: primary.serves(lab, "db1"), 15, "two keepers are back and PostgreSQL is not")


@pytest.mark.disturbs
@pytest.mark.usefixtures("healthy")
def test_operator_may_override_once_while_the_keepers_are_gone(lab: Lab, eventually: Wait) -> None:
    for host in lab.group("primary_record"):
        lab.host(host).run_expect([0], "systemctl stop %s", KEEPER)
    lab.host("db1").run_expect([0], "systemctl restart --no-block %s", primary.UNIT)
    eventually(lambda: primary.state(lab, "db1") == "activating", 20, "it does not wait")
    assert primary.ask(lab, "db1", *primary.OVERRIDE)[0] == 0
    eventually(lambda: primary.serves(lab, "db1"), 15, "the operator's word does not count")
    journal = lab.host("db1").run("journalctl --unit %s --since=-1min --output=cat", primary.UNIT).stdout
    assert "OVERRIDE by " in journal
    lab.host("db1").run_expect([0], "systemctl restart --no-block %s", primary.UNIT)
    eventually(lambda: primary.state(lab, "db1") == "activating", 20, "it does not wait")
    time.sleep(4)
    assert not primary.serves(lab, "db1"), "it counted twice"


@pytest.mark.disturbs
@pytest.mark.usefixtures("healthy")
def test_keeper_that_lost_its_disk_learns_from_the_others(lab: Lab, eventually: Wait) -> None:
    before = primary.record(lab)
    host = lab.host("ops1")
    host.run_expect([0], "systemctl stop %s", KEEPER)
    host.run_expect([0], "rm %s", REGISTER)
    host.run_expect([0], "systemctl start %s", KEEPER)
    eventually(lambda: keepers(lab)["ops1"] == "voting", 20, "it does not learn")
    assert json.loads(host.file(REGISTER).content_string)["value"] == before
