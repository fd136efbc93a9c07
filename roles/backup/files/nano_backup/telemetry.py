"""`nano-backup-telemetry`: Grafana's database, and by choice the data of Loki and Prometheus, encrypted into S3.

What is copied is whole by itself: a snapshot of the SQLite file, blocks of Prometheus, chunks and indexes of Loki. They
are never written again. What the two hold in memory and in their logs, the last hours, is not copied.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from . import command, config, exposition, files, units
from .errors import BackupError, ConfigError, LockedError
from .log import Log, complain
from .remote import TELEMETRY, Remote
from .state import Outcome, State

CONFIG = Path("/etc/nano/backup_telemetry.json")
GRAFANA, LOKI, PROMETHEUS = "grafana", "loki", "prometheus"
META = "meta.json"
# The letters that names of blocks are written in; the first ten are milliseconds since 1970.
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


@dataclass(frozen=True)
class Telemetry:
    """What is kept: `host` names its folder in S3; an empty path is not kept."""

    host: str
    state_directory: Path
    metrics_directory: Path
    rclone: str
    retention_days: int
    grafana_database: str
    loki_directory: str
    prometheus_directory: str
    s3: config.S3
    credentials: Mapping[str, str]

    def secret(self, name: str) -> str:
        """Return a credential. Raises ConfigError when its file was missing."""
        if not self.credentials.get(name):
            raise ConfigError(f"credential {name} is missing: run the role again, and call the program as root")
        return self.credentials[name]

    def kept(self) -> list[str]:
        """Return what is kept."""
        chosen = {GRAFANA: self.grafana_database, LOKI: self.loki_directory, PROMETHEUS: self.prometheus_directory}
        return [name for name, path in chosen.items() if path]


def load(path: Path) -> Telemetry:
    """Read the configuration. Raises ConfigError."""
    data = config.read(path)
    folder = Path(os.environ.get("CREDENTIALS_DIRECTORY", path.with_suffix("")))
    more = {
        "s3": config.fill(config.S3, data.get("s3"), "s3", path),
        "credentials": config.credentials(folder),
    }
    found: Telemetry = config.fill(Telemetry, data, "", path, **more)
    return found


def grafana(own: Telemetry, remote: Remote) -> Outcome:
    """Keep a snapshot of Grafana's database, and no older ones than so many days but the last.

    Raises:
        BackupError: it is damaged, or S3 refused.
    """
    source = Path(own.grafana_database)
    if not source.exists():
        return Outcome(f"{source} is not there: Grafana has not run yet, and there is nothing to keep")
    base = f"{own.host}/{GRAFANA}"
    with tempfile.TemporaryDirectory(dir=own.state_directory) as folder:
        copy = Path(folder) / "grafana.db"
        try:
            with (
                sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True, timeout=60) as there,
                sqlite3.connect(copy) as here,
            ):
                there.backup(here)
                ((found,),) = here.execute("PRAGMA integrity_check(1)").fetchall()
        except sqlite3.Error as error:
            raise BackupError(f"{source} cannot be read: {error}") from None
        if found != "ok":
            raise BackupError(f"{source} is damaged: {found}")
        size, name = copy.stat().st_size, f"{units.stamp(time.time())}.db"
        remote.put(copy, TELEMETRY, f"{base}/{name}")
        if remote.sha256(TELEMETRY, f"{base}/{name}") != command.sha256(copy):
            raise BackupError(f"the copy of {source} came back from S3 changed; the next run makes another one")
    gone = [each for each in sorted(remote.listing(TELEMETRY, path=base))[:-1] if _is_old(own, units.moment(each[:-3]))]
    for each in gone:
        remote.delete(TELEMETRY, f"{base}/{each}")
    return Outcome(f"{name}, {len(gone)} old ones deleted", size)


def _is_old(own: Telemetry, moment: float) -> bool:
    return moment < time.time() - own.retention_days * 86400


def made(block: str) -> float:
    """Return when a block was made, in seconds since 1970; its name begins with it."""
    number = 0
    for letter in block[:10]:
        number = number * 32 + CROCKFORD.index(letter)
    return number / 1000


def _blocks(folder: Path) -> list[Path]:
    """Return the whole blocks of a Prometheus, from old to new."""
    found = (path for path in folder.iterdir() if len(path.name) == 26 and set(path.name) <= set(CROCKFORD))
    return sorted(path for path in found if (path / META).is_file())


def prometheus(own: Telemetry, remote: Remote) -> Outcome:
    """Copy the blocks that S3 lacks; drop those that a newer one has taken in, and those that are too old.

    Raises:
        BackupError: S3 refused.
    """
    base, folder = f"{own.host}/{PROMETHEUS}", Path(own.prometheus_directory)
    listing = remote.listing(TELEMETRY, path=base)
    there = {path.split("/")[0] for path in listing if path.endswith(f"/{META}")}
    size = copied = 0
    merged: set[str] = set()
    for block in _blocks(folder):
        try:
            parents = json.loads((block / META).read_text(encoding="utf-8"))["compaction"].get("parents") or []
            if block.name not in there:
                remote.copy(block, TELEMETRY, f"{base}/{block.name}", leave_out=META)
                # Last, so that a block with it is whole.
                remote.put(block / META, TELEMETRY, f"{base}/{block.name}/{META}")
                size += sum(each.stat().st_size for each in block.rglob("*") if each.is_file())
                copied += 1
        except (OSError, BackupError):
            if (block / META).is_file():
                raise
            # Prometheus has taken it into a larger one meanwhile, which the next run copies.
            continue
        merged |= {each["ulid"] for each in parents}
    gone = sorted(
        each for each in {path.split("/")[0] for path in listing} if each in merged or _is_old(own, made(each))
    )
    for each in gone:
        remote.purge(TELEMETRY, f"{base}/{each}")
    return Outcome(f"{copied} new blocks, {len(gone)} deleted", size)


def loki(own: Telemetry, remote: Remote) -> Outcome:
    """Copy chunks, then indexes, that S3 lacks; drop what is too old.

    Raises:
        BackupError: S3 refused.
    """
    folder, base = Path(own.loki_directory), f"{own.host}/{LOKI}"
    if not folder.is_dir():
        return Outcome(f"{folder} is not there: Loki has flushed nothing yet, and there is nothing to keep")
    # An index without its chunks is worth nothing; the other way round one day of it is made good by the next run.
    remote.copy(folder, TELEMETRY, base, leave_out="index/**")
    if (folder / "index").is_dir():
        remote.copy(folder / "index", TELEMETRY, f"{base}/index")
    remote.prune(TELEMETRY, base, own.retention_days)
    listing = remote.listing(TELEMETRY, path=base)
    return Outcome(f"{len(listing)} files are kept", sum(listing.values()))


STEPS = {GRAFANA: grafana, LOKI: loki, PROMETHEUS: prometheus}


def _keep(own: Telemetry, kind: str) -> Outcome:
    return STEPS[kind](own, Remote(own, own.s3))


def run(own: Telemetry, log: Log) -> int:
    """Keep what is chosen; one failure stops nothing else. Returns the exit code."""
    with files.lock(own.state_directory / "telemetry.lock", "nano-backup-telemetry run"):
        state = State(own.state_directory / "telemetry.json", log)
        state.settle()
        for name in list(state.steps):
            if state.steps[name].kind not in own.kept():
                state.steps.pop(name)
        try:
            for kind in own.kept():
                state.step(kind, {}, f"copy of {kind} to S3", functools.partial(_keep, own, kind))
        finally:
            page = exposition.Page()
            exposition.results(page, state, tuple(STEPS))
            page.write(own.metrics_directory / "nano_backup_telemetry.prom")
    return 1 if state.failures else 0


def restore(own: Telemetry, log: Log, kind: str, host: str, into: Path) -> int:
    """Fetch what is kept into an empty folder. Returns the exit code. Raises BackupError."""
    if into.exists() and any(into.iterdir()):
        raise BackupError(f"{into} is not empty: name a folder that is not there yet")
    remote, base = Remote(own, own.s3), f"{host}/{kind}"
    listing = remote.listing(TELEMETRY, path=base)
    if not listing:
        raise BackupError(f"S3 has nothing of {kind} of host {host}")
    if kind == GRAFANA:
        newest = max(listing)
        remote.get(TELEMETRY, f"{base}/{newest}", into / "grafana.db")
        log.tell("restore", f"{newest} is {into}/grafana.db")
        return 0
    remote.fetch(TELEMETRY, base, into)
    log.tell("restore", f"{len(listing)} files, {units.size(sum(listing.values()))}, are in {into}")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run a command; a mistake is told without a stack trace."""
    top = argparse.ArgumentParser(prog="nano-backup-telemetry", description="Keep what the platform has watched.")
    top.add_argument("--config", type=Path, default=CONFIG)
    verbs = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    verbs.add_parser("run", help="keep it now, as the timer does")
    one = verbs.add_parser("restore", help="fetch it into an empty folder")
    one.add_argument("kind", choices=sorted(STEPS))
    one.add_argument("--into", type=Path, required=True, help="a folder that is not there yet")
    one.add_argument("--host", default="", help="whose; default: this host's")
    options = top.parse_args(argv)

    def stop(number: int, _: FrameType | None) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    signal.signal(signal.SIGTERM, stop)
    os.umask(0o077)
    try:
        own = load(options.config)
        log = Log("nano-backup-telemetry")
        if options.command == "run":
            return run(own, log)
        return restore(own, log, options.kind, options.host or own.host, options.into)
    except LockedError as error:
        complain(str(error))
        return 75
    except (BackupError, OSError) as error:
        complain(str(error))
        return 2 if isinstance(error, ConfigError) else 1
    except KeyboardInterrupt as error:
        complain(f"stopped by {error or 'the keyboard'}; what was kept is as it was")
        return 128 + signal.SIGTERM


if __name__ == "__main__":
    sys.exit(main())
