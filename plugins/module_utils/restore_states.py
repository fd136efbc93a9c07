"""The states of nano.ops.postgresql_restore, each a function of the module's options."""

from __future__ import annotations

import time
from typing import Any

from ansible_collections.nano.ops.plugins.module_utils import (
    restore_begin,
    restore_look,
    restore_options,
    restore_place,
    restore_server,
    restore_stages,
    restore_verify,
)
from ansible_collections.nano.ops.plugins.module_utils.restore_options import RestoreError
from ansible_collections.nano.ops.plugins.module_utils.restore_place import Place


def restored(params: dict[str, Any], place: Place, *, check: bool) -> dict[str, Any]:
    """Copy and swap, for some seconds."""
    wanted = restore_options.wanted(params, time.time())
    record = restore_place.read_record(place)
    goes_on = restore_begin.may_go_on(record, wanted, params["anew"])
    if (
        goes_on
        and record is not None
        and record.stage in ("swapped", "recovered")
        and not restore_place.is_empty(place.data)
    ):
        return {"changed": False, "stage": record.stage, "percent": 100.0, "is_done": True, "aside": record.aside}
    if check:
        # Who writes has not been stopped in a check run.
        return {"changed": True, "stage": "", "percent": 0.0, "is_done": True}
    restore_begin.check_place(place, record)
    if not goes_on or record is None:
        if restore_stages.copying(place):
            raise RestoreError(
                "a copy with other options is still under way on this host, nothing was changed: run it to its end "
                f"with its own options, or end its processes; what was begun stands in {place.beside('json')}"
            )
        options = {name: params[name] for name in ("database", "grows", "accept_gap", "anew")}
        facts, choice, record = restore_look.plan(place, wanted, params["stanza"], **options)
        assert choice is not None
        reference = max(params["reference"], facts["data"]["last_sign"])
        record = restore_begin.begin(place, wanted, choice, reference, record)
    seen = restore_stages.restore(place, record, params["stanza"], params["seconds"])
    return {
        "changed": True,
        "is_done": seen["stage"] != "copying",
        "aside": record.aside,
        **seen,
        "facts": record.facts,
    }


def needed(place: Place) -> restore_place.Record:
    """Return the record. Raises RestoreError when no restore was begun here."""
    record = restore_place.read_record(place)
    if record is None:
        raise RestoreError(f"no restore was begun on this host: {place.beside('json')} is not there")
    return record


def recovered(params: dict[str, Any], place: Place, *, check: bool) -> dict[str, Any]:
    """Start and follow recovery, for some seconds."""
    if check:
        return {"changed": True, "is_done": True}
    record = needed(place)
    unit = restore_server.unit_of(place)
    is_over = record.stage == "recovered"
    if not is_over and record.stage != "swapped":
        raise RestoreError(f"the restore on this host is {record.stage}, there is nothing to recover yet")
    if is_over:
        restore_server.start(place, record, unit)
        return {
            "changed": False,
            "is_done": restore_server.look(record)["is_done"],
            "facts": record.facts,
            "percent": 100.0,
        }
    seen = restore_server.follow(place, record, unit, params["seconds"])
    facts = {**record.facts, "reference": record.reference, "aside": record.aside, "begun": record.begun}
    return {"changed": True, **seen, "facts": facts, "stage": record.stage}


def verified(params: dict[str, Any], place: Place) -> dict[str, Any]:
    """Verify the data."""
    found = restore_verify.verify(
        params["version"],
        params["database"],
        params["expected"],
        with_amcheck=params["amcheck"],
        seconds=params["amcheck_seconds"],
    )
    record = needed(place)
    # Measured once: afterwards the heartbeat beats again.
    record.facts.setdefault("measured", restore_verify.measured(record, found["last_beat"]))
    restore_place.write_record(place, record)
    found |= {
        **record.facts["measured"],
        "end": {**record.facts, "measured": None},
        "aside": record.aside or record.kept,
    }
    if found["problems"]:
        raise RestoreError("; ".join(found["problems"]) + ". The server stays closed, the old data are kept")
    return {"changed": False, **found}


def put(params: dict[str, Any], place: Place, *, check: bool) -> dict[str, Any]:
    """Do the small states: opened, finished, aside, discarded."""
    state = params["state"]
    if state == "discarded":
        restore_place.discard(place, params["name"], check=check)
        return {"changed": True}
    if state == "aside":
        name = "" if restore_place.is_empty(place.data) else restore_begin.put_aside(place, check=check)
        return {"changed": bool(name), "aside": name}
    if state == "opened":
        changed = restore_server.is_closed()
        if changed and not check:
            restore_server.open_again()
        return {"changed": changed, "needs_restart": changed}
    record = needed(place)
    changed = record.stage != "finished"
    if changed and not check:
        record.stage = "finished"
        restore_place.write_record(place, record)
    return {"changed": changed, "kept": [path.name for path in place.kept()]}


def run(params: dict[str, Any], place: Place, *, check: bool) -> dict[str, Any]:
    """Bring about a state, or tell of it."""
    state = params["state"]
    if state == "looked":
        return {"changed": False, "data": restore_look.data(place, params["database"])}
    if state == "planned":
        wanted = restore_options.wanted(params, time.time())
        options = {name: params[name] for name in ("database", "grows", "accept_gap", "anew")}
        return {"changed": False, **restore_look.plan(place, wanted, params["stanza"], **options)[0]}
    if state == "restored":
        return restored(params, place, check=check)
    if state == "recovered":
        return recovered(params, place, check=check)
    if state == "verified":
        return {"changed": False} if check else verified(params, place)
    return put(params, place, check=check)
