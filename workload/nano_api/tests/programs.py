"""Where the servers are that the tests start: the machine's own, else those that lab/workload.py unpacked."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import tempfile
from pathlib import Path

# Where Debian and its like keep PostgreSQL's programs; the highest version is taken.
POSTGRESQL = "usr/lib/postgresql"


def find(name: str) -> list[str]:
    """Return the words that begin a command line of a program; none where there is no such program."""
    if own := _in(Path("/"), name):
        return [str(own)]
    if (folder := _unpacked()) and (path := _in(folder, name)):
        # For the program alone: Python has libraries of its own.
        libraries = [str(each) for each in (*folder.glob("usr/lib/*-linux-*"), *folder.glob("lib/*-linux-*"))]
        return ["env", f"LD_LIBRARY_PATH={':'.join(libraries)}", str(path)]
    other = shutil.which(name)
    return [other] if other else []


def minio() -> str | None:
    return os.environ.get("NANO_TEST_MINIO") or shutil.which("minio")


def _in(folder: Path, name: str) -> Path | None:
    versions = sorted((folder / POSTGRESQL).glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    candidates = [*versions[-1:], folder / "usr/bin" / name]
    return next((path for path in candidates if path.exists()), None)


@functools.cache
def _unpacked() -> Path | None:
    """Return the folder of what was unpacked; a copy where root's home hides it from the user of PostgreSQL."""
    if not (given := os.environ.get("NANO_TEST_PROGRAMS")):
        return None
    folder = Path(given)
    if os.geteuid() or all(each.stat().st_mode & 1 for each in (folder, *folder.parents)):
        return folder
    copy = Path(tempfile.mkdtemp(prefix="nano-programs-"))
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    shutil.copytree(folder, copy, symlinks=True, dirs_exist_ok=True)
    copy.chmod(0o755)
    return copy
