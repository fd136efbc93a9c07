"""A planned change of the primary: the old one becomes a standby so that nothing is lost, the new one has all of it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.nano.ops.plugins.module_utils import failover
from ansible_collections.nano.ops.plugins.module_utils.failover import FailoverError, number, psql
from ansible_collections.nano.ops.plugins.module_utils.restore_place import Place, control, is_empty, is_running, sync
from ansible_collections.nano.ops.plugins.module_utils.restore_repository import as_postgres
from ansible_collections.nano.ops.plugins.module_utils.restore_server import journal, systemctl, unit_of, unit_state

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


def note_path(place: Place) -> Path:
    """Return where a switchover is written down on the host of the old primary."""
    return place.base / f".{place.name}.switchover.json"


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
            return failover.state(database)
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
        "note": read_note(note_path(place)),
        "rejoin": read_note(place.base / f".{place.name}.rejoin.json"),
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


def demote(place: Place, database: str, target: str) -> dict[str, Any]:
    """Stop the primary cleanly and start it again as a standby; return where its data ended.

    From the stop on its data say that they are a standby's: whatever is cut off, it does not come back as a primary.

    Returns:
        `changed`, `position` (begin of the last record), `timeline`, `system_identifier`, `began` (seconds since 1970).

    Raises:
        FailoverError: there is no primary, or it did not stop cleanly.
    """
    path = note_path(place)
    note = read_note(path)
    if note.get("stage") == "stopped":
        changed = not (place.data / SIGNAL).exists() or not is_running(place)
        if is_running(place) and not failover.state(database)["is_standby"]:
            raise FailoverError(f"it runs as a primary, but {path} says that it was stopped: somebody started it; look")
        put_signal(place)
        run_standby(place)
        return {**note, "changed": changed}
    if not is_running(place):
        raise FailoverError("PostgreSQL does not run here, so that there is nothing to hand over: start it first")
    if failover.state(database)["is_standby"]:
        raise FailoverError("PostgreSQL of this host is a standby, nothing was stopped")
    # What is written now needs not be written during the stop.
    psql("CHECKPOINT", "postgres", 600)
    note = {"stage": "stopping", "target": target, "began": time.time()}
    write_note(path, note)
    systemctl("stop", HEARTBEAT)
    note["began"] = time.time()
    systemctl("stop", unit_of(place))
    facts = control(place, place.data)
    if is_running(place) or facts.get("Database cluster state") != "shut down":
        raise FailoverError(
            f"PostgreSQL did not stop cleanly, its data are {facts.get('Database cluster state', 'not readable')!r}: "
            f"{last_words(place, note['began'] - 1)}"
        )
    note |= {"stage": "stopped", "stopped": time.time(), **position(facts)}
    write_note(path, note)
    put_signal(place)
    run_standby(place)
    return {**note, "changed": True}


def has_followed(place: Place, note: Mapping[str, Any]) -> bool:
    """Whether the data know of a timeline that is newer than the one that they were stopped on."""
    if "timeline" not in note:
        return False
    histories = (int(path.stem, 16) for path in (place.data / "pg_wal").glob("????????.history"))
    own = position(control(place, place.data))["timeline"]
    return max([own, *histories]) > int(note["timeline"])


def resume(place: Place, database: str, seconds: float) -> dict[str, Any]:
    """Make the old primary the primary again, if nobody has taken its place.

    Raises:
        FailoverError: there is nothing to go back to, somebody was promoted, or it does not start.
    """
    note = read_note(note_path(place))
    if not note:
        raise FailoverError("no switchover was begun on this host, or it has ended: there is nothing to go back to")
    if is_running(place) and not failover.state(database)["is_standby"]:
        note_path(place).unlink()
        systemctl("start", "--no-block", HEARTBEAT)
        return {"changed": False}
    unit, since = unit_of(place), time.time()
    systemctl("stop", unit)
    if is_running(place):
        raise FailoverError(f"{unit} does not stop, nothing was changed: look at it")
    if has_followed(place, note):
        run_standby(place)
        raise FailoverError("another host has become the primary meanwhile: this one stays a standby")
    (place.data / SIGNAL).unlink(missing_ok=True)
    sync(place.data)
    start(place)
    deadline = time.monotonic() + seconds
    while True:
        try:
            if not failover.state(database, 2)["is_standby"]:
                break
        except FailoverError as error:
            if unit_state(unit)[0] == "failed" or time.monotonic() > deadline:
                raise FailoverError(f"the old primary does not start again: {last_words(place, since - 1)}") from error
        time.sleep(0.1)
    note_path(place).unlink(missing_ok=True)
    return {"changed": True}


def writes_on() -> int:
    """Return the timeline that a primary writes on."""
    return int(psql("SELECT pg_walfile_name(pg_current_wal_lsn())", "postgres", 5)[0][0][:8], 16)


def gate(
    database: str, wanted: Mapping[str, Any], seconds: float, look: Callable[[str], dict[str, Any]] = failover.state
) -> dict[str, Any]:
    """Wait until the standby has replayed the last record of the old primary; return its state.

    Args:
        database: the application's.
        wanted: `position` (where that record begins), `timeline`, `system_identifier`.
        seconds: how long it may take.

    Raises:
        FailoverError: it is another cluster's, replay is paused, or it does not get there in time.
    """
    deadline, last = time.monotonic() + seconds, number(wanted["position"])
    while True:
        seen = look(database)
        if str(seen["system_identifier"]) != str(wanted["system_identifier"]):
            raise FailoverError("its data are of another cluster (the system identifiers differ)")
        if not seen["is_standby"]:
            # The control file tells of the new timeline after a checkpoint only.
            if max(seen["timeline"], writes_on()) > int(wanted["timeline"]):
                return seen
            raise FailoverError("it is a primary, on the timeline of the old one: two primaries; look at both")
        if seen["is_paused"]:
            raise FailoverError("replay is paused here: SELECT pg_wal_replay_resume() on this host, then again")
        # A position that was replayed is the end of a record: behind the begin of the last one is at its end.
        if number(seen["replayed"]) > last and not seen["is_streaming"]:
            return seen
        if time.monotonic() > deadline:
            raise FailoverError(
                f"{seconds:.0f} s were not enough to get all of the old primary's WAL: the last record begins at "
                f"{wanted['position']}, replayed is {seen['replayed']}"
            )
        time.sleep(0.05)


def finish(place: Place, check: bool) -> bool:
    """Note that nothing is left to do; return whether something was begun."""
    path = note_path(place)
    found = path.exists()
    if found and not check:
        path.unlink()
        sync(path.parent)
    return found
