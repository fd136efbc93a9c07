"""Which PostgreSQL host is the primary now, and what is to be made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

DOCUMENTATION = r"""
name: postgresql_plan
short_description: Which host is the primary now, and what is to be made
version_added: 0.1.0
author: nano.ops contributors
description:
  - What the data directories hold wins over the inventory. Refuses where going on could lose data.
positional: _input, hostvars
options:
  _input:
    description: Members of the group.
    type: list
    required: true
  hostvars:
    description: The variable of that name.
    type: dict
    required: true
"""

EXAMPLES = r"""
# {{ groups['postgresql'] | nano.ops.postgresql_plan(hostvars) }}
"""

RETURN = r"""
_value:
  description: Dict of C(primary), C(initialise), C(build) and C(swapped), all of them host names.
  type: dict
"""


def postgresql_plan(states: Mapping[str, str], roles: Mapping[str, str]) -> dict[str, Any]:
    """Decide which host is the primary now, and what is to be made.

    What the data directories say wins over the inventory: after a failover the inventory is old.

    Args:
        states: host to what its data directory holds: empty, primary or standby. Hosts that were not looked at are
            missing.
        roles: host to its role in the inventory, of every host of the group.

    Returns:
        C(primary) (host), C(initialise) (host that gets a new cluster, or ""), C(build) (hosts that get a copy) and
        C(swapped) (hosts whose data says something else than the inventory).

    Raises:
        AnsibleFilterError: going on could lose data.
    """
    declared = [host for host, role in roles.items() if role == "primary"]
    found = sorted(host for host, state in states.items() if state == "primary")
    followers = sorted(host for host, state in states.items() if state == "standby")
    empty = sorted(host for host, state in states.items() if state == "empty")
    unknown = sorted(set(roles) - set(states))
    swapped = sorted(host for host, state in states.items() if state != "empty" and state != roles[host])
    if len(found) > 1:
        raise AnsibleFilterError(
            f"postgresql: {' and '.join(found)} each hold the data of a primary, nothing was changed. Find out which "
            "one the application writes to, stop the other, and keep its data until you are sure."
        )
    if found:
        return {"primary": found[0], "initialise": "", "build": empty, "swapped": swapped}
    if len(declared) != 1:
        raise AnsibleFilterError(f"postgresql: {len(declared)} hosts have postgresql_role primary, there must be one")
    primary = declared[0]
    if primary in empty:
        if followers:
            raise AnsibleFilterError(
                f"postgresql: {primary} is empty, but {followers[0]} holds a standby's data, nothing was changed. A "
                f"new cluster would cut it off for good: promote {followers[0]}, or restore {primary} first."
            )
        if unknown:
            raise AnsibleFilterError(
                f"postgresql: {primary} is empty and {', '.join(unknown)} could not be looked at, nothing was changed. "
                "It may hold the data: run without --limit, with all hosts up."
            )
        others = [host for host in empty if host != primary]
        return {"primary": primary, "initialise": primary, "build": others, "swapped": swapped}
    return {"primary": primary, "initialise": "", "build": empty, "swapped": swapped}


def plan_of(members: list[str], hostvars: Mapping[str, Any]) -> dict[str, Any]:
    """Make the plan from the variables of the group's members, see postgresql_plan."""
    own = [host for host in members if not hostvars[host].get("postgresql_attach", False)]
    seen = {host: hostvars[host].get("__postgresql_cluster", {}).get("holds", "") for host in own}
    roles = {host: str(hostvars[host].get("postgresql_role", "primary")) for host in own}
    return postgresql_plan({host: state for host, state in seen.items() if state}, roles)


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return name to function."""
        return {"postgresql_plan": plan_of}
