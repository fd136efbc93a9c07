"""The names of role dns that move, and where each may lead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.nano.ops.plugins.plugin_utils import topology

DOCUMENTATION = r"""
name: dns_records
short_description: The names of role dns, where each may lead, and where it begins
version_added: 0.2.0
author: nano.ops contributors
description:
  - C(api) leads to a host of group C(nano_api), by its public address; C(db) to a host of group C(postgresql), by its
    private one. A name whose group has no members is left out.
  - >-
    C(api) begins at the first host that is not cold. C(db) begins at the host whose data is a primary's if a run has
    looked at the data already, else at the one that the inventory calls primary.
positional: _input, hostvars
options:
  _input:
    description: The variable C(groups).
    type: dict
    required: true
  hostvars:
    description: The variable of that name.
    type: dict
    required: true
"""

EXAMPLES = r"""
# {{ (groups | nano.ops.dns_records(hostvars)).db.addresses['db2'] }}
"""

RETURN = r"""
_value:
  description: >-
    Dict of name to C(addresses) (of each host that it may lead to), C(begins) (the host that it begins at) and
    C(record) (its C(name) and C(value), as M(nano.ops.dns_record) takes them).
  type: dict
"""

# Which group's hosts a name may lead to.
GROUPS = {"api": "nano_api", "db": "postgresql"}


def begins(name: str, hosts: list[str], hostvars: Mapping[str, Any]) -> str:
    """Return the host that a name leads to as long as nothing was moved."""
    if name == "db":
        looked = [host for host in hosts if hostvars[host].get("__postgresql_cluster", {}).get("holds") == "primary"]
        said = [host for host in hosts if hostvars[host].get("postgresql_role") == "primary"]
        return [*looked, *said, *hosts][0]
    return next((host for host in hosts if topology.serves(host, GROUPS[name], hostvars)), hosts[0])


def dns_records(groups: Mapping[str, list[str]], hostvars: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the names and where they may lead."""
    found = {}
    for name, group in GROUPS.items():
        hosts = topology.members([group], groups)
        if not hosts:
            continue
        addresses = {host: topology.address(host, hostvars) for host in hosts}
        if name == "api":
            for host in hosts:
                addresses[host] = str(hostvars[host].get("dns_public_addresses", {}).get(host, addresses[host]))
        first = begins(name, hosts, hostvars)
        found[name] = {"addresses": addresses, "begins": first, "record": {"name": name, "value": addresses[first]}}
    return found


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return name to function."""
        return {"dns_records": dns_records}
