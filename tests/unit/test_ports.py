"""What Prometheus scrapes and what is probed is open from the hosts that ask, and from nobody else.

The jobs of role prometheus and the ports of role host are two lists in two roles: a probe that the firewall drops looks
like a service that is down.
"""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible_collections.nano.ops.plugins.filter.firewall_rules import firewall_rules
from ansible_collections.nano.ops.plugins.filter.scrape_targets import scrape_targets

from .conftest import ROOT


def variables(role: str, name: str) -> dict[str, dict[str, Any]]:
    return yaml.safe_load((ROOT / f"roles/{role}/vars/main.yml").read_text())[name]


JOBS = variables("prometheus", "__prometheus_jobs")
# Without the networks of people and customers: what hosts may do shows without them.
PORTS = {
    name: {key: value for key, value in entry.items() if key != "networks"}
    for name, entry in variables("host", "__host_ports").items()
}


class Inventory:
    """Hosts, their variables and their groups, as a playbook sees them."""

    def __init__(self, groups: dict[str, list[str]], hostvars: dict[str, dict[str, Any]]) -> None:
        self.groups = {"all": sorted(hostvars), **groups}
        self.hostvars = hostvars

    def address(self, host: str) -> str:
        return str(self.hostvars[host]["ansible_host"])

    def is_open(self, source: str, target: str, port: int) -> bool:
        """Tell whether a host may connect to an address; a host always reaches itself."""
        host = next(name for name in self.hostvars if self.address(name) == target)
        rules = firewall_rules(PORTS, self.hostvars, self.groups, host)
        # Names are asked over UDP, and over TCP when an answer is long or somebody is flooded.
        protocols = {"tcp", "udp"} if port == 53 else {"tcp"}
        allowed = [rule for rule in rules if rule["port"] == port and rule["proto"] in protocols]
        if {rule["proto"] for rule in allowed} < protocols:
            return source == host
        return source == host or any(self.address(source) in rule["sources"] for rule in allowed)


def lab() -> Inventory:
    tree = yaml.safe_load((ROOT / "inventories/lab/hosts.yml").read_text())["all"]["children"]
    groups = {name: sorted(group["hosts"]) for name, group in tree.items()}
    hostvars = {host: vars_ for name in tree if name.startswith("site_") for host, vars_ in tree[name]["hosts"].items()}
    return Inventory(groups, hostvars)


def apart() -> Inventory:
    """Two hosts for every group and no host in two of them, so that no rule works by chance of who shares a host."""
    names = {group for entry in PORTS.values() for group in [*entry["to"], *entry["from"]]} - {"all"}
    names |= {entry["group"] for entry in JOBS.values()} - {"all"} | {"prometheus", "blackbox_exporter", "bystander"}
    groups = {name: [f"{name}_1", f"{name}_2"] for name in sorted(names)}
    hosts = [host for members in groups.values() for host in members]
    hostvars = {host: {"ansible_host": f"10.0.0.{number}"} for number, host in enumerate(hosts, start=1)}
    return Inventory(groups | {"site_a": hosts}, hostvars)


INVENTORIES = {"lab": lab(), "apart": apart()}


def connections(inventory: Inventory, job: str) -> set[tuple[str, str, int]]:
    """Return who connects where for a job: host, address, port."""
    found = set()
    configs = scrape_targets({job: JOBS[job]}, inventory.hostvars, inventory.groups).get(job, [])
    for config in configs:
        asked = [(scraper, config["targets"][0]) for scraper in inventory.groups["prometheus"]]
        if "prober" in config["labels"]:
            asked.append((config["labels"]["prober"], config["labels"]["__param_target"]))
        found |= {(source, *target.split(":")) for source, target in asked}
    return {(source, address, int(port)) for source, address, port in found}


@pytest.mark.parametrize("name", INVENTORIES)
@pytest.mark.parametrize("job", JOBS)
def test_what_a_job_asks_is_open(job: str, name: str) -> None:
    inventory = INVENTORIES[name]
    asked = connections(inventory, job)
    assert asked, "no host has this job, so nothing was tested"
    shut = sorted(each for each in asked if not inventory.is_open(*each))
    assert shut == [], f"the firewall of role host drops what job {job} asks"


def test_probe_is_asked_through_the_prober() -> None:
    """Guards the test above: both legs of a probe are looked at."""
    probes = [job for job, entry in JOBS.items() if "probe" in entry]
    assert probes
    for job in probes:
        legs = {(source.rsplit("_", 1)[0], port) for source, _, port in connections(INVENTORIES["apart"], job)}
        assert {("prometheus", JOBS[job]["probe_port"]), ("blackbox_exporter", JOBS[job]["port"])} <= legs


@pytest.mark.parametrize("service", [name for name, entry in PORTS.items() if "all" not in entry["from"]])
def test_port_is_shut_to_a_host_that_uses_nothing(service: str) -> None:
    inventory, entry = INVENTORIES["apart"], PORTS[service]
    for group in entry["to"]:
        for host in inventory.groups[group]:
            if not host.startswith("bystander"):
                assert not inventory.is_open("bystander_1", inventory.address(host), entry["port"])


def test_every_scraped_service_is_known_to_the_firewall() -> None:
    """A job's port belongs to an entry whose listeners are the job's hosts."""
    for job, entry in JOBS.items():
        listeners = [set(each["to"]) for each in PORTS.values() if each["port"] == entry["port"]]
        assert any({"all", entry["group"]} & names for names in listeners), job
