"""Who becomes the primary after the loss of a site, and what an operator has to know before saying yes."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.nano.ops.plugins.filter.dns_records import dns_records
from ansible_collections.nano.ops.plugins.plugin_utils import topology

# Between two looks of Prometheus: for so long the old primary may have lived after the last one that it answered.
SCRAPE_S = 15.0


def position(lsn: str) -> int:
    """Return a position in the WAL as a number."""
    high, _, low = lsn.partition("/")
    return (int(high, 16) << 32) + int(low, 16) if low else 0


def servers(hosts: list[str], hostvars: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what each database host that answers has told of its server."""
    found = {}
    for host in hosts:
        told = hostvars[host].get("failover_server") or {}
        if isinstance(told.get("server"), Mapping):
            found[host] = dict(told["server"])
    return found


def record(hosts: list[str], hostvars: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record of who is the primary, empty if nobody tells it."""
    for host in hosts:
        told = hostvars[host].get("failover_record") or {}
        if told.get("rc") == 0:
            return dict(json.loads(told["stdout"])["record"])
    return {}


class Plan:
    """The plan, from what was registered."""

    def __init__(self, groups: Mapping[str, list[str]], hostvars: Mapping[str, Any], site: str, host: str) -> None:
        """Read it."""
        self.groups, self.hostvars, self.site = groups, hostvars, site
        self.lost = sorted(groups.get(site, []))
        self.left = sorted(groups.get("failover_left", []))
        members = sorted(groups.get("postgresql", []))
        self.old = [name for name in members if name in self.lost]
        self.servers = servers([name for name in members if name not in self.lost], hostvars)
        self.guarded = bool(groups.get("primary_record"))
        self.record = record(list(self.servers), hostvars)
        self.target = host or self._best()
        self.server = self.servers.get(self.target, {})
        self.problems: list[str] = []

    def _best(self) -> str:
        """Return who has most: one that is the primary already, else the one that has received most."""
        if not self.servers:
            raise AnsibleFilterError(
                f"No database outside {self.site} answers, nothing was touched. Look at their hosts; where none can be "
                "brought back, playbooks/restore.yml makes one from the backups."
            )
        return max(
            self.servers,
            key=lambda name: (not self.servers[name]["is_standby"], position(self.servers[name]["received"]), name),
        )

    def answers(self) -> dict[str, list[str]]:
        """Return who still gets an answer from the lost site: from where to whom."""
        found = {}
        for host in self.left:
            seen = (self.hostvars[host].get("failover_seen") or {}).get("answers") or {}
            found[host] = sorted(name for name, ports in seen.items() if ports)
        here = self.here()
        found["this machine"] = here
        return found

    def here(self) -> list[str]:
        """Return the hosts of the lost site that this machine can log in to."""
        for host in self.hostvars:
            told = (self.hostvars[host].get("failover_here") or {}).get("answers")
            if told is not None:
                return sorted(name for name, ports in told.items() if ports)
        return []

    def stoppable(self) -> list[str]:
        """Return the old database hosts that can be stopped over SSH."""
        return [host for host in self.old if host in self.here()]

    def is_claimed(self) -> bool:
        """Whether the record names the target already: an earlier run was cut off after that."""
        return bool(self.record) and self.record["host"] == self.target

    def check(self) -> list[str]:
        """Return what stands in the way."""
        wrong = []
        if not self.server:
            known = ", ".join(self.servers) or "none"
            wrong.append(f"failover_host: {self.target} does not answer as a database outside {self.site}; {known} do.")
        if self.guarded and not self.record:
            wrong.append(
                "No majority of the hosts of group primary_record tells who is the primary, so that nobody could be "
                "kept from a second one. Bring one of them back, or read docs/primary-record.md on going without."
            )
        unfenced = [host for host in self.old if host not in self.stoppable()]
        variables = self.hostvars[self.target] if self.target in self.hostvars else {}
        if (
            unfenced
            and not self.guarded
            and not variables.get("failover_fence_command")
            and str(variables.get("failover_unfenced", "")).lower() not in ("true", "yes", "1")
        ):
            wrong.append(
                f"{', '.join(unfenced)} cannot be reached, and nothing keeps it from serving when it comes back: name "
                "a program that cuts it off (failover_fence_command), or see to it and pass -e failover_unfenced=true."
            )
        primaries = [host for host, seen in self.servers.items() if not seen["is_standby"] and host != self.target]
        if primaries:
            wrong.append(f"{', '.join(primaries)} is a primary already: pass -e failover_host={primaries[0]}.")
        return wrong

    def alive(self) -> float:
        """Return when Prometheus has last seen the old primary answer, in seconds since 1970; 0 for unknown."""
        for host in self.left:
            told = self.hostvars[host].get("failover_scraped") or {}
            found = ((told.get("json") or {}).get("data") or {}).get("result") or []
            if found:
                return float(found[0]["value"][1])
        return 0.0

    def loss(self) -> str:
        """Say what would be lost."""
        if not self.server:
            return "not known"
        if not self.server["is_standby"]:
            return f"nothing more: {self.target} is the primary already"
        if not self.server["heartbeat"]:
            return "not known: the standby has no heartbeat"
        at = time.strftime("%H:%M:%S", time.gmtime(self.server["heartbeat"]))
        if not self.alive():
            return f"what the old primary acknowledged after {at} UTC, {self.server['age']:.0f} s ago, if it lived then"
        most = max(0.0, self.alive() + SCRAPE_S - self.server["heartbeat"])
        return f"what the old primary acknowledged after {at} UTC, {most:.0f} s at most"

    def lines(self) -> list[str]:
        """Return the page that is shown before the question."""
        lines = [f"{self.site} is taken for lost: {', '.join(self.lost)}", ""]
        for place, seen in self.answers().items():
            lines.append(f"  seen from {place}: {'answers: ' + ', '.join(seen) if seen else 'nobody answers'}")
        away = sorted(set(topology.members(["all"], self.groups)) - set(self.lost) - set(self.left))
        if away:
            lines.append(f"  away as well, and left out: {', '.join(away)}")
        lines.append("")
        for host, server in self.servers.items():
            what = "standby" if server["is_standby"] else "primary"
            state = f"received {server['received']}, replayed {server['replayed']}" if server["is_standby"] else ""
            lines.append(f"  {host}: {what}, timeline {server['timeline']} {state}".rstrip())
        if self.record:
            lines.append(f"  record: {self.record['host']} since {self.record['time']}, epoch {self.record['epoch']}")
        lines += [
            "",
            f"Lost would be: {self.loss()}.",
            f"Then: {self.target} becomes the primary, {', '.join(self.applications()) or 'no host'} runs the "
            f"application, {', '.join(each['name'] for each in self.records()) or 'no name'} is moved.",
        ]
        return [*lines, *(f"Note: {note}" for note in self.notes())]

    def notes(self) -> list[str]:
        """Return what the operator should think twice about."""
        notes = []
        alive = sorted({name for seen in self.answers().values() for name in seen})
        if alive:
            notes.append(f"{', '.join(alive)} still answers: is the site lost? A planned move is switchover.yml.")
        if self.server.get("is_streaming"):
            notes.append(
                f"{self.target} still gets WAL: the old primary lives, and the gate waits until it is stopped."
            )
        return notes

    def applications(self) -> list[str]:
        """Return the application's hosts that are left."""
        return [host for host in self.left if host in self.groups.get("nano_api", [])]

    def records(self) -> list[dict[str, Any]]:
        """Return the names that move, and where to."""
        if not self.groups.get("dns"):
            return []
        known = dns_records(self.groups, self.hostvars)
        serving = {"db": self.target, "api": next(iter(self.applications()), "")}
        return [
            {"name": name, "value": known[name]["addresses"][host]}
            for name, host in serving.items()
            if host and name in known
        ]

    def plan(self) -> dict[str, Any]:
        """Return the whole."""
        zone = str(self.hostvars[self.target].get("dns_zone", "")) if self.target in self.hostvars else ""
        records = self.records()
        api = next((each["value"] for each in records if each["name"] == "api"), "")
        return {
            "target": self.target,
            "unfenced": [host for host in self.old if host not in self.stoppable()],
            "groups": [
                {"host": self.target, "group": "failover_target"},
                *({"host": host, "group": "failover_stoppable"} for host in self.stoppable()),
            ],
            "lines": self.lines(),
            "problems": self.check(),
            "notes": self.notes(),
            "facts": {"New primary": self.target, "Would be lost": self.loss(), "Lost site": ", ".join(self.lost)},
            "epoch": self.record.get("epoch", 0),
            "is_claimed": self.is_claimed(),
            "timeline": self.server.get("timeline", 0),
            "system_identifier": self.server.get("system_identifier", ""),
            "alive": self.alive(),
            "records": records,
            "dns_from": next((host for host in self.groups.get("dns", []) if host in self.left), ""),
            "url": f"https://api.{zone}/v1/nanos" if api and zone else "",
            "resolve": ["--resolve", f"api.{zone}:443:{api}"] if api and zone else [],
            "next": [
                f"# when {self.site} is back: ansible-playbook playbooks/failback.yml -e failback_site={self.site}"
            ],
        }
