"""Install one version of a program from its upstream's release or from a mirror."""

from __future__ import annotations

import platform
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nano.ops.plugins.module_utils import pending
from ansible_collections.nano.ops.plugins.module_utils.archive import ArchiveError
from ansible_collections.nano.ops.plugins.module_utils.download import FetchError, ReleaseError
from ansible_collections.nano.ops.plugins.module_utils.program import Program
from ansible_collections.nano.ops.plugins.module_utils.release import locate

DOCUMENTATION = r"""
module: program
short_description: Install one version of a program from its upstream's release or from a mirror
version_added: 0.1.0
author: nano.ops contributors
description:
  - Downloads on the host, verifies SHA-256, takes the programs out of the archive and nothing else, puts them into a
    folder of their version and switches the link C(current) in one step. The version before stays, and C(previous)
    points to it.
  - Where releases lie, their sums and their layouts are in C(catalogue.yml) of this collection.
  - A version that is installed costs one round trip and no network.
options:
  name:
    description: Name of the program in the catalogue.
    type: str
    required: true
  version:
    description: Version. Without it the catalogue's, which is the tested one.
    type: str
  mirror:
    description: >-
      Base URL (https or file) of a mirror laid out as <mirror>/<program>/<version>/<upstream's file names>. Empty takes
      the upstream.
    type: str
    default: ""
  checksum:
    description: SHA-256 of the archive in hexadecimal. Wins over the catalogue's and over checksum files.
    type: str
    default: ""
  root:
    description: Folder of all programs on the host.
    type: path
    default: /opt/nano
  keep:
    description: How many versions besides the current one are kept.
    type: int
    default: 1
  unit:
    description: Unit that runs the program, so that M(nano.ops.files) knows of a restart that a run owes it.
    type: str
    default: ""
  optional:
    description: >-
      When the archive can't be fetched and no version is installed, changes nothing and succeeds with C(missing) set to
      the reason. A wrong checksum or a damaged archive fails as ever.
    type: bool
    default: false
  state:
    description: C(rolled_back) makes the previous version the current one again.
    type: str
    choices: [present, rolled_back]
    default: present
attributes:
  check_mode:
    description: Tells what it would do; fetches nothing.
    support: full
  diff_mode:
    description: Shows the version before and after.
    support: full
"""

EXAMPLES = r"""
- name: Install Prometheus
  nano.ops.program:
    name: prometheus

- name: Install another version, from a mirror
  nano.ops.program:
    name: prometheus
    version: 3.16.0
    mirror: https://mirror.example.com/programs
"""

RETURN = r"""
version:
  description: Version that is current now.
  returned: success
  type: str
previous:
  description: Version that C(previous) points to, or an empty text.
  returned: success
  type: str
path:
  description: Folder with the programs.
  returned: success
  type: str
missing:
  description: Why it is not installed, with C(optional). Empty if it is installed.
  returned: success
  type: str
archive_sha256:
  description: SHA-256 of the archive that was installed.
  returned: when known
  type: str
"""


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "version": {"type": "str", "required": True},
            "entry": {"type": "dict", "required": True},
            "mirror": {"type": "str", "default": ""},
            "checksum": {"type": "str", "default": ""},
            "root": {"type": "path", "default": "/opt/nano"},
            "keep": {"type": "int", "default": 1},
            "unit": {"type": "str", "default": ""},
            "optional": {"type": "bool", "default": False},
            "state": {"type": "str", "choices": ["present", "rolled_back"], "default": "present"},
        },
        supports_check_mode=True,
    )
    params = module.params
    program = Program(Path(params["root"]) / params["name"])
    before, version, missing = program.version(), params["version"], ""
    try:
        if params["state"] == "rolled_back":
            changed = True
            version = program.way_back() if module.check_mode else program.roll_back()
        else:
            changed = not program.is_installed(version, params["checksum"])
            if changed:
                # Also in check mode: an architecture or a mirror that can't work is found out before the change.
                wanted = locate(params["name"], version, platform.machine(), params["entry"], params["mirror"])
                if not module.check_mode:
                    program.install(wanted, params["checksum"], params["keep"])
                    if params["unit"]:
                        pending.mark(params["unit"])
    except FetchError as error:
        if before or not params["optional"]:
            module.fail_json(msg=f"{params['name']} {version}: {error}")
        changed, missing = False, str(error)
    except (ReleaseError, ArchiveError, OSError) as error:
        module.fail_json(msg=f"{params['name']} {version}: {error}")
    module.exit_json(
        changed=changed,
        version="" if missing else version,
        missing=missing,
        previous=program.version("previous"),
        path=str(program.place / "current"),
        archive_sha256=program.note(version).get("sha256", ""),
        diff={
            "before": f"{params['name']} {before}\n",
            "after": f"{params['name']} {before if missing else version}\n",
        },
    )


if __name__ == "__main__":
    main()
