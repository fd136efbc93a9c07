"""Backups are proven by restoring them: on another host, whole, and measured."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.verify.lab import Lab

FIGURES = "/var/lib/node_exporter/textfile/nano_backup_verify.prom"
PLACE = "/var/lib/nano-verify"
# The brackets keep the search from finding itself.
ALIVE = f"pgrep --full --list-full [/]{PLACE[1:]}"
UNIT = "nano-backup-verify.service"


@pytest.fixture(scope="module")
def host(lab: Lab) -> str:
    return lab.group("backup_verify")[0]


@pytest.fixture(scope="module")
def verified(lab: Lab, host: str) -> dict[str, float]:
    """Back up, verify as the timer does, and return the figures."""
    (keeper,) = lab.group("backup")
    for name, unit in ((keeper, "nano-backup.service"), (host, UNIT)):
        done = lab.host(name).run(f"systemctl start {unit}")
        journal = lab.host(name).run(f"journalctl --unit={unit} --lines=15 --output=cat").stdout
        assert done.rc == 0, f"{name}: {journal}"
    lines = lab.host(host).file(FIGURES).content_string.splitlines()
    pairs = [line.rsplit(" ", 1) for line in lines if not line.startswith("#")]
    return {series.removeprefix("nano_backup_"): float(value) for series, value in pairs}


def test_each_repository_and_dump_was_restored_and_found_whole(verified: dict[str, float]) -> None:
    for label in ('kind="physical",repository="1"', 'kind="physical",repository="2"', 'database="nano",kind="dump"'):
        assert verified[f"verify_success{{{label}}}"] == 1
        assert (
            verified[f"verified_timestamp_seconds{{{label}}}"]
            > verified[f"verified_backup_timestamp_seconds{{{label}}}"]
        )
        assert verified[f"restore_bytes_per_second{{{label}}}"] > 0


def test_what_a_restore_loses_was_measured(verified: dict[str, float]) -> None:
    for number in (1, 2):
        # A segment is archived after 45 s, and a busy machine takes its time to store it.
        assert 0 < verified[f'verified_rpo_seconds{{kind="physical",repository="{number}"}}'] < 75


def test_rows_were_compared(lab: Lab, host: str, verified: dict[str, float]) -> None:
    said = lab.host(host).run(f"journalctl --unit={UNIT} --lines=40 --output=cat").stdout
    assert re.search(r"rows of [1-9]\d* tables as expected", said)
    assert re.search(r"[1-9]\d* tables with exactly [1-9]\d* rows", said)


def test_nothing_of_it_is_left(lab: Lab, host: str, verified: dict[str, float]) -> None:
    assert lab.host(host).run(f"ls -A {PLACE}").stdout == ""
    assert lab.host(host).run(ALIVE).stdout == ""


def test_the_list_of_the_backup_host_says_so(lab: Lab, verified: dict[str, float]) -> None:
    (keeper,) = lab.group("backup")
    lines = str(lab.command(keeper, ["nano-backup", "list"])["stdout"]).splitlines()
    for words in ("repository 1: ", "repository 2: ", "disk and S3: "):
        newest = [line for line in lines if words in line][-1]
        assert not newest.endswith("-"), newest


def test_the_unit_is_sandboxed_and_on_schedule(lab: Lab, host: str) -> None:
    done = lab.host(host).run(f"systemd-analyze security --no-pager {UNIT}").stdout
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done)
    assert found and float(found.group(1)) <= 2.0
    assert lab.host(host).service("nano-backup-verify.timer").is_running


@pytest.mark.disturbs
def test_killed_verification_is_noted_and_cleared(lab: Lab, host: str, eventually: Callable[..., Any]) -> None:
    lab.command(host, ["systemctl", "start", "--no-block", UNIT])
    eventually(lambda: lab.host(host).run(f"ls -A {PLACE}").stdout, 60, "nothing is restored")
    lab.command(host, ["systemctl", "kill", "--signal=KILL", UNIT])
    label = 'nano_backup_verify_success{kind="physical",repository="1"} 0'
    eventually(
        lambda: label in lab.host(host).file(FIGURES).content_string, 60, "the killed one is not noted as failed"
    )
    eventually(lambda: not lab.host(host).run(ALIVE).stdout, 30, "PostgreSQL outlived the verification")
    lab.command(host, ["systemctl", "reset-failed", UNIT])
    assert lab.host(host).run(f"systemctl start {UNIT}").rc == 0
    assert lab.host(host).run(f"ls -A {PLACE}").stdout == ""
