"""`nano-backup list`: every backup that there is, in a table."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass

from . import copies, manifest, physical, units
from .config import Config
from .errors import BackupError
from .log import complain
from .remote import DUMPS, VERIFIED, Remote
from .state import State

HEAD = ("KIND", "OF", "MADE (UTC)", "AGE", "SIZE", "WHERE", "VERIFIED (UTC)")


@dataclass
class Row:
    """A backup."""

    kind: str
    of: str
    time: float
    bytes: int
    where: str
    verified: float = 0.0

    def words(self, now: float) -> tuple[str, ...]:
        """Return it as texts."""
        age, seen = units.span(now - self.time), units.clock(self.verified) if self.verified else "-"
        return (self.kind, self.of, units.clock(self.time), age, units.size(self.bytes), self.where, seen)


def verified(config: Config, state: State, remote: Remote | None) -> dict[tuple[str, str, int], float]:
    """Return (kind, repository or database, when it was made) to when it was found whole, by any host."""
    found: dict[tuple[str, str, int], float] = {}
    texts = [json.dumps([vars(step) for step in state.of_kind("verify_physical", "verify_dump")])]
    if remote:
        texts += [remote.text(VERIFIED, name) for name in remote.listing(VERIFIED)]
    for text in texts:
        for step in json.loads(text):
            if step["backup"]:
                subject = next(iter(step["labels"].values()))
                found[step["kind"], subject, int(step["backup"])] = step["last_success"]
    return found


def rows(config: Config, state: State) -> list[Row]:
    """Return all backups; what can't be asked is told on standard error."""
    found: list[Row] = []
    seen: dict[tuple[str, str, int], float] = {}
    remote = None
    listing: dict[str, int] = {}
    try:
        remote = Remote(config, config.s3) if config.s3 else None
        listing = remote.listing(DUMPS) if remote else {}
        seen = verified(config, state, remote)
    except (BackupError, ValueError, KeyError) as error:
        complain(str(error))
    for repository in config.repositories:
        try:
            backups = physical.info(config, repository).backups
        except BackupError as error:
            complain(str(error))
            continue
        for backup in backups:
            when = seen.get(("verify_physical", str(repository), int(backup.stop)), 0.0)
            where = f"repository {repository}: {backup.label}"
            found.append(Row(backup.kind, "cluster", backup.stop, backup.stored_bytes, where, when))
    local = {(each.database, each.name): each for each in manifest.local(config.directory)}
    copied = {(each.database, each.name): each for each in copies.whole(listing)}
    times = {(kind, subject, made): when for (kind, subject, made), when in seen.items() if kind == "verify_dump"}
    for each in sorted({**copied, **local}.values(), key=lambda dump: dump.name):
        key = (each.database, each.name)
        where = " and ".join(place for place, there in (("disk", local), ("S3", copied)) if key in there)
        # A dump is named when it is begun, its snapshot is taken some moments before or after.
        made = [when for (_, name, at), when in times.items() if name == each.database and abs(at - each.time) < 5]
        found.append(Row("dump", each.database, each.time, each.bytes, f"{where}: {each.name}", max(made, default=0.0)))
    return sorted(found, key=lambda row: row.time)


def table(found: Iterable[Row]) -> str:
    """Return the table."""
    now = time.time()
    lines = [HEAD, *(row.words(now) for row in found)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    return "\n".join("  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip()
                     for line in lines)  # fmt: skip
