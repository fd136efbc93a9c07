"""What each command does; each returns how the program ends."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import time
from pathlib import Path
from typing import Any

from . import exposition, files, listing, live, remote, restore, units, verify, wal
from . import run as runs
from .config import Config
from .errors import BackupError, ConfigError
from .log import Log
from .state import Outcome, State, hostname

FAILED = 1


def _state(config: Config, log: Log) -> State:
    return State(config.state_directory / ("run.json" if config.keeps_backups else "verify.json"), log)


def _lock(config: Config) -> Path:
    return config.state_directory / ("run.lock" if config.keeps_backups else "verify.lock")


def _ended(state: State, log: Log, action: str, began: float) -> int:
    took = units.span(time.monotonic() - began)
    milliseconds = round((time.monotonic() - began) * 1000)
    if not state.failures:
        log.tell(action, f"done in {took}", duration_ms=milliseconds)
        return 0
    text = "; ".join(state.failures)
    log.tell(action, f"{len(state.failures)} failed: {text}", "error", error=text, duration_ms=milliseconds)
    return FAILED


def run(config: Config, options: argparse.Namespace, log: Log) -> int:
    """Make backups."""
    if not config.keeps_backups:
        raise ConfigError("this host verifies backups and makes none: run it on the host of group backup")
    began = time.monotonic()
    with files.lock(_lock(config), "nano-backup run"):
        state = _state(config, log)
        runs.run(config, state, log, options.kind, options.only)
        code = _ended(state, log, "run", began)
    write_metrics(config, state, log)
    return code


def verify_backups(config: Config, options: argparse.Namespace, log: Log) -> int:
    """Verify backups."""
    began = time.monotonic()
    if options.repository and options.repository not in config.repositories:
        known = ", ".join(map(str, config.repositories))
        raise ConfigError(f"there is no repository {options.repository}; there are {known}")
    with files.lock(_lock(config), "nano-backup verify"):
        state = _state(config, log)
        state.settle()
        try:
            _verify(config, options, state, log)
        finally:
            write_verifications(config, state)
        code = _ended(state, log, "verify", began)
    _publish(config, state, log)
    return code


def _verify(config: Config, options: argparse.Namespace, state: State, log: Log) -> None:
    if options.only != "dump":
        for number in [options.repository] if options.repository else config.repositories:
            labels = {"repository": str(number)}
            what = f"restore of repository {number}"
            state.step("verify_physical", labels, what, functools.partial(verify.verify_physical, config, number, log))
    if options.only == "physical":
        return
    if not config.s3 and not config.directory.is_dir():
        log.tell("verify_dump", "without S3 only the backup host itself has dumps to verify", "warning")
        return
    found: dict[str, Any] = {}

    def look() -> Outcome:
        found["source"] = verify.Source(config)
        found["newest"] = found["source"].newest()
        if not found["newest"]:
            raise BackupError("there is no dump yet: the next run makes one, nano-backup run")
        return Outcome(", ".join(f"{name} {dump.name}" for name, dump in sorted(found["newest"].items())))

    if not state.step("find", {}, "find the newest dumps", look):
        return
    for name, dump in sorted(found["newest"].items()):
        what = f"restore of the dump of {name}"
        check = functools.partial(verify.verify_dump, config, found["source"], dump)
        state.step("verify_dump", {"database": name}, what, check)


def _publish(config: Config, state: State, log: Log) -> None:
    """Put the results into S3 for `list` of other hosts; they are a convenience, so that a failure is only told."""
    if not config.s3:
        return
    path = config.state_directory / "verified.json"
    steps = [dataclasses.asdict(step) for step in state.of_kind("verify_physical", "verify_dump")]
    try:
        files.write(path, json.dumps(steps))
        remote.Remote(config, config.s3).put(path, remote.VERIFIED, f"{hostname()}.json")
    except (BackupError, OSError) as error:
        log.tell("publish", f"the results are not in S3: {error}", "warning")


def write_verifications(config: Config, state: State) -> None:
    """Write the figures of verifications."""
    page = exposition.Page()
    exposition.verifications(page, state)
    page.write(config.metrics_directory / "nano_backup_verify.prom")


def write_metrics(config: Config, state: State, log: Log) -> None:
    """Write the figures of a backup host; the slow ones come after the quick ones."""
    wal_state = State(config.state_directory / "wal.json", log)
    path = config.metrics_directory / "nano_backup.prom"
    if state.running and not files.is_locked(_lock(config)):
        # Killed, and not settled yet; the next run notes it.
        state.cut_off(state.steps[state.running])
        state.running = ""
    live.collect(config, state, wal_state, log).write(path)
    if wal.check(config, wal_state, log):
        live.collect(config, state, wal_state, log).write(path)


def metrics(config: Config, options: argparse.Namespace, log: Log) -> int:
    """Write the figures."""
    state = _state(config, log)
    if config.keeps_backups:
        with files.lock(config.state_directory / "metrics.lock", "nano-backup metrics"):
            write_metrics(config, state, log)
    else:
        write_verifications(config, state)
    return 0


def settle(config: Config, options: argparse.Namespace, log: Log) -> int:
    """Note a run that was killed. It needs no credentials: systemd has taken them back by then."""
    with files.lock(_lock(config), "nano-backup settle"):
        state = _state(config, log)
        state.settle()
    if not config.keeps_backups:
        write_verifications(config, state)
    return 0


def show(config: Config, options: argparse.Namespace, log: Log) -> int:
    """Show all backups."""
    print(listing.table(listing.rows(config, _state(config, log))))
    return 0


def due(config: Config, options: argparse.Namespace, log: Log) -> int:
    """Tell whether a daily run was missed."""
    hours, minutes = (int(part) for part in options.at.split(":"))
    now = time.time()
    scheduled = now - now % 86400 + hours * 3600 + minutes * 60
    scheduled -= 86400 if scheduled > now else 0
    last = max((step.last_run for step in _state(config, log).steps.values()), default=0.0)
    return 0 if last < scheduled else 1


def restore_dump(config: Config, options: argparse.Namespace, log: Log) -> int:
    """Restore a dump."""
    server = restore.target(config, options.host, options.user)
    began = time.monotonic()
    text = restore.restore(config, log, options.database, options.table, options.into, server, options.stamp)
    log.tell("restore", f"{text}, in {units.span(time.monotonic() - began)}")
    return 0
