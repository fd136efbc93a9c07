"""What is wrong with the buckets and users of role minio."""

from __future__ import annotations

from typing import Any

from ansible_collections.nano.ops.plugins.module_utils.minio_rules import problems

DOCUMENTATION = r"""
name: minio_problems
short_description: What is wrong with the buckets and users that are to be in a store
version_added: 0.1.0
author: nano.ops contributors
description:
  - Looks at names, times and secrets, and at buckets that users name and nobody declares. No text has a secret in it.
positional: _input, users, root, password
options:
  _input:
    description: Buckets, as C(minio_buckets) has them.
    type: list
    elements: dict
    required: true
  users:
    description: Users, as C(minio_users) has them.
    type: list
    elements: dict
    required: true
  root:
    description: Name of the administrator.
    type: str
    required: true
  password:
    description: The administrator's password.
    type: str
    required: true
"""

EXAMPLES = r"""
# {{ minio_buckets | nano.ops.minio_problems(minio_users, minio_root_user, minio_root_password) }}
"""

RETURN = r"""
_value:
  description: A sentence for each problem; none means that all is well.
  type: list
  elements: str
"""


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return name to function."""
        return {"minio_problems": problems}
