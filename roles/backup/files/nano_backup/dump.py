"""A logical dump of one database, with everything that proves it later taken in the same snapshot."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from . import command, database, files, manifest, units
from .config import Config
from .errors import BackupError
from .log import Log
from .state import Outcome, hostname

# pg_dump gives up waiting for a lock after so long, in milliseconds: it must not queue in front of the application.
LOCK_WAIT_MS = 600_000
# Room beside the dump itself, in bytes.
SPARE = 64 << 20
# pg_dump knows zstd since this version.
ZSTD = 16
FACTS = """
SELECT pg_export_snapshot(), pg_is_in_recovery(), current_setting('server_version'),
current_setting('server_version_num')::int / 10000, pg_database_size(current_database()),
CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text,
extract(epoch FROM clock_timestamp())::float8, system_identifier::text FROM pg_control_system()
"""


def make(config: Config, name: str, log: Log) -> Outcome:
    """Dump a database from a standby, or from the primary where there is none or it can't.

    Raises:
        BackupError: the dump failed; what was begun is gone and older dumps are as they were.
    """
    database.demand_clock(config)
    folder = manifest.folder_of(config.directory, name)
    folder.mkdir(mode=0o700, exist_ok=True)
    try:
        return _make(config, name, folder, "prefer-standby")
    except FromStandbyError as error:
        # Queries on a standby are cancelled when they stand in the way of what it has to replay.
        log.tell("dump", f"dump of {name} from a standby: {error}; trying the primary", "warning")
        return _make(config, name, folder, "read-write")


class FromStandbyError(BackupError):
    """A dump from a standby failed; the primary may do."""


def _make(config: Config, name: str, folder: Path, target: str) -> Outcome:
    source = database.server(config, target)
    partial = None
    is_standby = False
    try:
        with source.connect(name) as connection, connection.cursor() as cursor:
            cursor.execute("SET idle_in_transaction_session_timeout = 0")
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            cursor.execute(FACTS)
            (facts,) = cursor.fetchall()
            snapshot, is_standby, version, major, size, lsn, now, system = facts
            here = database.Server({**source.parameters, "host": connection.info.host, "target_session_attrs": "any"})
            _demand(config, folder, name, int(size), int(major))
            partial = _begin(folder)
            _dump(config, here, name, partial, str(snapshot))
            rows = database.count_rows(cursor)
            beat = database.heartbeat(cursor)
            server = {
                "host": _name(config, connection.info.host),
                "is_standby": is_standby,
                "system_identifier": system,
                "version": version,
            }
        made = manifest.Manifest(
            database=name,
            created=float(now),
            server=server,
            tools={"nano_backup_host": hostname(), "pg_dump": _version(config)},
            lsn=str(lsn),
            heartbeat=beat,
            database_bytes=int(size),
            rows=rows,
            files={each: _entry(partial / each) for each in (manifest.DUMP, manifest.GLOBALS)},
        )
        final = _finish(config, folder, partial, made)
    except BackupError as error:
        if is_standby and not isinstance(error, RoomError):
            raise FromStandbyError(str(error)) from None
        raise
    finally:
        if partial is not None and partial.exists():
            files.remove(partial)
    where = f"{made.server['host']} ({'standby' if is_standby else 'primary'})"
    text = f"{len(rows)} tables, {sum(rows.values())} rows, from {where} at {lsn}, {final.name}"
    return Outcome(text, made.bytes, backup=made.created)


class RoomError(BackupError):
    """The disk is too small."""


def _demand(config: Config, folder: Path, name: str, size: int, major: int) -> None:
    """Check what would make the dump fail half way."""
    ours = database.major(config.postgresql_programs)
    if ours < major:
        raise RoomError(
            f"the server is PostgreSQL {major}, {config.postgresql_programs}/pg_dump is {ours} and can't dump it: "
            f"set postgresql_version of this host to {major}"
        )
    last = next((dump.bytes for dump in manifest.local(config.directory) if dump.database == name), 0)
    need = int(last * 1.2) if last else size
    try:
        files.demand_room(folder, need + SPARE, f"the dump of {name}", "make room or move backup_directory")
    except BackupError as error:
        raise RoomError(str(error)) from None


def _begin(folder: Path) -> Path:
    """Make the folder of a dump at work; its time is one that no other dump has."""
    now = time.time()
    while (folder / units.stamp(now)).exists():
        now += 1
    partial = folder / f"{manifest.PARTIAL}{units.stamp(now)}"
    partial.mkdir(mode=0o700)
    return partial


def _dump(config: Config, server: database.Server, name: str, partial: Path, snapshot: str) -> None:
    programs = config.postgresql_programs
    pg_dump: list[str | Path] = [programs / "pg_dump", "--format=custom", f"--snapshot={snapshot}", "--no-password"]
    pg_dump += [f"--lock-wait-timeout={LOCK_WAIT_MS}", f"--file={partial / manifest.DUMP}"]
    # Rows of unlogged tables don't outlive a crash, and a standby has none.
    pg_dump += ["--no-unlogged-table-data"]
    pg_dump += ["--compress=zstd:3" if database.major(programs) >= ZSTD else "--compress=6"]
    pg_dumpall: list[str | Path] = [programs / "pg_dumpall", "--globals-only", "--no-password", "--database=postgres"]
    try:
        command.run(pg_dump, server.environment(name))
        command.run([*pg_dumpall, f"--file={partial / manifest.GLOBALS}"], server.environment("postgres"))
        command.run([programs / "pg_restore", "--list", partial / manifest.DUMP])
    except command.CommandError as error:
        if "No space left" in error.words:
            raise RoomError(f"{error}: {config.directory} is full, make room or move backup_directory") from None
        raise


def _entry(path: Path) -> dict[str, Any]:
    files.sync(path)
    return {"bytes": path.stat().st_size, "sha256": command.sha256(path)}


def _finish(config: Config, folder: Path, partial: Path, made: manifest.Manifest) -> Path:
    """Give a whole dump its name: from here on it counts."""
    files.write(partial / manifest.NAME, made.text())
    files.sync(partial)
    final = folder / partial.name.removeprefix(manifest.PARTIAL)
    partial.rename(final)
    files.sync(folder)
    files.sync(config.directory)
    return final


def _name(config: Config, host: str) -> str:
    return next((name for name, address in config.servers.items() if address == host), host)


def _version(config: Config) -> str:
    return command.run([config.postgresql_programs / "pg_dump", "--version"]).split()[2]
