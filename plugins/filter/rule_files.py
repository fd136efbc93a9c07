"""Which files of alert rules this inventory needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DOCUMENTATION = r"""
name: rule_files
short_description: Files of alert rules that an inventory needs, as nano.ops.files takes them
version_added: 0.1.0
author: nano.ops contributors
description:
  - A subject's rules are needed where each of its groups has a member. Rules on what nobody has would only be read in
    vain.
positional: _input, groups, folder, promtool
options:
  _input:
    description: Dict of subject to the names of its groups.
    type: dict
    required: true
  groups:
    description: The variable of that name.
    type: dict
    required: true
  folder:
    description: Folder of the rules on the host.
    type: path
    required: true
  promtool:
    description: The program that checks each file.
    type: path
    required: true
"""

EXAMPLES = r"""
# {{ {'backup': ['backup']} | nano.ops.rule_files(groups, '/etc/prometheus/rules', '/usr/bin/promtool') }}
"""

RETURN = r"""
_value:
  description: For each subject in the order of their names C(dest), C(template) and C(validate).
  type: list
  elements: dict
"""


def rule_files(
    subjects: Mapping[str, list[str]], groups: Mapping[str, list[str]], folder: str, promtool: str
) -> list[dict[str, str]]:
    """Return the files."""
    return [
        {
            "dest": f"{folder}/{subject}.yml",
            "template": f"rules/{subject}.yml.j2",
            "validate": f"{promtool} check rules %s",
        }
        for subject, needed in sorted(subjects.items())
        if all(groups.get(group) for group in needed)
    ]


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return name to function."""
        return {"rule_files": rule_files}
