"""What pgBackRest's repositories hold: backups, WAL and the histories of timelines."""

from __future__ import annotations

import grp
import json
import os
import pwd
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.nano.ops.plugins.module_utils.restore_options import RestoreError, lsn_number

USER = "postgres"
# A member of it may read the host's key, which repositories on other hosts are reached with.
KEY_GROUP = "nano-tls"
CONFIGURATION = Path("/etc/pgbackrest/pgbackrest.conf")
SEGMENT = re.compile(r"(?:^|/)([0-9A-F]{24})-[0-9a-f]{40}(?:\.\w+)?$")
HISTORY = re.compile(r"(?:^|/)([0-9A-F]{8})\.history$")


@dataclass(frozen=True)
class Backup:
    """A backup in a repository; times in seconds since 1970, sizes in bytes, positions as numbers."""

    repository: int
    label: str
    kind: str
    started: int
    stopped: int
    start_lsn: int
    stop_lsn: int
    first_wal: str
    last_wal: str
    size: int
    version: str
    system_id: int
    has_errors: bool

    @property
    def timeline(self) -> int:
        """The timeline that the backup ended on."""
        return int(self.last_wal[:8], 16)


@dataclass
class Repository:
    """A repository; `problem` is empty when it could be read, `wal` is segment to when it was stored."""

    key: int
    problem: str = ""
    backups: list[Backup] = field(default_factory=list)
    wal: dict[str, int] = field(default_factory=dict)
    histories: dict[int, list[tuple[int, int]]] = field(default_factory=dict)


def as_postgres() -> dict[str, Any]:
    """Return what makes subprocess run a program as user postgres, with the host's key readable.

    Raises:
        RestoreError: there is no such user.
    """
    try:
        owner = pwd.getpwnam(USER)
    except KeyError as error:
        raise RestoreError(
            "there is no user postgres on this host; set it up first: site.yml --limit <host> --skip-tags postgresql"
        ) from error
    groups = {group.gr_gid for group in grp.getgrall() if USER in group.gr_mem or group.gr_name == KEY_GROUP}
    return {
        "user": owner.pw_uid,
        "group": owner.pw_gid,
        "extra_groups": sorted(groups),
        "env": {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C.UTF-8", "HOME": owner.pw_dir},
        "cwd": "/",
        "umask": 0o077,
        "stdin": subprocess.DEVNULL,
    }


def call(*argv: str, seconds: float = 600) -> str:
    """Run pgBackRest as user postgres and return what it prints; what is no text in it is replaced.

    Raises:
        RestoreError: it failed; its words are in the text.
    """
    try:
        done: subprocess.CompletedProcess[bytes] = subprocess.run(
            ["pgbackrest", "--log-level-console=off", "--log-level-stderr=error", "--log-level-file=off", *argv],
            capture_output=True,
            check=False,
            timeout=seconds,
            **as_postgres(),
        )
    except FileNotFoundError as error:
        raise RestoreError(
            "pgBackRest is not on this host; set it up first: site.yml --limit <host> --skip-tags postgresql"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise RestoreError(f"pgBackRest {argv[-1]} has not answered for {seconds:.0f} s") from error
    if done.returncode:
        raise RestoreError(f"pgBackRest failed: {words(done.stderr.decode(errors='replace'))}")
    return done.stdout.decode(errors="replace")


def words(text: str) -> str:
    """Return an error of pgBackRest in one line, without the bytes of what it could not decipher."""
    lines = [re.sub(r"^P\d+\s+\w+:\s*", "", line).strip() for line in text.splitlines()]
    clean = "; ".join(line for line in lines if line and "\ufffd" not in line and line.isprintable())
    return clean[:600] or "it gave no readable reason"


def problem_of(status: Mapping[str, Any], cipher: str) -> str:
    """Return why a repository cannot be used, "" when it can."""
    code, text = int(status.get("code", 0)), str(status.get("message", ""))
    if not code:
        return ""
    if cipher != "none" and re.search(r"CryptoError|key/value found outside of section|FormatError", text):
        return (
            "cannot be deciphered: pgbackrest_cipher_passphrase is not the one that it was made with (or its info file "
            "is damaged); take the passphrase from the vault of that time"
        )
    if code == 1:
        return "holds no stanza nano: nothing was ever backed up there, or its path or bucket is another one"
    if code == 2:
        return "holds no backup"
    return words(text)


def backup_of(entry: Mapping[str, Any], database: Mapping[str, Any]) -> Backup:
    """Return a backup as `pgbackrest info` tells of it."""
    return Backup(
        repository=entry["database"]["repo-key"],
        label=entry["label"],
        kind=entry["type"],
        started=entry["timestamp"]["start"],
        stopped=entry["timestamp"]["stop"],
        start_lsn=lsn_number(entry["lsn"]["start"]),
        stop_lsn=lsn_number(entry["lsn"]["stop"]),
        first_wal=entry["archive"]["start"],
        last_wal=entry["archive"]["stop"],
        size=entry["info"]["size"],
        version=str(database["version"]),
        system_id=int(database["system-id"]),
        has_errors=bool(entry.get("error")),
    )


def parse_info(text: str, stanza: str) -> tuple[list[Repository], dict[int, str]]:
    """Return the repositories with their backups, and repository to the folder of its newest WAL.

    Raises:
        RestoreError: it is not what pgBackRest prints.
    """
    try:
        # What it could not decipher stands in it as it is, control characters among it.
        entry = next(each for each in json.loads(text, strict=False) if each["name"] == stanza)
        databases = {(each["repo-key"], each["id"]): each for each in entry["db"]}
        found = [Repository(each["key"], problem_of(each["status"], each["cipher"])) for each in entry["repo"]]
        for repository in found:
            repository.backups = [
                backup_of(each, databases[repository.key, each["database"]["id"]])
                for each in entry["backup"]
                if each["database"]["repo-key"] == repository.key and each["archive"]["start"]
            ]
        archives = {
            each["database"]["repo-key"]: each["id"]
            for each in sorted(entry["archive"], key=lambda each: each["database"]["id"])
        }
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        raise RestoreError(f"`pgbackrest info` printed something else than expected: {error!r}") from error
    return found, archives


def history_of(text: str) -> list[tuple[int, int]]:
    """Return the timelines before one and where each was left, out of a history file."""
    lines = (line.split("#")[0].split() for line in text.splitlines())
    return [(int(parts[0]), lsn_number(parts[1])) for parts in lines if len(parts) >= 2 and "/" in parts[1]]


def read(stanza: str) -> list[Repository]:
    """Return all repositories, each with its WAL.

    Raises:
        RestoreError: pgBackRest is missing or its configuration is refused.
    """
    if not CONFIGURATION.exists():
        raise RestoreError(
            f"{CONFIGURATION} is not there: this host does not know the backups; set it up first: "
            "site.yml --limit <host> --skip-tags postgresql"
        )
    found, archives = parse_info(call(f"--stanza={stanza}", "--output=json", "info"), stanza)
    for repository in found:
        if repository.key not in archives or repository.problem:
            continue
        at = (f"--stanza={stanza}", f"--repo={repository.key}")
        folder = f"archive/{stanza}/{archives[repository.key]}"
        try:
            listed = json.loads(call(*at, "--recurse", "--output=json", "repo-ls", folder))
            for name, entry in listed.items():
                if segment := SEGMENT.search(name):
                    repository.wal[segment.group(1)] = int(entry.get("time", 0))
                elif history := HISTORY.search(name):
                    text = call(*at, "repo-get", f"{folder}/{history.group(1)}.history")
                    repository.histories[int(history.group(1), 16)] = history_of(text)
        except (RestoreError, ValueError) as error:
            repository.problem = str(error)
    return found


def tablespaces(stanza: str, backup: Backup) -> list[str]:
    """Return the tablespaces of a backup, each with the folder that it was in."""
    text = call(f"--stanza={stanza}", f"--repo={backup.repository}", f"--set={backup.label}", "--output=json", "info")
    entries = json.loads(text)[0]["backup"]
    return [f"{each['name']} in {each['destination']}" for entry in entries for each in entry.get("tablespace") or []]
