"""The figures: live ones that follow what happens, and none that is stale after a failure."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from .backup_site import BEAT, DATABASE, Cluster, Site, wait_for

DUMP = f'{{database="{DATABASE}",kind="dump"}}'


def measured(site: Site) -> dict[str, float]:
    site.run("metrics")
    return site.metrics()


def test_a_failure_shows_and_the_last_success_stays_known(site: Site, cluster: Cluster) -> None:
    site.run("run", "--only", "dump")
    good = site.metrics()
    assert (
        good[f"last_run_success{DUMP}"] == 1 and good[f"size_bytes{DUMP}"] > 0 and good[f"duration_seconds{DUMP}"] > 0
    )
    site.config["postgresql_programs"] = str(site.here)
    for name in ("pg_dump", "pg_dumpall", "pg_restore"):
        path = site.here / name
        path.write_text(
            f'#!/bin/sh\n[ "$1" != --version ] || exec "{cluster.bin}/{name}" "$@"\necho broken >&2; exit 3\n'
        )
        path.chmod(0o755)
    assert "pg_dump ended with code 3: broken" in site.run("run", "--only", "dump", code=1)
    bad = site.metrics()
    assert bad[f"last_run_success{DUMP}"] == 0
    assert bad[f"last_success_timestamp_seconds{DUMP}"] == good[f"last_success_timestamp_seconds{DUMP}"]
    assert bad[f"last_run_timestamp_seconds{DUMP}"] > good[f"last_run_timestamp_seconds{DUMP}"]
    assert f"size_bytes{DUMP}" not in bad


def test_the_loss_of_a_repository_is_the_age_of_what_reached_it(site: Site, cluster: Cluster) -> None:
    cluster.sql(BEAT)
    segment = cluster.sql("SELECT pg_walfile_name(pg_current_wal_insert_lsn())")
    cluster.sql("SELECT pg_switch_wal()")
    for place in cluster.repositories:
        wait_for(lambda place=place: list(place.glob(f"archive/nano/*/*/{segment}-*.gz")), "WAL is archived")
    began = time.time()
    first = measured(site)['rpo_seconds{copy="repository1"}']
    assert 0 <= first < 30
    # Beats that are not archived don't make the copy any younger.
    cluster.sql(BEAT)
    time.sleep(1.1)
    later = measured(site)['rpo_seconds{copy="repository1"}']
    assert first + 1 <= later <= first + time.time() - began + 1
    assert 'rpo_seconds{copy="repository2"}' in site.metrics()
    assert site.metrics()["rpo_objective_seconds"] == 60


def test_parts_that_do_not_answer_leave_their_series_out(site: Site, cluster: Cluster) -> None:
    site.run("run")
    everything = site.metrics()
    for series in ('wal_queue_files{database_host="db1"}', 'repository_size_bytes{repository="2"}',
                   'newest_timestamp_seconds{kind="physical",repository="1"}', 'repository_free_bytes{repository="1"}',
                   'wal_gap{repository="1"}'):  # fmt: skip
        assert series in everything
    cluster.stop()
    place = cluster.repositories[1]
    place.rename(place.with_name("hidden"))
    try:
        began = time.monotonic()
        figures = measured(site)
        assert time.monotonic() - began < 25, "slower than it is called"
    finally:
        place.with_name("hidden").rename(place)
        cluster.start()
    assert figures['up{part="database_db1"}'] == figures['up{part="repository2"}'] == 0
    assert figures['up{part="repository1"}'] == figures['up{part="local"}'] == 1
    assert 'wal_queue_files{database_host="db1"}' not in figures
    assert 'newest_timestamp_seconds{kind="physical",repository="2"}' not in figures
    assert 'newest_timestamp_seconds{kind="physical",repository="1"}' in figures
    assert figures["metrics_timestamp_seconds"] >= everything["metrics_timestamp_seconds"]


def test_the_queue_of_wal_is_counted(site: Site, cluster: Cluster) -> None:
    place = cluster.repositories[0]
    place.rename(place.with_name("hidden"))
    try:
        for _ in range(3):
            cluster.sql("SELECT pg_logical_emit_message(true, 'test', 'x'); SELECT pg_switch_wal()")
        assert measured(site)['wal_queue_files{database_host="db1"}'] >= 2
    finally:
        (place.parent / "repository1").exists() or place.with_name("hidden").rename(place)
    wait_for(lambda: measured(site)['wal_queue_files{database_host="db1"}'] == 0, "the queue is empty", 90)


def test_a_file_is_replaced_whole_and_may_be_read_by_everybody(site: Site) -> None:
    site.run("metrics")
    path = site.state / "nano_backup.prom"
    inode = path.stat().st_ino
    site.run("metrics")
    assert path.stat().st_mode & 0o777 == 0o644 and path.stat().st_ino != inode
    assert sorted(each.name for each in site.state.glob(".*")) == []


def test_every_series_has_its_help(site: Site) -> None:
    site.run("run", "--only", "dump")
    lines = (site.state / "nano_backup.prom").read_text().splitlines()
    named = {line.split()[2] for line in lines if line.startswith("# HELP")}
    assert {line.split("{")[0].split()[0] for line in lines if not line.startswith("#")} == named


@pytest.mark.parametrize("damage", ["", "{", '{"running": "", "steps": {"dump": 1}}'])
def test_a_damaged_note_of_results_is_begun_anew(site: Site, damage: str) -> None:
    path = Path(site.state / "run.json")
    path.write_text(damage)
    path.chmod(0o666)
    assert "can't be read and is begun anew" in site.run("run", "--only", "dump")
    assert site.metrics()[f"last_run_success{DUMP}"] == 1


def test_a_missed_run_is_due(site: Site) -> None:
    now = time.gmtime()
    at = time.strftime("%H:%M", now)
    site.run("due", "--at", at)
    site.run("run", "--only", "dump")
    site.run("due", "--at", at, code=1)
