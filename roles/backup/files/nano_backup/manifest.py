"""Dumps on the disk: a folder per database, in it a folder per dump, whole only with a manifest that fits.

    /backups/nano/20260102T020000Z/{database.dump,globals.sql,manifest.json}

A dump at work is `.partial-<time>`; it gets its name when it is whole and on the disk.
"""

from __future__ import annotations

import json
import shutil
import urllib.parse
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import command, units
from .errors import BackupError, DamagedError

FORMAT = 1
NAME = "manifest.json"
DUMP, GLOBALS = "database.dump", "globals.sql"
PARTIAL = ".partial-"
PLATFORM = "platform"


@dataclass(frozen=True)
class Manifest:
    """What a dump is. `created` and `heartbeat` in seconds since 1970; `files` is a name to its bytes and sha256."""

    database: str
    created: float
    server: Mapping[str, Any]
    tools: Mapping[str, str]
    lsn: str
    heartbeat: float | None
    database_bytes: int
    rows: Mapping[str, int]
    files: Mapping[str, Mapping[str, Any]]

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(int(each["bytes"]) for each in self.files.values())

    def text(self) -> str:
        """Return it as a file."""
        more = {"format": FORMAT, "created_at": units.clock(self.created) + "+00"}
        return json.dumps({**more, **asdict(self)}, indent=1, sort_keys=True) + "\n"


def parse(text: str, where: str) -> Manifest:
    """Read a manifest. Raises DamagedError when it is none."""
    try:
        data = json.loads(text)
        if data.pop("format") != FORMAT:
            raise DamagedError(f"{where} is of another version of nano-backup than this one")
        data.pop("created_at")
        found = Manifest(**data)
        if not {DUMP, GLOBALS} <= set(found.files):
            raise KeyError(DUMP)
        return found
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedError(f"{where} is damaged ({error}): use another dump") from None


def folder_of(directory: Path, database: str) -> Path:
    """Return the folder of a database's dumps. Raises BackupError for the one name that is taken."""
    name = urllib.parse.quote(database, safe=" ").replace(".", "%2E")
    if name == PLATFORM:
        raise BackupError(f"a database can't be named {PLATFORM}: {directory / PLATFORM} is the platform's own archive")
    return directory / name


@dataclass(frozen=True)
class Dump:
    """A dump by its place; `name` is its time."""

    database: str
    name: str
    bytes: int

    @property
    def time(self) -> float:
        """When it was made, in seconds since 1970."""
        return units.moment(self.name)

    @property
    def path(self) -> str:
        """Its folder, below the folder of all dumps."""
        return f"{folder_of(Path(), self.database)}/{self.name}"


def is_name(text: str) -> bool:
    """Return whether a folder is named as a dump."""
    try:
        units.moment(text)
    except ValueError:
        return False
    return True


def local(directory: Path) -> list[Dump]:
    """Return the dumps on the disk that have a manifest, new ones first. Raises OSError."""
    found = []
    for path in directory.glob(f"*/*/{NAME}"):
        if is_name(path.parent.name) and path.parts[-3] != PLATFORM:
            database = urllib.parse.unquote(path.parts[-3])
            size = sum(each.stat().st_size for each in path.parent.iterdir())
            found.append(Dump(database, path.parent.name, size))
    return sorted(found, key=lambda dump: (dump.name, dump.database), reverse=True)


def read(folder: Path) -> Manifest:
    """Read the manifest in a folder. Raises DamagedError."""
    try:
        return parse((folder / NAME).read_text(encoding="utf-8"), str(folder / NAME))
    except (OSError, UnicodeDecodeError) as error:
        raise DamagedError(f"{folder / NAME} can't be read: {error}") from None


def verify(folder: Path) -> Manifest:
    """Compare a dump's files with its manifest.

    Raises:
        DamagedError: a file is missing, too short or changed; the text says which and how.
    """
    manifest = read(folder)
    for name, expected in manifest.files.items():
        path = folder / name
        try:
            size = path.stat().st_size
            if size != expected["bytes"]:
                raise DamagedError(
                    f"{path} has {size} bytes, its manifest says {expected['bytes']}: it is truncated or overwritten, "
                    "use another dump"
                )
            if command.sha256(path) != expected["sha256"]:
                raise DamagedError(f"{path} has changed since it was made (SHA-256 differs): use another dump")
        except OSError as error:
            raise DamagedError(f"{path} can't be read: {error}") from None
    return manifest


def clear_partial(directory: Path) -> list[str]:
    """Remove what killed runs have left; the caller holds the lock. Returns the names."""
    left = [path for path in directory.glob(f"*/{PARTIAL}*") if path.is_dir()]
    for path in left:
        shutil.rmtree(path)
    return [f"{path.parent.name}/{path.name}" for path in left]
