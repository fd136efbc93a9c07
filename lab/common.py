"""What the lab's commands share. Standard library only: the engine step runs before the virtual environment exists."""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab.hosts import ROOT, LabError

__all__ = ["ROOT", "LabError", "cache_dir", "check_disk", "collection", "lock", "progress"]


def collection(name: str) -> Any:
    """Return a module of the collection's module_utils: what the lab checks by is what hosts check by."""
    if str(ROOT / "collections") not in sys.path:
        sys.path.insert(0, str(ROOT / "collections"))
    return importlib.import_module(f"ansible_collections.nano.ops.plugins.module_utils.{name}")


def cache_dir() -> Path:
    """Return the folder for what outlives a run and can be made anew; it is created if missing."""
    if chosen := os.environ.get("NANO_CACHE"):
        path = Path(chosen).expanduser()
    else:
        base = os.environ.get("XDG_CACHE_HOME")
        path = (Path(base) if base else Path.home() / ".cache") / "nano.ops"
    path.mkdir(parents=True, exist_ok=True)
    return path.resolve()


def check_disk(path: Path, least_gb: float) -> None:
    """Refuse to begin what would fill the disk.

    Raises:
        LabError: the filesystem of the path has less than the given number of GB free.
    """
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    free = shutil.disk_usage(existing).free / 1e9
    if free < least_gb:
        raise LabError(
            f"{existing} has {free:.1f} GB free, the lab needs {least_gb:.0f}; "
            "free some, or point NANO_CACHE to a larger disk"
        )


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file, waiting for whoever has it; the kernel frees it if we die."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"    waiting for another run that holds {path.name}", flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def progress(title: str) -> Iterator[None]:
    """Print one line for a step: what it does, then how long it took in seconds."""
    started = time.monotonic()
    print(f"  - {title} ...", end="", flush=True)
    try:
        yield
    except BaseException:
        print(f" failed after {time.monotonic() - started:.1f} s", flush=True)
        raise
    print(f" {time.monotonic() - started:.1f} s", flush=True)
