"""An inventory as its checks see it: hosts, their variables, and what the roles say of each variable."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# The roles that site.yml gives to the members of a group.
ROLES_OF_GROUPS = {
    "all": ("host", "node_exporter", "otel_collector"),
    "postgresql": ("postgresql", "postgres_exporter", "pgbackrest"),
    "backup": ("pgbackrest", "backup"),
    "backup_verify": ("pgbackrest", "backup_verify"),
    "redis": ("redis", "redis_exporter"),
    "prometheus": ("prometheus", "backup_telemetry"),
    "alertmanager": ("alertmanager",),
    "blackbox_exporter": ("blackbox_exporter",),
    "loki": ("loki", "backup_telemetry"),
    "jaeger": ("jaeger",),
    "minio": ("minio",),
    "nano_api": ("nano_api",),
    "grafana": ("grafana", "backup_telemetry"),
    "nginx": ("nginx", "nginx_exporter"),
    "dns": ("dns",),
}
ROLE_NAMES = frozenset(role for roles in ROLES_OF_GROUPS.values() for role in roles)
# Facts about a host, set in the inventory beside it; a role's specification may leave them to its own logic.
HOST_VARIABLES = frozenset({"postgresql_role", "postgresql_attach"})
SECRET = re.compile(r"_(password|passphrase|secret|token)$")
TRUE, FALSE = {"true", "yes", "on", "1", "y", "t"}, {"false", "no", "off", "0", "n", "f"}
KINDS: dict[str, type | tuple[type, ...]] = {"list": (list, tuple), "dict": Mapping}

Options = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Unresolved:
    """Stands for a value that cannot be computed; without a reason it is nobody's fault (it needs facts)."""

    reason: str = ""


@dataclass(frozen=True)
class Inventory:
    """The inventory as checks see it.

    Attributes:
        hosts: the variables of each host, templated.
        groups: the members of each group.
        specs: the options of each role, from its argument specification.
    """

    hosts: Mapping[str, Mapping[str, Any]]
    groups: Mapping[str, list[str]]
    specs: Mapping[str, Options]

    def get(self, host: str, name: str, default: Any = None) -> Any:
        """Return a variable of a host, else its role's default, else the given one."""
        if name in self.hosts[host]:
            return self.hosts[host][name]
        role = role_of(name, self.specs)
        return self.specs.get(role, {}).get(name, {}).get("default", default)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where (a host, or a group by `group `), and what, with its remedy."""

    where: str
    text: str


def role_of(name: str, specs: Iterable[str]) -> str:
    """Return the role that a variable belongs to by its prefix, the longest one; empty if none."""
    fitting = [role for role in {*ROLE_NAMES, *specs} if name.startswith(f"{role}_")]
    return max(fitting, key=len, default="")


def mistaken(name: str, specs: Mapping[str, Options]) -> str | None:
    """Return the error for a name that no role knows, None for any other name."""
    role = role_of(name, specs)
    known = [option for options in specs.values() for option in options]
    if name in known or name in HOST_VARIABLES or name.startswith("ansible_"):
        return None
    if role and role not in specs:
        return None
    close = difflib.get_close_matches(name, sorted({*known, *HOST_VARIABLES}), n=1, cutoff=0.6 if role else 0.9)
    if not role and not close:
        return None
    remedy = f"did you mean {close[0]}?" if close else f"remove it, roles/{role}/README.md lists what there is"
    return f"{name}: {f'role {role} has no such variable' if role else 'no role reads this'}; {remedy}"


def relevant(name: str, specs: Mapping[str, Options]) -> bool:
    """Whether the value of a variable is looked at, and so has to be computed."""
    return bool(role_of(name, specs)) or name == "ansible_host"


def mistyped(value: Any, option: Mapping[str, Any]) -> str:
    """Say what a value should have been; empty if it is right. The value itself may be a secret and is not told."""
    kind = option.get("type", "str")
    text = str(value).strip()
    if value is None:
        return "" if not option.get("required") and option.get("default") is None else f"is null, not {kind}"
    wrong = {
        "str": isinstance(value, Mapping | list | tuple),
        "path": not isinstance(value, str),
        "int": isinstance(value, bool) or not re.fullmatch(r"[-+]?\d+", text),
        "float": isinstance(value, bool) or not re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)", text),
        "bool": not isinstance(value, bool) and text.lower() not in TRUE | FALSE,
    }.get(kind, kind in KINDS and not isinstance(value, KINDS[kind]))
    if wrong:
        return f"is not of type {kind}"
    if choices := option.get("choices"):
        for item in value if kind == "list" else [value]:
            if str(item) not in map(str, choices):
                return f"is none of {', '.join(map(str, choices))}"
    if kind == "list" and "elements" in option:
        for number, item in enumerate(value, 1):
            if found := mistyped(item, {"type": option["elements"], "required": True}):
                return f"item {number} {found}"
    return ""
