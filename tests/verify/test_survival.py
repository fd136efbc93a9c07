"""What is killed comes back by itself, and so does a host."""

from __future__ import annotations

import datetime
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.verify.contract import SERVICES
from tests.verify.lab import TLS, Lab
from tests.verify.test_sandbox import UNITS, members

pytestmark = pytest.mark.disturbs
VICTIMS = {
    "node_exporter": "store1",
    "postgres_exporter": "db1",
    "redis_exporter": "app1",
    "blackbox_exporter": "ops1",
    "prometheus": "ops1",
    "alertmanager": "ops1",
    "redis": "app1",
    "postgresql": "db1",
    "pgbackrest": "db2",
    "pgbackrest_repository": "store1",
}
FIREWALL = "/etc/nano/firewall.nft"


def streams(lab: Lab) -> bool:
    """Whether the standby streams from the primary."""
    sql = "SELECT state FROM pg_stat_replication WHERE application_name = 'db2'"
    return lab.admin("db1", sql) == "streaming"


@pytest.mark.parametrize("service", VICTIMS)
def test_killed_service_is_back(lab: Lab, service: str, eventually: Callable[..., Any]) -> None:
    host, unit = VICTIMS[service], SERVICES[service].unit
    old = lab.main_pids(host)[unit]
    lab.host(host).run_expect([0], "kill -KILL %s", str(old))

    def back() -> bool:
        return lab.main_pids(host).get(unit, old) != old and bool(lab.says(service, host))

    eventually(back, 30, f"{unit} on {host} was killed and does not answer again")
    if service == "postgresql":
        eventually(lambda: streams(lab), 30, "the standby does not stream again")


def test_killed_heartbeat_is_back(lab: Lab, eventually: Callable[..., Any]) -> None:
    old = lab.main_pids("db1")["nano-heartbeat"]
    lab.host("db1").run_expect([0], "kill -KILL %s", str(old))
    eventually(lambda: lab.main_pids("db1").get("nano-heartbeat", old) != old, 30, "the heartbeat is not back")
    first = lab.admin("db1", "SELECT written_at FROM nano_ops.heartbeat", "nano")
    eventually(
        lambda: lab.admin("db1", "SELECT written_at FROM nano_ops.heartbeat", "nano") != first,
        20,
        "the heartbeat runs again and writes nothing",
    )


def opened(lab: Lab, source: str, target: str, port: int) -> bool:
    """Whether a port opens to a host."""
    return bool(lab.remote(source, "knock", places=[("it", lab.address(target), port)], patience=2))


@pytest.mark.parametrize("name", ["store1", "db2"])
def test_host_is_back_after_a_restart(lab: Lab, name: str, eventually: Callable[..., Any]) -> None:
    units = [unit for unit in UNITS if name in members(lab, unit)]
    started = lab.host(name).run("systemctl show --property=UserspaceTimestampMonotonic").stdout
    lab.disconnect(name)
    subprocess.run(["docker", "restart", "--timeout", "60", name], check=True, capture_output=True, timeout=120)

    def all_run() -> bool:
        states = lab.host(name).run(f"systemctl is-active {' '.join(units)}").stdout.split()
        assert states == ["active"] * len(units), dict(zip(units, states, strict=False))
        return True

    eventually(all_run, 60, f"not every unit of {name} runs after its restart")
    again = lab.host(name).run("systemctl show --property=UserspaceTimestampMonotonic").stdout
    assert again != started, f"{name} was not restarted"

    eventually(lambda: opened(lab, "ops1", name, 9100), 20, f"{name} is not reached by Prometheus")
    assert not opened(lab, "app1", name, 9100), f"{name} came back without its firewall"

    now = datetime.datetime.now(datetime.UTC)

    def scraped() -> bool:
        found = [item for item in lab.targets_scraped_since(now) if item["labels"]["instance"] == name]
        return bool(found) and {item["health"] for item in found} == {"up"}

    eventually(scraped, 60, f"not every target of {name} is up again")
    if name == "db2":
        eventually(lambda: streams(lab), 60, "the standby does not stream again")


@pytest.fixture
def closed_port(lab: Lab) -> Iterator[Callable[[], None]]:
    """A way to load a firewall on db1 that no longer opens PostgreSQL's port; undone afterwards."""
    host = lab.host("db1")
    host.run_expect([0], f"cp --preserve {FIREWALL} {FIREWALL}.verify")

    def close() -> None:
        host.run_expect([0], f"sed --in-place '/dport 5432/d' {FIREWALL}")
        host.run_expect([0], "systemctl reload nano-firewall.service")

    yield close
    host.run_expect([0], f"mv {FIREWALL}.verify {FIREWALL}")
    host.run_expect([0], "systemctl reload nano-firewall.service")


def test_established_session_survives_a_reload_of_the_firewall(lab: Lab, closed_port: Callable[[], None]) -> None:
    """Even one whose port the new rules no longer open: so that it is the rule for sessions that is seen at work."""
    where = f"host=db1 dbname=nano user=nano sslmode=verify-full sslrootcert={TLS}/ca.crt "
    where += f"sslcert={TLS}/host.crt sslkey={TLS}/host.key tcp_user_timeout=5000"
    password = lab.secrets()["postgresql_application_password"]
    with lab.talk("db2", "session", where=where, password=password) as ask:
        backend = ask("SELECT pg_backend_pid();")
        assert backend.isdigit(), backend
        assert opened(lab, "db2", "db1", 5432)
        closed_port()
        assert not opened(lab, "db2", "db1", 5432), "the new rules were not loaded"
        assert ask("SELECT pg_backend_pid();") == backend
