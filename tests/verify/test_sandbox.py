"""Each of our units runs in a sandbox, as a user of its own."""

from __future__ import annotations

import re

import pytest

from tests.verify.contract import SERVICES
from tests.verify.lab import Lab

MOST_EXPOSED = 2.0
# Units that serve nobody, and the group that they run on.
SILENT = {"nano-heartbeat": "postgresql", "nano-firewall": "all", "otel_collector": "all"}
SILENT |= {"nano-dns-follow": "dns"}
UNITS = [*dict.fromkeys(service.unit for service in SERVICES.values()), *SILENT]
# Do not run all the time: test_backup.py, test_backup_verify.py and test_backup_telemetry.py look at theirs.
ONCE = {"nano_api_migrate@", "nano-backup", "nano-backup@", "nano-backup-metrics", "nano-backup-verify"}
ONCE |= {"nano-backup-telemetry"}
# Ports 80, 443 and 53 (CAP_NET_BIND_SERVICE), and nothing else that root may do.
CAPABILITIES = {"nginx": 1 << 10, "named": 1 << 10}


def members(lab: Lab, unit: str) -> list[str]:
    """Return the hosts that a unit runs on."""
    if unit in SILENT:
        return lab.group(SILENT[unit])
    return sorted({host for name in SERVICES if SERVICES[name].unit == unit for host in lab.serving(name)})


@pytest.mark.parametrize("unit", UNITS)
def test_exposure_is_low(lab: Lab, unit: str) -> None:
    for host in members(lab, unit):
        done = lab.host(host).run("systemd-analyze security --no-pager %s", f"{unit}.service")
        found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
        assert found, f"{host}: {done.stdout[-300:]}{done.stderr}"
        assert float(found.group(1)) <= MOST_EXPOSED, f"{host}: {unit}"


@pytest.mark.parametrize("unit", [unit for unit in UNITS if unit != "nano-firewall"])
def test_process_has_no_privileges(lab: Lab, unit: str) -> None:
    for host in members(lab, unit):
        status = lab.host(host).file(f"/proc/{lab.main_pids(host)[unit]}/status").content_string
        fields = dict(line.split(":", 1) for line in status.splitlines())
        assert set(fields["Uid"].split()) != {"0"}, f"{host}: {unit} runs as root"
        assert int(fields["CapEff"], 16) == CAPABILITIES.get(unit, 0), f"{host}: {unit} has capabilities"
        assert fields["NoNewPrivs"].strip() == "1", f"{host}: {unit} may gain privileges"


def test_every_unit_that_we_write_is_looked_at(lab: Lab) -> None:
    """Else a new service would go unseen by the tests above."""
    for host in lab.names:
        command = "grep --files-with-matches --recursive --include='*.service' 'Ansible managed' /etc/systemd/system"
        found = lab.host(host).run(command).stdout.split()
        names = {path.rsplit("/", 1)[1].removesuffix(".service") for path in found}
        assert names, f"{host}: no unit of ours"
        assert names <= set(UNITS) | ONCE, f"{host}: {names - set(UNITS)}"


def test_every_unit_is_enabled_and_no_unit_has_failed(lab: Lab) -> None:
    for unit in UNITS:
        for host in members(lab, unit):
            service = lab.host(host).service(unit)
            assert service.is_running and service.is_enabled, f"{host}: {unit}"
    for host in lab.names:
        assert lab.host(host).run("systemctl list-units --failed --no-legend --plain").stdout == "", host
