"""Where a restore begins: whether it may, what is written down of it, and whether it goes on with an earlier one."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from datetime import UTC, datetime

from ansible_collections.nano.ops.plugins.module_utils import restore_place as places
from ansible_collections.nano.ops.plugins.module_utils.restore_choice import Choice
from ansible_collections.nano.ops.plugins.module_utils.restore_options import RestoreError, Wanted
from ansible_collections.nano.ops.plugins.module_utils.restore_place import Place, Record
from ansible_collections.nano.ops.plugins.module_utils.restore_repository import as_postgres


def ensure_base(place: Place) -> None:
    """Make the folder that data directories lie in, on a host that never had one."""
    if not place.base.exists():
        account = as_postgres()
        place.base.mkdir(mode=0o755)
        os.chown(place.base, account["user"], account["group"])


def may_go_on(record: Record | None, wanted: Wanted, anew: bool) -> bool:
    """Whether a restore that was begun is the one that is asked for."""
    return record is not None and record.stage != "finished" and wanted.same(record.options) and not anew


def check_place(place: Place, record: Record | None) -> None:
    """Refuse where going on could lose something.

    Raises:
        RestoreError: a server runs there, or something is in the way.
    """
    if places.is_running(place):
        raise RestoreError(f"PostgreSQL runs on {place.data}, nothing was changed: stop it first")
    if place.data.is_symlink() or os.path.ismount(place.data):
        raise RestoreError(
            f"{place.data} is a link or a filesystem of its own, so that it cannot be renamed: mount {place.base} "
            "instead"
        )
    if not places.is_empty(place.data) and not (place.data / "PG_VERSION").is_file():
        raise RestoreError(
            f"{place.data} is not empty and holds no PostgreSQL cluster, nothing was changed: look at what is in it "
            "and "
            "move it away if it is not needed"
        )
    if place.fresh.exists() and record is None:
        raise RestoreError(
            f"{place.fresh} is there, and no record of a restore that made it: look at it and move it away"
        )


def begin(place: Place, wanted: Wanted, choice: Choice, reference: float, record: Record | None) -> Record:
    """Write down what is begun, in place of what was begun before.

    Args:
        place: where.
        wanted: what is asked for.
        choice: what was chosen for it.
        reference: the last sign of life of the old data, in seconds since 1970.
        record: what was begun before.
    """
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    fresh = Record(
        options=asdict(wanted),
        choice={
            "repository": choice.backup.repository,
            "label": choice.backup.label,
            "timeline": choice.timeline,
            "first_wal": choice.backup.first_wal,
            "last_wal": choice.last_wal,
            "stopped": choice.backup.stopped,
        },
        begun=time.time(),
        aside=place.free_name(stamp),
        reference=reference,
    )
    if record is not None and record.stage != "finished":
        fresh.kept = record.kept or record.aside
        fresh.reference = record.reference or reference
        if record.stage == "swapped" and never_promoted(place):
            # Nobody ever wrote to it: it is a copy of a backup, and saves copying most of it once more.
            places.remove(place.fresh)
            place.data.rename(place.fresh)
    ensure_base(place)
    places.write_record(place, fresh)
    return fresh


def never_promoted(place: Place) -> bool:
    """Whether the data directory is one that recovery began in and never ended."""
    state = places.control(place, place.data).get("Database cluster state", "")
    return state in places.NEVER_PROMOTED or (place.data / "recovery.signal").exists()


def put_aside(place: Place, *, check: bool) -> str:
    """Put the data directory of a member aside that is to be built anew; return its new name.

    Raises:
        RestoreError: a server runs there, or it cannot be renamed.
    """
    check_place(place, places.read_record(place))
    name: str = place.free_name(f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    if not check:
        place.data.rename(place.base / name)
        places.sync(place.base)
    return name
