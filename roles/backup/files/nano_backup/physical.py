"""Physical backups: pgBackRest does them, this says of which kind and what it has."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from . import command, database, units
from .config import Config
from .errors import BackupError
from .state import Outcome

# A weekly backup that is begun some minutes earlier than the last one must not become one of eight days.
EARLY_DAYS = 0.5
# Since this version pgBackRest itself takes the primary when there is no standby.
PREFERS = (2, 54)
# Seconds to wait for the WAL that makes a backup whole. While one repository is away, each attempt to archive takes
# minutes, and the other one gets its WAL that much later.
WAL_S = 900
# Seconds that a repository may take to answer at all; pgBackRest itself tries for half an hour.
ANSWER_S = 60
OK, NO_STANZA, NO_BACKUP = 0, (1, 3), 2


@dataclass(frozen=True)
class Backup:
    """A backup in a repository. Times in seconds since 1970; sizes of the database and of what the backup takes."""

    label: str
    kind: str
    start: float
    stop: float
    bytes: int
    stored_bytes: int
    database: int
    first_wal: str


@dataclass(frozen=True)
class Info:
    """What a repository holds: backups from old to new, the newest WAL segment, the version of PostgreSQL."""

    backups: Sequence[Backup]
    newest_wal: str
    archive: str
    version: str

    @property
    def newest(self) -> Backup | None:
        """The newest backup of the present cluster."""
        return self.backups[-1] if self.backups else None


def pgbackrest(config: Config, repository: int, *words: str) -> list[str]:
    """Return a command line of pgBackRest that says its errors and nothing else."""
    common = ["--log-level-console=off", "--log-level-stderr=error", f"--stanza={config.stanza}"]
    return [config.pgbackrest, *common, f"--repo={repository}", *words]


def info(config: Config, repository: int, seconds: float = 120) -> Info:
    """Ask what a repository holds.

    Raises:
        BackupError: it can't be reached, or its stanza is missing or damaged.
    """
    try:
        text = command.run(pgbackrest(config, repository, "info", "--output=json"), seconds=seconds)
        stanzas = json.loads(text)
    except ValueError as error:
        raise BackupError(f"repository {repository}: pgbackrest info printed no JSON: {error}") from None
    except command.CommandError as error:
        raise BackupError(f"repository {repository} can't be asked: {error.words}{_remedy(error.words)}") from None
    stanza: dict[str, Any] = stanzas[0] if stanzas else {"status": {"code": 1, "message": "no stanza"}, "repo": []}
    status = next((each["status"] for each in stanza["repo"] if each["key"] == repository), stanza["status"])
    if status["code"] in NO_STANZA:
        raise BackupError(
            f"repository {repository} has no stanza {config.stanza} ({status['message']}): role pgbackrest makes it, "
            "run site.yml --tags pgbackrest"
        )
    if status["code"] not in (OK, NO_BACKUP):
        raise BackupError(f"repository {repository}: {status['message']}{_remedy(status['message'])}")
    # After an upgrade of PostgreSQL there are several clusters; the last one is the present one.
    current = max((each["id"] for each in stanza["db"]), default=0)
    version = next((each["version"] for each in stanza["db"] if each["id"] == current), "")
    backups = [
        Backup(
            label=each["label"],
            kind=each["type"],
            start=each["timestamp"]["start"],
            stop=each["timestamp"]["stop"],
            bytes=each["info"]["size"],
            stored_bytes=each["info"]["repository"]["delta"],
            database=each["database"]["id"],
            first_wal=each["archive"]["start"] or "",
        )
        for each in stanza["backup"]
        if each["database"]["id"] == current
    ]
    archives = [each for each in stanza["archive"] if each["database"]["id"] == current]
    newest = max(archives, key=lambda each: each["max"] or "", default={"max": "", "id": ""})
    return Info(backups, newest["max"] or "", newest["id"], version)


def due(backups: Sequence[Backup], now: float, days: float) -> str:
    """Return which kind of backup is due: full when the last one is older than so many days, or missing."""
    fulls = [backup.stop for backup in backups if backup.kind == "full"]
    return "diff" if fulls and now - max(fulls) < (days - EARLY_DAYS) * 86400 else "full"


def _standby(config: Config) -> list[list[str]]:
    """Return the options to try one after the other, so that a standby is preferred and never demanded."""
    if len(config.servers) < 2:
        return [[]]
    found = re.search(r"(\d+)\.(\d+)", command.run([config.pgbackrest, "version"]))
    if found and (int(found[1]), int(found[2])) >= PREFERS:
        return [["--backup-standby=prefer"]]
    return [["--backup-standby"], ["--no-backup-standby"]]


def backup(config: Config, repository: int, kind: str) -> Outcome:
    """Make a backup.

    Raises:
        BackupError: the repository does not answer, or pgBackRest failed; its words are in the text.
    """
    database.demand_clock(config)
    info(config, repository, ANSWER_S)
    attempts, words = _standby(config), [f"--type={kind}", f"--archive-timeout={WAL_S}"]
    for number, options in enumerate(attempts, 1):
        try:
            command.run(pgbackrest(config, repository, "backup", *words, *options))
            break
        except command.CommandError as error:
            if number == len(attempts) or "standby" not in error.words:
                raise BackupError(f"pgbackrest backup: {error.words}{_remedy(error.words)}") from None
    made = info(config, repository).newest
    if made is None:
        raise BackupError(f"pgbackrest ended well, but repository {repository} has no backup")
    text = f"{made.label}, {units.size(made.stored_bytes)} stored of a database of {units.size(made.bytes)}"
    return Outcome(text, made.stored_bytes, kind=made.kind, backup=made.stop)


def _remedy(words: str) -> str:
    """Return what to do about an error that operators meet."""
    for pattern, text in (
        (r"No space left|ENOSPC|\[28\]", "; make room on the repository's disk, or shorten pgbackrest_retention_days"),
        (r"unable to find primary", "; no primary answers: is PostgreSQL up, and pgbackrest.service on its host?"),
        (r"was not archived before", "; WAL does not reach this repository: pgbackrest check on the database's host"),
        (r"SignatureDoesNotMatch|InvalidAccessKeyId|AccessDenied", "; check pgbackrest_s3_access_key and its secret"),
        (r"CryptoError|cipher", "; is pgbackrest_cipher_passphrase the one that the repository was made with?"),
    ):
        if re.search(pattern, words):
            return text
    return ""
