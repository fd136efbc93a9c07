"""The members of group postgresql, sorted by what a restore finds on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DOCUMENTATION = r"""
name: restore_survey
short_description: Sort the members of group postgresql by what was found on them
version_added: 0.1.0
author: nano.ops contributors
description:
  - Takes what state C(looked) of M(nano.ops.postgresql_restore) has registered on each member as C(restore_looked).
positional: _input, hostvars
options:
  _input:
    description: Members of the group.
    type: list
    elements: str
    required: true
  hostvars:
    description: The variable of that name.
    type: dict
    required: true
"""

EXAMPLES = r"""
# {{ groups['postgresql'] | nano.ops.restore_survey(hostvars) }}
"""

RETURN = r"""
_value:
  description: Dict of C(seen) (host to data), and the hosts that are C(away), C(primaries) and C(standbys) that run.
  type: dict
"""


def restore_survey(hosts: list[str], hostvars: Mapping[str, Any]) -> dict[str, Any]:
    """Sort the members by what was found: C(seen), C(away), C(primaries) and C(standbys) that run.

    Args:
        hosts: members of the group.
        hostvars: the variable of that name; each host that was looked at has C(restore_looked).
    """
    own = sorted(host for host in hosts if not hostvars[host].get("postgresql_attach", False))
    seen = {}
    for host in own:
        looked = hostvars[host].get("restore_looked", {})
        if looked.get("data"):
            seen[host] = looked["data"]
    running = [host for host in seen if seen[host]["is_running"]]
    return {
        "seen": seen,
        "away": [host for host in own if host not in seen],
        "primaries": [host for host in running if not seen[host]["is_standby"]],
        "standbys": [host for host in running if seen[host]["is_standby"]],
    }


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return name to function."""
        return {"restore_survey": restore_survey}
