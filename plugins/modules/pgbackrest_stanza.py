"""Create a stanza on all repositories of pgBackRest, and prove once that WAL arrives there."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nano.ops.plugins.module_utils import pgbackrest
from ansible_collections.nano.ops.plugins.module_utils.pgbackrest import Cluster, Done, PgBackRestError, Repository

DOCUMENTATION = r"""
module: pgbackrest_stanza
short_description: Create a stanza on all repositories of pgBackRest
version_added: 0.1.0
author: nano.ops contributors
description:
  - Asks what the repositories hold. A stanza that is missing in one of them is created; one that was made for an older
    version of the same cluster is upgraded; one of another cluster is refused, which C(stanza-upgrade) would not do.
  - Until WAL has arrived in every repository, C(pgbackrest check) is run, which switches to a new segment and waits for
    the old one. From then on a run only looks.
  - To be run on the host with the repository. pgBackRest is configured there already.
options:
  stanza:
    description: Name of the stanza.
    type: str
    default: nano
  clusters:
    description:
      - What M(nano.ops.postgresql_cluster) has returned on the database hosts. Without it, only a stanza that is
        missing is noticed.
    type: list
    elements: dict
    default: []
attributes:
  check_mode:
    description: Tells whether the stanza would be created or upgraded.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
"""

EXAMPLES = r"""
- name: Create the stanza
  nano.ops.pgbackrest_stanza:
    clusters: [{holds: primary, system_identifier: "7711924608674786195", version: "17"}]
"""

RETURN = r"""
action:
  description: What was done, C(stanza-create), C(stanza-upgrade) or nothing.
  returned: success
  type: str
checked:
  description: Whether WAL was seen to arrive in every repository.
  returned: success
  type: bool
"""

# Archiving that finds no stanza yet is tried again and again, and locks the repository each time.
LOCK_SECONDS = 120.0


def command(stanza: str, *argv: str) -> str:
    """Run a command of pgBackRest's and return what it prints.

    Raises:
        PgBackRestError: it failed.
    """
    done: Done = pgbackrest.run(stanza, *argv)
    deadline = time.monotonic() + LOCK_SECONDS
    while done.code == pgbackrest.LOCKED and time.monotonic() < deadline:
        time.sleep(0.5)
        done = pgbackrest.run(stanza, *argv)
    if done.code:
        raise PgBackRestError(f"pgbackrest {argv[0]} failed: {pgbackrest.meaning(done.errors + done.output)}.")
    return str(done.output)


def look(stanza: str) -> list[Repository]:
    """Return what the repositories hold."""
    found: list[Repository] = pgbackrest.repositories(command(stanza, "info", "--output=json"), stanza)
    return found


def subject(clusters: list[dict[str, Any]]) -> Cluster | None:
    """Return the cluster that is backed up, by the word of the primary before that of others."""
    known = sorted((each for each in clusters if each.get("system_identifier")), key=lambda each: each["holds"])
    return Cluster(int(known[0]["system_identifier"]), str(known[0]["version"])) if known else None


def work(params: dict[str, Any], check: bool) -> dict[str, Any]:
    """Do it and return the result.

    Raises:
        PgBackRestError: something is wrong; the text says what, and what to do.
    """
    # A bare host in check mode has neither.
    if check and not all(Path(path).exists() for path in (pgbackrest.PROGRAM, pgbackrest.CONFIGURATION)):
        return {"changed": True, "action": "stanza-create", "checked": False}
    stanza = params["stanza"]
    found = look(stanza)
    action = pgbackrest.plan(found, subject(params["clusters"]))
    if action and not check:
        command(stanza, action)
    checked = bool(action) or not all(repository.has_wal for repository in found)
    if checked and not check:
        command(stanza, "check")
    return {"changed": bool(action), "action": action, "checked": checked and not check}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "stanza": {"type": "str", "default": "nano"},
            "clusters": {"type": "list", "elements": "dict", "default": []},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**work(module.params, module.check_mode))
    except (PgBackRestError, OSError, KeyError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
