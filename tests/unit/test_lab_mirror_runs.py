"""Runs of the mirror that are killed, interrupted, or that meet: the command itself, with a stand-in for Go."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import mirror

from .conftest import ROOT
from .golang import builds, names, stand_in

CATALOGUE = mirror.catalogue()
# The command line as a user has it, with an eye shut to how full the disk of the test is.
COMMAND = "import sys, lab.mirror as m, lab.cli as c; m.BUILD_DISK_GB = 0.0; sys.exit(c.main(sys.argv[1:]))"
WAIT_SECONDS = 20


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with stand_in(tmp_path, monkeypatch):
        yield tmp_path


def wait_until(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not done():
        assert time.monotonic() < deadline, f"after {WAIT_SECONDS} s still not: {what}"
        time.sleep(0.02)


class Run:
    """`python -m lab mirror` in a process group of its own."""

    def __init__(self, here: Path) -> None:
        self.log = here / f"run-{time.monotonic_ns()}.log"
        argv = ["mirror", "--program", "node_exporter", "--build", "--into", str(here / "mirror")]
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", COMMAND, *argv],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                # A shell's background job, such as `make test &`, hands down that interrupts are ignored.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    def output(self) -> str:
        return self.log.read_text()

    def kill(self) -> None:
        """End it and its Go as a power cut would."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def end(self) -> int:
        return self.process.wait(WAIT_SECONDS)


@pytest.fixture
def start(here: Path) -> Iterator[Callable[[], Run]]:
    runs: list[Run] = []

    def begin() -> Run:
        runs.append(Run(here))
        return runs[-1]

    yield begin
    for run in runs:
        if run.process.poll() is None:
            run.kill()


def test_run_that_is_killed_leaves_nothing_half_made(here: Path, start: Callable[[], Run]) -> None:
    (here / "slow").touch()
    run = start()
    wait_until(lambda: builds(here) == 1, f"a build; the run says: {run.output()}")
    run.kill()
    place = here / "mirror/node_exporter"
    assert [name for name in names(place) if not name.startswith(".")] == []
    (here / "slow").unlink()
    again = start()
    assert again.end() == 0, again.output()
    assert names(place) == [str(CATALOGUE["node_exporter"]["version"])], "the leftover was not cleared"


def test_run_that_is_interrupted_clears_up(here: Path, start: Callable[[], Run]) -> None:
    (here / "slow").touch()
    run = start()
    wait_until(lambda: builds(here) == 1, f"a build; the run says: {run.output()}")
    os.killpg(run.process.pid, signal.SIGINT)
    assert run.end() == 130
    assert names(here / "mirror/node_exporter") == []
    assert "Traceback" not in run.output()


def test_two_runs_at_once_build_once(here: Path, start: Callable[[], Run]) -> None:
    (here / "slow").touch()
    first = start()
    wait_until(lambda: builds(here) == 1, f"a build; the run says: {first.output()}")
    second = start()
    wait_until(lambda: "waiting for another run" in second.output(), f"waiting; it says: {second.output()}")
    (here / "slow").unlink()
    assert (first.end(), second.end()) == (0, 0), first.output() + second.output()
    assert builds(here) == len(CATALOGUE["node_exporter"]["go"]["packages"])
    assert re.search(r"node_exporter \S+ is there", second.output())
