"""The platform's contract, written down once more on purpose: what the roles compute is compared with it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Service:
    """A program that listens: its port, its unit, the group it runs on and the groups that may connect to it."""

    port: int
    unit: str
    group: str
    users: tuple[str, ...]
    protocol: str = "https"


PROBERS = ("prometheus", "blackbox_exporter")
SERVICES = {
    "node_exporter": Service(9100, "node_exporter", "all", PROBERS),
    "postgres_exporter": Service(9187, "prometheus-postgres-exporter", "postgresql", PROBERS),
    "redis_exporter": Service(9121, "prometheus-redis-exporter", "redis", PROBERS),
    "blackbox_exporter": Service(9115, "prometheus-blackbox-exporter", "blackbox_exporter", PROBERS),
    "prometheus": Service(9090, "prometheus", "prometheus", PROBERS),
    "alertmanager": Service(9093, "alertmanager", "alertmanager", (*PROBERS, "alertmanager")),
    "postgresql": Service(
        5432, "postgresql@17-main", "postgresql", ("postgresql", "nano_api", "blackbox_exporter"), "postgresql"
    ),
    "redis": Service(6379, "redis-server", "redis", ("redis", "nano_api", "blackbox_exporter"), "redis"),
}
