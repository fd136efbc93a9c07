"""A database host as a switchover or a rejoin finds it: its data, its server, and what was begun and not ended."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.nano.ops.plugins.module_utils import failover
from ansible_collections.nano.ops.plugins.module_utils.failover import FailoverError, psql
from ansible_collections.nano.ops.plugins.module_utils.restore_place import Place, control, is_empty, is_running, sync
from ansible_collections.nano.ops.plugins.module_utils.restore_repository import as_postgres
from ansible_collections.nano.ops.plugins.module_utils.restore_server import journal, systemctl, unit_of

HEARTBEAT = "nano-heartbeat.service"
SIGNAL = "standby.signal"
ROOT = Path("/var/lib/postgresql")
# The stop waits for the archiver: what waits there, and whether its last attempt failed.
ARCHIVE = """SELECT (SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'),
  coalesce((SELECT last_failed_time > coalesce(last_archived_time, '-infinity') FROM pg_stat_archiver), false)"""
FOLLOWERS = """SELECT application_name, state, coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn), 0)::bigint
  FROM pg_stat_replication"""


def place_of(version: int, root: Path = ROOT) -> Place:
    """Return where the cluster of this host lies; with version 0 that of the one there is.

    Raises:
        FailoverError: there is none, or there are several.
    """
    if version:
        return Place(version, root=root)
    found = sorted(int(path.parent.name) for path in root.glob("*/main") if path.parent.name.isdigit())
    if len(found) != 1:
        what = f"clusters of {', '.join(map(str, found))}" if found else "no cluster"
        raise FailoverError(f"{root} has {what}: pass version, or run site.yml first where there is none")
    return Place(found[0], root=root)


def read_note(path: Path) -> dict[str, Any]:
    """Return what was begun and not ended, nothing if nothing was.

    Raises:
        FailoverError: it cannot be read.
    """
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise FailoverError(f"{path} cannot be read ({error}): look at it, and move it away to begin anew") from error


def write_note(path: Path, note: Mapping[str, Any]) -> None:
    """Write down what was begun, so that it is whole on the disk or as before."""
    fresh = path.with_name(f"{path.name}.fresh")
    with fresh.open("w", encoding="utf-8") as file:
        json.dump(dict(note), file, indent=1, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync(path.parent)


def note_path(place: Place, what: str) -> Path:
    """Return where it is written down that a switchover or a rejoin was begun on this host."""
    path: Path = place.base / f".{place.name}.{what}.json"
    return path


def put_signal(place: Place) -> None:
    """Make what starts on the data directory a standby."""
    path = place.data / SIGNAL
    path.touch(mode=0o600)
    account = as_postgres()
    os.chown(path, account["user"], account["group"])
    sync(place.data)


def run_standby(place: Place) -> None:
    """Start a standby; nothing is waited for.

    Raises:
        FailoverError: it would start as a primary.
    """
    if not (place.data / SIGNAL).exists():
        raise FailoverError(f"{place.data} has no {SIGNAL}: nothing was started, it would be a primary")
    start(place)


def start(place: Place) -> None:
    """Start PostgreSQL and the heartbeat, now and with their host; nothing is waited for."""
    systemctl("reset-failed", unit_of(place))
    for unit in (unit_of(place), HEARTBEAT):
        systemctl("enable", unit)
        systemctl("start", "--no-block", unit)


def last_words(place: Place, since: float, most: int = 3) -> str:
    """Return the last complaints in PostgreSQL's journal."""
    lines = [
        line for line in journal(unit_of(place), since) if any(word in line for word in ("FATAL", "PANIC", "ERROR"))
    ]
    return " / ".join(lines[-most:]) or f"see journalctl -u {unit_of(place)}"


def position(facts: Mapping[str, str]) -> dict[str, Any]:
    """Return where the data of a stopped server end: the begin of their last record, of a server that was shut down."""
    return {
        "position": facts.get("Latest checkpoint location", ""),
        "timeline": int(facts.get("Latest checkpoint's TimeLineID") or 0),
        "system_identifier": facts.get("Database system identifier", ""),
    }


def answer(database: str, seconds: float = 10) -> dict[str, Any]:
    """Return the state of a server that may just be starting.

    Raises:
        FailoverError: it has not answered for so long.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return dict(failover.state(database))
        except FailoverError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.2)


def look(place: Place, database: str) -> dict[str, Any]:
    """Return what a host's data are, what its server says if one runs, and what was begun there and not ended.

    Raises:
        FailoverError: a server runs and does not answer.
    """
    facts = {} if is_empty(place.data) else control(place, place.data)
    running = is_running(place)
    seen: dict[str, Any] = {
        "path": str(place.data),
        "version": place.version,
        "holds": "empty" if not facts else "standby" if (place.data / SIGNAL).exists() else "primary",
        "is_running": running,
        "state": facts.get("Database cluster state", ""),
        **position(facts),
        "note": read_note(note_path(place, "switchover")),
        "rejoin": read_note(note_path(place, "rejoin")),
        "server": {},
        "followers": {},
        "archive": {"waiting": 0, "fails": False},
    }
    if not running:
        return seen
    seen["server"] = answer(database)
    waiting, fails = psql(ARCHIVE, "postgres", 10)[0]
    seen["archive"] = {"waiting": int(waiting), "fails": fails == "t"}
    rows = psql(FOLLOWERS, "postgres", 10)
    seen["followers"] = {name: {"state": state, "lag_bytes": int(lag)} for name, state, lag in rows}
    return seen


def writes_on() -> int:
    """Return the timeline that a primary writes on; its control file tells of a new one after a checkpoint only."""
    return int(psql("SELECT pg_walfile_name(pg_current_wal_lsn())", "postgres", 5)[0][0][:8], 16)
