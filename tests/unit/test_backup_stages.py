"""Killed at each stage by a program that the stage calls: older backups stay whole, it shows, the next run succeeds."""

from __future__ import annotations

import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .backup_site import BUCKET, DATABASE, POSTGRESQL, Cluster, Site, Store, give
from .test_backup_run import files

# $PPID is the run itself: setpriv, which starts the programs, becomes them.
KILL = "kill -9 $PPID"
# Kills the run at the rename of a file or folder, with half the work of the stage done.
AT_RENAME = """
import os, pathlib, runpy, signal, sys
word, when, sys.argv = sys.argv[1], sys.argv[2], sys.argv[3:]
rename = pathlib.Path.rename
def cut(path, target):
    if word in path.name and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    done = rename(path, target)
    if word in str(target) and when == "after":
        os.kill(os.getpid(), signal.SIGKILL)
    return done
pathlib.Path.rename = pathlib.Path.replace = cut
runpy.run_path(sys.argv[0], run_name="__main__")
"""
RUN, DUMP = ("run",), ("run", "--only", "dump")


def instead(site: Site, name: str, script: str) -> None:
    """Put a script in a program's place; "$real" is the program with the arguments."""
    folder = give(site.here / f"instead-{name}")
    real = site.cluster.bin / name
    path = folder / name
    path.write_text(f'#!/bin/sh\nreal() {{ "{real}" "$@"; }}\n{script}\n')
    path.chmod(0o755)
    if name in POSTGRESQL:
        for other in POSTGRESQL:
            if other != name:
                (folder / other).symlink_to(site.cluster.bin / other)
        site.config["postgresql_programs"] = str(folder)
    else:
        site.config[name] = str(path)


def killed(site: Site, words: tuple[str, ...], at: tuple[str, str] | None = None) -> None:
    """Run the program and demand that it was killed."""
    argv = site.argv(*words)
    if at:
        place = argv.index(str(site.cluster.program / "nano_backup"))
        argv[place:place] = ["-c", AT_RENAME, *at]
    done = subprocess.run(
        argv, env=site.environment(), capture_output=True, text=True, check=False, cwd="/", timeout=120
    )
    assert done.returncode == -signal.SIGKILL, f"the stage is not tried: {done.stdout}{done.stderr}"


@pytest.fixture(scope="module")
def kept(cluster: Cluster, open_folder: Path, running_store: Store) -> Site:
    """A host that has everything: two repositories, a dump, its copy."""
    site = Site(cluster, open_folder / "stages")
    site.config["s3"] = running_store.settings | {"bucket": f"{BUCKET}/stages"}
    site.run("run")
    return site


@pytest.fixture
def whole(kept: Site) -> Iterator[Site]:
    """The same with its own programs and settings back afterwards."""
    config = dict(kept.config)
    yield kept
    kept.config = config


def whole_dumps(site: Site) -> dict[str, str]:
    return {name: digest for name, digest in files(site.directory).items() if ".partial" not in name}


def shows(site: Site, kind: str, value: str) -> float:
    label = {"full": "repository", "diff": "repository", "retention": "place"}.get(kind, "database")
    labels = ",".join(sorted([f'kind="{kind}"', f'{label}="{value}"']))
    figures = site.metrics()
    assert f"duration_seconds{{{labels}}}" in figures, "the alert needs it"
    return figures[f"last_run_success{{{labels}}}"]


@pytest.mark.parametrize(
    ("program", "words", "is_done", "step"),
    [
        ("pgbackrest", "--repo=1 backup", True, ("diff", "1")),
        ("pgbackrest", "--repo=2 backup", False, ("diff", "2")),
        ("pg_dump", "--format=custom", True, ("dump", DATABASE)),
        ("pg_dumpall", "--globals-only", False, ("dump", DATABASE)),
        ("pg_restore", "--list", False, ("dump", DATABASE)),
        ("rclone", "copyto database.dump", True, ("copy", DATABASE)),
        ("rclone", "copyto manifest.json", False, ("copy", DATABASE)),
        ("rclone", "cat manifest.json", False, ("copy", DATABASE)),
    ],
    ids=["repository 1", "repository 2", "dump", "globals", "check", "copy", "copy's manifest", "read back"],
)
def test_killed_at_a_stage(whole: Site, program: str, words: str, is_done: bool, step: tuple[str, str]) -> None:
    before = whole_dumps(whole)
    pattern = "*".join(shlex.quote(word) for word in words.split())
    act = f'real "$@"; {KILL}' if is_done else KILL
    config = dict(whole.config)
    instead(whole, program, f'case "$*" in *{pattern}*) {act};; esac\nreal "$@"')
    is_physical = step[0] == "diff"
    killed(whole, RUN if is_physical else DUMP)
    after = whole_dumps(whole)
    assert before.items() <= after.items(), "old data have changed"
    assert {Path(name).parent for name in after} == {path.parent for path in map(Path, after) if path.name[0] == "m"}
    whole.config = config
    whole.run("metrics")
    assert shows(whole, *step) == 0, "a stale success"
    said = whole.run("run", "--only", "physical" if is_physical else "dump")
    assert "was killed before it ended" in said
    assert shows(whole, *step) == 1
    lists = whole.run("list")
    assert lists.count("disk and S3: ") == len(whole.dumps()) and not list(whole.directory.glob("*/.partial*"))


@pytest.mark.parametrize(
    ("word", "when", "makes"),
    [(".manifest.json", "before", 0), (".partial", "before", 0), ("Z", "after", 1)],
    ids=["manifest", "before its name", "after its name"],
)
def test_killed_as_a_dump_gets_its_name(whole: Site, word: str, when: str, makes: int) -> None:
    before = whole_dumps(whole)
    killed(whole, DUMP, (word, when))
    after = whole_dumps(whole)
    assert before.items() <= after.items() and len(after) - len(before) == 3 * makes
    whole.run("metrics")
    assert shows(whole, "dump", DATABASE) == 0
    whole.run(*DUMP)
    assert shows(whole, "dump", DATABASE) == 1
    assert whole.run("list").count("disk and S3: ") == len(whole.dumps())


def test_killed_as_it_deletes_in_s3(whole: Site) -> None:
    whole.config["s3_retention_days"] = 0
    config = dict(whole.config)
    instead(whole, "rclone", f'case "$*" in *deletefile*) real "$@"; {KILL};; esac\nreal "$@"')
    before = whole_dumps(whole)
    killed(whole, DUMP)
    assert before.items() <= whole_dumps(whole).items()
    whole.config = config
    whole.run("metrics")
    assert shows(whole, "retention", "s3") == 0
    whole.run(*DUMP)
    assert shows(whole, "retention", "s3") == 1
    assert whole.run("list").count("disk and S3: ") == 1, "the last good one is there"


def test_killed_as_it_writes_its_figures(whole: Site) -> None:
    page = whole.state / "nano_backup.prom"
    before = page.read_text()
    killed(whole, ("metrics",), ("nano_backup.prom", "before"))
    assert page.read_text() == before, "BackupMetricsStale is told by the old time in it"
    whole.run("metrics")
    assert page.read_text() != before
