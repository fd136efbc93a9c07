"""The backup host: its schedule, what a run makes, its figures, and playbooks/backup.yml as an operator calls it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.verify.conftest import Run
from tests.verify.lab import Lab

DATABASE = "nano"
STATE = "/var/lib/nano-backup"
UNITS = ("nano-backup", "nano-backup@full", "nano-backup-metrics")


@pytest.fixture(scope="module")
def host(lab: Lab) -> str:
    (name,) = lab.group("backup")
    return name


def said(lab: Lab, host: str, *argv: str, code: int = 0) -> str:
    found = lab.command(host, argv)
    assert found["rc"] == code, f"{argv}: {found['stdout']}{found['stderr']}"
    return str(found["stdout"] + found["stderr"])


def dumps(lab: Lab, host: str) -> list[str]:
    """Return the times of the dumps on the disk."""
    found = said(lab, host, "find", f"/backups/{DATABASE}", "-mindepth", "1", "-maxdepth", "1", "-printf", "%f\n")
    return sorted(name for name in found.split() if re.fullmatch(r"\d{8}T\d{6}Z", name))


def test_exactly_one_host_runs_the_schedule(lab: Lab, host: str) -> None:
    for name in lab.names:
        timers = lab.host(name).run("systemctl list-timers --all --no-legend nano-backup.timer").stdout
        assert ("nano-backup.service" in timers) == (name == host), name
    shown = said(lab, host, "systemctl", "show", "nano-backup.timer", "--property=TimersCalendar,Persistent")
    assert "02:00:00 UTC" in shown and "Persistent=yes" in shown


@pytest.mark.parametrize("unit", UNITS)
def test_units_are_sandboxed_and_polite(lab: Lab, host: str, unit: str) -> None:
    done = said(lab, host, "systemd-analyze", "security", "--no-pager", f"{unit}.service")
    exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done)
    assert exposure and float(exposure.group(1)) <= 2.0, done[-300:]
    fields = said(lab, host, "systemctl", "show", f"{unit}.service", "--property=User,Nice,IOSchedulingClass,CPUWeight")
    assert "User=postgres" in fields
    if unit != "nano-backup-metrics":
        assert "Nice=15" in fields and "CPUWeight=20" in fields and re.search(r"IOSchedulingClass=(3|idle)", fields)


def test_no_secret_lies_open(lab: Lab, host: str) -> None:
    config = lab.host(host).file("/etc/nano/backup.json").content_string
    units = said(lab, host, "systemctl", "cat", *(f"{unit}.service" for unit in UNITS))
    for name, value in lab.secrets().items():
        assert value not in config + units, name
    folder = lab.host(host).file("/etc/nano/backup")
    assert (folder.mode, folder.user) == (0o700, "root")


@pytest.mark.disturbs
def test_playbook_backs_up_now_and_shows_each_step(
    lab: Lab, host: str, playbook: Callable[..., Run], eventually: Callable[..., Any]
) -> None:
    before = dumps(lab, host)
    run = playbook("playbooks/backup.yml")
    assert run.rc == 0, run.output
    for words in ("backup into repository 1: ", f"dump of {DATABASE}: ", "done in "):
        assert f"{host} | " in run.output and words in run.output, run.output
    assert "VERIFIED (UTC)" in run.output
    (made,) = set(dumps(lab, host)) - set(before)
    manifest = json.loads(lab.host(host).file(f"/backups/{DATABASE}/{made}/manifest.json").content_string)
    assert manifest["rows"]["nano_ops.heartbeat"] == 1
    assert manifest["server"]["is_standby"], "a standby is preferred"
    assert manifest["server"]["host"] in lab.group("postgresql")
    for name, entry in manifest["files"].items():
        digest = said(lab, host, "sha256sum", f"/backups/{DATABASE}/{made}/{name}").split()[0]
        assert digest == entry["sha256"]
    listed = said(lab, host, "nano-backup", "list")
    assert f"disk and S3: {made}" in listed
    # Figures reach Prometheus by node_exporter.
    query = f'nano_backup_newest_timestamp_seconds{{kind="dump",database="{DATABASE}"}}'
    eventually(
        lambda: (
            {item["metric"]["place"] for item in lab.promql(query) if item["value"] >= manifest["created"] - 5}
            == {"local", "s3"}
        ),
        90,
        "Prometheus has not seen the new dump on the disk and in S3",
    )


def test_loss_is_within_its_objective(lab: Lab, host: str, eventually: Callable[..., Any]) -> None:
    copies = {"repository1", "repository2", *(f"standby_{name}" for name in lab.group("postgresql"))}

    def seen() -> bool:
        found = {item["metric"]["copy"]: item["value"] for item in lab.promql("nano_backup_rpo_seconds")}
        # One of the two is the primary, which is no copy.
        assert len(copies - set(found)) == 1, found
        return all(0 <= value < 60 for value in found.values())

    eventually(seen, 120, "the loss of a copy is not within a minute")


@pytest.mark.disturbs
def test_a_missed_run_is_made_up_for(lab: Lab, host: str, eventually: Callable[..., Any]) -> None:
    before = dumps(lab, host)
    stamp = "/var/lib/systemd/timers/stamp-nano-backup.timer"
    said(lab, host, "touch", "--date=2 days ago", stamp)
    said(lab, host, "systemctl", "restart", "nano-backup.timer")
    eventually(lambda: set(dumps(lab, host)) - set(before), 420, "the timer did not make up for the missed run")
    done = "systemctl is-active nano-backup.service"
    eventually(lambda: lab.host(host).run(done).stdout.strip() == "inactive", 300, "the run did not end well")


@pytest.mark.disturbs
def test_cron_takes_the_timers_place_and_gives_it_back(lab: Lab, host: str, playbook: Callable[..., Run]) -> None:
    words = ("site.yml", "--limit", host, "--tags", "backup")
    try:
        run = playbook(*words, extra_vars={"backup_scheduler": "cron"})
        assert run.rc == 0, run.output
        line = lab.host(host).file("/etc/cron.d/nano-backup").content_string
        assert "0 2 * * * root systemctl start --no-block nano-backup.service" in line and "@reboot" in line
        assert not lab.host(host).file("/etc/systemd/system/nano-backup.timer").exists
        assert lab.host(host).service("cron").is_running
        # What the line for missed runs asks: nothing was missed, and something was.
        said(lab, host, "nano-backup", "due", "--at", "02:00", code=1)
        assert playbook(*words, extra_vars={"backup_scheduler": "cron"}).changed == []
    finally:
        run = playbook(*words)
    assert run.rc == 0, run.output
    assert not lab.host(host).file("/etc/cron.d/nano-backup").exists
    assert lab.host(host).service("nano-backup.timer").is_running


@pytest.mark.disturbs
def test_a_killed_run_is_noted_and_the_next_one_succeeds(lab: Lab, host: str, eventually: Callable[..., Any]) -> None:
    before = dumps(lab, host)
    said(lab, host, "systemctl", "start", "--no-block", "nano-backup.service")
    running = f'grep --quiet \'"running": "[a-z]\' {STATE}/run.json'
    eventually(lambda: lab.host(host).run(running).rc == 0, 60, "no step is at work")
    said(lab, host, "systemctl", "kill", "--signal=KILL", "nano-backup.service")
    eventually(
        lambda: "was killed before it ended" in lab.host(host).run(f"cat {STATE}/run.json").stdout,
        60,
        "the killed step is not noted as failed",
    )
    assert set(before) <= set(dumps(lab, host)), "an older dump is gone"
    said(lab, host, "systemctl", "reset-failed", "nano-backup.service")
    eventually(lambda: lab.host(host).run("systemctl start nano-backup.service").rc == 0, 600, "the next run fails")
    assert "was killed" not in lab.host(host).file(f"{STATE}/run.json").content_string


@pytest.mark.disturbs
def test_two_at_once_are_refused(lab: Lab, host: str, eventually: Callable[..., Any]) -> None:
    said(lab, host, "systemctl", "start", "--no-block", "nano-backup.service")
    running = f'grep --quiet \'"running": "[a-z]\' {STATE}/run.json'
    eventually(lambda: lab.host(host).run(running).rc == 0, 60, "no step is at work")
    refused = lab.command(host, ["nano-backup", "run"])
    assert refused["rc"] == 75 and "`nano-backup run` (process " in refused["stderr"]
    done = "systemctl is-active nano-backup.service"
    eventually(lambda: lab.host(host).run(done).stdout.strip() == "inactive", 600, "the run did not end well")


def test_platform_archive_opens_with_the_vaults_password_alone(lab: Lab, host: str) -> None:
    found = said(lab, host, "find", "/backups/platform", "-name", "*.vault", "-printf", "%f %m %u\n").splitlines()
    assert found and all(line.endswith("600 postgres") for line in found)
    name = sorted(found)[-1].split()[0]
    text = lab.host(host).file(f"/backups/platform/{name}").content_string
    assert text.startswith("$ANSIBLE_VAULT;1.1;AES256")
    assert not any(value in text for value in lab.secrets().values())
