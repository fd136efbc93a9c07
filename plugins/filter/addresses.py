"""Private addresses of hosts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.nano.ops.plugins.plugin_utils import topology

DOCUMENTATION = r"""
name: addresses
short_description: Private addresses of hosts
version_added: 0.1.0
author: nano.ops contributors
description:
  - Returns C(host_address) of each host as role host would have it, in the order given.
positional: _input, hostvars
options:
  _input:
    description: Inventory names.
    type: list
    elements: str
    required: true
  hostvars:
    description: The variable of that name.
    type: dict
    required: true
"""

EXAMPLES = r"""
# {{ groups['postgresql'] | nano.ops.addresses(hostvars) }}
"""

RETURN = r"""
_value:
  description: IPv4 addresses.
  type: list
  elements: str
"""


def addresses(hosts: list[str], hostvars: Mapping[str, Any]) -> list[str]:
    """Return the address of each host."""
    return [topology.address(host, hostvars) for host in hosts]


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return name to function."""
        return {"addresses": addresses}
