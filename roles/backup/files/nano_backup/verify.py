"""`nano-backup verify`: the newest backups are restored and looked at, as on the day that they are needed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from . import command, copies, database, files, manifest, physical, scratch, units, wal
from .config import Config
from .database import Server
from .errors import BackupError, DamagedError
from .log import Log
from .manifest import Dump, Manifest
from .remote import DUMPS, Remote
from .state import Outcome

# Room beside the database itself, in bytes: WAL up to now, and what recovery writes anew.
WAL_ROOM = 2 << 30


class Source:
    """Where dumps and their manifests come from: S3, else this host's own folder."""

    def __init__(self, config: Config) -> None:
        """Choose; the listing is asked for once."""
        self.config = config
        self.remote = Remote(config, config.s3) if config.s3 else None

    def dumps(self) -> list[Dump]:
        """Return what there is, new ones first. Raises RemoteError."""
        return copies.whole(self.remote.listing(DUMPS)) if self.remote else manifest.local(self.config.directory)

    def manifest(self, dump: Dump) -> Manifest:
        """Return the manifest of a dump. Raises BackupError."""
        if self.remote:
            return manifest.parse(self.remote.text(DUMPS, f"{dump.path}/{manifest.NAME}"), dump.path)
        return manifest.read(self.config.directory / dump.path)

    def newest(self) -> dict[str, Dump]:
        """Return database to its newest dump."""
        found: dict[str, Dump] = {}
        for dump in self.dumps():
            found.setdefault(dump.database, dump)
        return found


def compare(
    before: Mapping[str, int], after: Mapping[str, int], tolerance_percent: float, ignored: tuple[str, ...] = ()
) -> list[str]:
    """Return what is wrong with restored tables, each a sentence.

    Args:
        before: table to rows, as a manifest has them.
        after: the same of what was restored.
        tolerance_percent: how much a table may have shrunk; deletions between the two are no damage.
        ignored: tables that may be emptied.
    """
    wrong = []
    for table, rows in before.items():
        if table in ignored:
            continue
        found = after.get(table)
        if found is None:
            wrong.append(f"table {table} is missing")
        elif rows and not found:
            wrong.append(f"table {table} is empty, it had {rows} rows")
        elif found < rows * (1 - tolerance_percent / 100):
            wrong.append(f"table {table} has {found} rows, it had {rows}")
    return wrong


def verify_physical(config: Config, repository: int, log: Log) -> Outcome:
    """Restore a repository's newest backup, recover to the end of its WAL, check every page and count.

    Raises:
        BackupError: something of it failed; the text says what.
    """
    found = physical.info(config, repository)
    newest = found.newest
    if newest is None:
        raise BackupError(f"repository {repository} has no backup: the next run makes one, nano-backup run")
    ours = database.major(config.postgresql_programs)
    if str(ours) != found.version:
        raise BackupError(
            f"the backup is of PostgreSQL {found.version}, this host has {ours}: set postgresql_version of this host"
        )
    with scratch.folder(config, f"repository{repository}") as place:
        room = newest.bytes + WAL_ROOM
        what = f"a database of {units.size(newest.bytes)} with its WAL"
        files.demand_room(place.folder, room, what, "make room or move backup_verify_directory")
        began = time.time()
        seconds = _restore(config, repository, place)
        rate = newest.bytes / max(seconds, 0.001)
        log.tell("restore", f"{newest.label}: {units.size(newest.bytes)} in {units.span(seconds)}")
        with place.running(config.verify.timeout_seconds) as server:
            recovered = time.time() - began - seconds
            _reached(server, found.newest_wal)
            rpo = _loss(config, server, began)
            log.tell("recover", f"recovered to the end of the WAL in {units.span(recovered)}, {_told(rpo)}")
            _amcheck(config, place)
            compared = _compare(config, server, log)
    measured = {"restore_bytes_per_second": rate, "recovery_seconds": recovered}
    measured |= {} if rpo is None else {"rpo_seconds": rpo}
    text = f"{newest.label}, {units.size(rate)}/s, pages and indexes whole, {compared}, {_told(rpo)}"
    return Outcome(text, newest.bytes, backup=newest.stop, measured=measured)


def _restore(config: Config, repository: int, place: scratch.Scratch) -> float:
    place.data.mkdir(mode=0o700)
    # The backup host's own configuration knows the databases on their hosts; this one is here.
    words = ["--reset-pg1-host", f"--pg1-path={place.data}", "--archive-mode=off"]
    words.append(f"--tablespace-map-all={place.folder / 'tablespaces'}")
    began = time.monotonic()
    try:
        command.run(physical.pgbackrest(config, repository, "restore", *words))
    except command.CommandError as error:
        raise BackupError(f"pgbackrest restore: {error.words}") from None
    return time.monotonic() - began


def _loss(config: Config, server: Server, began: float) -> float | None:
    """Return the seconds of data that this backup would have lost at the start of the restore."""
    if not config.application_database:
        return None
    with server.connect(config.application_database) as connection, connection.cursor() as cursor:
        beat = database.heartbeat(cursor)
    return None if beat is None else max(0.0, began - beat)


def _reached(server: Server, newest: str) -> None:
    """Check that recovery came as far as the archive goes: a missing segment ends it early, without an error."""
    sql = "SELECT pg_read_file(format('pg_wal/%s.history', left(pg_walfile_name(pg_current_wal_lsn()), 8)))"
    ((history,),) = server.ask("postgres", sql)
    # The last line tells what the new timeline left, and where.
    _, left, _ = history.strip().splitlines()[-1].split(None, 2)
    high, low = (int(part, 16) for part in left.split("/"))
    segment = ((high << 32) + low - 1) >> 24
    if newest and segment < wal.number(newest):
        raise DamagedError(
            f"recovery ended at {left}, but the repository has WAL up to {newest}: a segment between is missing or "
            "damaged, make a full backup now (nano-backup run --kind full)"
        )


def _told(rpo: float | None) -> str:
    return "no heartbeat in it" if rpo is None else f"{units.span(rpo)} of data would be lost"


def _amcheck(config: Config, place: scratch.Scratch) -> None:
    argv: list[str | Path] = [
        place.program("pg_amcheck"),
        "--all",
        "--install-missing",
        "--heapallindexed",
        "--no-password",
    ]
    try:
        command.run([*argv, f"--jobs={config.verify.jobs}"], place.server.environment("postgres"), reports=True)
    except command.CommandError as error:
        raise DamagedError(
            f"pg_amcheck: {error.words}: restore another backup, and look at the primary's disk"
        ) from None


def _compare(config: Config, server: Server, log: Log) -> str:
    """Compare with the newest manifest of each database."""
    source = Source(config)
    wrong, tables = [], 0
    newest = source.newest()
    there = {row[0] for row in server.ask("postgres", "SELECT datname FROM pg_database WHERE datallowconn")}
    for name, dump in newest.items():
        if name not in there:
            # Dumps outlive a database that was dropped.
            log.tell("compare", f"database {name} is in the dumps and not in the backup", "warning")
            continue
        with server.connect(name) as connection, connection.cursor() as cursor:
            after = database.count_rows(cursor)
        before = source.manifest(dump).rows
        tables += len(before)
        found = compare(before, after, config.verify.row_tolerance_percent, config.verify.ignored_tables)
        wrong += [f"database {name}: {text} (dump {dump.name})" for text in found]
    if config.application_database in newest and config.application_database not in there:
        wrong.append(f"database {config.application_database} is missing")
    if wrong:
        raise DamagedError("; ".join(wrong[:10]))
    if not newest:
        log.tell("compare", "no dump's manifest can be read from here, so no rows were compared", "warning")
        return "rows not compared"
    return f"rows of {tables} tables as expected"


def verify_dump(config: Config, source: Source, dump: Dump) -> Outcome:
    """Restore a dump into an empty cluster and count its rows.

    Raises:
        BackupError: it can't be had, is damaged, can't be restored, or has other rows than its manifest.
    """
    with scratch.folder(config, "dump") as place:
        folder = place.folder / "files"
        if source.remote:
            folder.mkdir(mode=0o700)
            made = copies.fetch(source.remote, dump, folder)
        else:
            folder = config.directory / dump.path
            made = manifest.verify(folder)
        _demand(config, place, made)
        place.initialise()
        with place.running(config.verify.timeout_seconds) as server:
            began = time.monotonic()
            load(config, server, folder)
            seconds = time.monotonic() - began
            with server.connect(made.database) as connection, connection.cursor() as cursor:
                after = database.count_rows(cursor)
    wrong = [f"table {name} has {after.get(name)} rows instead of {rows}" for name, rows in made.rows.items()
             if after.get(name) != rows]  # fmt: skip
    if wrong:
        raise DamagedError(f"{copies.describe(dump)}: {'; '.join(wrong[:10])}")
    rate = made.database_bytes / max(seconds, 0.001)
    text = f"{dump.name}, SHA-256 fits, {len(made.rows)} tables with exactly {sum(made.rows.values())} rows"
    return Outcome(text, made.bytes, backup=made.created, measured={"restore_bytes_per_second": rate})


def _demand(config: Config, place: scratch.Scratch, made: Manifest) -> None:
    ours, theirs = database.major(config.postgresql_programs), int(str(made.server["version"]).split(".")[0])
    if ours < theirs:
        raise BackupError(
            f"the dump is of PostgreSQL {theirs}, this host has {ours}: set postgresql_version of this host"
        )
    what = f"the dump of {made.database}"
    room = int(made.database_bytes * 1.2) + (256 << 20)
    files.demand_room(place.folder, room, what, "make room or move backup_verify_directory")


def load(config: Config, server: Server, folder: Path) -> None:
    """Load roles and a dump into an empty cluster. Raises DamagedError."""
    programs = config.postgresql_programs
    # Some of it is there already, such as the administrator; what is missing makes the next step fail.
    command.run([programs / "psql", "-Xq", "-f", folder / manifest.GLOBALS], server.environment("postgres"))
    words = ["--create", "--exit-on-error", "--no-tablespaces", f"--jobs={config.verify.jobs}", "--dbname=postgres"]
    try:
        command.run([programs / "pg_restore", *words, folder / manifest.DUMP], server.environment("postgres"))
    except command.CommandError as error:
        raise DamagedError(f"pg_restore can't load the dump: {error.words}") from None
