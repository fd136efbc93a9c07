"""Install one version of a Python application from a wheelhouse of the controller."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nano.ops.plugins.module_utils import pending, python_application
from ansible_collections.nano.ops.plugins.module_utils.download import ReleaseError
from ansible_collections.nano.ops.plugins.module_utils.program import Program

DOCUMENTATION = r"""
module: python_application
short_description: Install one version of a Python application from a wheelhouse of the controller
version_added: 0.1.0
author: nano.ops contributors
description:
  - The controller builds a wheelhouse for the host's Python and architecture, once for each content, and sends it. The
    host makes an environment of it in a folder of its own, without a network.
  - A version that is installed costs one round trip.
options:
  name:
    description: Name of the application; its folder is C(root)/C(name).
    type: str
    required: true
  sources:
    description: Folders of packages on the controller. The last one's version is the application's.
    type: list
    elements: path
    required: true
  requirements:
    description: File on the controller with the exact versions of all other packages.
    type: path
    required: true
  script:
    description: A program of the application, such as C(nano-api).
    type: str
    required: true
  wheelhouse:
    description: Folder of wheelhouses on the controller. Empty takes the cache.
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
    description: Unit that runs it, so that M(nano.ops.files) knows of a restart that a run owes it.
    type: str
    default: ""
  state:
    description: >-
      C(staged) installs the version beside the current one; C(present) makes it the current one as well.
    type: str
    choices: [staged, present]
    default: present
attributes:
  check_mode:
    description: Tells what it would do; builds nothing.
    support: full
  diff_mode:
    description: Shows the version before and after.
    support: full
"""

EXAMPLES = r"""
- name: Install the application
  nano.ops.python_application:
    name: shop
    sources: [workload/shop]
    requirements: workload/requirements.txt
    script: shop
"""

RETURN = r"""
version:
  description: The version that was asked for.
  returned: success
  type: str
current:
  description: Version that is current now, or an empty text.
  returned: success
  type: str
"""


def main() -> None:
    """Run the module. The controller's half has put version and archive in."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "version": {"type": "str", "required": True},
            "script": {"type": "str", "required": True},
            "archive": {"type": "path"},
            "root": {"type": "path", "default": "/opt/nano"},
            "keep": {"type": "int", "default": 1},
            "unit": {"type": "str", "default": ""},
            "state": {"type": "str", "choices": ["look", "staged", "present"], "required": True},
        },
        supports_check_mode=True,
    )
    params = module.params
    program, version = Program(Path(params["root"]) / params["name"]), params["version"]
    before, there = program.version(), bool(program.note(version))
    done = there and (params["state"] == "staged" or before == version)
    python = ".".join(platform.python_version_tuple()[:2])
    if params["state"] == "look":
        module.exit_json(changed=False, there=there, current=before, python=python, machine=platform.machine())
    try:
        if not done and not module.check_mode:
            os.umask(0o022)
            if not there:
                python_application.install(program, version, params["script"], Path(params["archive"]))
            if params["state"] == "present":
                python_application.switch(program, version, params["keep"])
                if params["unit"]:
                    pending.mark(params["unit"])
    except (ReleaseError, OSError, ValueError) as error:
        module.fail_json(msg=f"{params['name']} {version}: {error}")
    module.exit_json(
        changed=not done,
        version=version,
        current=program.version(),
        diff={"before": f"{params['name']} {before}\n", "after": f"{params['name']} {version}\n"},
    )


if __name__ == "__main__":
    main()
