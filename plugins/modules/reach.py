"""Which hosts answer, seen from here."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nano.ops.plugins.module_utils.failover import reach

DOCUMENTATION = r"""
module: reach
short_description: Which hosts answer, seen from here
version_added: 0.3.0
author: nano.ops contributors
description:
  - Knocks at ports of several hosts at once. A host that takes no connection costs C(seconds), however many there are.
  - A closed firewall and a host that is down look alike; ask from several places, and at a port that is open to each.
options:
  targets:
    description: Name to address.
    type: dict
    required: true
  ports:
    description: TCP ports to knock at.
    type: list
    elements: int
    required: true
  seconds:
    description: How long to wait for a host, in seconds.
    type: float
    default: 2
attributes:
  check_mode:
    description: It changes nothing.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
"""

EXAMPLES = r"""
- name: Ask whether the other site is there
  nano.ops.reach:
    targets: {db1: 10.0.1.22}
    ports: [22, 5432]
"""

RETURN = r"""
answers:
  description: Host to the ports that took a connection.
  returned: success
  type: dict
"""


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "targets": {"type": "dict", "required": True},
            "ports": {"type": "list", "elements": "int", "required": True},
            "seconds": {"type": "float", "default": 2.0},
        },
        supports_check_mode=True,
    )
    params = module.params
    targets = {host: str(address) for host, address in params["targets"].items()}
    module.exit_json(changed=False, answers=reach(targets, params["ports"], params["seconds"]))


if __name__ == "__main__":
    main()
