"""Make the data of an old primary a standby's again, and keep what only they have."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nano.ops.plugins.module_utils import member, rejoin, rejoin_follow
from ansible_collections.nano.ops.plugins.module_utils.failover import FailoverError
from ansible_collections.nano.ops.plugins.module_utils.restore_options import RestoreError

DOCUMENTATION = r"""
module: postgresql_rejoin
short_description: Make an old primary a standby of the new one
version_added: 0.3.0
author: nano.ops contributors
description:
  - Finds out whether the data of a server have anything that the primary has not, and takes the shortest way to make
    them a standby's. Nothing more than C(standby.signal) where they have nothing of their own; else pg_rewind; where
    that does not work, a delta restore by pgBackRest.
  - Before anything is overwritten, the WAL that only this host has is copied to C(main.diverged-<time>) beside the data
    directory, with what it holds in C(diverged.json).
  - A note beside the data says what was begun, and the unit is disabled meanwhile. The same call again goes on.
  - A server whose data have no C(standby.signal) is never started.
options:
  state:
    description:
      - C(seen) tells which way would be taken. It changes nothing.
      - C(rejoined) takes it and starts the standby.
      - C(expected), on the primary or on who is about to become it, makes the slots of C(hosts) and a checkpoint, which
        pg_rewind needs after a promotion, and has the segment archived in which the timeline began, which a restore
        needs.
      - C(followed) waits until the standby streams and has come to C(position), then drops the slots that it has kept
        as a primary.
    type: str
    choices: [seen, rejoined, expected, followed]
    default: seen
  version:
    description: Major version of PostgreSQL; 0 takes the one that the host has.
    type: int
    default: 0
  primary:
    description: >-
      Address of the primary. Everything else of the connection is the server's own C(primary_conninfo); empty takes
      that as it is.
    type: str
    default: ""
  hosts:
    description: With C(expected), names of the standbys.
    type: list
    elements: str
    default: []
  position:
    description: With C(followed), how far it shall come.
    type: str
    default: ""
  stanza:
    description: pgBackRest's name of the cluster.
    type: str
    default: nano
  database:
    description: The application's database, which has the heartbeat.
    type: str
    default: nano
  seconds:
    description: How long C(followed) may take, and how long C(expected) waits for the archive, in seconds.
    type: int
    default: 60
attributes:
  check_mode:
    description: Looks only.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
"""

EXAMPLES = r"""
- name: Make the old primary a standby
  nano.ops.postgresql_rejoin:
    state: rejoined
    primary: 10.0.2.32
"""

RETURN = r"""
way:
  description: With C(seen) and C(rejoined), none, signal, rewind or delta.
  returned: success
  type: str
kept:
  description: >-
    With C(rejoined), what only this host had: C(path), C(timeline), C(from), C(to), C(bytes), C(commits),
    C(first_commit), C(last_commit), C(segments). Empty where there was nothing.
  returned: success
  type: dict
notes:
  description: With C(rejoined), what did not work before it did.
  returned: success
  type: list
  elements: str
position:
  description: With C(expected), how far the host is.
  returned: success
  type: str
server:
  description: With C(followed), the state of the standby.
  returned: success
  type: dict
dropped:
  description: With C(followed), the slots that were dropped.
  returned: success
  type: list
  elements: str
"""


def work(params: dict[str, Any], check: bool) -> dict[str, Any]:
    """Do what a state says and return the module's result.

    Raises:
        FailoverError: it cannot be done.
        RestoreError: the host has no PostgreSQL.
    """
    state = params["state"]
    if state == "expected":
        return dict(rejoin_follow.expect(params["hosts"], params["seconds"], check))
    place = member.place_of(params["version"])
    if state == "followed":
        if check:
            return {"changed": False}
        return dict(rejoin_follow.follow(place, params["database"], params["position"], params["seconds"]))
    if state == "seen" or check:
        found = rejoin.seen(place, params["primary"])
        return {"changed": state == "rejoined" and found["way"] != "none", **found}
    return dict(rejoin.rejoin(place, params["primary"], params["stanza"]))


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["seen", "rejoined", "expected", "followed"], "default": "seen"},
            "version": {"type": "int", "default": 0},
            "primary": {"type": "str", "default": ""},
            "hosts": {"type": "list", "elements": "str", "default": []},
            "position": {"type": "str", "default": ""},
            "stanza": {"type": "str", "default": "nano"},
            "database": {"type": "str", "default": "nano"},
            "seconds": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    try:
        result = work(module.params, module.check_mode)
    except (FailoverError, RestoreError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
