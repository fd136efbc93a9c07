"""Write several files, with the users and folders they need, in one round trip."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nano.ops.plugins.module_utils import pending
from ansible_collections.nano.ops.plugins.module_utils.files import (
    Change,
    FilesError,
    accounts,
    directory,
    link,
    prune,
    write,
)

DOCUMENTATION = r"""
module: files
short_description: Write several files, with the users and folders they need, in one round trip
version_added: 0.1.0
author: nano.ops contributors
description:
  - Makes system groups, system users and folders that are missing, then writes files. What is there and right is left
    alone.
  - All files are first written beside their places and checked; only when every check has passed are they moved into
    place. A configuration that the service's own checker refuses never replaces one that works.
  - In check mode, a checker that is not installed yet is left out.
options:
  groups:
    description: Names of system groups.
    type: list
    elements: str
    default: []
  users:
    description: System users without a login, each with a group of its own name.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the user.
        type: str
        required: true
      home:
        description: Home folder; it is not created.
        type: path
        default: /nonexistent
  directories:
    description: Folders, in the order in which they are made.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The folder; missing parents are made too, as root's with mode 0755.
        type: path
        required: true
      owner:
        description: Its owner.
        type: str
        default: root
      group:
        description: Its group.
        type: str
        default: root
      mode:
        description: Its mode, octal.
        type: str
        default: "0755"
  files:
    description: The files.
    type: list
    elements: dict
    default: []
    suboptions:
      dest:
        description: Where it goes. The folder must exist.
        type: path
        required: true
      template:
        description: Template of the role to fill in. Exactly one of C(template), C(copy), C(content) and C(link).
        type: str
      copy:
        description: File of the role to copy.
        type: str
      content:
        description: The text itself.
        type: str
      link:
        description: Make a symbolic link to this path instead of a file.
        type: path
      owner:
        description: Its owner.
        type: str
        default: root
      group:
        description: Its group.
        type: str
        default: root
      mode:
        description: Its mode, octal.
        type: str
        default: "0644"
      validate:
        description: Command that checks it, with C(%s) for the file. It runs without a shell.
        type: str
        default: ""
      private:
        description: Whether it holds secrets. Its text is not shown in a diff.
        type: bool
        default: false
  prune:
    description:
      - Folders in which files of an earlier run that are not among C(files) any more are taken away. Only a file that
        has the marker as a line of its own is one of ours; those of others stay.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The folder; its own folders are left alone.
        type: path
        required: true
      marker:
        description: The line.
        type: str
        required: true
  unit:
    description:
      - Unit that reads these files. When an earlier run wrote them and was cut off before it restarted or reloaded the
        unit, this is a change again, so that the handler is called.
    type: str
    default: ""
attributes:
  check_mode:
    description: Tells what would change, and runs the checkers that are installed.
    support: full
  diff_mode:
    description: Shows each file that is not private.
    support: full
"""

EXAMPLES = r"""
- name: Write the unit and the configuration of a service
  nano.ops.files:
    users: [{name: service, home: /var/lib/service}]
    directories: [{path: /etc/service}]
    files:
      - {dest: /etc/systemd/system/service.service, template: service.service.j2}
      - dest: /etc/service/service.yml
        template: service.yml.j2
        group: service
        mode: "0640"
        validate: /usr/bin/service --check %s
        private: true
"""

RETURN = r"""
changed_paths:
  description: Files, folders, users and groups that were changed, and files that were taken away.
  returned: success
  type: list
  elements: str
"""


ACCOUNT: dict[str, Any] = {
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
}
USER = {"name": {"type": "str", "required": True}, "home": {"type": "path", "default": "/nonexistent"}}
DIRECTORY = {"path": {"type": "path", "required": True}, "mode": {"type": "str", "default": "0755"}, **ACCOUNT}
PRUNE = {"path": {"type": "path", "required": True}, "marker": {"type": "str", "required": True}}
FILE = {
    "dest": {"type": "path", "required": True},
    "template": {"type": "str"},
    "copy": {"type": "str"},
    "content": {"type": "str"},
    "link": {"type": "path"},
    "mode": {"type": "str", "default": "0644"},
    "validate": {"type": "str", "default": ""},
    "private": {"type": "bool", "default": False},
    **ACCOUNT,
}


def several(options: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return the specification of a list of dicts."""
    return {"type": "list", "elements": "dict", "default": [], "options": options, **more}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "unit": {"type": "str", "default": ""},
            "groups": {"type": "list", "elements": "str", "default": []},
            "users": several(USER),
            "directories": several(DIRECTORY),
            # The action has turned template and copy into content.
            "files": several(FILE, required_one_of=[("content", "link")], mutually_exclusive=[("content", "link")]),
            "prune": several(PRUNE),
        },
        supports_check_mode=True,
    )
    params = dict(module.params)
    # The answer does not repeat the text of every file.
    module.params = {}
    change = Change(module.check_mode, params["unit"])
    try:
        accounts(params, change)
        for entry in params["directories"]:
            directory(entry, change)
        for entry in params["files"]:
            if entry["link"]:
                link(entry, change)
        write([entry for entry in params["files"] if not entry["link"]], change)
        for entry in params["prune"]:
            prune(entry, {file["dest"] for file in params["files"]}, change)
        if not change.paths and params["unit"] and pending.waits(params["unit"]):
            change.paths.append(f"{params['unit']}, which an earlier run did not load again")
    except (FilesError, OSError) as error:
        module.fail_json(msg=str(error), changed=bool(change.paths) and not change.check)
    module.exit_json(changed=bool(change.paths), changed_paths=change.paths, diff=change.diffs)


if __name__ == "__main__":
    main()
