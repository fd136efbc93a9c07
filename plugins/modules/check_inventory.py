"""Documentation of the action plugin of the same name, which does the work on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: check_inventory
short_description: Check the whole inventory before anything is changed
version_added: 0.1.0
author: nano.ops contributors
description:
  - Looks at every host of the inventory on the controller, without a connection, and fails with one message that
    lists everything that is wrong, one line each, with the host or group, the variable and the remedy.
  - It knows the variables of the roles by their argument specifications, so a misspelt name is an error.
  - Secrets are checked for length and placeholders; their values are never printed.
options: {}
attributes:
  check_mode:
    description: Changes nothing in either mode.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
"""

EXAMPLES = r"""
- name: Check the inventory before anything is changed
  hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - name: Check every variable, site and secret of the inventory
      nano.ops.check_inventory:
"""

RETURN = r"""
hosts:
  description: Number of hosts.
  returned: success
  type: int
variables_checked:
  description: Number of variables that were looked at, over all hosts.
  returned: success
  type: int
"""
