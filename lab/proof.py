"""`make test`: lint, unit tests, then the whole site on bare hosts. Ends with one line that counts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab import hosts, workload
from lab.hosts import STATE, LabError, step

# Units whose main process must survive a second run.
UNITS = (
    "node_exporter prometheus alertmanager prometheus-postgres-exporter prometheus-redis-exporter "
    "prometheus-blackbox-exporter redis-server postgresql@15-main postgresql@17-main nano-heartbeat "
    "loki jaeger otel_collector minio nano_api nginx prometheus-nginx-exporter pgbackrest named nano-dns-follow "
    "nano-primary-record nano-primary-guard"
).split()
LINTERS = {
    "ruff check": ["ruff", "check", "."],
    "ruff format": ["ruff", "format", "--check", "."],
    "mypy": ["mypy", "lab", "plugins", "roles/backup/files/nano_backup"],
    "yamllint": ["yamllint", "--strict", "."],
    "ansible-lint": ["ansible-lint", "--offline"],
}


class Tally:
    """Counts what was tested."""

    def __init__(self) -> None:
        """Start at zero."""
        self.started = time.monotonic()
        self.passed: dict[str, int] = {}
        self.failed: list[str] = []
        self.skipped = 0

    def add(self, part: str, name: str, ok: bool) -> bool:
        """Count one check and return whether it passed."""
        if ok:
            self.passed[part] = self.passed.get(part, 0) + 1
        else:
            self.failed.append(f"{part}: {name}")
        return ok

    def add_junit(self, part: str, report: Path) -> None:
        """Count the tests of a JUnit report; a report that is missing is a failure."""
        if not report.exists():
            self.add(part, "no report was written", False)
            return
        for case in ElementTree.parse(report).iter("testcase"):
            if case.find("skipped") is not None:
                self.skipped += 1
            else:
                broken = case.find("failure") is not None or case.find("error") is not None
                self.add(part, case.get("name", "?"), not broken)

    def line(self) -> str:
        """Return the closing line."""
        parts = ", ".join(f"{part} {count}" for part, count in self.passed.items())
        minutes = (time.monotonic() - self.started) / 60
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        count = f"{sum(self.passed.values())} passed ({parts}), {len(self.failed)} failed{skipped}"
        return f"tests: {count}, in {minutes:.1f} min"


def attempt(command: Callable[..., str], *argv: Any) -> tuple[bool, str]:
    """Run a command that shows its output; return whether it succeeded, and the output."""
    try:
        return True, command(*argv)
    except LabError as error:
        print(f"\n{error}", flush=True)
        return False, ""


def static(tally: Tally, env: dict[str, str], mirror: Path) -> None:
    """Lint and run the unit tests."""
    for name, argv in LINTERS.items():
        step(name)
        tally.add("lint", name, attempt(hosts.run, argv, env)[0])
    step("unit tests")
    report = STATE / "unit.xml"
    report.unlink(missing_ok=True)
    servers = workload.programs(mirror, workload.missing_for_backups())
    # Much of them waits for real servers. The tests of one file share theirs.
    both = ["-n", "2", "--dist", "loadfile"]
    attempt(hosts.run, [sys.executable, "-m", "pytest", *both, f"--junitxml={report}"], env | servers)
    tally.add_junit("unit", report)


def application(tally: Tally, env: dict[str, str], mirror: Path) -> None:
    """Check the application's types and run its tests, in an environment of its own."""
    programs = workload.ensure()
    env = env | workload.programs(mirror)
    for name in workload.PACKAGES:
        folder, report = workload.WORKLOAD / name, STATE / f"{name}.xml"
        step(f"{name}: types")
        tally.add("lint", f"mypy {name}", attempt(hosts.run, [str(programs / "mypy")], env, folder)[0])
        step(f"{name}: tests")
        report.unlink(missing_ok=True)
        attempt(hosts.run, [str(programs / "pytest"), f"--junitxml={report}"], env, folder)
        tally.add_junit("application", report)


def main_pids(scenario: str) -> dict[str, str]:
    """Return "host unit" to the main process of each unit that runs."""
    found = {}
    for host in hosts.platforms(scenario):
        argv = ["docker", "exec", host, "systemctl", "show", *UNITS, "--property=Id,MainPID"]
        text = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
        for block in text.split("\n\n"):
            fields = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
            pid = fields.get("MainPID", "0")
            if pid != "0":
                found[f"{host} {fields['Id']}"] = pid
    return found


def changes(output: str) -> list[str]:
    """Return the lines of a play's recap that tell of a change."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output)
    return [line for line in plain.splitlines() if re.search(r": ok=\d+\s+changed=[1-9]", line)]


def site(tally: Tally, env: dict[str, str], scenario: str) -> None:
    """Bare hosts, check run, converge, a second run that changes nothing, verify."""
    part = "site" if scenario == "default" else scenario
    step(f"{part}: bare hosts")
    hosts.destroy(env, scenario)
    hosts.create(env, scenario)
    step(f"{part}: check run on bare hosts")
    tally.add(part, "check run on bare hosts", attempt(hosts.molecule, env, scenario, "check")[0])
    step(f"{part}: converge")
    if not tally.add(part, "converge", attempt(hosts.molecule, env, scenario, "converge")[0]):
        return
    before = main_pids(scenario)
    step(f"{part}: the same again, nothing may change")
    ok, output = attempt(hosts.molecule, env, scenario, "converge")
    tally.add(part, f"second run changes nothing {changes(output)}", ok and not changes(output))
    after = main_pids(scenario)
    moved = sorted(name for name in before if after.get(name) != before[name])
    tally.add(part, f"second run restarts nothing {moved}", bool(before) and not moved)
    step(f"{part}: verify")
    report = STATE / f"verify_{scenario}.xml"
    report.unlink(missing_ok=True)
    attempt(hosts.molecule, env, scenario, "verify")
    tally.add_junit("verify", report)


def test_application(mirror: Path) -> None:
    """Prove the application alone; it needs no hosts.

    Raises:
        LabError: something failed; the closing lines name it.
    """
    tally = Tally()
    env = hosts.environment(mirror)
    STATE.mkdir(exist_ok=True, mode=0o700)
    application(tally, env, mirror)
    print(f"\n{tally.line()}", flush=True)
    if tally.failed:
        raise LabError("failed:\n  " + "\n  ".join(tally.failed))


def test(mirror: Path) -> None:
    """Prove it all.

    Raises:
        LabError: something failed; the closing lines name it.
    """
    tally = Tally()
    env = hosts.environment(mirror)
    hosts.prepare_state(env)
    try:
        static(tally, env, mirror)
        application(tally, env, mirror)
        if os.environ.get("NANO_TEST_ONLY") != "static":
            for scenario in hosts.NETWORKS:
                site(tally, env, scenario)
            # The lab stays, to be looked at; the one host has done its work.
            hosts.destroy(env, "all_in_one")
    except LabError as error:
        tally.add("lab", str(error), False)
    print(f"\n{tally.line()}", flush=True)
    if tally.failed:
        raise LabError("failed:\n  " + "\n  ".join(tally.failed))
