"""Data come back: a dropped table, a host without data, one table of a dump; and nothing happens by mistake."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.verify.conftest import Run
from tests.verify.controller import INVENTORY, ROOT, environment, read_inventory
from tests.verify.lab import Lab

if "backup" not in read_inventory():
    pytest.skip("the inventory has no group backup", allow_module_level=True)

pytestmark = pytest.mark.disturbs
UNIT = "postgresql@17-main"
BACKUP = "nano-backup@full.service"
BASE = "/var/lib/postgresql/17"
REPORTS = Path(f"{INVENTORY}.reports")
MEMBERS = ("db1", "db2")


def kept(lab: Lab, host: str) -> set[str]:
    """Return the data directories that restores have put aside."""
    found = lab.host(host).run(f"find {BASE} -maxdepth 1 -name 'main.before-restore-*' -printf '%f\\n'").stdout
    return set(found.split())


def beat(lab: Lab, host: str) -> str:
    return lab.admin(host, "SELECT written_at FROM nano_ops.heartbeat", "nano")


def restore(playbook: Callable[..., Run], host: str = "db1", **options: Any) -> Run:
    return playbook("playbooks/restore.yml", extra_vars={"restore_host": host, **options})


@pytest.fixture(scope="module", autouse=True)
def backed_up(lab: Lab, playbook: Callable[..., Run], eventually: Callable[..., Any]) -> Iterator[None]:
    """Make a backup first; afterwards throw away what the tests have put aside, as an operator does."""
    eventually(lambda: backup_has_ended(lab), 300, "a backup does not end")
    lab.host("store1").run_expect([0], f"systemctl start {BACKUP}")
    before = {host: kept(lab, host) for host in MEMBERS}
    yield
    for host in MEMBERS:
        for name in kept(lab, host) - before[host]:
            done = restore(playbook, host, restore_discard=name)
            assert done.rc == 0, done.output[-2000:]
        assert kept(lab, host) == before[host]
    # One that was under way when PostgreSQL was stopped has failed; nothing of it shall be left.
    eventually(lambda: backup_has_ended(lab), 300, "a backup does not end")
    lab.host("store1").run_expect([0], f"systemctl start {BACKUP}")


def backup_has_ended(lab: Lab) -> bool:
    """Whether the backup that a restore has started is over; it would fail when PostgreSQL is stopped under it."""
    states = lab.host("store1").run(f"systemctl is-active nano-backup.service {BACKUP}").stdout.split()
    return set(states) <= {"inactive", "failed"}


@pytest.fixture
def table(lab: Lab, eventually: Callable[..., Any]) -> Iterator[tuple[str, str]]:
    """A table of the application's own with a word in it; gone afterwards."""
    eventually(lambda: backup_has_ended(lab), 300, "a backup does not end")
    name, word = f"restore_{secrets.token_hex(6)}", secrets.token_hex(8)
    made = lab.psql("db2", "db1", f"CREATE TABLE {name} AS SELECT '{word}'::text AS word")
    assert made["rc"] == 0, made["stderr"]
    yield name, word
    assert lab.psql("db2", "db1", f"DROP TABLE IF EXISTS {name}")["rc"] == 0


@pytest.fixture
def moment_before_a_drop(lab: Lab, table: tuple[str, str], eventually: Callable[..., Any]) -> str:
    """Drop the table; return a moment at which it was there. A restore to a time needs a transaction behind it."""
    sql = "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
    for _ in range(2):
        last = beat(lab, "db1")
        moment = lab.admin("db1", sql)
        eventually(lambda last=last: beat(lab, "db1") != last, 20, "the heartbeat does not beat")
    assert lab.psql("db2", "db1", f"DROP TABLE {table[0]}")["rc"] == 0
    last = beat(lab, "db1")
    eventually(lambda: beat(lab, "db1") != last, 20, "the heartbeat does not beat")
    return moment


def assert_whole(lab: Lab, eventually: Callable[..., Any], table: tuple[str, str]) -> None:
    """The table is there, the application may write, and everything beats, streams and archives again."""
    read = lab.psql("db2", "db1", f"SELECT word FROM {table[0]}")
    assert read["stdout"].strip() == table[1], read["stderr"]
    wrote = lab.psql("app2", "db1", f"INSERT INTO {table[0]} VALUES ('after')")
    assert wrote["rc"] == 0, wrote["stderr"]
    sql = "SELECT state FROM pg_stat_replication WHERE application_name = 'db2'"
    eventually(lambda: lab.admin("db1", sql) == "streaming", 60, "db2 does not follow")
    eventually(lambda: "after" in lab.admin("db2", f"SELECT word FROM {table[0]}", "nano"), 20, "a row does not arrive")
    first = beat(lab, "db2")
    eventually(lambda: beat(lab, "db2") != first, 20, "no heartbeat reaches db2")
    eventually(lambda: lab.says("nano_api", "app1").startswith("HTTP/1.1 200"), 60, "the application does not serve")
    sql = "SELECT count(*) FROM pg_file_settings WHERE name LIKE 'recovery_target%'"
    assert [lab.admin(host, sql) for host in MEMBERS] == ["0", "0"], "a standby would stop where the restore did"
    lab.host("db1").run_expect([0], "sudo -u postgres pgbackrest --stanza=nano check")


def newest_report() -> dict[str, Any]:
    path = max(REPORTS.glob("restore-*.json"), key=lambda path: path.stat().st_mtime)
    assert path.with_suffix(".html").exists() and path.with_suffix(".md").exists()
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.mark.parametrize("confirm", [{}, {"restore_confirm": "db2"}], ids=["nothing typed", "another name"])
def test_without_the_hosts_name_nothing_is_touched(
    lab: Lab, playbook: Callable[..., Run], confirm: dict[str, str]
) -> None:
    before = {host: (lab.main_pids(host), kept(lab, host)) for host in MEMBERS}
    done = restore(playbook, **confirm)
    assert done.rc != 0
    assert "Restore of PostgreSQL on db1" in done.output, "the plan was not shown"
    assert "nothing was touched" in done.output and "-e restore_confirm=db1" in " ".join(done.output.split())
    assert {host: (lab.main_pids(host), kept(lab, host)) for host in MEMBERS} == before
    assert done.changed == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"restore_type": "time", "restore_target": "2026-03-01 14:05:00"}, "has no time zone"),
        ({"restore_type": "time", "restore_target": "2999-01-01T00:00:00Z"}, "is in the future"),
        ({"restore_type": "time", "restore_target": "2001-01-01T00:00:00Z"}, "no backup is from before"),
        ({"restore_set": "20010101-000000F"}, "there is no backup 20010101-000000F"),
        ({"restore_host": "store1"}, "Which host?"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_stopped(
    lab: Lab, playbook: Callable[..., Run], options: dict[str, str], words: str
) -> None:
    before = lab.main_pids("db1")
    done = restore(playbook, **{"restore_confirm": "db1", **options})
    assert done.rc != 0 and words in " ".join(done.output.split()), done.output[-2000:]
    assert lab.main_pids("db1") == before


def test_dropped_table_is_back_in_place(
    lab: Lab,
    playbook: Callable[..., Run],
    eventually: Callable[..., Any],
    table: tuple[str, str],
    moment_before_a_drop: str,
) -> None:
    before = kept(lab, "db1")
    options = {"restore_type": "time", "restore_target": moment_before_a_drop, "restore_confirm": "db1"}
    done = restore(playbook, **options)
    assert done.rc == 0, done.output[-4000:]
    assert_whole(lab, eventually, table)
    (old,) = kept(lab, "db1") - before
    assert lab.host("db1").file(f"{BASE}/{old}/PG_VERSION").exists
    report = newest_report()
    assert report["outcome"] == "succeeded" and {each["outcome"] for each in report["phases"]} == {"succeeded"}
    assert 0 < report["measures"]["rto_seconds"] < 300
    figures = lab.host("db1").file("/var/lib/node_exporter/textfile/nano_recovery_restore.prom").content_string
    assert 'nano_recovery_last_run_success{procedure="restore",host="db1"} 1' in figures
    eventually(lambda: lab.promql("nano_recovery_rto_seconds"), 60, "the figures do not reach Prometheus")


def test_restored_onto_a_host_without_data(
    lab: Lab, playbook: Callable[..., Run], eventually: Callable[..., Any], table: tuple[str, str]
) -> None:
    """The disk of db1 is lost. What was written is in the archive within a minute; the loss is measured."""
    segment = lab.admin("db1", "SELECT pg_walfile_name(pg_switch_wal())")
    sql = "SELECT last_archived_wal FROM pg_stat_archiver"
    eventually(lambda: lab.admin("db1", sql) >= segment, 90, "the WAL is not archived")
    lab.host("db1").run_expect([0], f"systemctl kill --signal=KILL {UNIT}; systemctl stop {UNIT}")
    lab.host("db1").run_expect([0], f"mv {BASE}/main {BASE}/main.before-restore-20000101T000000Z")
    done = restore(playbook, restore_confirm="db1")
    assert done.rc == 0, done.output[-4000:]
    assert "db2 is a living standby" in done.output, "the better way was not told"
    assert_whole(lab, eventually, table)
    assert newest_report()["measures"]["rpo_seconds"] is not None


def test_interrupted_restore_goes_on(
    lab: Lab,
    playbook: Callable[..., Run],
    eventually: Callable[..., Any],
    table: tuple[str, str],
    moment_before_a_drop: str,
) -> None:
    """The controller dies while the backup is copied; a report tells how far it came, the same command goes on."""
    options = {"restore_type": "time", "restore_target": moment_before_a_drop, "restore_confirm": "db1"}
    before = kept(lab, "db1")
    argv = ["ansible-playbook", "--inventory", str(INVENTORY), "playbooks/restore.yml"]
    argv += ["--extra-vars", json.dumps({"restore_host": "db1", **options})]
    with subprocess.Popen(
        argv,
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout
        for line in process.stdout:
            if "Copy the backup beside" in line:
                time.sleep(2)
                os.killpg(process.pid, signal.SIGKILL)
    report = newest_report()
    assert report["outcome"] == "running" and "playbooks/restore.yml" in report["next"][0]
    done = restore(playbook, **options)
    assert done.rc == 0, done.output[-4000:]
    assert "Goes on" in done.output or "main.restoring" not in lab.host("db1").run(f"ls {BASE}").stdout
    assert_whole(lab, eventually, table)
    assert len(kept(lab, "db1") - before) == 1, "the old data were put aside more than once"


def test_table_of_a_dump_into_a_database_beside(lab: Lab, playbook: Callable[..., Run], table: tuple[str, str]) -> None:
    lab.host("store1").run_expect([0], "nano-backup run --only dump")
    assert lab.psql("db2", "db1", f"UPDATE {table[0]} SET word = 'spoilt'")["rc"] == 0
    side = f"side_{secrets.token_hex(4)}"
    options = {"restore_database": "nano", "restore_table": table[0], "restore_into": side}
    try:
        done = playbook("playbooks/restore.yml", extra_vars={"restore_type": "dump", **options})
        assert done.rc == 0, done.output[-3000:]
        assert lab.admin("db1", f"SELECT word FROM {table[0]}", side) == table[1]
        assert lab.psql("db2", "db1", f"SELECT word FROM {table[0]}")["stdout"].strip() == "spoilt"
        again = playbook("playbooks/restore.yml", extra_vars={"restore_type": "dump", **options})
        assert again.rc != 0 and "is there already and stays as it is" in " ".join(again.output.split())
    finally:
        lab.admin("db1", f"DROP DATABASE IF EXISTS {side}")
    sql = "SELECT rolcreatedb FROM pg_roles WHERE rolname = 'nano_backup'"
    assert lab.admin("db1", sql) == "f", "the backup's user may still make databases"
