"""What is on a host before anything is done to it."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from ansible_collections.nano.ops.plugins.module_utils import restore_place as places
from ansible_collections.nano.ops.plugins.module_utils import restore_repository
from ansible_collections.nano.ops.plugins.module_utils.restore_begin import check_place, may_go_on, never_promoted
from ansible_collections.nano.ops.plugins.module_utils.restore_choice import Choice, choose
from ansible_collections.nano.ops.plugins.module_utils.restore_options import RestoreError, Wanted
from ansible_collections.nano.ops.plugins.module_utils.restore_place import Place, Record
from ansible_collections.nano.ops.plugins.module_utils.restore_server import NotYetError, query, systemctl, unit_of

# Room for the WAL that replay fetches and for what the server writes while it does, in bytes.
MARGIN = 1 << 30
HEARTBEAT = "nano-heartbeat.service"


def is_loaded(unit: str) -> bool:
    """Whether systemd knows a unit."""
    return bool(systemctl("show", unit, "--property=LoadState").strip() == "LoadState=loaded")


def is_set_up(place: Place) -> bool:
    """Whether role postgresql has been here: the server's programs and its configuration."""
    configuration = Path(f"/etc/postgresql/{place.version}/{place.name}/postgresql.conf")
    return configuration.exists() and Path(f"/usr/lib/postgresql/{place.version}/bin/postgres").exists()


def data(place: Place, database: str) -> dict[str, Any]:
    """Return what a data directory holds and does: nothing in it is changed.

    Args:
        place: where.
        database: the application's, whose heartbeat is read.
    """
    empty = places.is_empty(place.data)
    control = {} if empty else places.control(place, place.data)
    version = place.data / "PG_VERSION"
    seen: dict[str, Any] = {
        "path": str(place.data),
        "is_empty": empty,
        "version": version.read_text().strip() if version.is_file() else "",
        "system_id": control.get("Database system identifier", ""),
        "state": control.get("Database cluster state", ""),
        "timeline": int(control.get("Latest checkpoint's TimeLineID") or 0),
        "is_standby": (place.data / "standby.signal").exists(),
        "is_running": places.is_running(place),
        "unarchived": len(places.unarchived(place.data)),
        "last_sign": places.last_sign(place.data),
        "kept": [{"name": path.name, "bytes": places.size_of(path)} for path in place.kept()],
        "bytes": places.size_of(place.data),
        "last_beat": 0.0,
        "is_set_up": is_set_up(place),
        "units": [name for name in (HEARTBEAT, unit_of(place)) if is_loaded(name)],
    }
    if seen["is_running"]:
        try:
            seen["is_standby"] = query("SELECT pg_is_in_recovery()", seconds=10)[0][0] == "t"
            sql = "SELECT extract(epoch FROM max(written_at)) FROM nano_ops.heartbeat"
            seen["last_beat"] = float(query(sql, database, seconds=10)[0][0] or 0)
        except (NotYetError, RestoreError, ValueError, IndexError):
            pass
        # A standby that runs has heard nothing since its last WAL.
        seen["last_sign"] = seen["last_sign"] if seen["is_standby"] else time.time()
    return seen


def space(place: Place, choice: Choice) -> dict[str, int]:
    """Return the bytes that the copy needs and those that are free; what an earlier one has copied counts."""
    existing = next(path for path in (place.base, *place.base.parents) if path.exists())
    done = places.size_of(place.fresh) if place.fresh.exists() else 0
    if place.data.exists() and never_promoted(place) and places.read_record(place) is not None:
        done = max(done, places.size_of(place.data))
    return {"needed": max(0, choice.backup.size - done) + MARGIN, "free": shutil.disk_usage(existing).free}


def problems(place: Place, wanted: Wanted, choice: Choice, seen: dict[str, Any], stanza: str) -> list[str]:
    """Return what speaks against the restore."""
    found = []
    if seen["version"] not in ("", str(place.version)):
        found.append(
            f"{place.data} was made by PostgreSQL {seen['version']}, postgresql_version is {place.version}: set it to "
            f"{seen['version']}, or move the directory away if it is not needed"
        )
    if seen["system_id"] and seen["system_id"] != str(choice.backup.system_id):
        found.append(
            f"{place.data} is of another cluster (system identifier {seen['system_id']}) than the backups "
            f"({choice.backup.system_id}): is this the right host and the right repository? If it is, and what is "
            "there is not "
            f"needed, stop PostgreSQL and move the directory away; a restore into an empty place asks for nothing"
        )
    room = space(place, choice)
    if room["needed"] > room["free"]:
        kept = (
            f"; restore_discard removes one of {', '.join(each['name'] for each in seen['kept'])}"
            if seen["kept"]
            else ""
        )
        found.append(
            f"{room['needed'] >> 20} MiB are needed beside the old data on the filesystem of {place.base}, "
            f"{room['free'] >> 20} MiB "
            f"are free: make room{kept}"
        )
    if there := restore_repository.tablespaces(stanza, choice.backup):
        found.append(
            f"backup {choice.backup.label} has tablespaces ({', '.join(there)}), which this procedure does not move: "
            "restore by "
            "hand, see docs/restore.md"
        )
    return found


def as_fact(choice: Choice) -> dict[str, Any]:
    """Return a choice as plain data."""
    backup = choice.backup
    return {
        "repository": backup.repository,
        "label": backup.label,
        "kind": backup.kind,
        "started": backup.started,
        "stopped": backup.stopped,
        "bytes": backup.size,
        "timeline": choice.timeline,
        "last_wal": choice.last_wal,
        "last_time": choice.last_time,
        "missing": choice.missing,
        "notes": choice.notes,
    }


def plan(
    place: Place,
    wanted: Wanted,
    stanza: str,
    *,
    database: str,
    grows: bool = False,
    accept_gap: bool = False,
    anew: bool = False,
) -> tuple[dict[str, Any], Choice | None, Record | None]:
    """Look at host and repositories and choose; return facts, the choice and the record of what was begun.

    Raises:
        RestoreError: the restore cannot be done; the text has all reasons.
    """
    record = places.read_record(place)
    seen = data(place, database)
    facts = {"data": seen, "wanted": vars(wanted), "goes_on": ""}
    if may_go_on(record, wanted, anew):
        assert record is not None
        facts |= {"goes_on": record.stage, "choice": record.choice, "begun": record.begun}
        facts["aside"] = record.aside or record.kept
        return facts, None, record
    if not seen["is_running"]:
        check_place(place, record)
    repositories = restore_repository.read(stanza)
    choice = choose(repositories, wanted, place.version, grows=grows, accept_gap=accept_gap)
    if found := problems(place, wanted, choice, seen, stanza):
        raise RestoreError("\n".join(found))
    facts |= {
        "choice": as_fact(choice),
        "space": space(place, choice),
        "repositories": [
            {
                "key": each.key,
                "problem": each.problem,
                "backups": len(each.backups),
                "newest": max((backup.stopped for backup in each.backups), default=0),
                "newest_wal": max(each.wal.values(), default=0),
            }
            for each in repositories
        ],
    }
    return facts, choice, record
