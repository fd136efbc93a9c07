"""A standby is preferred, and never relied on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .backup_site import BEAT, Cluster, Site, give, wait_for


class Standby:
    """A second server that streams from the first."""

    def __init__(self, cluster: Cluster, here: Path) -> None:
        self.cluster, self.here, self.data = cluster, give(here), here / "data"
        words = ["-h", str(cluster.here), "-U", "postgres", "-R", "-X", "stream", "-c", "fast"]
        cluster.run("pg_basebackup", "-D", self.data, *words)

    def start(self) -> None:
        options = f"-c listen_addresses='' -c unix_socket_directories={self.here} -c archive_mode=off"
        words = ["-l", str(self.here / "log"), "-w", "-o", options, "start"]
        self.cluster.run("pg_ctl", "-D", self.data, *words)

    def stop(self) -> None:
        self.cluster.run("pg_ctl", "-D", self.data, "-m", "immediate", "-w", "stop")

    def sql(self, text: str) -> str:
        return self.cluster.run(
            "psql", "-XAtq", "-h", str(self.here), "-U", "postgres", "-d", "nano", "-c", text
        ).strip()


@pytest.fixture(scope="module")
def standby(cluster: Cluster, open_folder: Path) -> Iterator[Standby]:
    made = Standby(cluster, open_folder / "standby")
    made.start()
    yield made
    made.stop()


@pytest.fixture
def both(site: Site, standby: Standby) -> Site:
    site.config["servers"] = {"db1": str(site.cluster.here), "db2": str(standby.here)}
    return site


def test_a_dump_comes_from_the_standby_while_it_replays(both: Site, cluster: Cluster, standby: Standby) -> None:
    cluster.sql(BEAT)
    beat = cluster.sql("SELECT written_at FROM nano_ops.heartbeat")
    wait_for(lambda: standby.sql("SELECT written_at FROM nano_ops.heartbeat") == beat, "the standby has replayed")
    assert "from db2 (standby) at " in both.run("run", "--only", "dump")
    server = both.manifest(both.dumps()[0])["server"]
    assert server["host"] == "db2" and server["is_standby"]
    assert "exactly" in both.run("verify", "--only", "dump")


def test_the_primary_is_dumped_when_the_standby_cannot(both: Site, standby: Standby) -> None:
    path = Path(both.here / "pg_dump")
    refuse = 'echo "canceling statement due to conflict with recovery" >&2; exit 1'
    path.write_text(
        f'#!/bin/sh\n[ "$PGHOST" != "{standby.here}" ] || {{ {refuse}; }}\nexec "{both.cluster.bin}/pg_dump" "$@"\n'
    )
    path.chmod(0o755)
    for name in ("pg_dumpall", "pg_restore"):
        (both.here / name).symlink_to(both.cluster.bin / name)
    both.config["postgresql_programs"] = str(both.here)
    said = both.run("run", "--only", "dump")
    assert "conflict with recovery; trying the primary" in said and "from db1 (primary)" in said
    assert len(both.dumps()) == 1 and not list(both.dumps()[0].parent.glob(".partial-*"))


def test_figures_tell_what_the_standby_lacks(both: Site, cluster: Cluster, standby: Standby) -> None:
    cluster.sql(BEAT)
    beat = cluster.sql("SELECT written_at FROM nano_ops.heartbeat")
    wait_for(lambda: standby.sql("SELECT written_at FROM nano_ops.heartbeat") == beat, "the standby has replayed")
    both.run("metrics")
    first = both.metrics()['rpo_seconds{copy="standby_db2"}']
    assert 0 <= first < 30 and 'rpo_seconds{copy="standby_db1"}' not in both.metrics()
    standby.sql("SELECT pg_wal_replay_pause()")
    try:
        cluster.sql(BEAT)
        time.sleep(1.1)
        both.run("metrics")
        assert both.metrics()['rpo_seconds{copy="standby_db2"}'] > first + 1
    finally:
        standby.sql("SELECT pg_wal_replay_resume()")


def test_without_its_standby_the_platform_is_backed_up_all_the_same(both: Site, standby: Standby) -> None:
    """pgBackRest here knows no standby at all, which it is asked for first."""
    standby.stop()
    try:
        both.config["repositories"] = [1]
        said = both.run("run")
        both.run("metrics")
    finally:
        standby.start()
    assert "backup into repository 1: " in said and "from db1 (primary)" in said
    assert both.metrics()['up{part="database_db2"}'] == 0
    assert 'rpo_seconds{copy="standby_db2"}' not in both.metrics()


def test_with_no_server_at_all_every_database_fails_and_is_named(both: Site) -> None:
    both.config["servers"] = {"db1": "/nowhere", "db2": "/nowhere/else"}
    said = both.run("run", "--only", "dump", code=1)
    assert "FAILED dump of nano: PostgreSQL on /nowhere,/nowhere/else" in said
