"""Which backup a restore begins with, and how far the archive leads from there. Nothing is read or run here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.nano.ops.plugins.module_utils.restore_options import RestoreError, Wanted, lsn_number, utc
from ansible_collections.nano.ops.plugins.module_utils.restore_repository import Backup, Repository

# initdb's default, and what role postgresql makes; the names of segments count in it.
SEGMENT_BYTES = 16 << 20
PER_LOG = (1 << 32) // SEGMENT_BYTES
OPEN_END = 1 << 63


@dataclass(frozen=True)
class Choice:
    """What is restored.

    Attributes:
        backup: where it begins.
        timeline: the timeline that is followed.
        last_wal: the last segment that replay can reach, and `last_time` when it was stored.
        missing: the first segment that no repository has, "" when there is no gap.
        notes: what else should be known.
    """

    backup: Backup
    timeline: int
    last_wal: str
    last_time: int
    missing: str
    notes: list[str]


def segment_name(timeline: int, number: int) -> str:
    """Return the name of a segment by its number."""
    return f"{timeline:08X}{number // PER_LOG:08X}{number % PER_LOG:08X}"


def segment_number(name: str) -> int:
    """Return the number of a segment, counted over all timelines."""
    return int(name[8:16], 16) * PER_LOG + int(name[16:24], 16)


def merged(repositories: list[Repository]) -> tuple[dict[str, int], dict[int, list[tuple[int, int]]]]:
    """Return the WAL and the histories of all repositories: recovery asks one after the other."""
    wal: dict[str, int] = {}
    histories: dict[int, list[tuple[int, int]]] = {}
    for repository in repositories:
        for name, stored in repository.wal.items():
            wal[name] = min(stored, wal.get(name, stored))
        histories |= repository.histories
    return wal, histories


def path_of(timeline: int, histories: Mapping[int, list[tuple[int, int]]]) -> list[tuple[int, int, int]]:
    """Return the way to a timeline: each one with the positions that it begins and ends at.

    Raises:
        RestoreError: its history is not in the archive.
    """
    if timeline == 1:
        return [(1, 0, OPEN_END)]
    if timeline not in histories:
        raise RestoreError(
            f"restore_timeline: no repository knows how timeline {timeline} began; there are "
            f"{', '.join(map(str, sorted({1, *histories})))}"
        )
    steps, begin = [], 0
    for parent, end in histories[timeline]:
        steps.append((parent, begin, end))
        begin = end
    return [*steps, (timeline, begin, OPEN_END)]


def reach(
    backup: Backup, path: list[tuple[int, int, int]], wal: Mapping[str, int], until: int = OPEN_END
) -> tuple[str, str]:
    """Return the last segment that replay from a backup can reach, and the first that is missing ("" for none).

    Args:
        backup: where replay begins.
        path: the timelines, see path_of.
        wal: what the repositories have.
        until: position that replay has to reach.
    """
    numbers = [segment_number(name) for name in wal if int(name[:8], 16) == path[-1][0]]
    newest = max([*numbers, segment_number(backup.last_wal)])
    last, number = "", segment_number(backup.first_wal)
    for timeline, _, end in path:
        if timeline < backup.timeline and end <= backup.start_lsn:
            continue
        # The segment in which a timeline was left belongs to the next one, which has a copy of its beginning.
        limit = min(newest, until // SEGMENT_BYTES) if end == OPEN_END else end // SEGMENT_BYTES - 1
        while number <= min(limit, until // SEGMENT_BYTES):
            name = segment_name(timeline, number)
            if name not in wal:
                # Of the newest timeline the first segment may not be stored yet.
                return last, "" if number > newest else name
            last, number = name, number + 1
    return last, ""


def fits(backup: Backup, wanted: Wanted, path: list[tuple[int, int, int]]) -> str:
    """Return why a backup cannot lead to the target, "" when it can."""
    ends = {timeline: end for timeline, _, end in path}
    if backup.has_errors:
        return "it has pages with wrong checksums"
    if backup.timeline not in ends or backup.stop_lsn > ends[backup.timeline]:
        return f"it is of timeline {backup.timeline}, which does not lead to timeline {path[-1][0]}"
    if wanted.type == "time" and backup.stopped >= wanted.moment:
        return f"it ended at {utc(backup.stopped)}, after the target"
    if wanted.type == "lsn" and backup.stop_lsn > lsn_number(wanted.target):
        return "it ended after the target"
    return ""


def newest_timeline(repositories: list[Repository]) -> int:
    """Return the highest timeline that the archive knows, as PostgreSQL would choose."""
    wal, histories = merged(repositories)
    found = [int(name[:8], 16) for name in wal] + list(histories)
    return max(found, default=1)


def candidates(
    repositories: list[Repository],
    wanted: Wanted,
    path: list[tuple[int, int, int]],
    wal: Mapping[str, int],
    version: int,
) -> list[Backup]:
    """Return the backups that lead to the target, the first repository's newest first.

    Raises:
        RestoreError: there is none; the text says why for each that was looked at.
    """
    usable, refused = [], []
    for repository in repositories:
        if wanted.repository and repository.key != wanted.repository:
            continue
        if repository.problem:
            refused.append(f"repository {repository.key} {repository.problem}")
        for backup in sorted(repository.backups, key=lambda backup: -backup.stopped):
            if wanted.backup and backup.label != wanted.backup:
                continue
            reason = fits(backup, wanted, path)
            if not reason and backup.version != str(version):
                reason = f"it is of PostgreSQL {backup.version}, postgresql_version here is {version}"
            if not reason and (gap := reach(backup, path, wal, backup.stop_lsn)[1]):
                reason = f"its own WAL segment {gap} is missing"
            if reason:
                refused.append(f"backup {backup.label} of repository {repository.key}: {reason}")
            else:
                usable.append(backup)
    if usable:
        return usable
    keys = [repository.key for repository in repositories]
    if wanted.repository and wanted.repository not in keys:
        raise RestoreError(
            f"restore_repository: there is no repository {wanted.repository}, only "
            f"{', '.join(map(str, keys)) or 'none'}"
        )
    known = sorted({backup.label for repository in repositories for backup in repository.backups})
    if wanted.backup and wanted.backup not in known:
        refused.append(f"restore_set: there is no backup {wanted.backup}, there are: {', '.join(known) or 'none'}")
    if wanted.type == "time" and known:
        oldest = min(backup.stopped for repository in repositories for backup in repository.backups)
        if wanted.moment <= oldest:
            raise RestoreError(
                f"no backup is from before {utc(wanted.moment)}: the oldest ended at {utc(oldest)}, the earliest "
                "moment that "
                "can be restored is right after it"
            )
    raise RestoreError("no backup leads to what is wanted: " + "; ".join(refused[:8] or ["there is no backup at all"]))


def choose(
    repositories: list[Repository], wanted: Wanted, version: int, *, grows: bool = False, accept_gap: bool = False
) -> Choice:
    """Choose the backup.

    Args:
        repositories: what there is.
        wanted: what is asked for.
        version: major version of PostgreSQL on the host.
        grows: a primary runs, and will archive the rest of its WAL when it is stopped.
        accept_gap: with type latest, end at a gap in the archive.

    Raises:
        RestoreError: nothing leads to the target, with the reason.
    """
    wal, histories = merged(repositories)
    path = path_of(wanted.timeline or newest_timeline(repositories), histories)
    backup = candidates(repositories, wanted, path, wal, version)[0]
    until = {"lsn": lsn_number(wanted.target) if wanted.type == "lsn" else 0, "immediate": backup.stop_lsn}
    last, missing = reach(backup, path, wal, until.get(wanted.type, OPEN_END))
    last = last or backup.last_wal
    choice = Choice(backup, path[-1][0], last, wal.get(last, backup.stopped), missing, [])
    check_end(choice, wanted, grows, accept_gap)
    for repository in repositories:
        if repository.problem:
            choice.notes.append(f"repository {repository.key} {repository.problem}")
    if missing:
        choice.notes.append(
            f"WAL segment {missing} is in no repository: replay can go no further than {utc(choice.last_time)}"
        )
    if wanted.type == "name":
        choice.notes.append(
            f"restore point {wanted.target} has to be younger than {utc(backup.stopped)}, when this backup ended; "
            "for an older "
            "one name an older backup with restore_set"
        )
    return choice


def check_end(choice: Choice, wanted: Wanted, grows: bool, accept_gap: bool) -> None:
    """Refuse a target that lies behind the end of the archive or behind a gap in it.

    Raises:
        RestoreError: it does, with how far one gets.
    """
    # pgBackRest tells times of storage in whole seconds, cut off: the segment may be that much younger.
    end = f"the last WAL that can be replayed was stored at {utc(choice.last_time)}"
    if choice.missing:
        if wanted.type == "latest" and not accept_gap:
            raise RestoreError(
                f"WAL segment {choice.missing} is missing in every repository, and what follows it is of no use: "
                f"{end}. Restore "
                "until there with -e restore_accept_gap=true, or name a backup from after the gap with restore_set"
            )
        if wanted.type == "lsn" or (wanted.type == "time" and wanted.moment >= choice.last_time + 1):
            raise RestoreError(
                f"the target lies behind a gap: WAL segment {choice.missing} is missing in every repository; {end}. "
                "Choose a "
                "target before that, or a backup from after the gap with restore_set"
            )
    elif not grows and wanted.type == "time" and wanted.moment >= choice.last_time + 1:
        raise RestoreError(
            f"the archive ends before the target {utc(wanted.moment)}: {end}. Choose an earlier target, or "
            "restore_type=latest for all there is"
        )
    elif (
        not grows
        and wanted.type == "lsn"
        and lsn_number(wanted.target) >= (segment_number(choice.last_wal) + 1) * SEGMENT_BYTES
    ):
        raise RestoreError(f"the archive ends before the target {wanted.target}, with segment {choice.last_wal}; {end}")
