"""What roles themselves know to be wrong, asked before any host is touched.

A role may have in its vars a list `__<role>_checks` of `{wrong, text}`: `wrong` is a condition over its variables and
the inventory, `text` says what is wrong and the remedy. The role asserts the same when it is used alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.nano.ops.plugins.plugin_utils.inventory import ROLES_OF_GROUPS, TRUE, Problem


@dataclass(frozen=True)
class Room:
    """The variables of a role that has checks: its defaults and its internals, not yet templated."""

    defaults: Mapping[str, Any]
    internals: Mapping[str, Any]


def read(path: Path) -> dict[str, Any]:
    """Return the variables of a file, or of all files of a folder of the same name."""
    files = sorted(path.glob("*.yml")) if path.is_dir() else [path.with_suffix(".yml")]
    found: dict[str, Any] = {}
    for file in files:
        if file.exists():
            found |= yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    return found


def rooms(roles: Path) -> dict[str, Room]:
    """Return the roles that have checks."""
    found = {}
    for folder in sorted(path for path in roles.iterdir() if path.is_dir()):
        internals = read(folder / "vars/main")
        if f"__{folder.name}_checks" in internals:
            found[folder.name] = Room(read(folder / "defaults/main"), internals)
    return found


def problems(
    known: Mapping[str, Room],
    groups: Mapping[str, list[str]],
    evaluate: Callable[[str, str, Room], list[Mapping[str, Any]] | None],
) -> Iterator[Problem]:
    """Yield what the roles of each host's groups find wrong.

    Args:
        known: the roles that have checks.
        groups: the members of each group.
        evaluate: computes the checks of a role on a host; None when a value in them cannot be computed.
    """
    for group, roles in ROLES_OF_GROUPS.items():
        for role in roles:
            for host in groups.get(group, []) if role in known else []:
                for check in evaluate(host, role, known[role]) or []:
                    if str(check["wrong"]).lower() in TRUE:
                        yield Problem(host, str(check["text"]).strip())
