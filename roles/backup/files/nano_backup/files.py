"""Files that are there whole or not at all, a lock, and room on a disk."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from . import units
from .errors import BackupError, LockedError

# is_locked holds the lock for an instant; that is no run.
GLANCE_S = 1.0


def sync(path: Path) -> None:
    """Make sure that a file or a folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a text file: the old one stays until the new one is whole and on the disk."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    sync(path.parent)


def remove(path: Path) -> None:
    """Delete a folder or a file with all that is in it. Raises OSError when something stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def demand_room(folder: Path, bytes_needed: int, what: str, remedy: str) -> None:
    """Check that a disk has room.

    Raises:
        BackupError: it has not; the text has both sizes.
    """
    free = shutil.disk_usage(folder).free
    if free < bytes_needed:
        raise BackupError(
            f"{folder} has {units.size(free)} free, {what} needs about {units.size(bytes_needed)}: {remedy}"
        )


@contextlib.contextmanager
def lock(path: Path, what: str) -> Iterator[None]:
    """Hold a lock; it goes with the process, however that ends.

    Raises:
        LockedError: another run holds it; the text says which one.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(handle, "r+", encoding="utf-8") as file:
        deadline = time.monotonic() + GLANCE_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise LockedError(f"{_holder(file.read())} holds {path}: wait for it, nothing was done") from None
                time.sleep(0.05)
        file.seek(0)
        file.truncate()
        file.write(json.dumps({"pid": os.getpid(), "since": time.time(), "what": what}))
        file.flush()
        yield
        file.seek(0)
        file.truncate()


def _holder(text: str) -> str:
    try:
        found = json.loads(text)
        age = units.span(time.time() - found["since"])
        return f"`{found['what']}` (process {found['pid']}, running for {age})"
    except (ValueError, KeyError, TypeError):
        return "another run"


def is_locked(path: Path) -> bool:
    """Return whether somebody holds a lock, without taking it from anybody."""
    try:
        with path.open(encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
