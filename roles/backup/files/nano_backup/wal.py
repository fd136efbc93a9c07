"""Whether the WAL archive of a repository has a hole: a backup before it can't be recovered past it."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Iterable

from . import command, physical
from .config import Config
from .errors import BackupError
from .log import Log
from .state import Outcome, State

# Listing an archive of 30 days takes seconds; a hole does not close by itself. A repository that did not answer is
# asked again before long.
EVERY_S, AGAIN_S = 3600.0, 300.0
LIST_S = 120.0
SEGMENT = re.compile(r"(?:^|/)([0-9A-F]{24})-[0-9a-f]{40}")
# Segments of 16 MiB to a file number of 4 GiB, PostgreSQL's default.
PER_FILE = 256


def number(segment: str) -> int:
    """Return the place of a segment in its timeline."""
    return int(segment[8:16], 16) * PER_FILE + int(segment[16:24], 16)


def _name(timeline: str, number: int) -> str:
    return f"{timeline}{number // PER_FILE:08X}{number % PER_FILE:08X}"


def gaps(segments: Iterable[str], first: str) -> list[str]:
    """Return the segments that are missing.

    Args:
        segments: names of those that are there.
        first: the one that the oldest backup begins with; what is older is not needed.
    """
    by_timeline: dict[str, set[int]] = {}
    for name in segments:
        if name >= first:
            by_timeline.setdefault(name[:8], set()).add(number(name))
    if first:
        by_timeline.setdefault(first[:8], set())
    missing = []
    for timeline, numbers in sorted(by_timeline.items()):
        # A later timeline begins where it left the one before, which the history files tell and the numbers don't.
        low = number(first) if timeline == first[:8] else min(numbers)
        high = max(numbers, default=low)
        missing += [_name(timeline, each) for each in range(low, high + 1) if each not in numbers]
    return missing


def look(config: Config, repository: int) -> Outcome:
    """Look for a hole.

    Raises:
        BackupError: the repository can't be asked.
    """
    found = physical.info(config, repository, LIST_S)
    if not found.backups:
        return Outcome("no backup yet", measured={"gap": 0.0})
    words = ["repo-ls", "--recurse", f"archive/{config.stanza}/{found.archive}"]
    try:
        listing = command.run(physical.pgbackrest(config, repository, *words), seconds=LIST_S)
    except command.CommandError as error:
        raise BackupError(f"repository {repository}: its archive can't be listed: {error.words}") from None
    first = min(each.first_wal for each in found.backups)
    segments = {match[1] for match in SEGMENT.finditer(listing)}
    missing = gaps(segments, first)
    if missing:
        text = f"{len(missing)} WAL segments are missing, from {missing[0]} to {missing[-1]}: make a full backup now"
        return Outcome(text, measured={"gap": 1.0})
    return Outcome(f"{len(segments)} WAL segments without a gap from {first}", measured={"gap": 0.0})


def check(config: Config, state: State, log: Log) -> bool:
    """Look at each repository that was not looked at for an hour; return whether there was one."""
    looked = False
    for repository in config.repositories:
        labels = {"repository": str(repository)}
        waits = [each.last_run + (EVERY_S if each.success else AGAIN_S) for each in state.of_kind("wal")
                 if each.labels == labels]  # fmt: skip
        if time.time() > max(waits, default=0.0):
            state.step("wal", labels, f"WAL of repository {repository}", functools.partial(look, config, repository))
            looked = True
    for name in (number for number, has_gap in known(state).items() if has_gap and looked):
        log.tell("wal", f"repository {name} has a gap in its WAL", "error")
    return looked


def known(state: State) -> dict[str, float]:
    """Return repository to whether its WAL has a gap, as far as it was seen."""
    return {
        step.labels["repository"]: step.measured["gap"]
        for step in state.of_kind("wal")
        if step.success and "gap" in step.measured
    }
