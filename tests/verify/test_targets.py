"""Prometheus sees every service of every host, under the labels of the contract, with figures that make sense."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.verify.lab import Lab

EXPORTED = {
    "node_exporter": "host",
    "postgres_exporter": "postgresql",
    "redis_exporter": "redis",
    "blackbox_exporter": "blackbox_exporter",
    "prometheus": "prometheus",
    "alertmanager": "alertmanager",
    "loki": "loki",
    "jaeger": "jaeger",
    "nano_api": "nano_api",
    "nginx_exporter": "nginx",
    "primary_record": "primary_record",
}
# Three pages of one service.
PAGES = {"minio": "minio", "minio_node": "minio", "minio_bucket": "minio"}
PROBES = {
    "blackbox_host_tls": ("all", "host"),
    "blackbox_redis_tls": ("redis", "redis"),
    "blackbox_postgresql_tcp": ("postgresql", "postgresql"),
    "blackbox_dns_api": ("dns", "dns"),
    "blackbox_dns_db": ("dns", "dns"),
}
TEXTFILE = "/var/lib/node_exporter/textfile/nano_verify.prom"
# query, least and greatest plausible value, group whose hosts must each have a series
FIGURES = [
    ("sum by (instance) (rate(node_cpu_seconds_total[2m]))", 0.0, 4096.0, "all"),
    ("node_memory_MemTotal_bytes", 256e6, 64e12, "all"),
    ("node_memory_MemAvailable_bytes", 1e6, 64e12, "all"),
    # In a container the root is an overlay, which node_exporter leaves out.
    ('min by (instance) (node_filesystem_avail_bytes{fstype="ext4"})', 1e6, 1e18, "all"),
    ("abs(node_time_seconds - timestamp(node_time_seconds))", 0.0, 5.0, "all"),
    ('sum by (instance) (pg_stat_activity_count{state="active"})', 1, 150, "postgresql"),
    ("pg_settings_max_connections", 10, 10000, "postgresql"),
    ("pg_up", 1, 1, "postgresql"),
    ("pg_exporter_last_scrape_error", 0, 0, "postgresql"),
    ("pg_replication_lag_seconds", 0, 60, "postgresql"),
    ("sum by (instance) (pg_stat_statements_calls_total)", 1, 1e12, "postgresql"),
    ("nginx_up", 1, 1, "nginx"),
    ("redis_up", 1, 1, "redis"),
    ("redis_memory_max_bytes", 64 * 1024**2, 64 * 1024**2, "redis"),
    ("redis_memory_used_bytes", 1e5, 64 * 1024**2, "redis"),
    ("prometheus_config_last_reload_successful", 1, 1, "prometheus"),
    ("prometheus_notifications_alertmanagers_discovered", 1, 1, "prometheus"),
    ("prometheus_tsdb_head_series", 1000, 1e7, "prometheus"),
    ("alertmanager_config_last_reload_successful", 1, 1, "alertmanager"),
    ("blackbox_exporter_config_last_reload_successful", 1, 1, "blackbox_exporter"),
]


def labels(lab: Lab, job: str, host: str, service: str) -> dict[str, str]:
    """Return the labels that the contract gives to a target."""
    found = {"job": job, "instance": host, "site": lab.site(host), "env": "lab", "service": service}
    return found | ({"prober": lab.group("blackbox_exporter")[0]} if job in PROBES else {})


def expected(lab: Lab) -> dict[str, list[dict[str, str]]]:
    """Return job to the labels of its targets."""
    exported = {job: (lab.serving(job), service) for job, service in EXPORTED.items()}
    exported |= {job: (lab.serving(service), service) for job, service in PAGES.items()}
    probed = {job: (lab.group(group), service) for job, (group, service) in PROBES.items()}
    return {
        job: [labels(lab, job, host, service) for host in hosts]
        for job, (hosts, service) in (exported | probed).items()
    }


@pytest.fixture(scope="module")
def targets(lab: Lab, eventually: Callable[..., Any]) -> list[dict[str, Any]]:
    """Prometheus's targets after a scrape of our time."""
    now = datetime.datetime.now(datetime.UTC)
    found: list[dict[str, Any]] = eventually(lambda: lab.targets_scraped_since(now), 40, "not all targets were scraped")
    return found


@pytest.mark.parametrize("job", [*EXPORTED, *PROBES])
def test_targets_of_job_are_up_under_the_labels_of_the_contract(
    lab: Lab, targets: list[dict[str, Any]], job: str
) -> None:
    found = [target for target in targets if target["scrapePool"] == job]
    assert [(target["scrapeUrl"], target["lastError"]) for target in found if target["health"] != "up"] == []
    seen = sorted((target["labels"] for target in found), key=lambda item: str(item["instance"]))
    assert seen == expected(lab)[job]


def test_there_are_no_other_targets_and_none_is_dropped(lab: Lab, targets: list[dict[str, Any]]) -> None:
    assert {target["scrapePool"] for target in targets} == set(expected(lab))
    assert lab.api("targets")["droppedTargets"] == []


def test_scrapes_are_fifteen_seconds_apart_and_fit_into_them(targets: list[dict[str, Any]]) -> None:
    for target in targets:
        assert target["scrapeInterval"] == "15s", target["scrapeUrl"]
        assert target["lastScrapeDuration"] < 5, target["scrapeUrl"]


@pytest.mark.parametrize("job", PROBES)
def test_probes_succeed(lab: Lab, job: str, eventually: Callable[..., Any]) -> None:
    hosts = lab.group(PROBES[job][0])

    def succeed() -> bool:
        seen = {item["metric"]["instance"]: item["value"] for item in lab.promql(f'probe_success{{job="{job}"}}')}
        assert seen == dict.fromkeys(hosts, 1.0), seen
        return True

    eventually(succeed, 40, f"probes of {job} do not succeed")


def test_expiry_of_each_certificate_is_seen(lab: Lab) -> None:
    query = 'probe_ssl_earliest_cert_expiry{job="blackbox_host_tls"}'
    days = {item["metric"]["instance"]: (item["value"] - time.time()) / 86400 for item in lab.promql(query)}
    assert sorted(days) == lab.names
    for host, left in days.items():
        done = lab.host(host).run("openssl x509 -in /etc/nano/tls/host.crt -noout -enddate -dateopt iso_8601")
        assert done.rc == 0, done.stderr
        ends = done.stdout.strip().removeprefix("notAfter=")
        stamp = lab.host(host).run("date --date=%s +%%s", ends).stdout
        assert abs(left - (float(stamp) - time.time()) / 86400) < 0.01, f"{host}: the probe saw another certificate"
        assert left > 365 / 3, f"{host}: its certificate is in its last third and was not renewed"


@pytest.mark.parametrize(("query", "least", "most", "group"), FIGURES, ids=[row[0] for row in FIGURES])
def test_figure_is_plausible(
    lab: Lab, query: str, least: float, most: float, group: str, eventually: Callable[..., Any]
) -> None:
    def plausible() -> bool:
        series = lab.promql(query)
        assert sorted({item["metric"]["instance"] for item in series}) == lab.group(group), series
        assert all(least <= item["value"] <= most for item in series), series
        return True

    eventually(plausible, 40, f"{query} is not between {least} and {most} on each host of {group}")


def test_primary_and_standby_are_told_apart(lab: Lab) -> None:
    seen = {item["metric"]["instance"]: item["value"] for item in lab.promql("pg_replication_is_replica")}
    roles = {host: lab.hostvars[host]["postgresql_role"] for host in lab.group("postgresql")}
    assert seen == {host: float(role == "standby") for host, role in roles.items()}


def test_row_of_the_standby_is_a_metric_of_the_primary(lab: Lab) -> None:
    series = lab.promql("pg_stat_replication_pg_wal_lsn_diff")
    # A set: after a restart the row that was is seen beside the new one, for five minutes at most.
    assert {(item["metric"]["instance"], item["metric"]["application_name"]) for item in series} == {("db1", "db2")}
    assert all(0 <= item["value"] < 64 * 1024**2 for item in series)


@pytest.fixture
def textfile(lab: Lab) -> Iterator[None]:
    """Leave no metric of the test behind."""
    yield
    lab.command("store1", ["rm", "--force", TEXTFILE])


@pytest.mark.usefixtures("textfile")
def test_metric_from_a_file_is_scraped(lab: Lab, eventually: Callable[..., Any]) -> None:
    value = int(time.time())
    lab.command("store1", ["tee", TEXTFILE], input=f"nano_verify_written {value}\n")

    def seen() -> bool:
        series = lab.promql(f"nano_verify_written == {value}")
        return [item["metric"]["instance"] for item in series] == ["store1"]

    eventually(seen, 40, "the metric written to a file on store1 is not in Prometheus")
