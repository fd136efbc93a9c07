"""A change touches what it is about and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.verify.conftest import Run
from tests.verify.contract import SERVICES
from tests.verify.lab import TLS, Lab

pytestmark = pytest.mark.disturbs
PROMETHEUS = ("site.yml", "--limit", "ops1", "--tags", "prometheus")


@pytest.fixture
def restored(playbook: Callable[..., Run]) -> Iterator[None]:
    """Prometheus as the inventory has it, afterwards."""
    yield
    run = playbook(*PROMETHEUS)
    assert run.rc == 0, run.output


def moved(before: dict[str, int], after: dict[str, int]) -> set[str]:
    """Return the units whose main process is another one."""
    return {unit for unit in before.keys() | after.keys() if before.get(unit) != after.get(unit)}


@pytest.mark.usefixtures("restored")
def test_changed_setting_restarts_its_own_service_alone(
    lab: Lab, playbook: Callable[..., Run], eventually: Callable[..., Any]
) -> None:
    before = {host: lab.main_pids(host) for host in lab.names}
    run = playbook(*PROMETHEUS, extra_vars={"prometheus_retention_time": "29d"})
    assert run.rc == 0, run.output
    assert run.changed == ["ops1"]
    restarted = {host: moved(before[host], lab.main_pids(host)) for host in lab.names}
    assert {host: units for host, units in restarted.items() if units} == {"ops1": {"prometheus"}}
    found = eventually(lambda: lab.api("status/runtimeinfo"), 30, "Prometheus does not answer")
    assert found["storageRetention"].startswith("29d") or "4w1d" in found["storageRetention"], found


@pytest.mark.usefixtures("restored")
def test_new_job_is_taken_over_by_a_reload(
    lab: Lab, playbook: Callable[..., Run], eventually: Callable[..., Any]
) -> None:
    before = lab.main_pids("ops1")
    jobs = {"verify_once_more": {"group": "postgresql", "port": 9100, "service": "host"}}
    run = playbook(*PROMETHEUS, extra_vars={"prometheus_extra_jobs": jobs})
    assert run.rc == 0, run.output
    assert moved(before, lab.main_pids("ops1")) == set()

    def scraped() -> bool:
        return [item["value"] for item in lab.promql('up{job="verify_once_more"}')] == [1.0, 1.0]

    eventually(scraped, 40, "the new job is not scraped")


def instances(lab: Lab) -> set[str]:
    """Return the hosts that Prometheus has targets of."""
    return {target["labels"]["instance"] for target in lab.api("targets")["activeTargets"]}


@pytest.mark.usefixtures("restored")
def test_host_leaves_and_joins_with_one_run(
    lab: Lab, playbook: Callable[..., Run], copied_inventory: Path, eventually: Callable[..., Any]
) -> None:
    before = lab.main_pids("ops1")
    file = copied_inventory / "hosts.yml"
    tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    for group in tree["all"]["children"].values():
        group["hosts"].pop("app2", None)
    file.write_text(yaml.safe_dump(tree), encoding="utf-8")
    assert instances(lab) == set(lab.names)

    run = playbook(*PROMETHEUS, inventory=copied_inventory)
    assert run.rc == 0, run.output
    eventually(lambda: instances(lab) == {*lab.names} - {"app2"}, 10, "app2 is still a target, or others left too")

    run = playbook(*PROMETHEUS)
    assert run.rc == 0, run.output
    eventually(lambda: instances(lab) == {*lab.names}, 10, "app2 did not come back")
    eventually(
        lambda: [item["value"] for item in lab.promql('up{job="node_exporter",instance="app2"}')] == [1.0],
        40,
        "app2 is not scraped again",
    )
    assert moved(before, lab.main_pids("ops1")) == set()


def serial(lab: Lab, host: str, port: int) -> str:
    """Return the serial number of the certificate that a port shows."""
    start = "-starttls postgres" if port == SERVICES["postgresql"].port else ""
    show = f"openssl s_client -connect {host}:{port} {start} -CAfile {TLS}/ca.crt -cert {TLS}/host.crt"
    source = "db1" if start else "ops1"
    command = f"{show} -key {TLS}/host.key -verify_return_error </dev/null 2>/dev/null | openssl x509 -noout -serial"
    done = lab.host(source).run(command)
    assert done.stdout.startswith("serial="), f"{host}:{port} shows no certificate: {done.stderr}"
    return str(done.stdout.strip())


def test_rotated_certificate_is_shown_by_the_processes_that_ran_before(
    lab: Lab, playbook: Callable[..., Run], eventually: Callable[..., Any]
) -> None:
    ports = [SERVICES[name].port for name in ("node_exporter", "postgres_exporter", "postgresql")]
    pids, old = lab.main_pids("db2"), {serial(lab, "db2", port) for port in ports}
    assert len(old) == 1
    run = playbook("playbooks/rotate_certificates.yml", "--limit", "db2")
    assert run.rc == 0, run.output

    def renewed() -> bool:
        new = {serial(lab, "db2", port) for port in ports}
        assert len(new) == 1 and not new & old, f"before {old}, now {new}"
        return True

    eventually(renewed, 15, "not every port of db2 shows the new certificate")
    assert moved(pids, lab.main_pids("db2")) == set()
    streams = lab.admin("db1", "SELECT state FROM pg_stat_replication WHERE application_name = 'db2'")
    assert streams == "streaming"
    done = lab.psql("db2", "db1", "SELECT 1")
    assert done["rc"] == 0, done["stderr"]


def test_restart_that_a_cut_off_run_owes_is_made_up_for(lab: Lab, playbook: Callable[..., Run]) -> None:
    """The run wrote the files and was killed before its handlers: it left this mark and nothing else to see."""
    note = "import pathlib, time; p = pathlib.Path('/run/nano/pending/alertmanager.service'); "
    note += "p.parent.mkdir(parents=True, exist_ok=True); p.write_text(str(time.monotonic_ns() // 1000))"
    lab.host("ops1").run_expect([0], "python3 -c %s", note)
    before = lab.main_pids("ops1")
    again = ("site.yml", "--limit", "ops1", "--tags", "alertmanager")
    run = playbook(*again)
    assert run.rc == 0, run.output
    assert moved(before, lab.main_pids("ops1")) == {"alertmanager"}
    after = playbook(*again)
    assert (after.rc, after.changed) == (0, []), after.output
