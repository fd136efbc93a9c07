"""The systemd sandbox that every unit of the platform starts from."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleFilterError

DOCUMENTATION = r"""
name: sandbox
short_description: Lines of a unit's [Service] section that close everything a service does not need
version_added: 0.1.0
author: nano.ops contributors
description:
  - Renders systemd's sandbox directives, see systemd.exec(5). A unit with all of them scores between 1 and 2 in
    C(systemd-analyze security).
positional: _input
options:
  _input:
    description: >-
      Dict of C(families) (list of address families, default AF_INET, AF_INET6 and AF_UNIX), C(leave_out) (list of
      directives to omit) and C(extra) (dict of directives added or replaced).
    type: dict
    required: true
"""

EXAMPLES = r"""
# {{ {'leave_out': ['MemoryDenyWriteExecute']} | nano.ops.sandbox }}
"""

RETURN = r"""
_value:
  description: One directive per line.
  type: str
"""

DIRECTIVES: dict[str, str | list[str]] = {
    "CapabilityBoundingSet": "",
    "AmbientCapabilities": "",
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectControlGroups": "yes",
    "ProtectClock": "yes",
    "ProtectHostname": "yes",
    "ProtectProc": "invisible",
    "ProcSubset": "pid",
    "RestrictNamespaces": "yes",
    "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes",
    "LockPersonality": "yes",
    "MemoryDenyWriteExecute": "yes",
    "RemoveIPC": "yes",
    "SystemCallArchitectures": "native",
    "SystemCallFilter": ["@system-service", "~@privileged @resources"],
    "SystemCallErrorNumber": "EPERM",
    "KeyringMode": "private",
    "UMask": "0077",
}
FAMILIES = ["AF_INET", "AF_INET6", "AF_UNIX"]


def sandbox(options: dict[str, Any]) -> str:
    """Render the sandbox.

    Raises:
        AnsibleFilterError: an option or a directive to leave out is unknown, which hides a mistyped name.
    """
    unknown = set(options) - {"families", "leave_out", "extra"}
    if unknown:
        raise AnsibleFilterError(f"sandbox: unknown options {sorted(unknown)}; known are families, leave_out, extra")
    leave_out = set(options.get("leave_out", []))
    if missing := leave_out - set(DIRECTIVES):
        raise AnsibleFilterError(f"sandbox: {sorted(missing)} are not part of the sandbox, nothing to leave out")
    directives: dict[str, Any] = {name: value for name, value in DIRECTIVES.items() if name not in leave_out}
    directives["RestrictAddressFamilies"] = " ".join(options.get("families", FAMILIES))
    directives |= options.get("extra", {})
    lines = []
    for name, value in directives.items():
        lines += [f"{name}={each}" for each in (value if isinstance(value, list) else [value])]
    return "\n".join(lines)


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return name to function."""
        return {"sandbox": sandbox}
