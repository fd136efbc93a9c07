"""Backups that are damaged on purpose: each is found, said, and never taken for a good one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .backup_site import DATABASE, Cluster, Site, Store, unprivileged, wait_for


def truncate(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 100)


def flip(path: Path, place: float = 0.5) -> None:
    """Change one bit."""
    with path.open("r+b") as file:
        file.seek(int(path.stat().st_size * place))
        (byte,) = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: truncate(folder / "database.dump"), "truncated or overwritten"),
        (lambda folder: flip(folder / "database.dump"), "has changed since it was made (SHA-256 differs)"),
        (lambda folder: flip(folder / "globals.sql"), "has changed since it was made (SHA-256 differs)"),
        (lambda folder: (folder / "database.dump").unlink(), "can't be read"),
        (lambda folder: truncate(folder / "manifest.json"), "manifest.json is damaged"),
    ],
    ids=["truncated", "bit flipped", "globals", "missing", "manifest"],
)
def test_a_damaged_dump_is_found_before_it_is_used(
    site: Site, cluster: Cluster, damage: Callable[[Path], None], words: str
) -> None:
    site.run("run", "--only", "dump")
    damage(site.dumps()[0])
    assert words in site.run("verify", "--only", "dump", code=1)
    assert site.metrics("nano_backup_verify.prom")[f'verify_success{{database="{DATABASE}",kind="dump"}}'] == 0
    assert words in site.run("restore-dump", "--database", DATABASE, "--into", "side", code=1)
    assert cluster.sql("SELECT count(*) FROM pg_database WHERE datname LIKE 'side%'", "postgres") == "0"


def test_a_damaged_dump_is_not_copied_and_the_others_are(site: Site, store: Store) -> None:
    site.run("run", "--only", "physical")
    key, site.config["s3"] = site.config["s3"], None
    site.run("run", "--only", "dump")
    flip(site.dumps()[0] / "database.dump")
    site.config["s3"] = key
    said = site.run("run", "--only", "dump", code=1)
    assert f"FAILED copy of {DATABASE} to S3: " in said and "SHA-256 differs" in said
    listed = site.run("list")
    assert listed.count("disk and S3") == 1 and f"disk: {site.dumps()[0].name}" in listed


def change(folder: Path, **rows: int) -> None:
    """Let a manifest say other rows."""
    path = folder / "manifest.json"
    data = json.loads(path.read_text())
    data["rows"] |= {f"public.{name}": count for name, count in rows.items()}
    path.write_text(json.dumps(data))


def test_rows_that_differ_from_the_manifest_are_found(site: Site) -> None:
    site.run("run", "--only", "dump")
    change(site.dumps()[0], people=2001)
    assert "table public.people has 2000 rows instead of 2001" in site.run("verify", "--only", "dump", code=1)


@pytest.fixture(scope="module")
def once_backed_up(cluster: Cluster, open_folder: Path) -> Site:
    """A host with one repository and a dump."""
    site = Site(cluster, open_folder / "damage")
    site.config["repositories"] = [1]
    site.run("run")
    return site


@pytest.fixture
def backed_up(once_backed_up: Site) -> Iterator[Site]:
    """The same for one test, which may spoil the dump's manifest."""
    path = once_backed_up.dumps()[0] / "manifest.json"
    kept = path.read_text()
    yield once_backed_up
    path.write_text(kept)


def test_a_backup_with_fewer_rows_than_the_dump_is_found(backed_up: Site) -> None:
    folder = backed_up.dumps()[0]
    # Deletions between the two, up to a tenth.
    change(folder, people=2200)
    assert "rows of 5 tables as expected" in backed_up.run("verify", "--only", "physical")
    change(folder, people=2300, gone=1, orders_1=500)
    said = backed_up.run("verify", "--only", "physical", code=1)
    assert "table public.people has 2000 rows, it had 2300" in said
    assert "table public.gone is missing" in said
    assert "orders_1" not in said


def test_an_emptied_table_is_found_unless_it_is_named(backed_up: Site, cluster: Cluster) -> None:
    cluster.sql("CREATE TABLE queue (id integer)")
    backed_up.run("run")
    folder = backed_up.dumps()[-1]
    try:
        change(folder, queue=3)
        assert "table public.queue is empty, it had 3 rows" in backed_up.run("verify", "--only", "physical", code=1)
        backed_up.config["verify"]["ignored_tables"] = ["public.queue"]
        backed_up.run("verify", "--only", "physical")
    finally:
        cluster.sql("DROP TABLE queue")
        # Its manifest no longer tells what was dumped.
        shutil.rmtree(folder)


def test_a_verification_measures_what_a_restore_would_lose(backed_up: Site) -> None:
    said = backed_up.run("verify")
    assert "of data would be lost" in said
    figures = backed_up.metrics("nano_backup_verify.prom")
    label = 'kind="physical",repository="1"'
    assert figures[f"verify_success{{{label}}}"] == 1
    assert figures[f"restore_bytes_per_second{{{label}}}"] > 0
    assert 0 < figures[f"verified_rpo_seconds{{{label}}}"] < 3600
    assert figures[f"verified_backup_timestamp_seconds{{{label}}}"] < figures[f"verified_timestamp_seconds{{{label}}}"]
    table = backed_up.run("list").splitlines()
    newest = [line for line in table if "repository 1: " in line][-1]
    assert not newest.endswith("-") and not table[-1].endswith("-"), (
        "the newest backup and the newest dump are verified"
    )


def wal_files(cluster: Cluster) -> list[Path]:
    return sorted((cluster.repositories[0] / "archive/nano").glob("*/*/0*-*"))


@pytest.mark.parametrize("kind", ["missing", "flipped"])
def test_a_hole_in_the_wal_is_found(backed_up: Site, cluster: Cluster, kind: str) -> None:
    start = len(wal_files(cluster))
    for _ in range(3):
        cluster.sql("SELECT pg_logical_emit_message(true, 'test', 'x'); SELECT pg_switch_wal()")
    wait_for(lambda: len(wal_files(cluster)) >= start + 3, "WAL is archived")
    victim = wal_files(cluster)[-2]
    kept = victim.read_bytes()
    try:
        if kind == "missing":
            victim.unlink()
            backed_up.run("metrics")
            # The first look was within this hour.
            (backed_up.state / "wal.json").unlink()
            assert "has a gap in its WAL" in backed_up.run("metrics")
            assert backed_up.metrics()['wal_gap{repository="1"}'] == 1
        else:
            flip(victim)
        said = backed_up.run("verify", "--only", "physical", code=1)
        assert "is missing or damaged" in said or "ended during recovery" in said
    finally:
        victim.write_bytes(kept)
        shutil.chown(victim, *([] if not unprivileged() else ["nobody"]))
    backed_up.run("verify", "--only", "physical")


def test_a_damaged_page_is_found(backed_up: Site, cluster: Cluster) -> None:
    cluster.sql("CREATE TABLE victim AS SELECT n, md5(n::text) AS text FROM generate_series(1, 5000) n")
    try:
        # Nobody has a reason to write its pages again, which would mend them.
        cluster.sql("VACUUM (FREEZE) victim")
        cluster.sql("CHECKPOINT")
        path = cluster.data / cluster.sql("SELECT pg_relation_filepath('victim')")
        with path.open("r+b") as file:
            file.seek(8192 + 100)
            file.write(b"\xff" * 4000)
        backed_up.run("run", "--only", "physical")
        assert "victim" in backed_up.run("verify", "--only", "physical", code=1)
    finally:
        cluster.sql("DROP TABLE victim")
    backed_up.run("run", "--only", "physical")
    backed_up.run("verify", "--only", "physical")


def test_a_repository_that_is_damaged_does_not_restore(backed_up: Site, cluster: Cluster) -> None:
    bundles = (cluster.repositories[0] / "backup/nano").glob("[0-9]*/pg_data/**/*")
    victims = [path for path in bundles if path.is_file() and path.stat().st_size > 20000]
    assert victims
    for path in victims:
        flip(path)
    try:
        assert "pgbackrest restore: " in backed_up.run("verify", "--only", "physical", code=1)
    finally:
        for path in victims:
            flip(path)
    assert not list(backed_up.verify.iterdir())


@pytest.fixture
def small_disk(site: Site) -> Iterator[Path]:
    """A disk of 70 MiB under the dumps."""
    if os.geteuid():
        pytest.skip("only root may mount")
    owner = site.directory.stat()
    options = f"size=70m,uid={owner.st_uid},gid={owner.st_gid},mode=0700"
    mounted = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(site.directory)]
    if subprocess.run(mounted, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    yield site.directory
    subprocess.run(["umount", str(site.directory)], check=True)


def test_a_full_disk_is_told_before_and_during_a_dump(site: Site, small_disk: Path, cluster: Cluster) -> None:
    said = site.run("run", "--only", "dump", code=1)
    assert "MiB free, the dump of nano needs about" in said and "make room or move backup_directory" in said
    assert not list(small_disk.glob("*/*"))
    # A dump that was small promises another small one.
    small_disk.joinpath("filling").write_bytes(b"")
    (site.directory / DATABASE).mkdir(exist_ok=True)
    fake = site.directory / DATABASE / "20200101T000000Z"
    fake.mkdir()
    (fake / "manifest.json").write_text("{}")
    for path in (fake.parent, fake):
        shutil.chown(path, "nobody")
    noise = "CREATE TABLE noise AS SELECT gen_random_bytes(1000) b FROM generate_series(1, 90000)"
    cluster.sql(f"CREATE EXTENSION pgcrypto; {noise}")
    try:
        said = site.run("run", "--only", "dump", code=1)
        assert "is full, make room or move backup_directory" in said
        assert not list(small_disk.glob("*/.partial-*")), "what was begun is gone"
        subprocess.run(["mount", "-o", "remount,size=400m", str(small_disk)], check=True)
        site.run("run", "--only", "dump")
    finally:
        cluster.sql("DROP TABLE noise; DROP EXTENSION pgcrypto")


@pytest.fixture
def large(cluster: Cluster) -> Iterator[None]:
    """A table of some 15 MiB, whose WAL is archived."""
    cluster.sql("CREATE TABLE large AS SELECT sha512(n::text::bytea) FROM generate_series(1, 120000) n")
    last = cluster.sql("SELECT pg_walfile_name(pg_switch_wal())")
    wait_for(lambda: cluster.sql("SELECT last_archived_wal FROM pg_stat_archiver") >= last, "WAL is archived")
    yield
    cluster.sql("DROP TABLE large")


@pytest.fixture
def small_repository(cluster: Cluster, large: None, tmp_path: Path) -> Iterator[Path]:
    """Repository 1 on a disk that has 3 MiB left; what is written stays when the test has ended."""
    if os.geteuid():
        pytest.skip("only root may mount")
    place, small = cluster.repositories[0], tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", small], capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        subprocess.run(["cp", "--archive", f"{place}/.", small], check=True)
        shutil.copystat(place, small)
        shutil.chown(small, place.owner(), place.group())
        used = int(subprocess.run(["du", "-sk", small], check=True, capture_output=True, text=True).stdout.split()[0])
        subprocess.run(["mount", "-o", f"remount,size={used + 3072}k", small], check=True)
        subprocess.run(["mount", "--bind", small, place], check=True)
        try:
            yield small
        finally:
            subprocess.run(["umount", "--lazy", place], check=True)
            subprocess.run(["cp", "--archive", "--update", f"{small}/.", place], check=True)
    finally:
        subprocess.run(["umount", "--lazy", small], check=True)


def test_a_full_repository_is_told_and_room_helps(site: Site, small_repository: Path) -> None:
    said = site.run("run", "--only", "physical", "--kind", "full", code=1)
    assert "FAILED full backup into repository 1: " in said
    assert "is the repository's disk full? Make room there" in said
    assert "FAILED full backup into repository 2" not in said, "the other one is backed up all the same"
    site.run("metrics")
    assert site.metrics()['last_run_success{kind="full",repository="1"}'] == 0
    assert site.metrics()['repository_free_bytes{repository="1"}'] < 4 << 20
    subprocess.run(["mount", "-o", "remount,size=90%", small_repository], check=True)
    site.run("run", "--only", "physical", "--kind", "full")
    assert site.metrics()['last_run_success{kind="full",repository="1"}'] == 1
