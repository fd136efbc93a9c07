"""Try a configuration of pgBackRest before it takes the place of the one in use."""

from __future__ import annotations

import os
import pwd
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nano.ops.plugins.module_utils import pgbackrest
from ansible_collections.nano.ops.plugins.module_utils.pgbackrest import PgBackRestError

DOCUMENTATION = r"""
module: pgbackrest_configuration
short_description: Try a configuration of pgBackRest before it takes the place of the one in use
version_added: 0.1.0
author: nano.ops contributors
description:
  - Asks the repositories what they hold, with the new configuration, and fails where it is refused. A wrong passphrase
    or a wrong key of S3 is found before archiving stops because of it. What cannot be reached right now is no reason.
  - Does nothing when the configuration is the one in use already.
options:
  content:
    description: The text of the new configuration. It holds secrets.
    type: str
    required: true
  stanza:
    description: Name of the stanza.
    type: str
    default: nano
  always:
    description: >-
      Whether to try it on a host that has no configuration yet. The host with the repository may find one that is older
      than itself.
    type: bool
    default: false
attributes:
  check_mode:
    description: Changes nothing in either mode. Does nothing where pgBackRest is not installed yet.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
"""

EXAMPLES = r"""
- name: Try the configuration
  nano.ops.pgbackrest_configuration:
    content: "{{ lookup('ansible.builtin.template', 'pgbackrest.conf.j2') }}"
"""

RETURN = r"""
tried:
  description: Whether the repositories were asked.
  returned: success
  type: bool
"""


def attempt(content: str, stanza: str) -> None:
    """Ask the repositories with a configuration; it lies beside the one in use for a moment.

    Raises:
        PgBackRestError: it is refused.
    """
    place = Path(pgbackrest.CONFIGURATION)
    handle, name = tempfile.mkstemp(prefix=f".{place.name}.", dir=place.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            os.fchown(handle, 0, pwd.getpwnam(pgbackrest.USER).pw_gid)
            os.fchmod(handle, 0o640)
            file.write(content)
        pgbackrest.accepts(pgbackrest.run(stanza, "info", "--output=json", f"--config={name}"), stanza)
    finally:
        Path(name).unlink()


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "content": {"type": "str", "required": True, "no_log": True},
            "stanza": {"type": "str", "default": "nano"},
            "always": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    params = module.params
    place = Path(pgbackrest.CONFIGURATION)
    there = place.is_file()
    tried = Path(pgbackrest.PROGRAM).exists() and (there or params["always"])
    if there and place.read_text(encoding="utf-8") == params["content"]:
        tried = False
    try:
        if tried:
            attempt(params["content"], params["stanza"])
    except (PgBackRestError, OSError, KeyError) as error:
        module.fail_json(msg=f"{place} was not changed. {error}")
    module.exit_json(changed=False, tried=tried)


if __name__ == "__main__":
    main()
