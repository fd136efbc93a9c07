"""What a host must have, and what it is told when it has not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.nano.ops.plugins.modules import preflight

PARAMS = {"memory_min_mb": 900, "disk_free_min_mb": 0, "paths": ["/"], "time_sync": True}
FACTS = {
    "architecture": "x86_64",
    "distribution_major_version": "13",
    "memtotal_mb": 2048,
    "virtualization_container": True,
}


def test_os_release_loses_its_quotes() -> None:
    assert preflight.os_release('ID=debian\nVERSION_ID="13"\n') == {"ID": "debian", "VERSION_ID": "13"}


def test_memory_is_in_mib() -> None:
    assert preflight.memory_mb("MemTotal:        2097152 kB\n") == 2048
    assert preflight.memory_mb("") == 0


def test_free_disk_of_a_missing_path_is_that_of_its_parent(tmp_path: Path) -> None:
    assert preflight.free_mb(str(tmp_path / "a" / "b")) > 0


def test_a_good_host_has_no_problem() -> None:
    assert preflight.problems(PARAMS, FACTS, "debian", systemd=True) == []


@pytest.mark.parametrize(
    ("params", "facts", "message"),
    [
        ({}, {"distribution_major_version": "11"}, "unsupported system debian 11"),
        ({}, {"architecture": "riscv64"}, "unsupported architecture riscv64"),
        ({}, {"memtotal_mb": 512}, "512 MiB of memory, 900 needed"),
        ({"disk_free_min_mb": 10**12}, {}, "MiB free on the filesystem of /"),
    ],
)
def test_a_lack_is_told_with_its_remedy(params: dict[str, Any], facts: dict[str, Any], message: str) -> None:
    assert message in preflight.problems({**PARAMS, **params}, {**FACTS, **facts}, "debian", systemd=True)[0]


def test_systemd_and_clock_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "systemd does not run" in preflight.problems(PARAMS, FACTS, "debian", systemd=False)[0]
    monkeypatch.setattr(preflight, "clock_synchronised", lambda: False)
    machine = {**FACTS, "virtualization_container": False}
    assert "not synchronised" in preflight.problems(PARAMS, machine, "debian", systemd=True)[0]


CAME = ("203.0.113.7", 22)


def test_the_way_in_is_found_above_sudo(tmp_path: Path) -> None:
    """sshd's shell knows it, sudo forgets it, the module is below."""
    for pid, parent, environ in (
        (30, 20, b"PATH=/bin\0"),
        (20, 10, b"SUDO_USER=ops\0"),
        (10, 1, b"A=b\0SSH_CONNECTION=203.0.113.7 50000 10.0.0.5 22\0"),
    ):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "environ").write_bytes(environ)
        (tmp_path / str(pid) / "status").write_text(f"Name:\tx\nPPid:\t{parent}\n")
    assert preflight.way_in(tmp_path, 30) == CAME
    (tmp_path / "10/environ").write_bytes(b"A=b\0")
    assert preflight.way_in(tmp_path, 30) is None


@pytest.mark.parametrize(
    ("came", "networks", "port", "message"),
    [
        (CAME, ["0.0.0.0/0"], 22, ""),
        (CAME, ["203.0.113.0/24", "10.0.0.0/8"], 22, ""),
        (("2001:db8::1", 22), ["0.0.0.0/0", "::/0"], 22, ""),
        (None, ["10.0.0.0/8"], 22, ""),
        (CAME, [], 0, ""),
        (CAME, ["10.0.0.0/8"], 22, "you come from 203.0.113.7, host_firewall_ssh_from has only 10.0.0.0/8"),
        (("2001:db8::1", 22), ["0.0.0.0/0"], 22, "you come from 2001:db8::1"),
        (("203.0.113.7", 2222), ["0.0.0.0/0"], 22, "you came in by port 2222, host_firewall_ssh_port is 22"),
    ],
)
def test_a_firewall_that_would_lock_the_operator_out(
    came: tuple[str, int] | None, networks: list[str], port: int, message: str
) -> None:
    found = preflight.locked_out(came, networks, port)
    assert message in found if message else found == ""
