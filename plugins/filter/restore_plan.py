"""What a restore finds on the members of group postgresql, and what it is going to do, in words."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ansible_collections.nano.ops.plugins.module_utils.restore_options import utc
from ansible_collections.nano.ops.plugins.plugin_utils.progress import duration

DOCUMENTATION = r"""
name: restore_plan
short_description: What a restore is going to do, and what speaks against it
version_added: 0.1.0
author: nano.ops contributors
description:
  - Puts together what M(nano.ops.postgresql_restore) has found on the members of group postgresql and in the
    repositories. Returns lines for people, what speaks against it, and the estimated loss.
positional: _input, members, host, accepted
options:
  _input:
    description: Result of state C(planned).
    type: dict
    required: true
  members:
    description: Result of filter restore_survey.
    type: dict
    required: true
  host:
    description: The host that is restored.
    type: str
    required: true
  accepted:
    description: Members that the operator knows to be dead.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
# {{ planned | nano.ops.restore_plan(groups['postgresql'] | nano.ops.restore_survey(hostvars), 'db1') }}
"""

RETURN = r"""
_value:
  description: Dict of C(lines), C(problems), C(loss), C(loss_seconds) and C(facts).
  type: dict
"""


STAGES = {
    "copying": "was cut off while it copied the backup",
    "copied": "has copied the backup",
    "swapped": "has put the backup into place and has not ended its recovery",
    "recovered": "has ended its recovery and is not finished",
}


def size(count: float) -> str:
    """Return bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def ago(moment: float, now: float) -> str:
    """Return a moment with its age."""
    return f"{utc(moment)} ({duration(now - moment)} ago)"


def target_words(wanted: Mapping[str, Any], choice: Mapping[str, Any], now: float) -> str:
    """Return until when WAL is replayed."""
    bound = "just before" if wanted["exclusive"] else "including"
    if wanted["type"] == "time":
        return f"{ago(wanted['moment'], now)}, {bound} it"
    if wanted["type"] == "lsn":
        return f"position {wanted['target']}, {bound} it"
    if wanted["type"] == "name":
        return f"restore point {wanted['target']}"
    if wanted["type"] == "immediate":
        return "the end of the backup, no further"
    if "last_time" not in choice:
        return "the end of the archive"
    return f"the end of the archive; its newest WAL was stored at {ago(choice['last_time'], now)}"


def loss(planned: Mapping[str, Any], members: Mapping[str, Any], host: str, now: float) -> tuple[str, float | None]:
    """Return the estimated loss in words and in seconds, None where it cannot be told."""
    wanted, choice, data = planned["wanted"], planned["choice"], planned["data"]
    primary = next(iter(members["primaries"]), "")
    # The last moment that somebody can have written something.
    until = now if primary else data["last_sign"] or now
    if wanted["type"] == "time":
        undone = max(0.0, until - wanted["moment"])
        return f"what was written in the last {duration(undone)} before {utc(until)} is undone, as you ask", undone
    if wanted["type"] in ("lsn", "name", "immediate"):
        return f"everything that was written after that point, until {utc(until)}, is undone, as you ask", None
    if primary:
        waiting = members["seen"][primary]["unarchived"]
        more = f"; {waiting} segments wait to be archived, which have to get through" if waiting > 1 else ""
        return f"none is expected: {primary} stores the rest of its WAL when it is stopped{more}", 0.0
    behind = max(0.0, until - choice["last_time"])
    if not data["is_empty"] and data["system_id"]:
        return (
            f"none, where the WAL that {host} had not yet stored can be read from its old data and is replayed too; "
            "else what was "
            f"written in the last {duration(behind)} before {utc(until)}"
        ), behind
    return (
        f"everything after {ago(choice['last_time'], now)}; the old data are not here to tell how much that is",
        behind,
    )


def others_words(members: Mapping[str, Any], host: str) -> dict[str, str]:
    """Return what happens to each of the other members."""
    words = {}
    for name, data in members["seen"].items():
        if name == host:
            continue
        kind = (
            "primary" if name in members["primaries"] else "standby" if name in members["standbys"] else "not running"
        )
        words[name] = (
            f"is empty: built as a standby of {host}"
            if data["is_empty"]
            else f"({kind}) is stopped; at the end its data are put aside, and it is built anew as a standby of {host}"
        )
    away = "cannot be reached and is left alone: keep it from starting as a primary"
    return words | {name: away for name in members["away"]}


def problems(planned: Mapping[str, Any], members: Mapping[str, Any], host: str, accepted: list[str]) -> list[str]:
    """Return what speaks against the restore."""
    found = [
        f"{name} cannot be reached: if it lives, it may be the primary and go on taking writes that would be lost. "
        "Make sure that "
        "it is down or cut off, then say so with -e "
        f"restore_unreachable={','.join(sorted({*accepted, *members['away']}))}"
        for name in members["away"]
        if name not in accepted
    ]
    if len(members["primaries"]) > 1:
        found.append(
            f"{' and '.join(members['primaries'])} both run as primaries: stop the one that the application does not "
            "use first"
        )
    return found


def restore_plan(
    planned: Mapping[str, Any], members: Mapping[str, Any], host: str, accepted: list[str] | str = "", now: float = 0.0
) -> dict[str, Any]:
    """Put the plan together.

    Args:
        planned: what state planned has returned.
        members: what restore_survey has returned.
        host: the host that is restored.
        accepted: members that are known to be dead, as a list or separated by commas.
        now: seconds since 1970; the clock's by default.
    """
    now = now or time.time()
    known = (
        [name.strip() for name in accepted.split(",") if name.strip()] if isinstance(accepted, str) else list(accepted)
    )
    wanted, choice, data = planned["wanted"], planned["choice"], planned["data"]
    if planned["goes_on"]:
        facts = {
            "Goes on": f"with the restore begun at {ago(planned['begun'], now)}, which {STAGES[planned['goes_on']]}",
            "Backup": f"{choice['label']} of repository {choice['repository']}",
            "Replay until": target_words(wanted, choice, now),
        }
        words, seconds = "as it was told when the restore was begun", None
    else:
        words, seconds = loss(planned, members, host, now)
        facts = {
            "Backup": f"{choice['label']} ({choice['kind']}) of repository {choice['repository']}, made at "
            f"{ago(choice['stopped'], now)}, {size(choice['bytes'])}",
            "Replay until": target_words(wanted, choice, now),
            "Loss": words,
            "Disk": f"{size(planned['space']['needed'])} needed, {size(planned['space']['free'])} free",
        }
    old = f"{data['path']} ({size(data['bytes'])}) is kept beside it as main.before-restore-..., never deleted"
    if data["is_empty"]:
        old = ""
    if planned["goes_on"] in ("swapped", "recovered"):
        old = f"are kept as {planned['aside']}" if planned["aside"] else ""
    facts["Old data"] = old or "there are none"
    facts |= others_words(members, host)
    facts["Application"] = f"has no database until the restored data are verified; then it finds {host} by itself"
    notes = list(choice.get("notes", []))
    if wanted["type"] == "latest" and not planned["goes_on"]:
        notes += [
            f"{name} is a living standby: promoting it takes seconds and loses less than this"
            for name in members["standbys"]
            if name != host and not members["primaries"]
        ]
    if data["kept"]:
        kept = ", ".join(f"{each['name']} ({size(each['bytes'])})" for each in data["kept"])
        notes.append(f"kept from earlier restores: {kept}")
    width = max(map(len, facts))
    lines = [f"Restore of PostgreSQL on {host}", *(f"  {name:<{width}}  {text}" for name, text in facts.items())]
    return {
        "lines": lines + [f"  note: {text}" for text in notes],
        "problems": problems(planned, members, host, known),
        "loss": words,
        "loss_seconds": seconds,
        "facts": facts,
        "notes": notes,
    }


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return name to function."""
        return {"restore_plan": restore_plan}
