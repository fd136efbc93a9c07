"""Restore a PostgreSQL cluster out of pgBackRest's repositories, beside the old data, in stages that go on."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nano.ops.plugins.module_utils import restore_states
from ansible_collections.nano.ops.plugins.module_utils.restore_options import TYPES, RestoreError
from ansible_collections.nano.ops.plugins.module_utils.restore_place import Place
from ansible_collections.nano.ops.plugins.module_utils.restore_server import NotYetError

DOCUMENTATION = r"""
module: postgresql_restore
short_description: Restore a PostgreSQL cluster from pgBackRest
version_added: 0.1.0
author: nano.ops contributors
description:
  - Copies a backup beside the data directory, gives the whole copy its name and keeps the old directory under another.
    Nothing is ever restored into data that are there.
  - A record on the host says what was begun. The same options again go on where an earlier run was cut off.
  - The copy runs in a process of its own, which a lost connection does not end.
options:
  state:
    description:
      - C(planned) looks at host and repositories and chooses; C(looked) at the host alone. Neither changes anything.
      - C(restored) copies and swaps. Refuses while PostgreSQL runs there; stops nothing itself.
      - C(recovered) starts the server, reached from its own host alone, and waits until recovery has ended.
      - C(verified) checks the data and writes and reads; the server stays closed.
      - C(opened) takes the closure away; the server has to be restarted when that has changed something.
      - C(finished) notes that all is done, so that the next call begins anew.
      - C(aside) puts the data directory of a member aside that is to be built anew.
      - C(discarded) removes one directory that was kept.
    type: str
    choices: [planned, looked, restored, recovered, verified, opened, finished, aside, discarded]
    required: true
  version:
    description: Major version of PostgreSQL.
    type: int
    required: true
  type:
    description: Until when WAL is replayed.
    type: str
    choices: [latest, time, lsn, name, immediate]
    default: latest
  target:
    description: The time (with its zone), LSN or name.
    type: str
    default: ""
  set:
    description: Label of the backup; else the newest that leads to the target.
    type: str
    default: ""
  repository:
    description: Number of the repository; 0 for the first that has a fitting backup.
    type: int
    default: 0
  timeline:
    description: Timeline to follow; 0 for the newest.
    type: int
    default: 0
  exclusive:
    description: Stops before a time or LSN instead of after it.
    type: bool
    default: false
  grows:
    description: A primary runs somewhere and archives the rest of its WAL when it is stopped.
    type: bool
    default: false
  accept_gap:
    description: With C(latest), ends at a gap in the archive instead of refusing.
    type: bool
    default: false
  anew:
    description: Begins anew although an earlier call with the same options was cut off.
    type: bool
    default: false
  reference:
    description: >-
      When somebody last wrote anywhere, in seconds since 1970. The loss is measured against it; what the old data of
      this host show counts when that is later.
    type: float
    default: 0
  stanza:
    description: pgBackRest's name of the cluster.
    type: str
    default: nano
  database:
    description: The application's database, which has the heartbeat.
    type: str
    default: nano
  seconds:
    description: How long a call with C(restored) or C(recovered) watches before it tells how far it is, in seconds.
    type: float
    default: 10
  expected:
    description: Rows by schema.table of a dump, to compare with.
    type: dict
    default: {}
  amcheck:
    description: With C(verified), checks all tables and indexes.
    type: bool
    default: true
  amcheck_seconds:
    description: How long that may take, in seconds.
    type: float
    default: 14400
  name:
    description: The directory to discard.
    type: str
    default: ""
attributes:
  check_mode:
    description: Only looks, and tells whether it would change something.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
"""

EXAMPLES = r"""
- name: Plan
  nano.ops.postgresql_restore:
    state: planned
    version: 17
    type: time
    target: 2026-03-01 14:05:00 UTC
"""

RETURN = r"""
stage:
  description: How far a restore has come.
  returned: with C(restored) and C(recovered)
  type: str
is_done:
  description: Whether the state is reached; else call again.
  returned: with C(restored) and C(recovered)
  type: bool
choice:
  description: Repository, backup, timeline and last WAL that were chosen.
  returned: with C(planned)
  type: dict
data:
  description: What the data directory holds.
  returned: with C(planned) and C(looked)
  type: dict
"""


def main() -> None:
    """Run the module."""
    states = ["planned", "looked", "restored", "recovered", "verified", "opened", "finished", "aside", "discarded"]
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "required": True, "choices": states},
            "version": {"type": "int", "required": True},
            "type": {"type": "str", "default": "latest", "choices": list(TYPES)},
            "target": {"type": "str", "default": ""},
            "set": {"type": "str", "default": ""},
            "repository": {"type": "int", "default": 0},
            "timeline": {"type": "int", "default": 0},
            "exclusive": {"type": "bool", "default": False},
            "grows": {"type": "bool", "default": False},
            "accept_gap": {"type": "bool", "default": False},
            "anew": {"type": "bool", "default": False},
            "reference": {"type": "float", "default": 0},
            "stanza": {"type": "str", "default": "nano"},
            "database": {"type": "str", "default": "nano"},
            "seconds": {"type": "float", "default": 10},
            "expected": {"type": "dict", "default": {}},
            "amcheck": {"type": "bool", "default": True},
            "amcheck_seconds": {"type": "float", "default": 14400},
            "name": {"type": "str", "default": ""},
        },
        required_if=[("state", "discarded", ("name",))],
        supports_check_mode=True,
    )
    try:
        done = restore_states.run(module.params, Place(module.params["version"]), check=module.check_mode)
    except (RestoreError, NotYetError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**done)


if __name__ == "__main__":
    main()
