"""A planned change of the primary: the old one becomes a standby so that nothing is lost, the new one has all of it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.nano.ops.plugins.module_utils import failover, member
from ansible_collections.nano.ops.plugins.module_utils.failover import FailoverError, number, psql
from ansible_collections.nano.ops.plugins.module_utils.member import (
    HEARTBEAT,
    SIGNAL,
    last_words,
    position,
    put_signal,
    read_note,
    run_standby,
    start,
    write_note,
    writes_on,
)
from ansible_collections.nano.ops.plugins.module_utils.restore_place import Place, control, is_running, sync
from ansible_collections.nano.ops.plugins.module_utils.restore_server import systemctl, unit_of, unit_state


def note_path(place: Place) -> Path:
    """Return where it is written down that this host's primary was stopped."""
    path: Path = member.note_path(place, "switchover")
    return path


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
    return bool(max([own, *histories]) > int(note["timeline"]))


def resume(place: Place, database: str, seconds: float) -> dict[str, Any]:
    """Make the old primary the primary again, if nobody has taken its place.

    Raises:
        FailoverError: there is nothing to go back to, somebody was promoted, or it does not start.
    """
    note = read_note(note_path(place))
    if is_running(place) and not failover.state(database)["is_standby"]:
        note_path(place).unlink(missing_ok=True)
        systemctl("start", "--no-block", HEARTBEAT)
        return {"changed": False}
    if not note:
        raise FailoverError("no switchover was begun on this host, or it has ended: there is nothing to go back to")
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
        # Until its recovery has ended it answers nobody.
        with contextlib.suppress(FailoverError):
            if not failover.state(database, 2)["is_standby"]:
                break
        if unit_state(unit)[0] == "failed" or time.monotonic() > deadline:
            raise FailoverError(f"the old primary does not start again: {last_words(place, since - 1)}")
        time.sleep(0.1)
    note_path(place).unlink(missing_ok=True)
    return {"changed": True}


def gate(
    database: str, wanted: Mapping[str, Any], seconds: float, look: Callable[[str], dict[str, Any]] = failover.state
) -> dict[str, Any]:
    """Wait until the standby has replayed the last record of the old primary; return its state.

    Args:
        database: the application's.
        wanted: `position` (where that record begins), `timeline`, `system_identifier`.
        seconds: how long it may take.
        look: returns the state of the server.

    Raises:
        FailoverError: it is another cluster's, replay is paused, or it does not get there in time.
    """
    deadline, last = time.monotonic() + seconds, number(wanted["position"])
    while True:
        seen = look(database)
        if str(seen["system_identifier"]) != str(wanted["system_identifier"]):
            raise FailoverError("its data are of another cluster (the system identifiers differ)")
        if not seen["is_standby"]:
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
