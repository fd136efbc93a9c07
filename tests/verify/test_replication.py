"""What is written on the primary is on the standby, and the settings that recovery relies on are in force."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.verify.lab import Lab

PRIMARY, STANDBY = "db1", "db2"
BOTH = pytest.mark.parametrize("host", [PRIMARY, STANDBY])
HEARTBEAT_AGE = "SELECT extract(epoch FROM clock_timestamp() - written_at) FROM nano_ops.heartbeat"


def test_standby_streams_under_its_own_name_from_its_slot(lab: Lab) -> None:
    sql = "SELECT application_name, client_addr, state, usename FROM pg_stat_replication"
    assert lab.admin(PRIMARY, sql) == f"{STANDBY}|{lab.address(STANDBY)}|streaming|replicator"
    slots = lab.admin(PRIMARY, "SELECT slot_name, slot_type, active, wal_status FROM pg_replication_slots")
    assert slots == f"{STANDBY}|physical|t|reserved"
    received = lab.admin(STANDBY, "SELECT status, slot_name, sender_host FROM pg_stat_wal_receiver")
    assert received == f"streaming|{STANDBY}|{lab.address(PRIMARY)}"


def test_replication_is_encrypted(lab: Lab) -> None:
    sql = "SELECT ssl, version FROM pg_stat_ssl JOIN pg_stat_replication USING (pid)"
    assert lab.admin(PRIMARY, sql) == "t|TLSv1.3"


@pytest.fixture
def table(lab: Lab) -> Iterator[str]:
    """A table of the application's own that is gone afterwards."""
    name = f"verify_{uuid.uuid4().hex[:12]}"
    yield name
    done = lab.psql(STANDBY, PRIMARY, f"DROP TABLE IF EXISTS {name}")
    assert done["rc"] == 0, done["stderr"]


def test_row_written_by_the_application_is_read_on_the_standby(
    lab: Lab, table: str, eventually: Callable[..., Any]
) -> None:
    word = uuid.uuid4().hex
    wrote = lab.psql(STANDBY, PRIMARY, f"CREATE TABLE {table} (word text); INSERT INTO {table} VALUES ('{word}')")
    assert wrote["rc"] == 0, wrote["stderr"]

    def read() -> bool:
        found = lab.psql(PRIMARY, STANDBY, f"SELECT word, pg_is_in_recovery() FROM {table}")
        assert found["rc"] == 0, found["stderr"]
        return bool(found["stdout"].strip() == f"{word}|t")

    eventually(read, 10, "the row did not reach the standby")


def test_standby_refuses_to_be_written(lab: Lab) -> None:
    wrote = lab.psql(PRIMARY, STANDBY, "CREATE TABLE verify_must_not_be (word text)")
    assert wrote["rc"] != 0
    assert "read-only transaction" in wrote["stderr"]


@BOTH
def test_heartbeat_is_fresh(lab: Lab, host: str) -> None:
    age = float(lab.admin(host, HEARTBEAT_AGE, "nano"))
    assert 0 <= age < 15


def test_heartbeat_moves_on(lab: Lab, eventually: Callable[..., Any]) -> None:
    first = lab.admin(STANDBY, "SELECT written_at FROM nano_ops.heartbeat", "nano")
    eventually(
        lambda: lab.admin(STANDBY, "SELECT written_at FROM nano_ops.heartbeat", "nano") != first,
        15,
        "no new heartbeat reached the standby",
    )


def test_application_may_read_the_heartbeat_but_not_write_it(lab: Lab) -> None:
    read = lab.psql(STANDBY, PRIMARY, HEARTBEAT_AGE)
    assert read["rc"] == 0, read["stderr"]
    wrote = lab.psql(STANDBY, PRIMARY, "DELETE FROM nano_ops.heartbeat")
    assert "permission denied" in wrote["stderr"]


@BOTH
@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("data_checksums", "on"),
        ("max_slot_wal_keep_size", "4GB"),
        ("log_min_duration_statement", "500ms"),
        ("password_encryption", "scram-sha-256"),
        ("ssl", "on"),
        ("ssl_min_protocol_version", "TLSv1.3"),
        ("wal_log_hints", "on"),
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("synchronous_commit", "on"),
        ("TimeZone", "Etc/UTC"),
        ("shared_preload_libraries", "pg_stat_statements"),
    ],
)
def test_setting_is_in_force(lab: Lab, host: str, setting: str, value: str) -> None:
    assert lab.admin(host, f"SHOW {setting}") == value


@BOTH
def test_no_setting_waits_for_a_restart(lab: Lab, host: str) -> None:
    assert lab.admin(host, "SELECT name FROM pg_settings WHERE pending_restart") == ""
    assert lab.admin(host, "SELECT sourcefile, error FROM pg_file_settings WHERE error IS NOT NULL") == ""


@BOTH
def test_statements_are_counted(lab: Lab, host: str) -> None:
    assert int(lab.admin(host, "SELECT count(*) FROM pg_stat_statements WHERE calls > 0")) > 0


def test_slow_statement_is_in_the_journal(lab: Lab, eventually: Callable[..., Any]) -> None:
    word = f"slow_{uuid.uuid4().hex[:12]}"
    done = lab.psql(STANDBY, PRIMARY, f"SELECT pg_sleep(0.6) AS {word}")
    assert done["rc"] == 0, done["stderr"]
    journal = "journalctl --unit=postgresql@17-main --since=-2min --output=cat"

    def logged() -> bool:
        return any(word in line and "duration:" in line for line in lab.host(PRIMARY).run(journal).stdout.splitlines())

    eventually(logged, 10, "a statement of 600 ms was not logged")


def test_every_password_is_kept_as_scram(lab: Lab) -> None:
    kept = lab.admin(PRIMARY, "SELECT rolname, left(rolpassword, 14) FROM pg_authid WHERE rolpassword IS NOT NULL")
    assert sorted(kept.splitlines()) == [
        "nano_backup|SCRAM-SHA-256$",
        "nano|SCRAM-SHA-256$",
        "replicator|SCRAM-SHA-256$",
    ]


def test_roles_can_do_no_more_than_they_need(lab: Lab) -> None:
    sql = "SELECT rolname, rolsuper, rolcreatedb, rolcreaterole, rolreplication FROM pg_roles WHERE rolcanlogin"
    assert sorted(lab.admin(PRIMARY, sql).splitlines()) == [
        "nano_backup|f|f|f|f",
        "nano_heartbeat|f|f|f|f",
        "nano|f|f|f|f",
        "postgres|t|t|t|t",
        "prometheus|f|f|f|f",
        "replicator|f|f|f|t",
    ]
