"""What can be wrong with an inventory. Plain functions over plain dicts: no Ansible, no host, nothing is changed."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from ansible_collections.nano.ops.plugins.plugin_utils.inventory import (
    ROLES_OF_GROUPS,
    SECRET,
    TRUE,
    Inventory,
    Problem,
    Unresolved,
    mistaken,
    mistyped,
    role_of,
)
from ansible_collections.nano.ops.plugins.plugin_utils.inventory_keepers import check_primary_record

SECRET_LENGTH = 16
PLACEHOLDER = re.compile(r"change.?me|pass.?word|placeholder|secret|x{6,}|12345678", re.IGNORECASE)
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE)
POSTGRESQL_VERSIONS = range(15, 18)


def check_variables(inventory: Inventory) -> Iterator[Problem]:
    """Names that no role knows, values that cannot be computed or are of the wrong type."""
    verdicts: dict[str, str | None] = {}
    for host, variables in inventory.hosts.items():
        for name, value in variables.items():
            if name not in verdicts:
                verdicts[name] = mistaken(name, inventory.specs)
            if verdict := verdicts[name]:
                yield Problem(host, verdict)
                continue
            option = inventory.specs.get(role_of(name, inventory.specs), {}).get(name)
            if isinstance(value, Unresolved):
                if value.reason:
                    yield Problem(host, f"{name}: cannot be computed ({value.reason}); define what it refers to")
            elif option and (found := mistyped(value, option)):
                yield Problem(host, f"{name}: {found}; correct its value")


def check_required(inventory: Inventory) -> Iterator[Problem]:
    """Variables that a host's roles cannot do without."""
    told: set[tuple[str, str]] = set()
    for group, roles in ROLES_OF_GROUPS.items():
        for host in inventory.groups.get(group, []):
            for role in roles:
                for name, option in inventory.specs.get(role, {}).items():
                    if option.get("required") and name not in inventory.hosts[host] and (host, name) not in told:
                        told.add((host, name))
                        remedy = "make it with playbooks/secrets.yml" if SECRET.search(name) else "set it"
                        yield Problem(host, f"{name}: missing, role {role} needs it; {remedy}")


def check_secrets(inventory: Inventory) -> Iterator[Problem]:
    """Secrets that are none. Their values never reach a message."""
    for host, variables in inventory.hosts.items():
        for name, value in variables.items():
            role = role_of(name, inventory.specs)
            if not (role and SECRET.search(name)) or isinstance(value, Unresolved | bool | Mapping | list):
                continue
            option = inventory.specs.get(role, {}).get(name, {})
            text = "" if value is None else str(value)
            if not text and option.get("default", "unset") in ("", None):
                continue
            wrong = ""
            if not text:
                wrong = "empty"
            elif PLACEHOLDER.search(text):
                wrong = "a placeholder"
            elif len(text) < SECRET_LENGTH:
                wrong = f"shorter than {SECRET_LENGTH} characters"
            if wrong:
                yield Problem(host, f"{name}: is {wrong}; make a random one with playbooks/secrets.yml")


def check_sites(inventory: Inventory) -> Iterator[Problem]:
    """Each host in one site, sites and hosts with names that labels and DNS can carry."""
    sites = sorted(group for group in inventory.groups if group.startswith("site_"))
    for group in sites:
        if not re.fullmatch(r"site_[a-z0-9_]+", group):
            yield Problem(f"group {group}", "name: not of a-z, 0-9 and _; rename the group")
    for host in inventory.hosts:
        found = [group for group in sites if host in inventory.groups[group]]
        if len(found) != 1:
            where = f"in {' and '.join(found)}" if found else "in no group site_*"
            yield Problem(host, f"site: the host is {where}; put it into exactly one group site_*")
        if not LABEL.fullmatch(host):
            yield Problem(host, "name: no DNS label; use letters, digits and inner hyphens, 63 at most, and no dots")


def check_addresses(inventory: Inventory) -> Iterator[Problem]:
    """Each host at an IPv4 address of its own."""
    seen: dict[str, str] = {}
    for host, variables in inventory.hosts.items():
        address = variables.get("host_address", variables.get("ansible_host", host))
        if isinstance(address, Unresolved):
            continue
        try:
            parsed = ipaddress.IPv4Address(str(address))
        except ValueError:
            yield Problem(host, f"host_address: {address} is no IPv4 address; set it to the host's private address")
            continue
        if parsed.is_unspecified or parsed.is_multicast or (parsed.is_loopback and len(inventory.hosts) > 1):
            yield Problem(host, f"host_address: others cannot reach {address}; set it to the host's private address")
        elif str(parsed) in seen:
            yield Problem(
                host, f"host_address: {address} is the address of {seen[str(parsed)]} too; give each host its own"
            )
        seen.setdefault(str(parsed), host)


def check_postgresql(inventory: Inventory) -> Iterator[Problem]:
    """One primary, and a version that the role knows."""
    members = inventory.groups.get("postgresql", [])
    own = [host for host in members if str(inventory.get(host, "postgresql_attach", False)).lower() not in TRUE]
    roles = {host: inventory.get(host, "postgresql_role") for host in own}
    for host, role in roles.items():
        if not isinstance(role, Unresolved) and role not in ("primary", "standby"):
            found = "not set" if role in (None, "") else "neither primary nor standby"
            yield Problem(host, f"postgresql_role: {found}; set it to primary on one host, to standby on the others")
    primaries = [host for host, role in roles.items() if role == "primary"]
    if len(primaries) > 1:
        yield Problem(
            "group postgresql",
            f"postgresql_role: {' and '.join(primaries)} are all primary; leave one and make the others standby",
        )
    elif own and not primaries and not any(isinstance(role, Unresolved) for role in roles.values()):
        yield Problem("group postgresql", "postgresql_role: no host is primary; set it to primary on one of them")
    for host in members:
        version = inventory.get(host, "postgresql_version")
        if str(version).isdigit() and int(version) not in POSTGRESQL_VERSIONS:
            known = ", ".join(map(str, POSTGRESQL_VERSIONS))
            yield Problem(host, f"postgresql_version: {version} is not supported; use one of {known}")


def check_backup(inventory: Inventory) -> Iterator[Problem]:
    """One place for backups, and something to back up and to verify."""
    members = inventory.groups.get("backup", [])
    if len(members) > 1:
        names = " and ".join(sorted(members))
        text = f"members: {names} would each make the same backups; leave the one that keeps the repository"
        yield Problem("group backup", text)
    databases = inventory.groups.get("postgresql", [])
    own = [host for host in databases if str(inventory.get(host, "postgresql_attach", False)).lower() not in TRUE]
    if members and not own:
        yield Problem("group backup", "members: no host of group postgresql is the platform's own; leave the group out")
    if inventory.groups.get("backup_verify") and not members:
        yield Problem("group backup_verify", "members: group backup has no host, so nothing is to be verified; add one")


def route_receivers(route: Any) -> Iterator[str]:
    """All receivers that a route of Alertmanager and the routes below it name."""
    if isinstance(route, Mapping):
        if route.get("receiver"):
            yield str(route["receiver"])
        for child in route.get("routes") or []:
            yield from route_receivers(child)


def check_alertmanager(inventory: Inventory) -> Iterator[Problem]:
    """Alerts that would reach nobody."""
    for host in inventory.groups.get("alertmanager", []):
        receivers = inventory.get(host, "alertmanager_receivers", [])
        if isinstance(receivers, Unresolved):
            continue
        if not receivers:
            yield Problem(host, "alertmanager_receivers: empty, alerts would reach nobody; name a receiver")
        items = [item for item in receivers or [] if isinstance(item, Mapping)] if isinstance(receivers, list) else []
        for item in items:
            if not any(str(key).endswith("_configs") and value for key, value in item.items()):
                name = item.get("name", "without a name")
                yield Problem(
                    host, f"alertmanager_receivers: receiver {name} tells nobody; give it a list such as email_configs"
                )
        names = {str(item.get("name")) for item in items}
        for receiver in route_receivers(inventory.get(host, "alertmanager_route")):
            if items and receiver not in names:
                close = ", ".join(sorted(names))
                yield Problem(host, f"alertmanager_route: there is no receiver {receiver}; use one of: {close}")


CHECKS = (
    check_sites,
    check_addresses,
    check_variables,
    check_required,
    check_secrets,
    check_postgresql,
    check_backup,
    check_primary_record,
    check_alertmanager,
)


def problems(inventory: Inventory, more: Iterable[Problem] = ()) -> list[str]:
    """Run all checks; what is wrong in the same way on several hosts becomes one line.

    Args:
        inventory: what is checked.
        more: what was found wrong elsewhere.
    """
    places: dict[str, list[str]] = {}
    for problem in chain(*(check(inventory) for check in CHECKS), more):
        where = places.setdefault(problem.text, [])
        if problem.where not in where:
            where.append(problem.where)
    return [f"{place(where, inventory.groups, text)}: {text}" for text, where in places.items()]


def place(hosts: list[str], groups: Mapping[str, list[str]], text: str) -> str:
    """Name hosts in a few words: by the group that they are, of several by the one that the text is about."""
    if len(hosts) > 1:
        same = [group for group, members in groups.items() if group != "ungrouped" and set(members) == set(hosts)]
        for group in sorted(same, key=lambda group: (group != "all", not text.startswith(f"{group}_"))):
            return "all hosts" if group == "all" else f"group {group}"
    return ", ".join(hosts)
