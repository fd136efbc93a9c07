"""Look at a PostgreSQL server, wait until a standby has replayed what it has, make it the primary."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nano.ops.plugins.module_utils import failover

DOCUMENTATION = r"""
module: postgresql_failover
short_description: Make a standby the primary, with care
version_added: 0.3.0
author: nano.ops contributors
description:
  - C(seen) tells what the server of this host is and how far it has come. C(fenced) stops it, kills it if it does not
    let itself be stopped, and keeps it from starting with its host. C(gated) waits until a standby has replayed all the
    WAL that it has received, and refuses while a primary still sends some. C(promoted) makes it the primary, writes a
    row and checks its timeline.
  - What was done already is left, so that a procedure that was cut off runs again.
  - Whether it may become the primary is decided by others before; see the playbook failover.
options:
  state:
    description: What to do.
    type: str
    choices: [seen, fenced, gated, promoted]
    default: seen
  database:
    description: The application's database, which has the heartbeat.
    type: str
    default: nano
  host:
    description: Name of this host in the inventory, for the row that is written. Needed for C(promoted).
    type: str
  seconds:
    description: How long it may take, in seconds.
    type: int
    default: 30
attributes:
  check_mode:
    description: Looks only.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
"""

EXAMPLES = r"""
- name: Promote the standby
  nano.ops.postgresql_failover:
    state: promoted
    host: "{{ inventory_hostname }}"
"""

RETURN = r"""
server:
  description: >-
    What it is: C(is_standby), C(system_identifier), C(timeline), C(received), C(replayed), C(is_streaming),
    C(is_paused), C(heartbeat) and its C(age) in seconds. Not with C(fenced).
  returned: success
  type: dict
killed:
  description: With C(fenced), the units that did not let themselves be stopped.
  returned: success
  type: list
  elements: str
timeline:
  description: With C(promoted), the timeline that it writes on.
  returned: success
  type: int
last_heartbeat:
  description: With C(promoted), the newest heartbeat of the old primary that is here, in seconds since 1970.
  returned: success
  type: float
written:
  description: With C(promoted), when the first write was acknowledged, in seconds since 1970.
  returned: success
  type: float
"""


def work(params: dict[str, Any], check: bool) -> dict[str, Any]:
    """Do what a state says and return the module's result.

    Raises:
        FailoverError: it cannot be done.
    """
    database = params["database"]
    if params["state"] == "fenced":
        return {"changed": True, "killed": []} if check else failover.fence(failover.units())
    if params["state"] == "seen" or check:
        return {"changed": False, "server": failover.state(database)}
    if params["state"] == "gated":
        return {"changed": False, "server": failover.gate(database, params["seconds"])}
    result = failover.promote(database, params["host"], params["seconds"])
    return {**result, "server": failover.state(database)}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["seen", "fenced", "gated", "promoted"], "default": "seen"},
            "database": {"type": "str", "default": "nano"},
            "host": {"type": "str"},
            "seconds": {"type": "int", "default": 30},
        },
        required_if=[("state", "promoted", ("host",))],
        supports_check_mode=True,
    )
    try:
        result = work(module.params, module.check_mode)
    except failover.FailoverError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
