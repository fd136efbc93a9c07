"""What Prometheus scrapes, computed from the inventory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.nano.ops.plugins.plugin_utils import topology

DOCUMENTATION = r"""
name: scrape_targets
short_description: Prometheus targets of the inventory's hosts, with the labels of the telemetry contract
version_added: 0.1.0
author: nano.ops contributors
description:
  - Every target carries C(instance) (inventory name), C(site), C(env) and C(service).
  - A member whose variable C(<group>_role) is C(cold) waits for a failover and is left out.
  - A job with C(probe) is asked of each blackbox exporter instead of the host itself.
positional: _input, hostvars, groups
options:
  _input:
    description: >-
      Dict of job name to C({group, port, service}), for a probe also C(probe) (the blackbox exporter's module) and
      C(probe_port) (port of the blackbox exporter), and
      C(needs), another group without whose members there is nothing to ask for.
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
"""

EXAMPLES = r"""
# {{ {'node_exporter': {'group': 'all', 'port': 9100, 'service': 'host'}} | nano.ops.scrape_targets(hostvars, groups) }}
"""

RETURN = r"""
_value:
  description: Dict of job name to C(static_configs); jobs that no host has are left out.
  type: dict
"""


def scrape_targets(
    jobs: Mapping[str, Mapping[str, Any]], hostvars: Mapping[str, Any], groups: Mapping[str, list[str]]
) -> dict[str, list[dict[str, Any]]]:
    """Return each job's static configurations.

    Raises:
        AnsibleFilterError: a host is in no site or in two.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for job, entry in jobs.items():
        configs = []
        if "needs" in entry and not topology.members([entry["needs"]], groups):
            continue
        for host in topology.members([entry["group"]], groups):
            if not topology.serves(host, entry["group"], hostvars):
                continue
            target = f"{topology.address(host, hostvars)}:{entry['port']}"
            labels = {
                "instance": host,
                "site": topology.site(host, groups),
                "env": str(hostvars[host].get("host_env", "production")),
                "service": entry["service"],
            }
            if "probe" not in entry:
                configs.append({"targets": [target], "labels": labels})
                continue
            for prober in topology.members(["blackbox_exporter"], groups):
                asked = f"{topology.address(prober, hostvars)}:{entry['probe_port']}"
                probe = {"__param_module": entry["probe"], "__param_target": target, "prober": prober}
                configs.append({"targets": [asked], "labels": labels | probe})
        if configs:
            found[job] = configs
    return found


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return name to function."""
        return {"scrape_targets": scrape_targets}
