"""Grafana's database and the data of Loki and Prometheus in a real S3, and back from there."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from workload.nano_api.tests import programs

from .backup_site import BUCKET, PASSPHRASE, S3_SECRET, SOURCE, Store, lacks
from .rule_files import promtool as fetched_promtool

pytestmark = pytest.mark.skipif(bool(lacks()), reason=lacks() or "all there")


@pytest.fixture(scope="module")
def promtool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fetched_promtool(tmp_path_factory.mktemp("promtool"))


class Watcher:
    """A host that watches, with something of everything."""

    def __init__(self, here: Path, store: Store, promtool: Path) -> None:
        self.here, self.store, self.promtool = here, store, promtool
        for name in ("state", "secrets", "loki/fake", "loki/index/day1", "prometheus"):
            (here / name).mkdir(parents=True)
        (here / "secrets/passphrase").write_text(PASSPHRASE + "\n")
        (here / "secrets/s3_secret").write_text(S3_SECRET + "\n")
        (here / "loki/fake/chunk1").write_text("lines of the log")
        (here / "loki/index/day1/index.tsdb.gz").write_text("where they are")
        with sqlite3.connect(here / "grafana.db") as grafana:
            grafana.execute("CREATE TABLE dashboard (title TEXT)")
            grafana.execute("INSERT INTO dashboard VALUES ('Sales')")
        self.block(time.time() - 7200)
        self.config: dict[str, Any] = {
            # The store is the same in all tests.
            "host": f"ops-{time.monotonic_ns()}",
            "state_directory": str(here / "state"),
            "metrics_directory": str(here / "state"),
            "rclone": programs.find("rclone")[-1],
            "retention_days": 30,
            "grafana_database": str(here / "grafana.db"),
            "loki_directory": str(here / "loki"),
            "prometheus_directory": str(here / "prometheus"),
            "s3": store.settings,
        }

    def block(self, moment: float) -> None:
        """Have promtool make a block of Prometheus."""
        lines = f"# TYPE sold counter\nsold_total 1 {moment:.0f}\nsold_total 2 {moment + 60:.0f}\n# EOF\n"
        (self.here / "metrics.txt").write_text(lines)
        argv = [
            self.promtool,
            "tsdb",
            "create-blocks-from",
            "openmetrics",
            self.here / "metrics.txt",
            self.here / "prometheus",
        ]
        subprocess.run(argv, check=True, capture_output=True)

    def blocks(self) -> list[str]:
        return sorted(path.name for path in (self.here / "prometheus").iterdir() if len(path.name) == 26)

    def run(self, *words: str, code: int = 0) -> str:
        path = self.here / "telemetry.json"
        path.write_text(json.dumps(self.config))
        env = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(SOURCE),
            "CREDENTIALS_DIRECTORY": str(self.here / "secrets"),
        }
        argv = [sys.executable, "-B", "-m", "nano_backup.telemetry", "--config", str(path), *words]
        done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=120)
        said = done.stdout + done.stderr
        assert done.returncode == code and "Traceback" not in said, said
        assert PASSPHRASE not in said and S3_SECRET not in said
        return said

    def fetch(self, kind: str) -> Path:
        into = self.here / f"fetched-{kind}-{time.monotonic_ns()}"
        self.run("restore", kind, "--into", str(into))
        return into

    def figures(self) -> str:
        return (self.here / "state/nano_backup_telemetry.prom").read_text()


@pytest.fixture
def watcher(store: Store, tmp_path: Path, promtool: Path) -> Watcher:
    return Watcher(tmp_path / "watcher", store, promtool)


def test_all_of_it_comes_back(watcher: Watcher, store: Store) -> None:
    watcher.run("run")
    for kind in ("grafana", "loki", "prometheus"):
        assert f'nano_backup_last_run_success{{kind="{kind}"}} 1' in watcher.figures()
    with sqlite3.connect(watcher.fetch("grafana") / "grafana.db") as grafana:
        assert grafana.execute("SELECT title FROM dashboard").fetchall() == [("Sales",)]
    loki = watcher.fetch("loki")
    assert (loki / "fake/chunk1").read_text() == "lines of the log"
    assert (loki / "index/day1/index.tsdb.gz").read_text() == "where they are"
    prometheus = watcher.fetch("prometheus")
    # Prometheus makes it at its start.
    (prometheus / "wal").mkdir()
    argv = [watcher.promtool, "tsdb", "dump", "--match={__name__='sold_total'}", prometheus]
    dumped = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert len(dumped.stdout.splitlines()) == 2, dumped.stderr
    held = b"".join(path.read_bytes() for path in (store.here / "objects" / BUCKET).rglob("*") if path.is_file())
    assert b"Sales" not in held and b"lines of the log" not in held, "it is not encrypted"


def test_a_second_run_copies_what_is_new(watcher: Watcher) -> None:
    watcher.run("run")
    watcher.block(time.time() - 3600)
    (watcher.here / "loki/fake/chunk2").write_text("more lines")
    said = watcher.run("run")
    assert "1 new blocks, 0 deleted" in said
    assert (watcher.fetch("loki") / "fake/chunk2").exists()
    assert sorted(path.name for path in watcher.fetch("prometheus").iterdir()) == watcher.blocks()


def test_a_lost_disk_empties_nothing(watcher: Watcher) -> None:
    """A mirror would follow the loss."""
    watcher.run("run")
    kept = watcher.blocks()
    for folder in ("loki", "prometheus"):
        (watcher.here / folder).rename(watcher.here / f"lost-{folder}")
        (watcher.here / folder).mkdir()
    (watcher.here / "grafana.db").unlink()
    watcher.run("run")
    assert sorted(path.name for path in watcher.fetch("prometheus").iterdir()) == kept
    assert (watcher.fetch("loki") / "fake/chunk1").exists() and (watcher.fetch("grafana") / "grafana.db").exists()


def test_blocks_that_were_merged_go(watcher: Watcher) -> None:
    watcher.run("run")
    (old,) = watcher.blocks()
    watcher.block(time.time() - 3600)
    (new,) = set(watcher.blocks()) - {old}
    meta = watcher.here / "prometheus" / new / "meta.json"
    told = json.loads(meta.read_text())
    told["compaction"]["parents"] = [{"ulid": old}]
    meta.write_text(json.dumps(told))
    (watcher.here / "prometheus" / old).rename(watcher.here / "merged")
    assert "1 new blocks, 1 deleted" in watcher.run("run")
    assert [path.name for path in watcher.fetch("prometheus").iterdir()] == [new]


def test_what_is_too_old_goes_but_the_last_database(watcher: Watcher) -> None:
    chunk = watcher.here / "loki/fake/old"
    chunk.write_text("long ago")
    os.utime(chunk, (time.time() - 40 * 86400,) * 2)
    watcher.run("run")
    watcher.config["retention_days"] = 0
    time.sleep(1.1)
    said = watcher.run("run")
    assert "1 old ones deleted" in said
    assert len(list(watcher.fetch("grafana").iterdir())) == 1
    watcher.config["retention_days"] = 30
    watcher.run("run")
    assert not (watcher.fetch("loki") / "fake/old").exists()


def test_a_damaged_database_is_told_and_the_last_good_copy_stays(watcher: Watcher) -> None:
    watcher.run("run")
    (watcher.here / "grafana.db").write_text("no database at all, but long enough to be looked at" * 100)
    said = watcher.run("run", code=1)
    assert "grafana.db cannot be read: file is not a database" in said
    assert 'nano_backup_last_run_success{kind="grafana"} 0' in watcher.figures()
    assert 'nano_backup_last_run_success{kind="prometheus"} 1' in watcher.figures(), "the others are kept"
    with sqlite3.connect(watcher.fetch("grafana") / "grafana.db") as grafana:
        assert grafana.execute("SELECT count(*) FROM dashboard").fetchall() == [(1,)]


def test_mistakes_are_told(watcher: Watcher, store: Store) -> None:
    assert "S3 has nothing of loki of host ops9" in watcher.run(
        "restore", "loki", "--host", "ops9", "--into", str(watcher.here / "new"), code=1
    )
    watcher.run("run")
    said = watcher.run("restore", "loki", "--into", str(watcher.here), code=1)
    assert "is not empty: name a folder that is not there yet" in said
    (watcher.here / "secrets/s3_secret").write_text("wrong\n")
    assert "S3 refuses the secret" in watcher.run("run", code=1)
    (watcher.here / "secrets/s3_secret").write_text(S3_SECRET + "\n")
    watcher.config["host"] = 3
    assert "host has to be a text" in watcher.run("run", code=2)
