"""Cut off without a warning at each stage: older backups are as they were, and the next run succeeds."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from .backup_site import DATABASE, Cluster, Site, Store, wait_for
from .test_backup_run import files


def step(site: Site) -> str:
    """Return the step that the program is at."""
    path = site.state / "run.json"
    return str(json.loads(path.read_text())["running"]) if path.exists() else ""


def alive(*words: str) -> list[str]:
    """Return the command lines of the processes that have all these words."""
    found = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in found if all(word in line for word in words)]


@contextlib.contextmanager
def held(cluster: Cluster, table: str) -> Iterator[None]:
    """Keep a table locked, so that a dump waits."""
    argv = [str(cluster.bin / "psql"), "-XAtq", "-h", str(cluster.here), "-U", "postgres", "-d", DATABASE]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as session:
        assert session.stdin and session.stdout
        session.stdin.write(f"BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE;\n\\echo locked\n")
        session.stdin.flush()
        assert session.stdout.readline() == "locked\n"
        yield
        session.stdin.close()


def test_killed_in_a_physical_backup(site: Site) -> None:
    site.config["repositories"] = [1]
    site.kill_when(lambda: step(site).startswith("full"), "a full backup is at work", "run", "--kind", "full")
    assert step(site).startswith("full")
    assert "was killed before it ended" in site.run("settle")
    site.run("metrics")
    assert site.metrics()['last_run_success{kind="full",repository="1"}'] == 0
    # pgBackRest's own processes may take a moment to see that nobody listens.
    wait_for(lambda: not alive("pgbackrest", "backup"), "pgbackrest has ended")
    assert "full backup into repository 1: " in site.run("run", "--kind", "full")
    assert site.metrics()['last_run_success{kind="full",repository="1"}'] == 1


def test_killed_in_a_dump(site: Site, cluster: Cluster) -> None:
    site.run("run", "--only", "dump")
    before = files(site.directory)
    partial = site.directory / DATABASE
    with held(cluster, "people"):
        site.kill_when(
            lambda: list(partial.glob(".partial-*/database.dump")), "a dump is at work", "run", "--only", "dump"
        )
        wait_for(lambda: not alive("pg_dump", str(partial)), "pg_dump has ended with the program", 5)
    left = list(partial.glob(".partial-*"))
    assert left and {name: text for name, text in files(site.directory).items() if ".partial" not in name} == before
    assert [path.name for path in site.dumps()] == [Path(name).parent.name for name in before if "manifest" in name]
    site.run("metrics")
    assert site.metrics()[f'last_run_success{{database="{DATABASE}",kind="dump"}}'] == 0, "a stale success"
    said = site.run("run", "--only", "dump")
    assert "which a killed run had left" in said
    assert "was killed before it ended" in said
    assert not list(partial.glob(".partial-*")) and len(site.dumps()) == 2


def test_stopped_in_a_dump_clears_behind_itself(site: Site, cluster: Cluster) -> None:
    partial = site.directory / DATABASE
    with held(cluster, "people"):
        process = site.start("run", "--only", "dump")
        wait_for(lambda: list(partial.glob(".partial-*/database.dump")), "a dump is at work")
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 143 and "stopped by SIGTERM" in said
    assert not list(partial.iterdir())
    assert step(site) == ""


def test_killed_in_a_copy(site: Site, store: Store) -> None:
    assert store.process
    site.run("run", "--only", "dump")
    store.process.send_signal(signal.SIGSTOP)
    try:
        site.kill_when(lambda: step(site).startswith("copy"), "a copy is at work", "run", "--only", "dump")
    finally:
        store.process.send_signal(signal.SIGCONT)
    listed = site.run("list")
    assert "disk and S3" in listed and len(site.dumps()) == 2
    site.run("run", "--only", "dump")
    assert site.run("list").count("disk and S3") == 3


def test_killed_while_it_deletes(site: Site) -> None:
    """A dump that is half gone is none: its name goes first."""
    site.run("run", "--only", "dump")
    old = site.age(site.dumps()[0], 40)
    old.rename(old.with_name(f".partial-{old.name}"))
    (old.with_name(f".partial-{old.name}") / "database.dump").unlink()
    site.run("run", "--only", "dump")
    assert len(site.dumps()) == 1 and len(list((site.directory / DATABASE).iterdir())) == 1


def test_killed_in_a_verification(site: Site) -> None:
    site.config["repositories"] = [1]
    site.run("run")
    pid_file = site.verify / "repository1/data/postmaster.pid"
    site.kill_when(pid_file.exists, "the scratch instance starts", "verify", "--only", "physical")
    wait_for(lambda: not alive("postgres", str(site.verify)), "the scratch instance has ended with the program", 20)
    assert list(site.verify.iterdir())
    assert "done in" in site.run("verify", "--only", "physical")
    assert not list(site.verify.iterdir())


def test_two_at_once_are_refused_and_the_holder_is_named(site: Site, cluster: Cluster) -> None:
    with held(cluster, "people"):
        process = site.start("run", "--only", "dump")
        wait_for(lambda: step(site).startswith("dump"), "a dump is at work")
        said = site.run("run", code=75)
        assert f"`nano-backup run` (process {process.pid}, running for" in said
        assert "nothing was done" in said
        site.run("metrics")
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert "process" not in site.run("run", "--only", "dump")
