"""What the lab has watched is kept in S3 by the host that watches, and comes back from there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.verify.controller import read_inventory
from tests.verify.lab import Lab

if not read_inventory()["_meta"]["hostvars"].get("ops1", {}).get("backup_telemetry_loki"):
    pytest.skip("the inventory keeps no logs", allow_module_level=True)

HOST, UNIT = "ops1", "nano-backup-telemetry.service"
FIGURES = "/var/lib/node_exporter/textfile/nano_backup_telemetry.prom"


@pytest.fixture(scope="module")
def kept(lab: Lab) -> str:
    """Keep it as the timer does; return what was said."""
    done = lab.host(HOST).run(f"systemctl start {UNIT}")
    said = lab.host(HOST).run(f"journalctl --unit={UNIT} --lines=12 --output=cat").stdout
    assert done.rc == 0, said
    return said


@pytest.fixture
def place(lab: Lab) -> Iterator[str]:
    folder = lab.host(HOST).check_output("mktemp --directory")
    yield folder
    lab.host(HOST).run_expect([0], "rm --recursive %s", folder)


def test_all_that_is_chosen_was_kept(lab: Lab, kept: str, eventually: Callable[..., Any]) -> None:
    page = lab.host(HOST).file(FIGURES).content_string
    assert re.findall(r'last_run_success\{kind="(\w+)"\} 1\n', page) == ["grafana", "loki", "prometheus"], kept
    query = 'time() - nano_backup_last_success_timestamp_seconds{kind="loki"}'
    eventually(lambda: [row for row in lab.promql(query) if row["value"] < 120], 60, "the figure is not in Prometheus")


@pytest.mark.usefixtures("kept")
def test_logs_come_back_as_they_were(lab: Lab, place: str) -> None:
    """Loki has flushed something by now, or it is told so."""
    where = "--silent --cacert /etc/nano/tls/ca.crt --cert /etc/nano/tls/host.crt --key /etc/nano/tls/host.key"
    lab.host(HOST).run_expect([0], f"curl {where} --fail --request POST https://{HOST}:3100/flush")
    folder = "/var/lib/loki/chunks"
    chunk = lab.host(HOST).check_output(f"find {folder} -type f -not -path '*/index/*' | head -n 1")
    assert chunk, "Loki has no chunk"
    lab.host(HOST).run_expect([0], f"systemctl start {UNIT}")
    lab.host(HOST).run_expect([0], f"nano-backup-telemetry restore loki --into {place}/loki")
    lab.host(HOST).run_expect([0], "cmp %s %s", chunk, chunk.replace(folder, f"{place}/loki"))


def test_it_is_sandboxed_reads_alone_and_is_on_schedule(lab: Lab) -> None:
    done = lab.host(HOST).run(f"systemd-analyze security --no-pager {UNIT}").stdout
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done)
    assert found and float(found.group(1)) <= 2.0, done[-300:]
    assert (
        "CAP_DAC_READ_SEARCH"
        in lab.host(HOST).check_output(f"systemctl show {UNIT} --property=AmbientCapabilities").upper()
    )
    assert lab.host(HOST).service("nano-backup-telemetry.timer").is_running


def test_no_secret_lies_open(lab: Lab) -> None:
    text = lab.host(HOST).file("/etc/nano/backup_telemetry.json").content_string
    text += lab.host(HOST).check_output(f"systemctl cat {UNIT}")
    for name, value in lab.secrets().items():
        assert value not in text, name
    assert lab.host(HOST).file("/etc/nano/backup_telemetry").mode == 0o700
