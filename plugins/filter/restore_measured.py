"""What a restore has measured, as options of the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.nano.ops.plugins.module_utils.restore_options import utc
from ansible_collections.nano.ops.plugins.plugin_utils.progress import duration

DOCUMENTATION = r"""
name: restore_measured
short_description: What a restore has measured, as options of the report
version_added: 0.1.0
author: nano.ops contributors
description:
  - Takes the result of state C(verified) of M(nano.ops.postgresql_restore).
positional: _input
options:
  _input:
    description: The result.
    type: dict
    required: true
"""

EXAMPLES = r"""
# {{ verified | nano.ops.restore_measured }}
"""

RETURN = r"""
_value:
  description: Dict of C(facts), C(measures), C(notes) and C(tables).
  type: dict
"""


def restore_measured(verified: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts, measures, notes and tables for nano.ops.report, from what state verified has returned."""
    end = verified["end"]
    facts = {
        "Restored until": utc(verified["newest"]) if verified["newest"] else "unknown: there was no heartbeat",
        "Last written before": utc(verified["reference"]) if verified["reference"] else "unknown",
        "Timeline": f"{end.get('timeline', '?')}, which begins at {end.get('end_lsn', '?')}",
        "Old data kept as": verified["aside"] or "there were none",
        "Databases": ", ".join(verified["databases"]),
        "pg_amcheck": "found nothing wrong" if verified["amcheck"] else "was left out",
        "Written and read": "yes",
    }
    if replayed := end.get("unarchived_replayed"):
        facts["Replayed from the old data"] = f"{len(replayed)} segments that were not archived: {', '.join(replayed)}"
    tables = []
    if verified["counts"]:
        rows = [
            [each["table"], each["then"], "gone" if each["now"] is None else each["now"]] for each in verified["counts"]
        ]
        tables = [
            {"title": "Rows, against the newest dump", "head": ["Table", "In the dump", "Restored"], "rows": rows}
        ]
    if verified["undone_seconds"] is not None:
        facts["Undone, as asked"] = f"what was written in the last {duration(verified['undone_seconds'])}"
    return {
        "facts": facts,
        "measures": {"rpo_seconds": verified["rpo_seconds"]},
        "notes": [f"look at table {text}" for text in verified["odd"]],
        "tables": tables,
    }


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return name to function."""
        return {"restore_measured": restore_measured}
