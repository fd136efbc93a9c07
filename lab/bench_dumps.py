"""Dumps and their restores against the bare programs, and what each benchmark of backups is told in."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lab.common import LabError
from lab.watching import inside

DATABASE, SIDE = "bench", "bench_side"
KEEPER, VERIFIER, PRIMARY = "store1", "app2", "db1"
BIN = "/usr/lib/postgresql/17/bin"
METRICS = "/var/lib/node_exporter/textfile/nano_backup*.prom"
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


def with_password(script: str) -> tuple[str, ...]:
    """Return a command of the backup host that runs a script as the user of the backups."""
    return (
        "bash",
        "-euc",
        "umask 077; export PGPASSFILE=$(mktemp); trap 'rm -f $PGPASSFILE' EXIT; "
        f"printf '*:*:*:*:%s\\n' \"$(cat /etc/nano/backup/database_password)\" > $PGPASSFILE; {script}",
    )


def address(name: str, hosts: str, session: str) -> str:
    """Return how the backup host reaches a database."""
    tls = " ".join(f"ssl{key}=/etc/nano/tls/{file}" for key, file in TLS.items()) + " sslmode=verify-full"
    return f"host={hosts} dbname={name} user=nano_backup target_session_attrs={session} {tls}"


def dumps() -> Pair:
    """Dumps of the database over the network, bare and ours, which also counts the rows and takes sums."""
    pair = Pair()
    config = json.loads(inside(KEEPER, "cat", "/etc/nano/backup.json"))
    servers = ",".join(server["host"] if isinstance(server, dict) else str(server) for server in config["servers"])
    where = address(DATABASE, servers, "prefer-standby")
    raw = "/backups/.bench-raw"
    bare = f'{BIN}/pg_dump --format=custom --compress=zstd --file={raw} "{where}"; rm {raw}'
    for _ in range(REPEATS):
        pair.bare.append(timed(lambda: inside(KEEPER, *with_password(bare))))
        inside(KEEPER, "nano-backup", "run", "--only=dump")
        pair.ours.append(took(KEEPER, "duration_seconds", 'kind="dump"', f'database="{DATABASE}"'))
    return pair


def dump_restores() -> Pair:
    """Restores of the newest dump into a new database, bare and ours, which also takes sums and counts the rows."""
    pair = Pair()
    psql = (*AS_POSTGRES, "psql", "-XAtqc")
    folder = f"$(ls -d /backups/{DATABASE}/2* | tail -n 1)"
    # Extensions need an administrator; ours leaves out those that do.
    bare = (
        f'psql -XAtqc "CREATE DATABASE {SIDE}" "{address("postgres", PRIMARY, "any")}"; '
        f"d={folder}/database.dump; l=$(mktemp); {BIN}/pg_restore --list $d | grep -v ' EXTENSION ' > $l; "
        f"{BIN}/pg_restore --no-owner --no-privileges --exit-on-error --use-list=$l "
        f'--dbname="{address(SIDE, PRIMARY, "any")}" $d; rm $l'
    )
    ours = ("nano-backup", "restore-dump", f"--database={DATABASE}", f"--into={SIDE}")
    inside(PRIMARY, *psql, "ALTER ROLE nano_backup CREATEDB")
    try:
        # Of a run that was cut off.
        inside(PRIMARY, *AS_POSTGRES, "dropdb", "--if-exists", SIDE)
        for _ in range(REPEATS):
            pair.bare.append(timed(lambda: inside(KEEPER, *with_password(bare))))
            inside(PRIMARY, *AS_POSTGRES, "dropdb", SIDE)
            pair.ours.append(timed(lambda: inside(KEEPER, *ours)))
            inside(PRIMARY, *AS_POSTGRES, "dropdb", SIDE)
    finally:
        inside(PRIMARY, *psql, "ALTER ROLE nano_backup NOCREATEDB")
    return pair
