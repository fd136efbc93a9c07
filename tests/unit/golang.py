"""A stand-in for Go, and a cache of the test's own for what the mirror builds with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab import go, mirror

from .modules import program

# Notes each build and writes the binary that is asked for; a file "slow" holds it up, a file "broken" makes it fail.
GO = """\
#!/bin/sh
[ "$1" = env ] && { echo go1.99.1; exit 0; }
echo "$@" >> HERE/builds
echo $$ > HERE/building.$$
while [ -e HERE/slow ]; do /bin/sleep 0.05; done
[ -e HERE/broken ] && { echo 'main.go:7: undefined: x'; exit 1; }
while [ "$1" != -o ]; do shift; done
echo "binary of $2" > "$2"
/bin/chmod 755 "$2"
"""


@contextmanager
def stand_in(here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make a folder in which Go is found first, for this process and those that it starts."""
    program(here / "bin", "go", GO.replace("HERE", str(here)))
    monkeypatch.setenv("PATH", f"{here / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("NANO_CACHE", str(here / "cache"))
    monkeypatch.setattr(mirror, "BUILD_DISK_GB", 0.0)
    monkeypatch.setattr(mirror.platform, "machine", lambda: "x86_64")
    go.toolchain.cache_clear()
    yield
    go.toolchain.cache_clear()


def builds(here: Path) -> int:
    """Return how often Go was asked to build."""
    note = here / "builds"
    return len(note.read_text().splitlines()) if note.exists() else 0


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []
