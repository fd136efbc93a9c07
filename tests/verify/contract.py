"""The platform's contract, written down once more on purpose: what the roles compute is compared with it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Service:
    """A program that listens: its port, its unit, the group it runs on and the groups that may connect to it.

    `page` is what it is asked for to see whether it serves, and `served` how its answer begins.
    """

    port: int
    unit: str
    group: str
    users: tuple[str, ...]
    protocol: str = "https"
    page: str = "/metrics"
    served: str = "HTTP/1.1 200 OK"
    # Whether it serves certificates of the platform alone; the others ask for a signature or a password.
    mutual: bool = True
    # Whether it speaks TLS at all.
    tls: bool = True


PROBERS = ("prometheus", "blackbox_exporter")
SERVICES = {
    "node_exporter": Service(9100, "node_exporter", "all", PROBERS),
    "postgres_exporter": Service(9187, "prometheus-postgres-exporter", "postgresql", PROBERS),
    "redis_exporter": Service(9121, "prometheus-redis-exporter", "redis", PROBERS),
    "blackbox_exporter": Service(9115, "prometheus-blackbox-exporter", "blackbox_exporter", PROBERS),
    "prometheus": Service(9090, "prometheus", "prometheus", ("all",)),
    "alertmanager": Service(9093, "alertmanager", "alertmanager", (*PROBERS, "alertmanager", "grafana", "nginx")),
    "minio": Service(
        9000,
        "minio",
        "minio",
        (*PROBERS, "minio", "nano_api", "postgresql", "backup", "backup_verify", "loki", "grafana"),
        page="/minio/health/live",
        mutual=False,
    ),
    "nano_api": Service(8000, "nano_api", "nano_api", ("nginx", "blackbox_exporter"), page="/health/live"),
    "nano_api_metrics": Service(9180, "nano_api", "nano_api", PROBERS, served="HTTP/1.0 200 OK"),
    "nginx_exporter": Service(9113, "prometheus-nginx-exporter", "nginx", PROBERS),
    # Figures are not for everybody.
    "nginx": Service(443, "nginx", "nginx", ("all",), served="HTTP/1.1 404 Not Found", mutual=False),
    "loki": Service(3100, "loki", "loki", ("all",)),
    "jaeger": Service(9464, "jaeger", "jaeger", PROBERS),
    "jaeger_query": Service(16686, "jaeger", "jaeger", (*PROBERS, "jaeger", "grafana", "nginx"), page="/jaeger/"),
    "jaeger_otlp_http": Service(
        4318, "jaeger", "jaeger", ("all",), page="/v1/traces", served="HTTP/1.1 405 Method Not Allowed"
    ),
    "jaeger_otlp_grpc": Service(4317, "jaeger", "jaeger", ("all",), "grpc", served=""),
    "postgresql": Service(
        5432,
        "postgresql@17-main",
        "postgresql",
        ("postgresql", "nano_api", "backup", "blackbox_exporter"),
        "postgresql",
        served="SCRAM-SHA-256",
    ),
    # It greets everybody, and does nothing for who has no certificate with a name that it knows: test_pgbackrest.py.
    "pgbackrest": Service(
        8432, "pgbackrest", "postgresql", ("backup",), "pgbackrest", served="pgBackRest", mutual=False
    ),
    "pgbackrest_repository": Service(
        8432,
        "pgbackrest",
        "backup",
        ("postgresql", "backup_verify"),
        "pgbackrest",
        served="pgBackRest",
        mutual=False,
    ),
    # What it tells is for everybody, and what changes it is signed: test_dns.py.
    "dns": Service(53, "named", "dns", ("all",), "dns", served="", mutual=False, tls=False),
    # Redis goes on to ask for the password.
    "redis": Service(
        6379, "redis-server", "redis", ("redis", "nano_api", "blackbox_exporter"), "redis", served="-NOAUTH"
    ),
}
