"""The data of a stopped server become a standby of the primary again, whatever they were before."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible_collections.nano.ops.plugins.module_utils import failover, member, rejoin_wal, rejoin_ways
from ansible_collections.nano.ops.plugins.module_utils.failover import FailoverError
from ansible_collections.nano.ops.plugins.module_utils.restore_options import lsn_text
from ansible_collections.nano.ops.plugins.module_utils.restore_place import Place, control, is_running
from ansible_collections.nano.ops.plugins.module_utils.restore_server import systemctl, unit_of

BOOT = Path("/proc/sys/kernel/random/boot_id")
# What pg_rewind leaves when it has come to its end.
REWOUND = "in archive recovery"


@contextlib.contextmanager
def alone(place: Place) -> Iterator[None]:
    """Keep a second run out: the first may be at work still after its connection was lost.

    Raises:
        FailoverError: it is.
    """
    with place.base.joinpath(f".{place.name}.rejoin.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise FailoverError(
                "an earlier run is still at work on the data of this host: wait for it, then again"
            ) from error
        yield


def streams(database: str) -> bool:
    """Whether the server of this host is a standby that gets WAL from a primary."""
    try:
        seen = failover.state(database)
    except FailoverError:
        return False
    return bool(seen["is_standby"] and seen["is_streaming"])


def source_of(place: Place, primary: str) -> str:
    """Return how this host connects to the primary: as it will when it follows, to one address."""
    own = rejoin_ways.setting(place, "primary_conninfo")
    if not own:
        raise FailoverError("primary_conninfo is empty: run site.yml with both hosts in group postgresql first")
    return f"{own} host={primary}" if primary else own


def check(place: Place, facts: dict[str, str], identifier: str) -> None:
    """Refuse data that are not a stopped copy of the same cluster.

    Raises:
        FailoverError: they are not.
    """
    if not facts:
        raise FailoverError(f"{place.data} holds no cluster: run site.yml, which copies the primary into an empty one")
    if facts.get("Database system identifier") != identifier:
        raise FailoverError(
            f"{place.data} is of another cluster than the primary's (system identifier "
            f"{facts.get('Database system identifier')}, not {identifier}), nothing was changed: put it aside, then "
            "site.yml"
        )
    if is_running(place) and not failover.state("postgres")["is_standby"]:
        raise FailoverError(
            "PostgreSQL runs here as a primary as well, nothing was changed: find out which one the application writes "
            f"to; if it is not this one, systemctl stop {unit_of(place)}, then again"
        )


def way_of(place: Place, facts: dict[str, str], source: str) -> dict[str, Any]:
    """Return what has to be done with the data: `way` (signal or rewind) and what that was taken from.

    Raises:
        FailoverError: the primary does not answer, or nothing can be done.
    """
    identifier, primary, end = rejoin_ways.primary_history(place, source)
    check(place, facts, identifier)
    own = rejoin_wal.own_history(place, facts)
    fork = own.parts_from(primary)
    diverged = rejoin_wal.is_diverged(place, facts, own, fork, end)
    if diverged and fork[1] == rejoin_wal.OPEN:
        raise FailoverError(
            f"it has WAL behind the primary's end ({lsn_text(end)}) on the same timeline, nothing was changed: which "
            "of the two is the right primary? Where it is the other one, put these data aside, then site.yml"
        )
    return {
        "way": "rewind" if diverged else "signal",
        "identifier": identifier,
        "primary": primary,
        "own": own,
        "fork": fork,
    }


def seen(place: Place, primary: str) -> dict[str, Any]:
    """Return which way would be taken; nothing is changed.

    Raises:
        FailoverError: none.
    """
    note = member.read_note(member.note_path(place, "rejoin"))
    if note.get("stage") in ("rewinding", "restoring"):
        return {"way": "rewind", "goes_on": note["stage"]}
    if streams("postgres"):
        return {"way": "none", "goes_on": ""}
    found = way_of(place, control(place, place.data), source_of(place, primary))
    return {"way": found["way"], "goes_on": ""}


def rejoin(place: Place, primary: str, stanza: str) -> dict[str, Any]:
    """Make the data of this host a standby's and start it.

    Returns:
        `changed`, `way` (none, signal, rewind or delta), `kept` (what only this host had, see rejoin_wal.keep) and
        `notes`.

    Raises:
        FailoverError: it cannot be done; the text says what to do.
    """
    path = member.note_path(place, "rejoin")
    with alone(place):
        note = member.read_note(path)
        if not note and streams("postgres"):
            return {"changed": False, "way": "none", "kept": {}, "notes": []}
        facts, source = control(place, place.data), source_of(place, primary)
        if note:
            # What is half overwritten cannot be asked any more; the primary can.
            identifier, history, _ = rejoin_ways.primary_history(place, source)
            if not (place.data / "PG_VERSION").exists() or note["identifier"] != identifier:
                raise FailoverError(f"{path} tells of other data than these or of another primary: look at it")
        else:
            found = way_of(place, facts, source)
            identifier, history = found["identifier"], found["primary"]
            systemctl("stop", unit_of(place))
            if is_running(place):
                raise FailoverError(f"{unit_of(place)} does not stop, nothing was changed: look at it")
            if found["way"] == "signal":
                member.put_signal(place)
                member.run_standby(place)
                return {"changed": True, "way": "signal", "kept": {}, "notes": []}
            kept = rejoin_wal.keep(place, found["own"], found["fork"], history)
            is_same = found["own"].timeline == history.timeline
            # pg_rewind takes data of one timeline for data of one history.
            stage = "restoring" if is_same else "rewinding"
            note = {"stage": stage, "kept": kept, "identifier": identifier, "boot": "", "notes": []}
            member.write_note(path, note)
        done = overwrite(place, source, history, identifier, stanza, note)
        path.unlink()
        return {"changed": True, "way": done, "kept": note["kept"], "notes": note["notes"]}


def overwrite(
    place: Place, source: str, history: rejoin_wal.History, identifier: str, stanza: str, note: dict[str, Any]
) -> str:
    """Rewind, or restore where that does not work, and start the standby; return which it was.

    Raises:
        FailoverError: neither works.
    """
    path = member.note_path(place, "rejoin")
    # Half overwritten data must not start with the host; nothing in them says what they are.
    systemctl("disable", unit_of(place))
    systemctl("stop", unit_of(place))
    if note["stage"] == "rewinding":
        try:
            rewound(place, source, note)
            member.put_signal(place)
            member.run_standby(place)
            return "rewind"
        except FailoverError as error:
            note |= {"stage": "restoring", "notes": [*note["notes"], str(error)]}
            member.write_note(path, note)
    try:
        label = rejoin_ways.delta(place, history, identifier, stanza)
    except FailoverError as error:
        before = f"{' '.join(note['notes'])}. " if note["notes"] else ""
        raise FailoverError(
            f"{before}The restore from the backups failed too: {error}. The data here are half overwritten and are not "
            f"started; what only they had is in {note['kept']['path']}. Try again, or build the standby anew: "
            f"mv {place.data} {place.data}.spoilt; rm {path}; then site.yml"
        ) from error
    note["notes"] = [*note["notes"], f"restored from backup {label}"]
    member.put_signal(place)
    member.run_standby(place)
    return "delta"


def rewound(place: Place, source: str, note: dict[str, Any]) -> None:
    """Rewind. One that was cut off begins again; one that had come to its end is taken.

    Raises:
        FailoverError: it does not work.
    """
    boot = BOOT.read_text().strip()
    state = control(place, place.data).get("Database cluster state")
    if note["boot"] and state == REWOUND:
        if note["boot"] != boot:
            raise FailoverError("the host went down before all that pg_rewind wrote was on the disk")
        os.sync()
        return
    if note["boot"]:
        rejoin_wal.put_back(place, note["kept"]["path"])
    note["boot"] = boot
    member.write_note(member.note_path(place, "rejoin"), note)
    # Its own recovery of data that crashed does not take a standby's.
    (place.data / member.SIGNAL).unlink(missing_ok=True)
    rejoin_ways.rewind(place, source)
    state = control(place, place.data).get("Database cluster state")
    if state != REWOUND:
        raise FailoverError(f"pg_rewind has left data that are {state!r}")
