"""The names that move, computed from the inventory."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from ansible_collections.nano.ops.plugins.filter.dns_names import dns_names
from ansible_collections.nano.ops.plugins.filter.dns_records import dns_records

from .conftest import ROOT

GROUPS = {"nano_api": ["app1", "app2"], "postgresql": ["db1", "db2"]}
HOSTS: dict[str, dict[str, Any]] = {
    "app1": {"host_address": "10.0.1.21", "nano_api_role": "cold"},
    "app2": {"host_address": "10.0.2.31"},
    "db1": {"host_address": "10.0.1.22", "postgresql_role": "standby"},
    "db2": {"host_address": "10.0.2.32", "postgresql_role": "primary"},
    "ops1": {"host_address": "10.0.0.10"},
}


def begin(groups: dict[str, list[str]] = GROUPS, **changes: dict[str, Any]) -> dict[str, str]:
    """Return where each name begins, some hosts having more variables."""
    hosts = {host: {**variables, **changes.get(host, {})} for host, variables in HOSTS.items()}
    return {name: found["begins"] for name, found in dns_records(groups, hosts).items()}


def test_names_begin_where_the_inventory_says_who_serves() -> None:
    assert begin() == {"api": "app2", "db": "db2"}
    found = dns_records(GROUPS, HOSTS)
    assert found["api"]["record"] == {"name": "api", "value": "10.0.2.31"}
    assert found["db"]["addresses"] == {"db1": "10.0.1.22", "db2": "10.0.2.32"}


def test_data_that_was_looked_at_knows_better_than_the_inventory() -> None:
    """Both name servers lost after a failover: a name made anew must not lead to the old primary."""
    looked = {"__postgresql_cluster": {"holds": "primary"}}
    assert begin(db1=looked)["db"] == "db1"
    assert begin(db1={"__postgresql_cluster": {"holds": "standby"}})["db"] == "db2"


def test_without_anybody_who_serves_there_is_still_one_place() -> None:
    assert begin(app2={"nano_api_role": "cold"}, db2={"postgresql_role": "standby"}) == {"api": "app1", "db": "db1"}


@pytest.mark.parametrize(("groups", "names"), [({}, []), ({"postgresql": ["db1"], "nano_api": []}, ["db"])])
def test_a_name_without_hosts_is_left_out(groups: dict[str, list[str]], names: list[str]) -> None:
    assert list(dns_records(groups, HOSTS)) == names


def test_customers_come_by_the_public_address_and_the_platform_by_its_own() -> None:
    public = {"dns_public_addresses": {"app2": "203.0.113.31", "db2": "203.0.113.32"}}
    found = dns_records(GROUPS, {host: {**variables, **public} for host, variables in HOSTS.items()})
    assert found["api"]["addresses"] == {"app1": "10.0.1.21", "app2": "203.0.113.31"}
    assert found["db"]["record"]["value"] == "10.0.2.32"


def test_a_certificate_carries_the_names_that_may_lead_to_its_host() -> None:
    zoned = {host: {**variables, "dns_zone": "nano.example"} for host, variables in HOSTS.items()}
    assert [dns_names(GROUPS, zoned, host) for host in ("app1", "app2")] == [["api.nano.example"]] * 2
    assert [dns_names(GROUPS, zoned, host) for host in ("db1", "db2")] == [["db.nano.example"]] * 2
    assert dns_names(GROUPS, zoned, "ops1") == []
    assert dns_names(GROUPS, HOSTS, "app1") == []


@pytest.mark.parametrize("inventory", ["lab", "example"])
def test_name_servers_stand_in_two_places_and_not_where_the_site_is_that_serves(inventory: str) -> None:
    tree = yaml.safe_load((ROOT / f"inventories/{inventory}/hosts.yml").read_text())["all"]["children"]
    sites = {name for name in tree for host in tree["dns"]["hosts"] if host in tree[name]["hosts"] and "site_" in name}
    serving = {name for name in tree if re.match("site_", name) and "app1" in tree[name]["hosts"]}
    assert len(sites) == 2 and not sites & serving
