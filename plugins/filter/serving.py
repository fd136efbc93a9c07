"""Which members of a group serve, and which wait."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.nano.ops.plugins.plugin_utils import topology

DOCUMENTATION = r"""
name: serving
short_description: The hosts whose variable <group>_role is not C(cold)
version_added: 0.1.0
author: nano.ops contributors
description:
  - A cold member has everything installed and waits for a failover; nobody asks it and nobody expects it to answer.
positional: _input, group, hostvars
options:
  _input:
    description: Names of hosts.
    type: list
    elements: str
    required: true
  group:
    description: Their group, the prefix of the variable.
    type: str
    required: true
  hostvars:
    description: Ansible's C(hostvars).
    type: dict
    required: true
"""

EXAMPLES = r"""
# {{ groups['nano_api'] | nano.ops.serving('nano_api', hostvars) }}
"""

RETURN = r"""
_value:
  description: Names of hosts, in their order.
  type: list
  elements: str
"""


def serving(hosts: list[str], group: str, hostvars: Mapping[str, Any]) -> list[str]:
    """Return the hosts that are not cold."""
    return [host for host in hosts if topology.serves(host, group, hostvars)]


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return name to function."""
        return {"serving": serving}
