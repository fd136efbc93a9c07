"""`nano-backup run` on a real cluster: what it makes, what it says, and what is left when it is cut off."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from .backup_site import DATABASE, Cluster, Site


def newest(site: Site) -> Path:
    return site.dumps()[-1]


def files(folder: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def test_a_run_makes_a_backup_in_each_repository_and_a_dump(site: Site) -> None:
    said = site.run("run")
    info = json.loads(site.cluster.run("pgbackrest", "--stanza=nano", "info", "--output=json"))
    assert {backup["database"]["repo-key"] for backup in info[0]["backup"]} == {1, 2}
    assert len(site.dumps()) == 1
    for words in ("backup into repository 1: ", "backup into repository 2: ", f"dump of {DATABASE}: ", "done in "):
        assert words in said
    assert f"dump of {DATABASE}" in site.run("list") or "dump  nano" in site.run("list")
    assert site.run("run", "--only", "physical").count("differential backup into repository") == 4


def test_a_full_backup_is_made_when_the_last_one_is_old_or_demanded(site: Site) -> None:
    site.config["repositories"] = [1]
    site.run("run", "--only", "physical")
    assert "full backup" in site.run("run", "--only", "physical", "--kind", "full")
    assert "differential backup" in site.run("run", "--only", "physical")
    site.config["full_interval_days"] = 0
    assert "full backup" in site.run("run", "--only", "physical")


def test_manifest_says_what_the_dump_is(site: Site, cluster: Cluster) -> None:
    site.run("run", "--only", "dump")
    folder = newest(site)
    manifest = site.manifest(folder)
    for name, entry in manifest["files"].items():
        content = (folder / name).read_bytes()
        assert entry == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert set(manifest["files"]) == {"database.dump", "globals.sql"}
    # Neither the parent of partitions, nor what a crash empties.
    assert manifest["rows"] == {
        'public."Odd name"': 2,
        "public.orders_1": 500,
        "public.people": 2000,
        "nano_ops.heartbeat": 1,
        "nano_ops.heartbeat_wal": int(cluster.sql("SELECT count(*) FROM nano_ops.heartbeat_wal")),
    }
    assert (
        abs(manifest["heartbeat"] - float(cluster.sql("SELECT extract(epoch FROM written_at) FROM nano_ops.heartbeat")))
        < 1
    )
    assert manifest["server"]["host"] == "db1" and not manifest["server"]["is_standby"]
    assert manifest["server"]["version"].split()[0] in cluster.sql("SELECT version()")
    assert manifest["tools"]["pg_dump"] in cluster.run("pg_dump", "--version")
    assert cluster.sql(f"SELECT '{manifest['lsn']}'::pg_lsn <= pg_current_wal_lsn()") == "t"
    assert "CREATE ROLE reader" in (folder / "globals.sql").read_text()
    assert all(path.stat().st_mode & 0o077 == 0 for path in [folder, *folder.iterdir()]), "others may read it"


def test_rows_are_those_of_the_snapshot_while_others_write(site: Site, cluster: Cluster) -> None:
    """The dump itself is restored: what it holds is what the manifest says, whatever happened meanwhile."""
    insert = "INSERT INTO people (name) SELECT 'late' FROM generate_series(1, 100)"
    words = ["-XAtq", "-h", str(cluster.here), "-U", "postgres", "-d", DATABASE]
    text = f"{insert};\n" + "SELECT pg_sleep(0.02);\n" + ""
    with subprocess.Popen(
        [str(cluster.bin / "psql"), *words], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as writer:
        assert writer.stdin
        writer.stdin.write(text * 200)
        writer.stdin.close()
        site.run("run", "--only", "dump")
        writer.kill()
    try:
        assert "exactly" in site.run("verify", "--only", "dump")
    finally:
        cluster.sql("DELETE FROM people WHERE name = 'late'")


def test_every_database_is_dumped_when_none_is_named(site: Site, cluster: Cluster) -> None:
    site.config["databases"] = []
    cluster.sql('CREATE DATABASE "odd/na.me"', "postgres")
    try:
        said = site.run("run", "--only", "dump")
    finally:
        cluster.sql('DROP DATABASE "odd/na.me"', "postgres")
    assert "dump of odd/na.me: " in said and f"dump of {DATABASE}: " in said
    assert "odd/na.me" in site.run("list")


def test_a_failed_repository_stops_nothing_else_and_is_named(site: Site, cluster: Cluster) -> None:
    place = cluster.repositories[1]
    hidden = place.with_name("hidden")
    place.rename(hidden)
    try:
        said = site.run("run", code=1)
    finally:
        shutil.rmtree(place, ignore_errors=True)
        hidden.rename(place)
    assert "backup into repository 1: " in said and "FAILED" not in said.split("repository 1: ")[1].split("\n")[0]
    assert "FAILED full backup into repository 2: " in said
    assert "FAILED 1 failed: full backup into repository 2: " in said
    assert len(site.dumps()) == 1


def test_an_unreachable_server_is_a_clear_failure_and_old_dumps_stay(site: Site, cluster: Cluster) -> None:
    site.run("run", "--only", "dump")
    before = files(site.directory)
    cluster.stop()
    try:
        said = site.run("run", code=1)
    finally:
        cluster.start()
    assert "3 failed: " in said or "4 failed: " in said
    assert "no primary answers" in said
    assert files(site.directory) == before
    assert site.run("run", "--only", "dump") and len(site.dumps()) == 2


def test_lines_in_the_journal_have_the_platforms_fields(site: Site) -> None:
    lines = [json.loads(line) for line in site.run("run", "--only", "dump", journal=True).splitlines()]
    assert {line["service"] for line in lines} == {"nano-backup"}
    assert all({"timestamp", "level", "action", "message"} <= set(line) for line in lines)
    dump = next(line for line in lines if line["action"] == "dump" and "duration_ms" in line)
    assert dump["database"] == DATABASE and dump["duration_ms"] > 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"retention_days": "thirty"}, "retention_days has to be a whole number"),
        ({"directory": "backups"}, "directory has to be a path"),
        ({"retentoin": 1}, "retentoin is not known"),
        ({"verify": {}}, "verify.directory is missing"),
        ({"keeps_backups": False}, "this host verifies backups and makes none"),
    ],
)
def test_a_wrong_configuration_is_named(site: Site, change: dict[str, object], words: str) -> None:
    site.config |= change
    assert words in site.run("run", code=2)


def test_no_configuration_and_no_credential_are_told(site: Site) -> None:
    assert "none of the roles backup, backup_verify" in site.run("--config", "/nowhere.json", "list", code=2)
    (site.secrets / "database_password").unlink()
    assert "credential database_password is missing" in site.run("run", "--only", "dump", code=1)
