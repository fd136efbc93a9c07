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
