"""Where two histories of a cluster part, and the WAL that only one of them has: kept aside, and measured."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible_collections.nano.ops.plugins.module_utils.failover import FailoverError, number
from ansible_collections.nano.ops.plugins.module_utils.restore_choice import SEGMENT_BYTES, segment_name
from ansible_collections.nano.ops.plugins.module_utils.restore_options import lsn_text
from ansible_collections.nano.ops.plugins.module_utils.restore_place import Place, control, sync, written_segments
from ansible_collections.nano.ops.plugins.module_utils.restore_repository import as_postgres, history_of

# Where no end is known: a timeline that goes on.
OPEN = 1 << 64
LSN = re.compile(r"\blsn: ([0-9A-F]+/[0-9A-F]+)")
LENGTH = re.compile(r"\blen \(rec/tot\): +\d+/ *(\d+)")
COMMIT = re.compile(r"desc: COMMIT(?:_PREPARED)? (\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}(?:\.\d+)?)")


@dataclass(frozen=True)
class History:
    """A timeline and those before it, each with the position where it was left; the last one is open."""

    timelines: tuple[tuple[int, int], ...]

    @classmethod
    def read(cls, timeline: int, text: str) -> History:
        """Read it out of a history file; a first timeline has none."""
        return cls((*history_of(text), (timeline, OPEN)))

    @property
    def timeline(self) -> int:
        """The last one."""
        return self.timelines[-1][0]

    def parts_from(self, other: History) -> tuple[int, int]:
        """Return the last timeline that both have and the position until which they are the same.

        Raises:
            FailoverError: they have nothing in common.
        """
        common = (0, 0)
        for (mine, end), (theirs, other_end) in zip(self.timelines, other.timelines, strict=False):
            if mine != theirs:
                break
            common = (mine, min(end, other_end))
            if end != other_end:
                break
        if not common[0]:
            raise FailoverError("its data have no timeline in common with the primary's: they are of another history")
        return common


def own_history(place: Place, facts: dict[str, str]) -> History:
    """Return the history of the data of this host, from what its WAL says; the control file may be behind.

    A timeline counts as soon as something was written on it.
    """
    folder = place.data / "pg_wal"
    control_timeline = int(facts.get("Latest checkpoint's TimeLineID") or 1)
    named = {int(path.name[:8], 16) for path in folder.glob("????????????????????????") if path.is_file()}
    written = (each for each in named if each > control_timeline and written_segments(place.data, each, ""))
    timeline = max([control_timeline, *written])
    path = folder / f"{timeline:08X}.history"
    return History.read(timeline, path.read_text() if timeline > 1 and path.exists() else "")


def segment_before(timeline: int, position: int) -> str:
    """Return the name of the segment before the one that a position lies in."""
    return segment_name(timeline, max(0, position // SEGMENT_BYTES - 1)) if position >= SEGMENT_BYTES else ""


def dumped(place: Place, folder: Path, timeline: int, start: int, *more: str) -> Iterator[str]:
    """Return the lines of pg_waldump from a position on, as far as there are valid records."""
    program = f"/usr/lib/postgresql/{place.version}/bin/pg_waldump"
    argv = [program, f"--path={folder}", f"--timeline={timeline}", f"--start={lsn_text(start)}", *more]
    account = as_postgres()
    account["env"] |= {"TZ": "UTC"}
    process = subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace", **account
    )
    assert process.stdout
    with process.stdout:
        yield from process.stdout
    process.wait()


def is_diverged(place: Place, facts: dict[str, str], own: History, fork: tuple[int, int], primary_end: int) -> bool:
    """Whether the data of a stopped server have something that the primary has not.

    Args:
        place: where they are.
        facts: their control file.
        own: their history.
        fork: the last timeline that they share with the primary, and until where.
        primary_end: how far the primary has come.
    """
    timeline, position = fork
    if own.timeline != timeline:
        return True
    limit = min(position, primary_end) if position == OPEN else position
    if facts.get("Database cluster state") == "shut down":
        # The begin of the last record: what the primary has shares it wholly when it goes on behind its begin.
        return bool(number(facts["Latest checkpoint location"]) >= limit)
    segment = segment_name(timeline, limit // SEGMENT_BYTES)
    if written_segments(place.data, timeline, segment):
        return True
    folder = place.data / "pg_wal"
    return (folder / segment).exists() and any(
        LSN.search(line) for line in dumped(place, folder, timeline, limit, "--limit=1")
    )


def measured(place: Place, folder: Path, spans: Iterable[tuple[int, int]]) -> dict[str, Any]:
    """Return what WAL holds.

    That is `to` (its last record), `bytes` (of records, without what a switch of segments leaves empty), `commits` and
    when the first and the last of them was.

    Args:
        place: whose programs read it.
        folder: where it lies.
        spans: each timeline and where to begin on it.
    """
    last, size, times = "", 0, []
    for timeline, start in spans:
        for line in dumped(place, folder, timeline, start):
            if found := LSN.search(line):
                last = found.group(1)
            if found := LENGTH.search(line):
                size += int(found.group(1))
            if found := COMMIT.search(line):
                times.append(found.group(1))
    return {
        "to": last,
        "bytes": size,
        "commits": len(times),
        "first_commit": f"{times[0]} UTC" if times else "",
        "last_commit": f"{times[-1]} UTC" if times else "",
    }


def copy(path: Path, target: Path, account: Mapping[str, Any]) -> None:
    """Copy a file so that it is PostgreSQL's, and on the disk."""
    shutil.copy2(path, target)
    os.chown(target, account["user"], account["group"])
    with target.open("rb") as file:
        os.fsync(file.fileno())


def keep(place: Place, own: History, fork: tuple[int, int], primary: History) -> dict[str, Any]:
    """Copy the WAL that only this host has into a folder beside the data, with a page that says what it is.

    Returns:
        `path`, `timeline`, `from`, `to`, `bytes`, `commits`, `first_commit`, `last_commit`, `segments`.

    Raises:
        FailoverError: there is no room.
    """
    first, position = fork
    begins = {first: position}
    for (_, end), (timeline, _) in zip(own.timelines, own.timelines[1:], strict=False):
        if timeline > first:
            begins[timeline] = end
    fresh = place.base / f".{place.name}.diverged.unfinished"
    if fresh.exists():
        # A copy that was cut off; what it was made of is still there.
        shutil.rmtree(fresh)
    account = as_postgres()
    try:
        fresh.mkdir(mode=0o700)
        os.chown(fresh, account["user"], account["group"])
        names = []
        for timeline, begin in begins.items():
            paths = written_segments(place.data, timeline, segment_before(timeline, begin))
            history = place.data / f"pg_wal/{timeline:08X}.history"
            for path in [*paths, *([history] if history.exists() else [])]:
                copy(path, fresh / path.name, account)
                names.append(path.name)
        found = measured(place, fresh, begins.items())
        note = {
            "timeline": own.timeline,
            "parted_from_timeline": first,
            "primary_timeline": primary.timeline,
            "system_identifier": control(place, place.data).get("Database system identifier", ""),
            "from": lsn_text(position),
            "segments": names,
            **found,
        }
        (fresh / "diverged.json").write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")
        sync(fresh)
    except OSError as error:
        raise FailoverError(
            f"the WAL that only this host has cannot be copied to {place.base} ({error}), and nothing was overwritten: "
            "make room there"
        ) from error
    path = place.base / f"{place.name}.diverged-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    fresh.rename(path)
    sync(place.base)
    return {"path": str(path), **note}


def put_back(place: Place, kept: str) -> None:
    """Put kept WAL into the data directory again: a rewind that was cut off may have overwritten or removed it."""
    account = as_postgres()
    for path in sorted(Path(kept).glob("[0-9A-F]*")):
        copy(path, place.data / "pg_wal" / path.name, account)
