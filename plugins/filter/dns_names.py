"""The names of role dns that may lead to a host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.nano.ops.plugins.filter.dns_records import GROUPS

DOCUMENTATION = r"""
name: dns_names
short_description: The full names that may lead to a host
version_added: 0.2.0
author: nano.ops contributors
description:
  - The host's certificate has to carry them, else a client that comes by the name takes the host for somebody else.
    None without C(dns_zone).
positional: _input, hostvars, host
options:
  _input:
    description: The variable C(groups).
    type: dict
    required: true
  hostvars:
    description: The variable of that name.
    type: dict
    required: true
  host:
    description: Inventory name of the host.
    type: str
    required: true
"""

EXAMPLES = r"""
# {{ groups | nano.ops.dns_names(hostvars, inventory_hostname) }}
"""

RETURN = r"""
_value:
  description: Full names.
  type: list
  elements: str
"""


def dns_names(groups: Mapping[str, list[str]], hostvars: Mapping[str, Any], host: str) -> list[str]:
    """Return the full names that may lead to a host."""
    zone = str(hostvars[host].get("dns_zone") or "")
    return [f"{name}.{zone}" for name, group in GROUPS.items() if zone and host in groups.get(group, [])]


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return name to function."""
        return {"dns_names": dns_names}
