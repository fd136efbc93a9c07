"""Who becomes the primary after the loss of a site, and what an operator has to know before saying yes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.nano.ops.plugins.plugin_utils.failover_plan import Plan

DOCUMENTATION = r"""
name: failover_plan
short_description: Who becomes the primary after the loss of a site, and what that would lose
version_added: 0.3.0
author: nano.ops contributors
description:
  - Reads what the play before has registered on the hosts that are left, and decides. Nothing is done here.
positional: _input, hostvars, site, host
options:
  _input:
    description: The variable C(groups).
    type: dict
    required: true
  hostvars:
    description: The variable of that name.
    type: dict
    required: true
  site:
    description: The group of the site that is lost.
    type: str
    required: true
  host:
    description: Who is to become the primary; empty takes the one that has most.
    type: str
    default: ""
"""

EXAMPLES = r"""
# {{ groups | nano.ops.failover_plan(hostvars, 'site_a') }}
"""

RETURN = r"""
_value:
  description: >-
    Dict of C(target), C(groups) (hosts for groups of the run), C(unfenced) (old database hosts that cannot be stopped
    from here), C(lines) (the page), C(problems), C(facts), C(notes), C(epoch), C(is_claimed), C(timeline),
    C(system_identifier), C(records), C(dns_from), C(url), C(resolve), C(alive) (when the old primary was last seen)
    and C(next).
  type: dict
"""


def failover_plan(groups: Mapping[str, list[str]], hostvars: Mapping[str, Any], site: str, host: str = "") -> Any:
    """Make the plan; see Plan."""
    return Plan(groups, hostvars, site, host).plan()


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return name to function."""
        return {"failover_plan": failover_plan}
