"""`make bench`: how long site.yml takes on the lab, beside a play that does nothing, written to docs/benchmarks.md."""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from lab import hosts, watching
from lab.hosts import ROOT, STATE, LabError, step

PAGE = ROOT / "docs/benchmarks.md"
# Warm runs are short: the median of three is steady to about a second on two cores.
REPEATS = 3
# The same work as the best-known peer collection's play in shared figures: three services on one host.
TRIO = ["--limit", "ops1", "--tags", "host,node_exporter,prometheus,alertmanager"]
# Seconds on two cores, from the project's requirements.
TARGETS = {"cold": 360.0, "warm": 45.0, "trio": 13.0}
FLOOR = [
    {
        "name": "Do nothing",
        "hosts": "all",
        "become": True,
        "gather_facts": False,
        "tasks": [{"name": "Answer", "ansible.builtin.ping": None}],
    }
]


@dataclass
class Run:
    """One run of a playbook."""

    seconds: float
    tasks: dict[str, int] = field(default_factory=dict)
    changed: int = 0
    roles: dict[str, float] = field(default_factory=dict)


def parse(output: str, seconds: float) -> Run:
    """Read Ansible's recap: tasks that ran on each host, changes, and seconds per role."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output)
    recap = re.findall(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)", plain, flags=re.MULTILINE)
    roles = re.findall(r"^(?:nano\.ops\.)?([a-z_]+) -+ ([0-9.]+)s$", plain, flags=re.MULTILINE)
    return Run(
        seconds=seconds,
        tasks={host: int(ok) for host, ok, _ in recap},
        changed=sum(int(changed) for _, _, changed in recap),
        roles={name: float(spent) for name, spent in roles if name not in ("total", "check_inventory")},
    )


def play(env: dict[str, str], *argv: str) -> Run:
    """Run a playbook on the lab and time it."""
    started = time.monotonic()
    output = hosts.run(["ansible-playbook", *argv], env)
    return parse(output, time.monotonic() - started)


def again(env: dict[str, str], *argv: str) -> list[Run]:
    """Run a playbook several times.

    Raises:
        LabError: one of the runs changed something, so it was not warm.
    """
    runs = [play(env, *argv) for _ in range(REPEATS)]
    if any(run.changed for run in runs):
        raise LabError("a warm run changed something; look above for `changed:`")
    return runs


def machine() -> list[str]:
    """Return what the figures were measured on."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = next((line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")), "?")
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    argv = ["ansible", "--version"]
    core = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    engine = hosts.docker("version", "--format", "{{.Server.Version}}")
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    return [
        f"- {os.cpu_count()} cores ({model}), {total:.0f} GiB of memory, Linux {platform.release()}",
        f"- {core}, Python {platform.python_version()}, engine {engine}, nano.ops {commit or 'without a history'}",
        f"- {time.strftime('%Y-%m-%d', time.gmtime())}, seven hosts of Debian 13, artifacts and image at hand",
    ]


def middle(runs: list[Run]) -> str:
    """Return the median of the runs in seconds, with the range."""
    times = [run.seconds for run in runs]
    return f"{statistics.median(times):.1f} ({min(times):.1f} to {max(times):.1f})"


def page(floor: list[Run], cold: Run, warm: list[Run], trio: list[Run]) -> str:
    """Return docs/benchmarks.md."""
    base = statistics.median(run.seconds for run in floor)
    rows = [
        ("a play with one task that does nothing, seven hosts", floor, None),
        ("`site.yml`, bare hosts (cold)", [cold], TARGETS["cold"]),
        ("`site.yml`, nothing to change (warm)", warm, TARGETS["warm"]),
        ("host, node_exporter, Prometheus and Alertmanager on one host, warm", trio, TARGETS["trio"]),
    ]
    table = [
        f"| {name} | {middle(runs)} | {f'{target:.0f}' if target else ''} "
        f"| {statistics.median(run.seconds for run in runs) / base:.1f} |"
        for name, runs, target in rows
    ]
    roles = [
        f"| {name} | {cold.roles[name]:.1f} | {statistics.median(run.roles.get(name, 0.0) for run in warm):.1f} |"
        for name in sorted(cold.roles, key=lambda name: -cold.roles[name])
    ]
    tasks = [f"| {host} | {cold.tasks[host]} | {warm[0].tasks.get(host, 0)} |" for host in sorted(cold.tasks)]
    return "\n".join(
        [
            "# Benchmarks",
            "",
            "Written by `make bench`, all in one run; each line has its ratio to a play that does nothing.",
            f"Warm figures are the median of {REPEATS} runs, with the range.",
            "",
            *machine(),
            "",
            "| what | seconds | target | ratio to nothing |",
            "|---|---|---|---|",
            *table,
            "",
            "## Seconds per role",
            "",
            "| role | cold | warm |",
            "|---|---|---|",
            *roles,
            "",
            "## Tasks per host",
            "",
            "| host | cold | warm |",
            "|---|---|---|",
            *tasks,
            "",
        ]
    )


def bench(mirror: Path) -> None:
    """Measure on hosts made anew, and write the page.

    Raises:
        LabError: a run failed, or a warm run changed something.
    """
    env = hosts.environment(mirror)
    env["ANSIBLE_FORCE_COLOR"] = "0"
    hosts.prepare_state(env)
    step("bare hosts")
    hosts.destroy(env)
    hosts.create(env)
    nothing = STATE / "nothing.yml"
    nothing.write_text(json.dumps(FLOOR), encoding="utf-8")
    step("cold")
    cold = play(env, "site.yml")
    step(f"nothing, {REPEATS} times")
    floor = again(env, str(nothing))
    step(f"warm, {REPEATS} times")
    warm = again(env, "site.yml")
    step(f"three services on one host, warm, {REPEATS} times")
    trio = again(env, "site.yml", *TRIO)
    text = f"{page(floor, cold, warm, trio)}\n{watching.measure()}"
    PAGE.write_text(text, encoding="utf-8")
    print(f"\n{text}\nwritten to {PAGE.relative_to(ROOT)}", flush=True)
