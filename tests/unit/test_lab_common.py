"""What the lab's commands share: the cache, the disk, the lock, the line of a step."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest

from lab.common import LabError, cache_dir, check_disk, lock, progress

from .conftest import ROOT

HOLD = """
import sys
from pathlib import Path
from lab.common import lock
with lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_cache_is_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("NANO_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_dir() == tmp_path / "home/.cache/nano.ops"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg/nano.ops"
    monkeypatch.setenv("NANO_CACHE", "~/mine")
    assert cache_dir() == tmp_path / "home/mine"
    assert cache_dir().is_dir()


def test_full_disk_is_told_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10e9, 7.5e9, 2.5e9))
    check_disk(tmp_path, 2.4)
    with pytest.raises(LabError, match=r"has 2\.5 GB free, the lab needs 8; free some, or point NANO_CACHE") as error:
        check_disk(tmp_path / "not/made/yet", 8)
    assert str(tmp_path) in str(error.value)
    assert "not/made" not in str(error.value), "the folder that exists is named"


def test_lock_waits_says_so_and_survives_a_kill(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "locks/mirror.lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    waiter = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert waiter.stdout is not None
        assert "waiting for another run that holds mirror.lock" in waiter.stdout.readline()
        holder.kill()
        assert waiter.stdout.readline() == "held\n", "the lock of a killed run was not freed"
        waiter.communicate("")
    finally:
        for process in (holder, waiter):
            process.kill()
            process.communicate()
    started = time.monotonic()
    with lock(path):
        assert time.monotonic() - started < 5
    assert capsys.readouterr().out == "", "a free lock is taken in silence"


def test_step_ends_with_its_time(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("build tool"):
        assert capsys.readouterr().out == "  - build tool ...", "a user sees what goes on while it goes on"
    assert capsys.readouterr().out.rstrip().endswith(" s")


def test_step_that_fails_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(LabError), progress("build tool"):
        raise LabError("no")
    assert "failed after" in capsys.readouterr().out
