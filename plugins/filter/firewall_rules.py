"""The firewall of a host, computed from who talks to whom."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.nano.ops.plugins.plugin_utils import topology

DOCUMENTATION = r"""
name: firewall_rules
short_description: Rules that open a host's ports to the hosts that use them
version_added: 0.1.0
author: nano.ops contributors
description:
  - Takes the platform's ports with the groups that listen and the groups that connect, and returns the rules of one
    host. A port that nobody else uses gets no rule.
positional: _input, hostvars, groups, host
options:
  _input:
    description: >-
      Dict of name to C({port, proto, to, from, networks}); C(proto) is tcp (the default) or udp, C(to) and C(from) are
      lists of inventory groups, C(networks) a list of CIDR that may connect as well (IPv4 ones count).
    type: dict
    required: true
  hostvars:
    description: The variable of that name.
    type: dict
    required: true
  groups:
    description: The variable of that name.
    type: dict
    required: true
  host:
    description: Inventory name of the host whose rules are wanted.
    type: str
    required: true
"""

EXAMPLES = r"""
# {{ {'redis': {'port': 6379, 'to': ['redis'], 'from': ['nano_api']}}
#    | nano.ops.firewall_rules(hostvars, groups, inventory_hostname) }}
"""

RETURN = r"""
_value:
  description: List of C({comment, port, proto, sources}), sorted by port; C(sources) are IPv4 addresses and networks.
  type: list
  elements: dict
"""


def collapsed(networks: list[str]) -> list[str]:
    """Return IPv4 addresses and networks, sorted, without those that another one holds."""
    found = {ipaddress.IPv4Network(network, strict=False) for network in networks}
    widest = [each for each in found if not any(each != other and each.subnet_of(other) for other in found)]
    return sorted(str(network).removesuffix("/32") for network in widest)


def firewall_rules(
    ports: Mapping[str, Mapping[str, Any]], hostvars: Mapping[str, Any], groups: Mapping[str, list[str]], host: str
) -> list[dict[str, Any]]:
    """Return the rules of a host.

    Raises:
        AnsibleFilterError: an entry lacks a key, or its port or protocol is none.
    """
    rules = []
    for name, entry in ports.items():
        missing = {"port", "to", "from"} - set(entry)
        if missing:
            raise AnsibleFilterError(f"firewall port {name} lacks {', '.join(sorted(missing))}")
        port, proto = int(entry["port"]), entry.get("proto", "tcp")
        if not 0 < port < 65536 or proto not in ("tcp", "udp"):
            raise AnsibleFilterError(f"firewall port {name}: {proto} {port} is not a port of tcp or udp")
        if host not in topology.members(entry["to"], groups):
            continue
        others = [other for other in topology.members(entry["from"], groups) if other != host]
        # Joined where one holds another: nftables refuses overlapping elements.
        wanted = [*(topology.address(other, hostvars) for other in others), *entry.get("networks", [])]
        sources = collapsed([network for network in wanted if ":" not in network])
        if sources:
            rules.append({"comment": name, "port": port, "proto": proto, "sources": sources})
    return sorted(rules, key=lambda rule: (rule["port"], rule["comment"]))


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return name to function."""
        return {"firewall_rules": firewall_rules}
