"""What a failover has measured, for its report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DOCUMENTATION = r"""
name: failover_measured
short_description: What a failover has measured, for its report
version_added: 0.3.0
author: nano.ops contributors
description:
  - The loss is the time between the newest write that the new primary has and the last moment that the old one was
    seen alive; it is the most that it may be. The heartbeat is written every five seconds, so that less than that is
    not seen.
positional: _input, plan
options:
  _input:
    description: What module postgresql_failover has returned with C(promoted).
    type: dict
    required: true
  plan:
    description: The plan, of filter failover_plan.
    type: dict
    required: true
"""

EXAMPLES = r"""
# {{ failover_promoted | nano.ops.failover_measured(failover_plan) }}
"""

RETURN = r"""
_value:
  description: C(rpo_seconds), if it can be told.
  type: dict
"""


def failover_measured(promoted: Mapping[str, Any], plan: Mapping[str, Any]) -> dict[str, float]:
    """Return the measures of a failover."""
    alive, newest = float(plan["alive"]), float(promoted["last_heartbeat"])
    return {"rpo_seconds": round(max(0.0, alive - newest), 1)} if alive and newest else {}


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return name to function."""
        return {"failover_measured": failover_measured}
