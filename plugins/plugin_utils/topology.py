"""What the inventory says about hosts: their address, their site, their groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError


def address(host: str, hostvars: Mapping[str, Any]) -> str:
    """Return the private address of a host, as role host's default has it."""
    variables = hostvars[host]
    for name in ("host_address", "ansible_host"):
        if name in variables:
            return str(variables[name])
    return host


def site(host: str, groups: Mapping[str, list[str]]) -> str:
    """Return the host's site.

    Raises:
        AnsibleFilterError: the host is in no group `site_*` or in two.
    """
    found = sorted(name for name, members in groups.items() if name.startswith("site_") and host in members)
    if len(found) != 1:
        raise AnsibleFilterError(f"host {host} must be in one group site_*, it is in {', '.join(found) or 'none'}")
    return found[0]


def members(names: Iterable[str], groups: Mapping[str, list[str]]) -> list[str]:
    """Return the hosts of several groups, sorted; a group that the inventory lacks has none."""
    return sorted({host for name in names for host in groups.get(name, [])})


def serves(host: str, group: str, hostvars: Mapping[str, Any]) -> bool:
    """Return whether a member of a group serves; a cold one waits for a failover."""
    return bool(hostvars[host].get(f"{group}_role") != "cold")
