"""Every mistake that an inventory can hold, with the line that the operator reads."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.nano.ops.plugins.plugin_utils import inventory_check as check

GOOD_SECRET = "q7RkZb29LmTw84Hs"
SPECS: dict[str, Any] = {
    "host": {
        "host_address": {"type": "str"},
        "host_ca_passphrase": {"type": "str", "required": True},
        "host_port": {"type": "int", "default": 22},
        "host_networks": {"type": "list", "elements": "str", "default": []},
        "host_ports": {"type": "dict", "default": {}},
        "host_enabled": {"type": "bool", "default": True},
    },
    "prometheus": {
        "prometheus_retention_time": {"type": "str"},
        "prometheus_from": {"choices": ["release", "package"]},
    },
    "postgresql": {"postgresql_version": {"type": "int", "default": 17}},
    "postgres_exporter": {"postgres_exporter_version": {"type": "str"}},
    "redis": {"redis_token": {"type": "str", "default": ""}},
}
HOSTS = {
    "db1": {"ansible_host": "10.0.0.1", "host_ca_passphrase": GOOD_SECRET, "postgresql_role": "primary"},
    "db2": {"ansible_host": "10.0.0.2", "host_ca_passphrase": GOOD_SECRET, "postgresql_role": "standby"},
    "ops1": {"ansible_host": "10.0.0.3", "host_ca_passphrase": GOOD_SECRET, "alertmanager_receivers": []},
}
RECEIVER = {"name": "team", "webhook_configs": [{"url": "http://10.0.0.9"}]}
HOSTS["ops1"]["alertmanager_receivers"] = [RECEIVER]
GROUPS = {
    "all": ["db1", "db2", "ops1"],
    "site_a": ["db1"],
    "site_b": ["db2", "ops1"],
    "postgresql": ["db1", "db2"],
    "alertmanager": ["ops1"],
}


def run(changes: dict[str, dict[str, Any]] | None = None, groups: dict[str, list[str]] | None = None) -> list[str]:
    """Return what is wrong with the good inventory after some changes."""
    hosts: dict[str, dict[str, Any]] = copy.deepcopy(HOSTS)
    for host, variables in (changes or {}).items():
        hosts[host].update(variables)
    return check.problems(check.Inventory(hosts, {**GROUPS, **(groups or {})}, SPECS))


def test_a_good_inventory_has_no_problem() -> None:
    assert run() == []


@pytest.mark.parametrize(
    ("host", "variable", "value", "message"),
    [
        ("db1", "host_prot", 1, "host_prot: role host has no such variable; did you mean host_port?"),
        ("db1", "promethus_retention_time", "1d", "no role reads this; did you mean prometheus_retention_time?"),
        ("db1", "postgres_exporter_versoin", "1", "role postgres_exporter has no such variable; did you mean"),
        ("db1", "host_port", "abc", "host_port: is not of type int; correct its value"),
        ("db1", "host_port", True, "host_port: is not of type int"),
        ("db1", "host_enabled", "maybe", "host_enabled: is not of type bool"),
        ("db1", "host_networks", "10.0.0.0/8", "host_networks: is not of type list"),
        ("db1", "host_networks", ["a", {}], "host_networks: item 2 is not of type str"),
        ("db1", "host_ports", [], "host_ports: is not of type dict"),
        ("db1", "prometheus_from", "source", "prometheus_from: is none of release, package"),
        ("db1", "host_port", check.Unresolved("'x' is undefined"), "host_port: cannot be computed ('x' is undefined)"),
        ("db1", "host_ca_passphrase", "", "host_ca_passphrase: is empty; make a random one with playbooks/secrets.yml"),
        ("db1", "host_ca_passphrase", "CHANGE_ME_CHANGE_ME", "host_ca_passphrase: is a placeholder"),
        ("db1", "host_ca_passphrase", "q7RkZb29", "host_ca_passphrase: is shorter than 16 characters"),
        ("db1", "host_address", "db.example.com", "db.example.com is no IPv4 address"),
        ("db1", "host_address", "127.0.0.1", "others cannot reach 127.0.0.1"),
        ("db2", "host_address", "10.0.0.1", "10.0.0.1 is the address of db1 too"),
        ("db2", "postgresql_role", "primary", "group postgresql: postgresql_role: db1 and db2 are all primary"),
        ("db1", "postgresql_role", "standby", "group postgresql: postgresql_role: no host is primary"),
        ("db2", "postgresql_role", "replica", "db2: postgresql_role: neither primary nor standby"),
        ("db1", "postgresql_version", 14, "postgresql_version: 14 is not supported; use one of 15, 16, 17"),
        ("ops1", "alertmanager_receivers", [], "alertmanager_receivers: empty, alerts would reach nobody"),
        ("ops1", "alertmanager_receivers", [{"name": "x"}], "receiver x tells nobody"),
        ("ops1", "alertmanager_route", {"routes": [{"receiver": "x"}]}, "there is no receiver x; use one of: team"),
    ],
)
def test_a_mistake_is_named(host: str, variable: str, value: Any, message: str) -> None:
    assert any(message in line for line in run({host: {variable: value}})), run({host: {variable: value}})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("host_port", "15"),
        ("host_enabled", "yes"),
        ("host_port", check.Unresolved()),
        ("redis_token", ""),
        ("redis_exporter_password", GOOD_SECRET),
        ("application_name", "x"),
        ("ansible_hosts", "x"),
    ],
)
def test_what_is_right_or_not_ours_is_left_alone(variable: str, value: Any) -> None:
    assert run({"db1": {variable: value}}) == []


def test_a_missing_required_variable_is_named() -> None:
    hosts = {"db1": {"ansible_host": "10.0.0.1"}}
    found = check.problems(check.Inventory(hosts, {"all": ["db1"], "site_a": ["db1"]}, SPECS))
    assert found == ["db1: host_ca_passphrase: missing, role host needs it; make it with playbooks/secrets.yml"]


def test_secrets_are_never_printed() -> None:
    assert "hunter2" not in "".join(run({"db1": {"host_ca_passphrase": "hunter2"}}))


def test_each_host_is_in_one_site() -> None:
    assert "db1: site: the host is in no group site_*" in run(groups={"site_a": []})[0]
    assert "db2: site: the host is in site_a and site_b" in run(groups={"site_a": ["db1", "db2"]})[0]
    assert "group site_A-b: name: not of a-z" in run(groups={"site_A-b": []})[0]


def test_names_are_dns_labels_and_one_host_may_be_local() -> None:
    hosts = {"a_b": {"host_address": "127.0.0.1", "host_ca_passphrase": GOOD_SECRET}}
    found = check.problems(check.Inventory(hosts, {"all": ["a_b"], "site_a": ["a_b"]}, SPECS))
    assert len(found) == 1 and found[0].startswith("a_b: name: no DNS label")


def test_an_attached_host_has_no_role_to_declare() -> None:
    assert run({"db2": {"postgresql_role": "primary", "postgresql_attach": True}}) == []


def test_backups_have_one_host_and_something_to_back_up() -> None:
    assert run(groups={"backup": ["ops1"], "backup_verify": ["db2"]}) == []
    assert run(groups={"backup": ["ops1", "db2"]}) == [
        "group backup: members: db2 and ops1 would each make the same backups; leave the one that keeps the repository"
    ]
    nothing = "group backup: members: no host of group postgresql is the platform's own; leave the group out"
    assert run(groups={"backup": ["ops1"], "postgresql": []}) == [nothing]
    attached = {host: {"postgresql_attach": True} for host in ("db1", "db2")}
    assert run(attached, {"backup": ["ops1"]}) == [nothing]
    assert run(groups={"backup_verify": ["db2"]}) == [
        "group backup_verify: members: group backup has no host, so nothing is to be verified; add one"
    ]


def test_the_same_mistake_on_all_hosts_is_one_line() -> None:
    assert run({host: {"host_port": "x"} for host in HOSTS}) == [
        "all hosts: host_port: is not of type int; correct its value"
    ]


def keepers(*names: str, primary: str = "db1") -> list[str]:
    """Check an inventory of four more hosts whose keepers are these."""
    hosts: dict[str, dict[str, Any]] = copy.deepcopy(HOSTS)
    hosts |= {
        f"h{number}": {"ansible_host": f"10.0.1.{number}", "host_ca_passphrase": GOOD_SECRET} for number in range(4)
    }
    hosts["db1"]["postgresql_role"] = "primary" if primary == "db1" else "standby"
    hosts["db2"]["postgresql_role"] = "primary" if primary == "db2" else "standby"
    sites = {"site_a": ["db1", "h0", "h1"], "site_b": ["db2", "ops1", "h2", "h3"]}
    groups = {**GROUPS, **sites, "all": sorted(hosts), "primary_record": list(names)}
    return check.problems(check.Inventory(hosts, groups, SPECS))


def test_keepers_of_whom_a_majority_survives_are_accepted() -> None:
    assert keepers("h0", "h2", "h3") == []
    assert keepers("h0", "h1", "h2", "h3", "ops1") == []
    assert keepers() == []


@pytest.mark.parametrize(
    ("names", "primary", "message"),
    [
        (("h0",), "db1", "members: there are 1, and a majority is clear with 3 or 5"),
        (("h0", "h1", "h2", "h3"), "db1", "members: there are 4"),
        (("h2", "h3", "ops1"), "db1", "members: all are in site_b, whose loss takes the record along"),
        (("h0", "h1", "h2"), "db1", "h0 and h1 are a majority and in site_a, as the primary db1 is"),
        (("h0", "h2", "h3"), "db2", "h2 and h3 are a majority and in site_b, as the primary db2 is"),
    ],
)
def test_keepers_that_would_be_lost_with_a_site_are_refused(names: tuple[str, ...], primary: str, message: str) -> None:
    found = keepers(*names, primary=primary)
    assert any(line.startswith("group primary_record: ") and message in line for line in found), found
