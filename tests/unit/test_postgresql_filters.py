"""The filters of PostgreSQL and of addresses, and the test of receivers, as a playbook calls them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.nano.ops.plugins.filter.addresses import FilterModule as Addresses
from ansible_collections.nano.ops.plugins.filter.postgresql_memory import FilterModule as Memory
from ansible_collections.nano.ops.plugins.filter.postgresql_plan import FilterModule as Plan
from ansible_collections.nano.ops.plugins.test.reaches_somebody import TestModule as Receivers

addresses = Addresses().filters()["addresses"]
memory = Memory().filters()["postgresql_memory"]
plan_of = Plan().filters()["postgresql_plan"]
reaches_somebody = Receivers().tests()["reaches_somebody"]

ROLES = {"db1": "primary", "db2": "standby", "db3": "standby"}


def plan(*attached: str, **seen: str) -> dict[str, Any]:
    """Make the plan of three hosts; one that is not named was not looked at, as with --limit."""
    hostvars: dict[str, dict[str, Any]] = {}
    for host, role in ROLES.items():
        hostvars[host] = {"postgresql_role": role, "postgresql_attach": host in attached}
        if host in seen:
            hostvars[host]["__postgresql_cluster"] = {"changed": False, "holds": seen[host]}
    return plan_of(list(ROLES), hostvars)


def test_bare_hosts_get_one_new_cluster_and_copies_of_it() -> None:
    expected = {"primary": "db1", "initialise": "db1", "build": ["db2", "db3"], "swapped": []}
    assert plan(db1="empty", db2="empty", db3="empty") == expected


def test_one_that_runs_is_left_alone() -> None:
    expected = {"primary": "db1", "initialise": "", "build": [], "swapped": []}
    assert plan(db1="primary", db2="standby", db3="standby") == expected


def test_new_standby_is_copied_from_the_primary_that_is_there() -> None:
    expected = {"primary": "db1", "initialise": "", "build": ["db3"], "swapped": []}
    assert plan(db1="primary", db2="standby", db3="empty") == expected


def test_after_a_failover_the_data_win_over_the_inventory() -> None:
    expected = {"primary": "db2", "initialise": "", "build": [], "swapped": ["db1", "db2"]}
    assert plan(db1="standby", db2="primary", db3="standby") == expected


def test_lost_old_primary_becomes_a_copy_of_the_new_one() -> None:
    """It is the declared primary and empty; a new cluster on it would be a second database."""
    expected = {"primary": "db2", "initialise": "", "build": ["db1"], "swapped": ["db2"]}
    assert plan(db1="empty", db2="primary", db3="standby") == expected


def test_two_primaries_are_refused_by_name() -> None:
    with pytest.raises(AnsibleFilterError, match=r"db1 and db2 each hold .*nothing was changed.*keep its data"):
        plan(db1="primary", db2="primary", db3="standby")


def test_empty_primary_beside_a_standbys_data_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match=r"db1 is empty, but db3 holds.*nothing was changed.*promote db3"):
        plan(db1="empty", db2="empty", db3="standby")


@pytest.mark.parametrize("seen", [{"db1": "empty"}, {"db1": "empty", "db2": "empty"}])
def test_nothing_is_initialised_while_a_host_was_not_looked_at(seen: dict[str, str]) -> None:
    with pytest.raises(AnsibleFilterError, match=r"db1 is empty and .*db3 could not be looked at.*without --limit"):
        plan(**seen)


def test_limit_to_a_standby_takes_the_declared_primary() -> None:
    assert plan(db3="empty") == {"primary": "db1", "initialise": "", "build": ["db3"], "swapped": []}
    assert plan(db2="standby") == {"primary": "db1", "initialise": "", "build": [], "swapped": []}


def test_standbys_alone_never_make_one_of_them_the_primary() -> None:
    """A primary that was demoted by hand: all hold a standby's data, so nothing is to be made."""
    expected = {"primary": "db1", "initialise": "", "build": [], "swapped": ["db1"]}
    assert plan(db1="standby", db2="standby", db3="standby") == expected


@pytest.mark.parametrize(("roles", "count"), [({}, 3), ({"db1": "standby"}, 2), (ROLES | {"db1": "standby"}, 0)])
def test_inventory_with_no_or_two_primaries_is_refused(roles: dict[str, str], count: int) -> None:
    hostvars: dict[str, dict[str, Any]] = {host: {"__postgresql_cluster": {"holds": "empty"}} for host in ROLES}
    for host, role in roles.items():
        hostvars[host]["postgresql_role"] = role
    with pytest.raises(AnsibleFilterError, match=f"{count} hosts have postgresql_role primary"):
        plan_of(list(ROLES), hostvars)


def test_attached_cluster_takes_no_part() -> None:
    """It is somebody else's: neither the data of it nor that it wasn't looked at may stop the others."""
    expected = {"primary": "db1", "initialise": "db1", "build": ["db2"], "swapped": []}
    assert plan("db3", db1="empty", db2="empty") == expected
    assert plan("db3", db1="empty", db2="empty", db3="primary") == expected


UNITS = {"kB": 1, "MB": 1024}


def kilobytes(text: str) -> int:
    """Read a size in PostgreSQL's own syntax."""
    number, unit = re.fullmatch(r"(\d+)(kB|MB)", text).groups()
    return int(number) * UNITS[unit]


# From the least host to one of 1 TiB, in MiB.
SIZES = [128, 256, 512, 1000, 2048, 4096, 16_384, 65_536, 1_048_576]


@pytest.mark.parametrize("connections", [1, 20, 150, 5000])
def test_memory_grows_with_the_host(connections: int) -> None:
    settings = [memory(size, connections) for size in SIZES]
    for name in settings[0]:
        values = [kilobytes(each[name]) for each in settings]
        assert values == sorted(values), name


@pytest.mark.parametrize("size", SIZES)
def test_memory_stays_within_the_host(size: int) -> None:
    """Also when every connection sorts at once, as long as there are no more of them than the host can bear."""
    connections = 100 if size >= 1000 else 10
    found = {name: kilobytes(value) for name, value in memory(size, connections).items()}
    assert found["shared_buffers"] + connections * found["work_mem"] + found["maintenance_work_mem"] <= size * 1024
    assert found["shared_buffers"] < found["effective_cache_size"] < size * 1024
    assert 16 * 1024 <= found["maintenance_work_mem"] <= 2048 * 1024
    assert found["work_mem"] >= 1024


def test_memory_of_a_usual_host() -> None:
    assert memory(8192, 150) == {
        "shared_buffers": "2048MB",
        "effective_cache_size": "6144MB",
        "work_mem": "6990kB",
        "maintenance_work_mem": "512MB",
    }


def test_more_connections_leave_less_for_each() -> None:
    sizes = [kilobytes(memory(8192, connections)["work_mem"]) for connections in (10, 100, 1000, 100_000)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 1024, "below 1 MB every sort would go to disk"


@pytest.mark.parametrize(("size", "connections"), [(127, 10), (0, 10), (4096, 0)])
def test_too_little_memory_is_refused(size: int, connections: int) -> None:
    with pytest.raises(AnsibleFilterError, match=f"{size} MiB for {connections} connections; 128 MiB are the least"):
        memory(size, connections)


def test_address_is_the_private_one_then_ansibles_then_the_name() -> None:
    hostvars = {
        "db1": {"host_address": "10.0.0.1", "ansible_host": "db1.example.com"},
        "db2": {"ansible_host": "10.0.0.2"},
        "db3": {},
    }
    assert addresses(["db3", "db1", "db2"], hostvars) == ["db3", "10.0.0.1", "10.0.0.2"]
    assert addresses([], hostvars) == []


@pytest.mark.parametrize(
    ("receiver", "reached"),
    [
        ({"name": "nobody"}, False),
        ({"name": "nobody", "email_configs": []}, False),
        ({"name": "nobody", "email_configs": None, "slack_configs": []}, False),
        ({"name": "somebody", "email_configs": [], "slack_configs": [{"channel": "#ops"}]}, True),
        ({"name": "pager", "pagerduty_configs": [{"routing_key_file": "/run/key"}]}, True),
        # Only Alertmanager's own lists count, a mistyped one reaches nobody.
        ({"name": "typo", "email_config": [{"to": "ops@example.com"}]}, False),
    ],
)
def test_receiver_without_an_integration_is_found(receiver: dict[str, Any], reached: bool) -> None:
    assert reaches_somebody(receiver) is reached
