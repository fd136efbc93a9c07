"""Where people come in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.nano.ops.plugins.plugin_utils import topology

DOCUMENTATION = r"""
name: door_url
short_description: URL of the people's door, for the links that programs put into alerts and pages
version_added: 0.1.0
author: nano.ops contributors
description:
  - >-
    The door is on the members of group C(nginx) that watch too, or whose C(nginx_sites) has C(door); the first one
    counts.
  - Its name is the first of C(nginx_names), else the host's address.
positional: _input, hostvars
options:
  _input:
    description: Ansible's C(groups).
    type: dict
    required: true
  hostvars:
    description: Ansible's C(hostvars).
    type: dict
    required: true
"""

EXAMPLES = r"""
# {{ groups | nano.ops.door_url(hostvars) }}
"""

RETURN = r"""
_value:
  description: URL without a slash at its end, empty if there is no door.
  type: str
"""

WATCHING = ("prometheus", "alertmanager", "jaeger", "grafana")


def door_url(groups: Mapping[str, list[str]], hostvars: Mapping[str, Any]) -> str:
    """Return the door's URL."""
    watching = set(topology.members(WATCHING, groups))
    for host in topology.members(["nginx"], groups):
        sites = hostvars[host].get("nginx_sites") or []
        if "door" in sites or (not sites and host in watching):
            names = hostvars[host].get("nginx_names") or [topology.address(host, hostvars)]
            return f"https://{names[0]}"
    return ""


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return name to function."""
        return {"door_url": door_url}
