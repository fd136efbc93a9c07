"""What backups and restores take, against the bare programs in the same run, and what a backup costs a request."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import tempfile
from pathlib import Path

from lab import hosts, traffic
from lab.bench import machine
from lab.bench_dumps import (
    AS_POSTGRES,
    BIN,
    DATABASE,
    KEEPER,
    PRIMARY,
    REPEATS,
    VERIFIER,
    Pair,
    dump_restores,
    dumps,
    figures,
    timed,
    took,
)
from lab.common import LabError
from lab.hosts import ROOT, step
from lab.watching import inside

PAGE = ROOT / "docs/benchmarks-backup.md"
SCALE = 150
LOAD_S, QUIET_S, RATE, CLIENTS = 120, 40, 20, 4


def database() -> float:
    """Make the database and return its size in bytes."""
    psql = (*AS_POSTGRES, "psql", "-XAtqc")
    if not inside(PRIMARY, *psql, f"SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'").strip():
        inside(PRIMARY, *AS_POSTGRES, "createdb", DATABASE)
        inside(PRIMARY, *AS_POSTGRES, f"{BIN}/pgbench", "--initialize", "--quiet", f"--scale={SCALE}", DATABASE)
    return float(inside(PRIMARY, *psql, f"SELECT pg_database_size('{DATABASE}')"))


def physical() -> Pair:
    """Full backups into repository 1, bare and ours."""
    pair = Pair()
    bare = (*AS_POSTGRES, "pgbackrest", "--stanza=nano", "--repo=1", "--type=full", "--log-level-console=off", "backup")
    for _ in range(REPEATS):
        pair.bare.append(timed(lambda: inside(KEEPER, *bare)))
        inside(KEEPER, "nano-backup", "run", "--kind=full", "--only=physical")
        pair.ours.append(took(KEEPER, "duration_seconds", 'kind="full"', 'repository="1"'))
    return pair


def restores() -> tuple[Pair, float]:
    """Restore the newest physical backup on the verifying host, bare and ours; return the bytes as well."""
    pair = Pair()
    place = "/var/lib/nano-verify/bench"
    argv = (*AS_POSTGRES, "pgbackrest", "--stanza=nano", "--repo=1", f"--pg1-path={place}", "--log-level-console=off")
    info = json.loads(
        inside(VERIFIER, *AS_POSTGRES, "pgbackrest", "--stanza=nano", "--repo=1", "--output=json", "info")
    )
    size = float(info[0]["backup"][-1]["info"]["size"])
    for _ in range(REPEATS):
        inside(VERIFIER, "install", "-d", "-o", "postgres", "-g", "postgres", "-m", "0700", place)
        pair.bare.append(timed(lambda: inside(VERIFIER, *argv, "--archive-mode=off", "restore")))
        inside(VERIFIER, "rm", "-rf", place)
        inside(VERIFIER, "nano-backup", "verify", "--repository=1", "--only=physical")
        pair.ours.append(size / took(VERIFIER, "restore_bytes_per_second", 'kind="physical"', 'repository="1"'))
    return pair, size


def under_load() -> dict[str, list[float]]:
    """Write as fast as the database can for some time; return the ages of the copies meanwhile, in seconds."""
    argv = [*AS_POSTGRES, f"{BIN}/pgbench", f"--client={CLIENTS}", f"--time={LOAD_S}", "--no-vacuum", DATABASE]
    ages: dict[str, list[float]] = {}
    with subprocess.Popen(["docker", "exec", PRIMARY, *argv], stdout=subprocess.DEVNULL) as load:
        while load.poll() is None:
            inside(KEEPER, "nano-backup", "metrics")
            for key, value in figures(KEEPER).items():
                if found := re.match(r'nano_backup_rpo_seconds\{copy="(\w+)"\}', key):
                    ages.setdefault(found[1], []).append(value)
    return ages


def requests(folder: Path, seed: int) -> list[float]:
    """Send traffic for some time and return the seconds of each answer."""
    file = folder / f"{seed}.json"
    argv = [*traffic.command(RATE, QUIET_S, seed), f"--json={file}"]
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"the traffic did not go well: {done.stdout[-500:]}{done.stderr[-500:]}")
    return sorted(answer["seconds"] for answer in json.loads(file.read_text())["answers"])


def felt() -> list[str]:
    """Return rows of what customers feel while a full backup and a dump are made."""
    with tempfile.TemporaryDirectory() as folder:
        quiet = requests(Path(folder), 11)
        argv = ["docker", "exec", KEEPER, "nano-backup", "run", "--kind=full"]
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as backup:
            busy = requests(Path(folder), 12)
            backup.wait()
    rows = []
    for what, times in (("quiet", quiet), ("while a full backup and dumps are made", busy)):
        p50, p99 = (times[int(share * (len(times) - 1))] * 1000 for share in (0.5, 0.99))
        rows.append(f"| {what} | {len(times)} | {p50:.0f} | {p99:.0f} |")
    return rows


def bench(mirror: Path) -> None:
    """Measure on the lab, which has to be up, and write docs/benchmarks-backup.md.

    Raises:
        LabError: the lab is not up, or a backup failed.
    """
    hosts.environment(mirror)
    step(f"a database of pgbench, scale {SCALE}")
    size = database()
    step("full backups")
    rows = [physical().row("full backup into repository 1", size)]
    step("dumps")
    rows.append(dumps().row("dump, with its rows counted, summed and read back", size))
    step("restores of a dump")
    rows.append(dump_restores().row("restore of the newest dump, summed before and counted after", size))
    step("restores")
    pair, restored = restores()
    rows.append(pair.row("restore of the newest physical backup", restored))
    step("age of the copies under write load")
    ages = under_load()
    step("what customers feel")
    latency = felt()
    inside(PRIMARY, *AS_POSTGRES, "dropdb", DATABASE)
    text = "\n".join(
        [
            "# Benchmarks of backups",
            "",
            "Written by `make bench-backup` on a lab that is up; bare and ours in turns, medians of "
            f"{REPEATS} runs, all hosts on one machine.",
            "",
            *machine(),
            f"- database of {size / 2**30:.1f} GiB (pgbench, scale {SCALE})",
            "",
            "| what | bare, s | ours, s | MiB/s | ratio, target 1.1 |",
            "|---|---|---|---|---|",
            *rows,
            "",
            f"Age of each copy, asked again and again while {CLIENTS} clients write for {LOAD_S} s as fast as they can "
            "(target: 60 s):",
            "",
            "| copy | median, s | most, s |",
            "|---|---|---|",
            *(f"| {copy} | {statistics.median(each):.0f} | {max(each):.0f} |" for copy, each in sorted(ages.items())),
            "",
            f"Requests of customers, {RATE} a second:",
            "",
            "| while | requests | p50, ms | p99, ms |",
            "|---|---|---|---|",
            *latency,
            "",
        ]
    )
    PAGE.write_text(text, encoding="utf-8")
    print(f"\n{text}\nwritten to {PAGE.relative_to(ROOT)}", flush=True)
