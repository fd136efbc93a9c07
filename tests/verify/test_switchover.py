"""A planned change of the primary and back, while somebody writes: nothing is lost, and the pause is short."""

from __future__ import annotations

import itertools
import json
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.verify.conftest import Run
from tests.verify.controller import INVENTORY, read_inventory
from tests.verify.lab import TLS, Lab
from tests.verify.test_dns import leads

if "dns" not in read_inventory():
    pytest.skip("the inventory has no group dns", allow_module_level=True)

pytestmark = pytest.mark.disturbs
# What the design promises, from the last acknowledged write before to the first one after.
MOST_SECONDS = 10.0
UNIT = "postgresql@17-main"
KEPT = "/var/lib/postgresql/17/main.diverged-*"


@pytest.fixture
def table(lab: Lab) -> Iterator[str]:
    """A table of the application's own that is gone afterwards, wherever the primary is then."""
    name = f"verify_{secrets.token_hex(6)}"
    lab.admin("db1", f"SET ROLE nano; CREATE TABLE {name} (id int)", "nano")
    yield name
    lab.admin(primary(lab), f"DROP TABLE {name}", "nano")


def primary(lab: Lab) -> str:
    (found,) = (host for host in lab.group("postgresql") if lab.admin(host, "SELECT pg_is_in_recovery()") == "f")
    return found


def pauses(rows: list[tuple[int, float]]) -> list[float]:
    """Return the seconds between one acknowledged write and the next."""
    return [later - sooner for (_, sooner), (_, later) in itertools.pairwise(rows)]


def switch(playbook: Callable[..., Run], host: str) -> Run:
    done = playbook("playbooks/switchover.yml", extra_vars={"switchover_host": host, "switchover_confirm": host})
    assert done.rc == 0, done.output[-4000:]
    return done


def test_writes_move_to_the_other_site_and_back_without_loss(
    lab: Lab, playbook: Callable[..., Run], eventually: Callable[..., Any], table: str
) -> None:
    hosts = ",".join(lab.address(host) for host in ("db1", "db2"))
    where = (
        f"host={hosts} dbname=nano user=nano target_session_attrs=read-write connect_timeout=2 sslmode=verify-full "
        f"sslrootcert={TLS}/ca.crt sslcert={TLS}/host.crt sslkey={TLS}/host.key"
    )
    password = lab.secrets()["postgresql_application_password"]
    with lab.talk("app2", "writer", seconds=60, where=where, password=password, table=table) as ask:
        eventually(lambda: int(ask("how many")) > 5, 30, "nothing is written")
        for host, old, application in (("db2", "db1", "app2"), ("db1", "db2", "app1")):
            switch(playbook, host)
            assert primary(lab) == host
            sql = f"SELECT state FROM pg_stat_replication WHERE application_name = '{old}'"
            assert lab.admin(host, sql) == "streaming"
            slots = "SELECT slot_name || ':' || active FROM pg_replication_slots"
            assert (lab.admin(host, slots), lab.admin(old, slots)) == (f"{old}:true", "")
            for server in lab.group("dns"):
                assert leads(lab, server, "db") == [lab.address(host)]
                assert leads(lab, server, "api") == [lab.address(application)]
            before = int(ask("how many"))
            eventually(lambda before=before: int(ask("how many")) > before + 5, 30, f"nothing is written to {host}")
        told = json.loads(ask("stop"))
    rows = [(number, at) for number, at in told["acknowledged"]]
    longest = sorted(pauses(rows))[-2:]
    print(f"pauses of {', '.join(f'{each:.2f} s' for each in longest)}, {len(rows)} rows, {len(told['errors'])} errors")
    kept = {int(line) for line in lab.admin("db1", f"SELECT id FROM {table}", "nano").splitlines()}
    assert [number for number, _ in rows if number not in kept] == [], "acknowledged and lost"
    assert max(longest) <= MOST_SECONDS
    assert not lab.host("app2").service("nano_api").is_running, "the inventory calls it cold"

    again = switch(playbook, "db1")
    assert "db1 is the primary already" in again.output and again.changed == []
    site = playbook("site.yml", "--tags", "host,postgresql")
    assert site.rc == 0 and site.changed == [], site.output[-3000:]


def test_a_standby_that_does_not_replay_is_refused(lab: Lab, playbook: Callable[..., Run]) -> None:
    lab.admin("db2", "SELECT pg_wal_replay_pause()")
    try:
        refused = playbook(
            "playbooks/switchover.yml", extra_vars={"switchover_host": "db2", "switchover_confirm": "db2"}
        )
    finally:
        lab.admin("db2", "SELECT pg_wal_replay_resume()")
    assert refused.rc != 0 and "Replay is paused on db2" in refused.output and "Nothing was touched" in refused.output
    assert refused.changed == [] and primary(lab) == "db1"


def test_an_old_primary_that_went_its_own_way_is_rewound_and_serves_again(
    lab: Lab, playbook: Callable[..., Run], eventually: Callable[..., Any], table: str
) -> None:
    there = f"SELECT to_regclass('{table}') IS NOT NULL"
    eventually(lambda: lab.admin("db2", there, "nano") == "t", 10, "db2 does not follow")
    lab.host("db2").run_expect([0], f"systemctl stop {UNIT}")
    lab.admin("db1", f"INSERT INTO {table} VALUES (1)", "nano")
    lab.host("db1").run_expect([0], f"systemctl stop nano-heartbeat {UNIT}")
    # A failover by hand, to a standby that has not got the last row.
    if lab.group("primary_record"):
        epoch = json.loads(lab.command("db2", ["nano-primary-record", "show"])["stdout"])["record"]["epoch"]
        claimed = lab.command("db2", ["nano-primary-record", "claim", "--host=db2", f"--expect-epoch={epoch}"])
        assert claimed["rc"] == 0, claimed["stderr"]
    lab.host("db2").run_expect([0], f"systemctl start {UNIT}")
    assert lab.admin("db2", "SELECT pg_promote()") == "t"
    lab.admin("db2", f"INSERT INTO {table} VALUES (2)", "nano")
    before = set(lab.host("db1").run(f"ls -d {KEPT}").stdout.split())

    done = playbook("playbooks/failback.yml", extra_vars={"failback_site": "site_a", "failback_confirm": "site_a"})
    assert done.rc == 0, done.output[-4000:]
    assert primary(lab) == "db1" and lab.admin("db1", f"SELECT id FROM {table}", "nano") == "2"
    assert lab.host("db1").service(UNIT).is_enabled
    (kept,) = set(lab.host("db1").run_expect([0], f"ls -d {KEPT}").stdout.split()) - before
    note = json.loads(lab.host("db1").run_expect([0], f"cat {kept}/diverged.json").stdout)
    assert note["commits"] >= 1 and note["last_commit"] and note["segments"]
    report = max(INVENTORY.parent.glob("*.reports/failback-*.json"), key=lambda path: path.stat().st_mtime)
    assert json.loads(report.read_text())["facts"]["Way"] == "rewind"
    lab.host("db1").run_expect([0], f"rm -r {kept}")
