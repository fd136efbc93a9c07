"""What a planned change of the primary finds, what it will do, and what stands in the way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ansible_collections.nano.ops.plugins.filter.dns_records import dns_records
from ansible_collections.nano.ops.plugins.plugin_utils import topology

DOCUMENTATION = r"""
name: switchover_plan
short_description: What a planned change of the primary will do, and what stands in the way
version_added: 0.3.0
author: nano.ops contributors
description:
  - Reads what was registered on the members of group C(postgresql) as C(switchover_seen) and C(switchover_record), and
    decides. Nothing is done here.
positional: _input, hostvars, host, lag
options:
  _input:
    description: The variable C(groups).
    type: dict
    required: true
  hostvars:
    description: The variable of that name.
    type: dict
    required: true
  host:
    description: Who is to become the primary.
    type: str
    required: true
  lag:
    description: How far it may be behind, in bytes.
    type: int
    default: 16777216
"""

EXAMPLES = r"""
# {{ groups | nano.ops.switchover_plan(hostvars, 'db2') }}
"""

RETURN = r"""
_value:
  description: >-
    Dict of C(old), C(primaries), C(is_done), C(groups) (hosts for groups of the run), C(lines) (the page),
    C(problems), C(epoch), C(is_claimed), C(records), C(url), C(resolve), C(cold) and C(others).
  type: dict
"""

MIB = 1 << 20
# The stop waits until the archiver has stored what waits: some segments are seconds.
MOST_WAITING = 20


def members_of(hosts: list[str], hostvars: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what each member of group postgresql has told, sorted; of one that was not looked at nothing."""
    found = {}
    for host in sorted(hosts):
        told = hostvars[host].get("switchover_seen") or {}
        if isinstance(told.get("member"), Mapping):
            found[host] = dict(told["member"])
    return found


def primaries_of(members: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the members whose server takes writes."""
    return [host for host, seen in members.items() if seen["server"] and not seen["server"]["is_standby"]]


def record_of(hosts: list[str], hostvars: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record of who is the primary, empty if nobody tells it."""
    for host in sorted(hosts):
        told = hostvars[host].get("switchover_record") or {}
        if told.get("rc") == 0:
            return dict(json.loads(told["stdout"])["record"])
    return {}


def follower(primary: Mapping[str, Any], host: str) -> dict[str, Any]:
    """Return how a standby follows a primary, empty if it does not."""
    found = primary["followers"].get(host.replace("-", "_"), {})
    return dict(found) if found.get("state") == "streaming" else {}


class Plan:
    """The plan, from what was registered."""

    def __init__(self, groups: Mapping[str, list[str]], hostvars: Mapping[str, Any], target: str, lag: int) -> None:
        """Read it."""
        self.groups, self.hostvars, self.target, self.lag = groups, hostvars, target, lag
        self.hosts = sorted(groups.get("postgresql", []))
        self.members = members_of(self.hosts, hostvars)
        self.primaries = primaries_of(self.members)
        self.record = record_of(self.hosts, hostvars)
        self.is_guarded = bool(groups.get("primary_record"))
        # Whose stop was begun by a run that was cut off.
        self.noted = [host for host, seen in self.members.items() if seen["note"] and host != target]
        begun = [host for host in self.noted if self.members[host]["note"].get("target") == target]
        others = [host for host in self.primaries if host != target]
        self.old = next(iter([*others, *begun]), "")
        self.is_done = self.primaries == [target] and not begun

    def problems(self) -> list[str]:
        """Return what stands in the way."""
        if self.target not in self.members:
            return [f"{self.target} is no database that was looked at; there are {', '.join(self.members) or 'none'}."]
        if len(self.primaries) > 1:
            return [
                f"{' and '.join(self.primaries)} are both primaries: find out which one the application writes to, and "
                "stop the other."
            ]
        if self.is_done:
            return []
        return [*self._record(), *(self._primary() if self.primaries != [self.target] else [])]

    def _record(self) -> list[str]:
        """Return what the record of who is the primary has against it."""
        if not self.is_guarded:
            return []
        if not self.record:
            return ["No majority of the hosts of group primary_record tells who is the primary: bring them back first."]
        if self.record["host"] not in (self.old, self.target):
            return [
                f"The record names {self.record['host']} as the primary, not {self.old}: see docs/primary-record.md."
            ]
        return []

    def _primary(self) -> list[str]:
        """Return what is wrong with who is the primary now."""
        if not self.old:
            begun = {host: self.members[host]["note"].get("target") for host in self.noted}
            more = "".join(f" A switchover from {host} to {to} was begun: end that one." for host, to in begun.items())
            return [f"No member is a primary.{more or ' Start it, or see playbooks/failover.yml.'}"]
        if not self.primaries:
            return self._standby()
        old = self.members[self.old]
        wrong = self._standby()
        for host in self.members:
            if host != self.old and not follower(old, host):
                wrong.append(f"{host} does not follow {self.old}: playbooks/failback.yml makes it a standby again.")
        if (lag := follower(old, self.target).get("lag_bytes", 0)) > self.lag:
            wrong.append(f"{self.target} is {lag / MIB:.0f} MiB behind: wait until it has caught up.")
        if old["archive"]["fails"] or old["archive"]["waiting"] > MOST_WAITING:
            wrong.append(
                f"{self.old} does not get its WAL archived ({old['archive']['waiting']} segments wait), and its stop "
                "would wait for that: see docs/backup.md."
            )
        return wrong

    def _standby(self) -> list[str]:
        """Return what is wrong with who shall become the primary."""
        seen, old = self.members[self.target], self.members[self.old]
        wrong = []
        if not seen["server"] or not seen["server"]["is_standby"]:
            wrong.append(f"{self.target} is no standby that runs.")
        elif seen["server"]["is_paused"]:
            wrong.append(f"Replay is paused on {self.target}: SELECT pg_wal_replay_resume().")
        if seen["system_identifier"] != old["system_identifier"]:
            wrong.append(f"{self.target} and {self.old} are different clusters (their system identifiers differ).")
        if seen["rejoin"]:
            wrong.append(f"The data of {self.target} are being rebuilt: end playbooks/failback.yml first.")
        return wrong

    def applications(self) -> list[str]:
        """Return the application's hosts in the target's site, those first that the inventory does not call cold."""
        site = topology.site(self.target, self.groups)
        found = [host for host in sorted(self.groups.get("nano_api", [])) if host in self.groups[site]]
        return sorted(found, key=lambda host: not topology.serves(host, "nano_api", self.hostvars))

    def cold(self) -> list[str]:
        """Return the application's hosts elsewhere that the inventory calls cold."""
        others = [host for host in sorted(self.groups.get("nano_api", [])) if host not in self.applications()]
        return [host for host in others if not topology.serves(host, "nano_api", self.hostvars)]

    def records(self) -> list[dict[str, Any]]:
        """Return the names that move, and where to."""
        provider = self.hostvars[self.target].get("dns_provider", "bind")
        if not self.hostvars[self.target].get("dns_zone") or (provider == "bind" and not self.groups.get("dns")):
            return []
        known = dns_records(self.groups, self.hostvars)
        serving = {"db": self.target, "api": next(iter(self.applications()), "")}
        return [{"name": name, "value": known[name]["addresses"][host]} for name, host in serving.items() if host]

    def lines(self) -> list[str]:
        """Return the page that is shown before the question."""
        lines = []
        for host, seen in self.members.items():
            server = seen["server"]
            what = ("standby" if server["is_standby"] else "primary") if server else f"does not run ({seen['holds']})"
            lines.append(f"  {host}: {what}, timeline {max(seen['timeline'], server.get('timeline', 0))}")
            for name, each in seen["followers"].items():
                lines.append(f"    {name}: {each['state']}, {each['lag_bytes'] / MIB:.1f} MiB behind")
        if self.record:
            lines.append(f"  record: {self.record['host']}, epoch {self.record['epoch']}")
        if self.is_done:
            lag = [host for host in self.hosts if host != self.target and not follower(self.members[self.target], host)]
            more = f" {', '.join(lag)} does not follow it: playbooks/failback.yml." if lag else ""
            return [*lines, f"{self.target} is the primary already, nothing is to be done.{more}"]
        if self.noted:
            lines.append(f"Goes on with what was begun on {', '.join(self.noted)}.")
        names = ", ".join(each["name"] for each in self.records()) or "no name"
        return [
            *lines,
            f"Then: {self.old or 'nobody'} stops and becomes a standby, {self.target} becomes the primary once it has "
            f"all of the data, {', '.join(self.applications()) or 'no host'} runs the application, {names} is moved.",
            "Nothing is lost; for some seconds nobody can write.",
        ]

    def plan(self) -> dict[str, Any]:
        """Return the whole."""
        known = self.target in self.members
        records, wanted = (self.records() if known else []), []
        zone = str(self.hostvars[self.target].get("dns_zone", "")) if known else ""
        api = next((each["value"] for each in records if each["name"] == "api"), "")
        if known and not self.is_done:
            wanted = [("target", [self.target]), ("applications", self.applications()), ("cold", self.cold())]
        return {
            "old": self.old,
            "primaries": self.primaries,
            "is_done": known and self.is_done,
            "groups": [{"host": host, "group": f"switchover_{group}"} for group, hosts in wanted for host in hosts],
            "lines": self.lines() if known else [],
            "problems": self.problems(),
            "epoch": self.record.get("epoch", 0),
            "is_claimed": bool(self.record) and self.record["host"] == self.target,
            "records": records,
            "url": f"https://api.{zone}/v1/nanos" if api else "",
            "resolve": ["--resolve", f"api.{zone}:443:{api}"] if api else [],
            "others": [host for host in self.hosts if host != self.target],
        }


def switchover_plan(
    groups: Mapping[str, list[str]], hostvars: Mapping[str, Any], host: str, lag: int = 16 * MIB
) -> dict[str, Any]:
    """Make the plan; see Plan."""
    return Plan(groups, hostvars, host, int(lag)).plan()


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return name to function."""
        return {"switchover_plan": switchover_plan}
