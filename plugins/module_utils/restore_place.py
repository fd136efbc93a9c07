"""The folders of a restore on a host, what is in them, and the record of what was begun."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.nano.ops.plugins.module_utils.restore_options import KEPT, RestoreError
from ansible_collections.nano.ops.plugins.module_utils.restore_repository import as_postgres

# Folders of the server itself: data of the cluster is never at rest in a state of these names.
NEVER_PROMOTED = ("in archive recovery", "shut down in recovery")


@dataclass
class Place:
    """Where a cluster lives; everything of a restore lies beside its data directory, on the same filesystem."""

    version: int
    name: str = "main"
    root: Path = Path("/var/lib/postgresql")

    @property
    def base(self) -> Path:
        """The folder of all of it."""
        return self.root / str(self.version)

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.base / self.name

    @property
    def fresh(self) -> Path:
        """Where the backup is copied to before it gets its name."""
        return self.base / f"{self.name}.restoring"

    def beside(self, what: str) -> Path:
        """Return the path of a file of the restore: record, lock, log or ended."""
        return self.base / f".{self.name}.restore.{what}"

    def kept(self) -> list[Path]:
        """Return the data directories that earlier restores have put aside."""
        return sorted(path for path in self.base.glob(f"{self.name}.before-restore-*") if path.is_dir())

    def free_name(self, stamp: str) -> str:
        """Return a name for the old data directory that nothing has."""
        wanted = f"{self.name}.before-restore-{stamp}"
        others = (f"{wanted}-{number}" for number in range(2, 1000))
        return next(name for name in (wanted, *others) if not (self.base / name).exists())


@dataclass
class Record:
    """What was begun and how far it came: copying, copied, swapped, recovered or finished."""

    options: dict[str, Any]
    choice: dict[str, Any]
    begun: float
    aside: str
    stage: str = "copying"
    reference: float = 0.0
    kept: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


def read_record(place: Place) -> Record | None:
    """Return the record, None when there is none.

    Raises:
        RestoreError: it cannot be read.
    """
    path = place.beside("json")
    try:
        return Record(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise RestoreError(f"{path} cannot be read ({error}); look at it, and move it away to begin anew") from error


def write_record(place: Place, record: Record) -> None:
    """Write the record so that it is whole on the disk or not there at all."""
    path = place.beside("json")
    fresh = path.with_name(f"{path.name}.fresh")
    with fresh.open("w", encoding="utf-8") as file:
        json.dump(vars(record), file, indent=1, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync(place.base)


def sync(folder: Path) -> None:
    """Make renames in a folder survive a power loss."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def size_of(folder: Path) -> int:
    """Return the bytes of all files in a folder as the filesystem has them; what vanishes meanwhile is left out."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_blocks * 512
            except OSError:
                continue
    return total


def is_empty(path: Path) -> bool:
    """Whether a folder is missing or holds nothing."""
    return not path.is_dir() or not any(path.iterdir())


def is_running(place: Place) -> bool:
    """Whether a server runs on the data directory: the process in its pid file is there and works in it."""
    try:
        pid = int((place.data / "postmaster.pid").read_text(encoding="ascii", errors="replace").split("\n", 1)[0])
        if Path(f"/proc/{pid}/comm").read_text().strip() != "postgres":
            return False
        return os.path.samefile(f"/proc/{pid}/cwd", place.data)
    except PermissionError:
        # In a container root may not look: a server of this number is one too many.
        return True
    except (OSError, ValueError):
        return False


def control(place: Place, folder: Path) -> dict[str, str]:
    """Return what pg_controldata says of a data directory, nothing when it cannot be read."""
    program = f"/usr/lib/postgresql/{place.version}/bin/pg_controldata"
    try:
        done = subprocess.run([program, str(folder)], capture_output=True, text=True, check=False, **as_postgres())
    except OSError:
        return {}
    if done.returncode:
        return {}
    pairs = (line.partition(":") for line in done.stdout.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def unarchived(folder: Path) -> list[str]:
    """Return the WAL segments of a data directory that wait to be archived."""
    waiting = (folder / "pg_wal/archive_status").glob("*.ready")
    return sorted(path.stem for path in waiting if re.fullmatch(r"[0-9A-F]{24}", path.stem))


def last_sign(folder: Path) -> float:
    """Return when something was last written to a data directory's WAL, in seconds since 1970, 0 if unknown."""
    times = [0.0]
    for path in (folder / "pg_wal").glob("[0-9A-F]*"):
        try:
            times.append(path.stat().st_mtime)
        except OSError:
            continue
    return max(times)


def written_segments(folder: Path, timeline: int, after: str) -> list[Path]:
    """Return the WAL segments of a data directory from after one on, those that were really written.

    A recycled segment has its next name already and the WAL of before in it: the position in its first page tells.
    """
    found = []
    for path in sorted((folder / "pg_wal").glob(f"{timeline:08X}????????????????")):
        begin = (int(path.name[8:16], 16) << 32) + (int(path.name[16:24], 16) << 24)
        with path.open("rb") as file:
            head = file.read(16)
        if path.name > after and len(head) == 16:
            _, _, written_on, position = struct.unpack("<HHIQ", head)
            if position == begin and written_on <= timeline:
                found.append(path)
    return found


def remove(path: Path) -> None:
    """Remove half a copy: no server ever wrote to it."""
    if path.exists():
        shutil.rmtree(path)


def discard(place: Place, name: str, *, check: bool) -> None:
    """Remove a data directory that a restore has put aside.

    Raises:
        RestoreError: it is none, or it may be needed still.
    """
    path = place.base / name
    known = ", ".join(kept.name for kept in place.kept()) or "none"
    if not KEPT.fullmatch(name) or path not in place.kept() or path.is_symlink():
        raise RestoreError(
            f"restore_discard: {name!r} is no data directory that a restore has put aside; there are: {known}"
        )
    record = read_record(place)
    if record is not None and record.stage != "finished" and name in (record.aside, record.kept):
        raise RestoreError(f"restore_discard: the restore that put {name} aside is not finished; finish it first")
    if is_empty(place.data):
        raise RestoreError(
            f"restore_discard: {place.data} is empty, {name} may be the only data there is; nothing was removed"
        )
    if not check:
        shutil.rmtree(path)
        sync(place.base)
