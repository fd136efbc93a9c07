"""`nano-backup run`: physical backups, dumps, copies to S3, old ones deleted. One failure stops nothing else."""

from __future__ import annotations

import functools
import time

from . import copies, database, dump, manifest, physical, retention
from .config import S3, Config
from .errors import BackupError
from .log import Log
from .remote import Remote
from .state import Outcome, State


def run(config: Config, state: State, log: Log, kind: str, only: str) -> None:
    """Do what is due; the state holds what failed.

    Args:
        config: what and where.
        state: where results are kept; the caller holds the lock.
        log: told of each step.
        kind: auto, full or diff.
        only: physical, dump, or empty for both.
    """
    state.settle()
    for name in manifest.clear_partial(config.directory):
        log.tell("clear", f"removed {name}, which a killed run had left")
    if only != "dump":
        for repository in config.repositories:
            _physical(config, state, repository, kind)
    if only == "physical":
        return
    names: list[str] = []

    def find() -> Outcome:
        names.extend(database.databases(config))
        return Outcome(", ".join(names) or "there are none")

    if not state.step("databases", {}, "find the databases to dump", find):
        # Those of before, so that each shows as failed: a success of yesterday is none of today.
        names.extend(each.labels["database"] for each in state.of_kind("dump"))
    for name in names:
        state.step("dump", {"database": name}, f"dump of {name}", functools.partial(dump.make, config, name, log))
    _forget(state, names, manifest.local(config.directory))
    _copy(config, state, names)
    state.step("retention", {"place": "local"}, "delete old dumps", lambda: retention.expire_local(config))
    if config.s3:
        s3 = config.s3
        state.step(
            "retention",
            {"place": "s3"},
            "delete old dumps in S3",
            lambda: retention.expire_remote(config, Remote(config, s3)),
        )


def _physical(config: Config, state: State, repository: int, kind: str) -> None:
    chosen = kind
    if kind == "auto":
        try:
            found = physical.info(config, repository, physical.ANSWER_S)
            chosen = physical.due(found.backups, time.time(), config.full_interval_days)
        except BackupError:
            # The backup itself will say it, and be noted as failed.
            chosen = "full"
    what = f"{'full' if chosen == 'full' else 'differential'} backup into repository {repository}"
    labels = {"repository": str(repository)}
    state.step(chosen, labels, what, lambda: physical.backup(config, repository, chosen))


def _copy_one(config: Config, s3: S3, name: str) -> Outcome:
    return copies.copy(config, Remote(config, s3), name)


def _copy(config: Config, state: State, names: list[str]) -> None:
    """Copy every database's dumps, those of databases that are gone or can't be asked now too."""
    if not config.s3:
        return
    s3 = config.s3
    on_disk = {each.database for each in manifest.local(config.directory)}
    for name in sorted({*names, *on_disk}):
        state.step(
            "copy",
            {"database": name},
            f"copy of {name} to S3",
            functools.partial(_copy_one, config, s3, name),
        )
    if (config.directory / manifest.PLATFORM).is_dir():
        state.step(
            "copy",
            {"database": manifest.PLATFORM},
            "copy of the platform's archive to S3",
            lambda: copies.copy_platform(config, Remote(config, s3)),
        )


def _forget(state: State, names: list[str], local: list[manifest.Dump]) -> None:
    """Drop the results of databases that are neither there nor on the disk: nobody can make them succeed again."""
    known = {*names, *(each.database for each in local), manifest.PLATFORM}
    for name, step in list(state.steps.items()):
        if names and "database" in step.labels and step.labels["database"] not in known:
            state.steps.pop(name)
