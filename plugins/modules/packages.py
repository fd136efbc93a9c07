"""Tell which Debian packages are missing: the documentation and the host's half of the action."""

from __future__ import annotations

import subprocess

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: packages
short_description: Install Debian packages, at next to no cost when they are there
version_added: 0.1.0
author: nano.ops contributors
description:
  - Asks dpkg what is missing and calls M(ansible.builtin.apt) for that alone. Opening apt's cache only to learn that
    all is there takes about a second per host.
  - Installs no recommended packages, and starts no service; the roles do that once their configuration is in place.
options:
  name:
    description: The packages.
    type: list
    elements: str
    required: true
attributes:
  check_mode:
    description: Tells what it would install.
    support: full
  diff_mode:
    description: Shows apt's own words.
    support: partial
"""

EXAMPLES = r"""
- name: Install Redis
  nano.ops.packages:
    name: [redis-server]
"""

RETURN = r"""
missing:
  description: Packages that were missing.
  returned: success
  type: list
  elements: str
"""


def missing(names: list[str], listing: str) -> list[str]:
    """Return the packages that dpkg's listing does not show as installed, one "name<tab>status" per line."""
    rows = [line.split("\t") for line in listing.splitlines()]
    there = {row[0] for row in rows if row[-1] == "install ok installed"}
    return [name for name in names if name not in there]


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={"name": {"type": "list", "elements": "str", "required": True}},
        supports_check_mode=True,
    )
    names = module.params["name"]
    argv = ["dpkg-query", "--show", "--showformat=${Package}\\t${Status}\\n", *names]
    # It ends with 1 when it does not know a name; that one is missing then.
    listing = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    module.exit_json(changed=False, missing=missing(names, listing))


if __name__ == "__main__":
    main()
