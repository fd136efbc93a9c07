"""What PostgreSQL's data directory on this host holds, and the server that runs on it."""

from __future__ import annotations

import glob
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# With one of them PostgreSQL starts in recovery and takes no writes until it is promoted.
SIGNALS = ("standby.signal", "recovery.signal")
# How long the server gets to end, by signal: fast shutdown, immediate shutdown, and what even a stopped process obeys.
STEPS = ((signal.SIGINT, 2.0), (signal.SIGQUIT, 1.0), (signal.SIGKILL, 5.0))


class DataError(Exception):
    """What is wrong with a data directory, and what to do."""


@dataclass(frozen=True)
class Data:
    """A data directory.

    Attributes:
        path: the directory.
        kind: `primary` or `standby`, what a start would make of it.
        system_identifier: of the cluster; the same on all copies.
        timeline: that its next record of WAL would belong to, or that it has replayed up to.
    """

    path: Path
    kind: str
    system_identifier: str
    timeline: int


def find(pattern: str) -> list[Path]:
    """Return the data directories that hold a cluster."""
    return sorted(path for path in map(Path, glob.glob(pattern)) if (path / "PG_VERSION").is_file())


def kind(path: Path) -> str:
    """Return what a start would make of a data directory."""
    return "standby" if any((path / name).exists() for name in SIGNALS) else "primary"


def read(path: Path) -> Data:
    """Look at a data directory with pg_controldata.

    Raises:
        DataError: it holds no cluster, or none that pg_controldata can read.
    """
    try:
        version = (path / "PG_VERSION").read_text(encoding="ascii").strip()
        argv = [f"/usr/lib/postgresql/{version}/bin/pg_controldata", "-D", str(path)]
        env = {"LC_ALL": "C", "PATH": "/usr/bin:/bin"}
        done = subprocess.run(argv, env=env, capture_output=True, text=True, check=True, timeout=30)
    except subprocess.CalledProcessError as error:
        raise DataError(f"{path}: pg_controldata failed: {error.stderr.strip()[-400:]}") from None
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise DataError(f"{path}: it cannot be looked at: {error}") from None
    fields = dict(re.findall(r"^([^:\n]+):\s+(.*)$", done.stdout, re.M))
    try:
        # Between a promotion and its first checkpoint only the second of them tells the new timeline.
        lines = [int(fields["Latest checkpoint's TimeLineID"]), int(fields["Min recovery ending loc's timeline"])]
        return Data(path, kind(path), fields["Database system identifier"], max(lines))
    except (KeyError, ValueError) as error:
        raise DataError(f"{path}: pg_controldata says nothing of {error}") from None


def server(path: Path) -> int:
    """Return the process of the server that runs on a data directory, 0 if none does.

    It is asked of the kernel, not of the server: one that was stopped by a signal does not answer.
    """
    try:
        pid = int((path / "postmaster.pid").read_text(encoding="ascii").split("\n", 1)[0])
    except (OSError, ValueError):
        return 0
    # The number may be another process's since a crash.
    try:
        return pid if pid > 1 and os.path.samefile(f"/proc/{pid}/cwd", path) else 0
    except PermissionError:
        # Root of a container may not look at the folders of others.
        return pid if name_of(pid) == "postgres" else 0
    except OSError:
        return 0


def name_of(pid: int) -> str:
    """Return the name of a process, "" if there is none."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def processes(path: Path) -> list[int]:
    """Return all processes whose working directory is the data directory: the server and its children."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                if os.path.samefile(f"/proc/{entry}/cwd", path):
                    found.append(int(entry))
            except OSError:
                continue
    return [pid for pid in found if pid != os.getpid()]


def gone(check: Callable[[], bool], seconds: float) -> bool:
    """Wait for something to end."""
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def stop(path: Path) -> str:
    """End the server on a data directory, whatever state it is in; return the signal that did it, "" if none did."""
    pid = server(path)
    if not pid:
        return ""
    for number, seconds in STEPS:
        last = number is signal.SIGKILL
        # A backend that was stopped would outlive its server and go on writing once it is woken.
        for target in processes(path) if last else [pid]:
            try:
                os.kill(target, number)
            except ProcessLookupError:
                continue
        ended = gone((lambda: not processes(path)) if last else (lambda: not alive(pid)), seconds)
        if ended and not processes(path):
            return number.name
    return ""


def alive(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0]
    except (OSError, IndexError):
        return False
    return state not in ("Z", "X")
