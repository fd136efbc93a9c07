"""What backups and restores take, against the bare programs in the same run, and what a backup costs a request."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import hosts, traffic
from lab.bench import machine
from lab.common import LabError
from lab.hosts import ROOT, step
from lab.watching import inside

PAGE = ROOT / "docs/benchmarks-backup.md"
DATABASE, SCALE = "bench", 150
KEEPER, VERIFIER, PRIMARY = "store1", "app2", "db1"
BIN = "/usr/lib/postgresql/17/bin"
METRICS = "/var/lib/node_exporter/textfile/nano_backup*.prom"
LOAD_S, QUIET_S, RATE, CLIENTS = 120, 40, 20, 4
AS_POSTGRES = ("sudo", "-u", "postgres")
REPEATS = 2
TLS = {"rootcert": "ca.crt", "cert": "host.crt", "key": "host.key"}


@dataclass
class Pair:
    """Seconds of the bare program and of ours, in turns."""

    bare: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)

    def row(self, what: str, size: float) -> str:
        """Return the row of the page; `size` in bytes."""
        bare, ours = statistics.median(self.bare), statistics.median(self.ours)
        rate = size / ours / 2**20
        return f"| {what} | {bare:.1f} | {ours:.1f} | {rate:.0f} | {ours / bare:.2f} |"


def timed(work: Callable[[], Any]) -> float:
    """Return how many seconds something takes."""
    started = time.monotonic()
    work()
    return time.monotonic() - started


def figures(host: str) -> dict[str, float]:
    """Return the metrics of nano-backup on a host, by name and labels as they are written."""
    text = inside(host, "sh", "-c", f"cat {METRICS}")
    rows = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, value in rows}


def took(host: str, name: str, *labels: str) -> float:
    """Return a figure of nano-backup whose labels contain some texts.

    Raises:
        LabError: it is not there.
    """
    for key, value in figures(host).items():
        if key.startswith(f"nano_backup_{name}{{") and all(label in key for label in labels):
            return value
    raise LabError(f"{host} has no figure nano_backup_{name} with {', '.join(labels)}")


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


def dumps() -> Pair:
    """Dumps of the database over the network, bare and ours, which also counts the rows and takes sums."""
    pair = Pair()
    config = json.loads(inside(KEEPER, "cat", "/etc/nano/backup.json"))
    servers = ",".join(server["host"] if isinstance(server, dict) else str(server) for server in config["servers"])
    tls = " ".join(f"ssl{key}=/etc/nano/tls/{name}" for key, name in TLS.items()) + " sslmode=verify-full"
    where = f"host={servers} dbname={DATABASE} user=nano_backup target_session_attrs=prefer-standby {tls}"
    script = (
        "umask 077; f=$(mktemp); printf '*:*:*:*:%s\\n' \"$(cat /etc/nano/backup/database_password)\" > $f; "
        f'PGPASSFILE=$f {BIN}/pg_dump --format=custom --compress=zstd --file=/backups/.bench-raw "{where}"; '
        "code=$?; rm -f $f /backups/.bench-raw; exit $code"
    )
    for _ in range(REPEATS):
        pair.bare.append(timed(lambda: inside(KEEPER, "bash", "-c", script)))
        inside(KEEPER, "nano-backup", "run", "--only=dump")
        pair.ours.append(took(KEEPER, "duration_seconds", 'kind="dump"', f'database="{DATABASE}"'))
    return pair


def restores() -> tuple[Pair, float]:
    """Restore the newest physical backup on the verifying host, bare and ours; return the bytes as well."""
    pair = Pair()
    place = "/var/lib/nano-verify/bench"
    argv = (*AS_POSTGRES, "pgbackrest", "--stanza=nano", "--repo=1", f"--pg1-path={place}", "--log-level-console=off")
    size = 0.0
    for _ in range(REPEATS):
        inside(VERIFIER, "install", "-d", "-o", "postgres", "-g", "postgres", "-m", "0700", place)
        pair.bare.append(timed(lambda: inside(VERIFIER, *argv, "--archive-mode=off", "restore")))
        size = float(inside(VERIFIER, "du", "-sb", place).split()[0])
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
