"""Hand the writes of PostgreSQL from one host to another so that nothing is lost."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nano.ops.plugins.module_utils import member, switchover
from ansible_collections.nano.ops.plugins.module_utils.failover import FailoverError
from ansible_collections.nano.ops.plugins.module_utils.restore_options import RestoreError

DOCUMENTATION = r"""
module: postgresql_switchover
short_description: Hand the writes of PostgreSQL to another host without loss
version_added: 0.3.0
author: nano.ops contributors
description:
  - The host's half of a planned change of the primary. M(nano.ops.postgresql_failover) promotes in between.
  - A note beside the data directory says what was begun. What was done already is left, so that a procedure that was
    cut off runs again.
options:
  state:
    description:
      - C(seen) tells what the data and the server of this host are. It changes nothing.
      - C(demoted) stops the primary cleanly, makes its data a standby's and starts it again as one.
      - C(gated) waits until a standby has replayed the last record of the old primary.
      - C(resumed) makes a demoted server the primary again, unless another one has become it.
      - C(finished) removes the note.
    type: str
    choices: [seen, demoted, gated, resumed, finished]
    default: seen
  version:
    description: Major version of PostgreSQL; 0 takes the one that the host has.
    type: int
    default: 0
  database:
    description: The application's database, which has the heartbeat.
    type: str
    default: nano
  target:
    description: Who is to become the primary, for the note. Needed for C(demoted).
    type: str
  wanted:
    description: >-
      What C(demoted) returned on the old primary; C(position), C(timeline) and C(system_identifier) are read.
    type: dict
  seconds:
    description: How long C(gated) and C(resumed) wait, in seconds.
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
- name: Stop the old primary
  nano.ops.postgresql_switchover:
    state: demoted
    target: db2
  register: demoted

- name: Wait until the new one has all of its data
  nano.ops.postgresql_switchover:
    state: gated
    wanted: "{{ demoted }}"
  delegate_to: db2
"""

RETURN = r"""
member:
  description: >-
    With C(seen), C(holds) (empty, primary or standby), C(is_running), C(state) (of the control file), C(position),
    C(timeline), C(system_identifier), C(server) (as M(nano.ops.postgresql_failover) returns it), C(followers),
    C(archive), and C(note) and C(rejoin) of what was begun and has not ended.
  returned: success
  type: dict
position:
  description: With C(demoted), where the last record of the old primary begins.
  returned: success
  type: str
timeline:
  description: With C(demoted), the timeline of the old primary.
  returned: success
  type: int
system_identifier:
  description: With C(demoted), the number of the cluster.
  returned: success
  type: str
began:
  description: With C(demoted), when the stop began, in seconds since 1970.
  returned: success
  type: float
stopped:
  description: With C(demoted), when it had ended.
  returned: success
  type: float
server:
  description: With C(gated), the state of the standby.
  returned: success
  type: dict
"""


def work(params: dict[str, Any], check: bool) -> dict[str, Any]:
    """Do what a state says and return the module's result.

    Raises:
        FailoverError: it cannot be done.
        RestoreError: the host has no PostgreSQL.
    """
    state, database = params["state"], params["database"]
    place = member.place_of(params["version"])
    if state == "finished":
        return {"changed": switchover.finish(place, check)}
    if state == "seen":
        return {"changed": False, "member": member.look(place, database)}
    if check:
        return {"changed": state != "gated"}
    if state == "demoted":
        return dict(switchover.demote(place, database, params["target"]))
    if state == "resumed":
        return dict(switchover.resume(place, database, params["seconds"]))
    return {"changed": False, "server": switchover.gate(database, params["wanted"], params["seconds"])}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {
                "type": "str",
                "choices": ["seen", "demoted", "gated", "resumed", "finished"],
                "default": "seen",
            },
            "version": {"type": "int", "default": 0},
            "database": {"type": "str", "default": "nano"},
            "target": {"type": "str"},
            "wanted": {"type": "dict"},
            "seconds": {"type": "int", "default": 30},
        },
        required_if=[("state", "demoted", ("target",)), ("state", "gated", ("wanted",))],
        supports_check_mode=True,
    )
    try:
        result = work(module.params, module.check_mode)
    except (FailoverError, RestoreError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
