"""The filters that compute firewall, targets and sandbox from the inventory."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.nano.ops.plugins.filter.firewall_rules import firewall_rules
from ansible_collections.nano.ops.plugins.filter.sandbox import DIRECTIVES, sandbox
from ansible_collections.nano.ops.plugins.filter.scrape_targets import scrape_targets

HOSTS = {
    "ops1": {"host_address": "10.0.0.1", "host_env": "lab"},
    "db1": {"ansible_host": "10.0.0.2"},
    "db2": {"host_address": "10.0.0.3", "ansible_host": "db2.example.com"},
}
GROUPS = {
    "all": ["ops1", "db1", "db2"],
    "site_ops": ["ops1"],
    "site_a": ["db1"],
    "site_b": ["db2"],
    "prometheus": ["ops1"],
    "blackbox_exporter": ["ops1"],
    "postgresql": ["db1", "db2"],
}
PORTS = {
    "node_exporter": {"port": 9100, "to": ["all"], "from": ["prometheus"]},
    "postgresql": {"port": 5432, "to": ["postgresql"], "from": ["postgresql", "nano_api"]},
    "dns": {"port": 53, "proto": "udp", "to": ["bind"], "from": ["all"]},
}


def test_port_is_open_to_the_groups_that_use_it_and_nobody_else() -> None:
    rules = firewall_rules(PORTS, HOSTS, GROUPS, "db1")
    assert rules == [
        {"comment": "postgresql", "port": 5432, "proto": "tcp", "sources": ["10.0.0.3"]},
        {"comment": "node_exporter", "port": 9100, "proto": "tcp", "sources": ["10.0.0.1"]},
    ]


def test_port_that_nobody_else_uses_gets_no_rule() -> None:
    assert firewall_rules(PORTS, HOSTS, GROUPS, "ops1") == []


def test_networks_are_open_beside_the_groups_and_never_overlap() -> None:
    """nftables refuses a set in which one element holds another."""
    entry = {"port": 443, "to": ["postgresql"], "from": ["all"]}
    for networks, sources in (
        (["0.0.0.0/0", "::/0"], ["0.0.0.0/0"]),
        (["10.0.0.0/24", "192.0.2.7"], ["10.0.0.0/24", "192.0.2.7"]),
        ([], ["10.0.0.1", "10.0.0.3"]),
    ):
        rules = firewall_rules({"web": {**entry, "networks": networks}}, HOSTS, GROUPS, "db1")
        assert [rule["sources"] for rule in rules] == [sources]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"port": 80, "to": ["all"]}, "lacks from"),
        ({"port": 70000, "to": ["all"], "from": ["all"]}, "70000 is not a port"),
        ({"port": 80, "proto": "icmp", "to": ["all"], "from": ["all"]}, "icmp 80 is not a port"),
    ],
)
def test_broken_port_is_refused(entry: dict, message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=message):
        firewall_rules({"web": entry}, HOSTS, GROUPS, "db1")


def test_targets_carry_the_labels_of_the_contract() -> None:
    jobs = {"postgres_exporter": {"group": "postgresql", "port": 9187, "service": "postgresql"}}
    assert scrape_targets(jobs, HOSTS, GROUPS)["postgres_exporter"] == [
        {
            "targets": ["10.0.0.2:9187"],
            "labels": {"instance": "db1", "site": "site_a", "env": "production", "service": "postgresql"},
        },
        {
            "targets": ["10.0.0.3:9187"],
            "labels": {"instance": "db2", "site": "site_b", "env": "production", "service": "postgresql"},
        },
    ]


def test_probe_goes_through_the_blackbox_exporter() -> None:
    jobs = {"tls": {"group": "postgresql", "port": 9100, "service": "host", "probe": "tls_connect", "probe_port": 9115}}
    first = scrape_targets(jobs, HOSTS, GROUPS)["tls"][0]
    assert first["targets"] == ["10.0.0.1:9115"]
    assert first["labels"]["__param_target"] == "10.0.0.2:9100"
    assert first["labels"]["__param_module"] == "tls_connect"
    assert first["labels"]["instance"] == "db1"


def test_job_that_needs_another_group_is_left_out_without_it() -> None:
    jobs = {"db": {"group": "prometheus", "port": 53, "service": "dns", "needs": "postgresql"}}
    assert list(scrape_targets(jobs, HOSTS, GROUPS)) == ["db"]
    assert scrape_targets(jobs, HOSTS, GROUPS | {"postgresql": []}) == {}


def test_job_without_hosts_is_left_out() -> None:
    assert scrape_targets({"redis": {"group": "redis", "port": 1, "service": "redis"}}, HOSTS, GROUPS) == {}


@pytest.mark.parametrize(("sites", "message"), [([], "it is in none"), (["site_a", "site_b"], "site_a, site_b")])
def test_host_in_no_site_or_two_is_refused(sites: list[str], message: str) -> None:
    groups = {"all": ["db1"], **{site: ["db1"] for site in sites}}
    with pytest.raises(AnsibleFilterError, match=message):
        scrape_targets({"node": {"group": "all", "port": 1, "service": "host"}}, HOSTS, groups)


def test_sandbox_closes_everything_unless_told() -> None:
    lines = sandbox({}).splitlines()
    assert {line.split("=")[0] for line in lines} == {*DIRECTIVES, "RestrictAddressFamilies"}


def test_sandbox_options() -> None:
    text = sandbox({"families": ["AF_UNIX"], "leave_out": ["ProcSubset"], "extra": {"ProtectHome": "read-only"}})
    assert "RestrictAddressFamilies=AF_UNIX\n" in f"{text}\n"
    assert "ProcSubset" not in text
    assert "ProtectHome=read-only" in text
    assert "ProtectHome=yes" not in text


@pytest.mark.parametrize("options", [{"familes": []}, {"leave_out": ["ProtectHomes"]}])
def test_sandbox_refuses_what_it_does_not_know(options: dict) -> None:
    with pytest.raises(AnsibleFilterError):
        sandbox(options)
