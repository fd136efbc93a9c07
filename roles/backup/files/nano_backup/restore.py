"""`nano-backup restore-dump`: a database, or one table, out of a dump into a new database beside the others.

It is loaded under another name and gets its own when all rows are there, so that one that was cut off is never taken
for whole; the next call clears it. Owners and grants are left out: everything belongs to the user who restores.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg2.extensions

from . import command, copies, database, manifest, units
from .config import Config
from .database import Server
from .errors import BackupError, DamagedError
from .log import Log
from .manifest import Manifest
from .remote import DUMPS, Remote

UNFINISHED = "_nano_unfinished"
MAY = "SELECT rolsuper, rolsuper OR rolcreatedb FROM pg_roles WHERE rolname = current_user"
TRUSTED = "SELECT name FROM pg_available_extension_versions WHERE trusted"
# What a table may need, in an archive's own words.
AROUND = ("SCHEMA", "EXTENSION", "COLLATION", "TYPE", "DOMAIN", "FUNCTION", "SEQUENCE")
ENTRY = re.compile(r"^\d+; \d+ \d+ (.+)$")


@contextlib.contextmanager
def found(config: Config, name: str, stamp: str) -> Iterator[tuple[Path, Manifest]]:
    """Give the folder of a dump that was compared with its manifest: from the disk, else fetched from S3.

    Args:
        config: where to look.
        name: the database.
        stamp: the dump's time, or empty for the newest.

    Raises:
        BackupError: there is none, or it is damaged.
    """
    on_disk = [dump for dump in manifest.local(config.directory) if dump.database == name and stamp in ("", dump.name)]
    if on_disk:
        folder = config.directory / on_disk[0].path
        yield folder, manifest.verify(folder)
        return
    remote = Remote(config, config.s3) if config.s3 else None
    there = copies.whole(remote.listing(DUMPS)) if remote else []
    chosen = [dump for dump in there if dump.database == name and stamp in ("", dump.name)]
    if not remote or not chosen:
        raise BackupError(f"there is no dump of {name}{f' of {stamp}' if stamp else ''}: nano-backup list shows all")
    config.directory.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetched-", dir=config.directory) as place:
        yield Path(place), copies.fetch(remote, chosen[0], Path(place))


def target(config: Config, host: str, user: str) -> Server:
    """Return where to restore: the primary, or a host by name, address or the folder of its socket."""
    parameters = dict(database.server(config, "read-write").parameters)
    if host:
        parameters["host"] = config.servers.get(host, host)
    if user:
        parameters["user"] = user
        if user != config.user:
            # Somebody else comes by the socket, or with PGPASSWORD or a password file of his own.
            parameters.pop("password")
    if parameters["host"].startswith("/"):
        parameters = {name: value for name, value in parameters.items() if not name.startswith("ssl")}
    return Server(parameters)


def quoted(name: str) -> str:
    """Return a name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def restore(config: Config, log: Log, dump: str, table: str, into: str, server: Server, stamp: str) -> str:
    """Restore; return what was done as a sentence.

    Args:
        config: where dumps are.
        log: told of each step.
        dump: database that was dumped.
        table: only this table, as schema.table or a name in schema public; empty for all.
        into: the new database.
        server: where it is made.
        stamp: the dump's time; empty takes the newest.

    Raises:
        BackupError: the target exists, the dump is damaged, or something of it can't be restored.
    """
    unfinished = into + UNFINISHED
    ((is_super, may_create),) = server.ask("postgres", MAY)
    if not may_create:
        raise BackupError(
            f"{server.parameters['user']} may not create databases on {server.parameters['host']}: "
            "playbooks/restore.yml allows it for the time of a restore"
        )
    if server.ask("postgres", f"SELECT FROM pg_database WHERE datname = {_literal(into)}"):
        raise BackupError(f"database {into} is there already and stays as it is: name another one with --into")
    if len(unfinished.encode()) > 63:
        raise BackupError(f"{into} is too long a name: 48 bytes are the most")
    with found(config, dump, stamp) as (folder, made):
        log.tell("restore", f"{dump} of {units.clock(made.created)}: SHA-256 fits its manifest")
        _run(server, f"DROP DATABASE IF EXISTS {quoted(unfinished)} WITH (FORCE)")
        _run(server, f"CREATE DATABASE {quoted(unfinished)} TEMPLATE template0")
        try:
            rows = _load(config, log, server, unfinished, folder, made, table, bool(is_super))
            _run(server, f"ALTER DATABASE {quoted(unfinished)} RENAME TO {quoted(into)}")
        except BaseException:
            _run(server, f"DROP DATABASE IF EXISTS {quoted(unfinished)} WITH (FORCE)")
            raise
    what = f"table {table}" if table else "all tables"
    return f"{what} of {dump} of {units.clock(made.created)} UTC restored into database {into}: {rows} rows"


def _load(
    config: Config, log: Log, server: Server, into: str, folder: Path, made: Manifest, table: str, is_super: bool
) -> int:
    archive = folder / manifest.DUMP
    restore: list[str | Path] = [
        config.postgresql_programs / "pg_restore",
        "--no-owner",
        "--no-privileges",
        "--no-tablespaces",
    ]
    restore += [f"--dbname={into}"]
    entries = command.run([config.postgresql_programs / "pg_restore", "--list", archive]).splitlines()
    left_out: set[str] = set()
    if not is_super:
        left_out = _untrusted(server, entries)
        for name in sorted(left_out):
            log.tell("restore", f"extension {name} needs an administrator and is left out", "warning")
    chosen = [line for line in entries if not _is_of(line, left_out)]
    expected = dict(made.rows)
    if table:
        schema, name = ("public", table) if "." not in table else tuple(table.split(".", 1))
        wanted = [key for key in made.rows if key.replace('"', "") == f"{schema}.{name}"]
        if not wanted:
            near = ", ".join(sorted(made.rows)[:20])
            raise BackupError(f"the dump of {made.database} has no table {schema}.{name}; it has {near}")
        expected = {wanted[0]: made.rows[wanted[0]]}
        around = [line for line in chosen if _kind(line) in AROUND]
        # Functions of other tables can't be made here; the table itself must be.
        with contextlib.suppress(command.CommandError):
            _restore(restore, around, archive, server)
        chosen = [line for line in chosen if _belongs(line, schema, name)]
    try:
        _restore([*restore, "--exit-on-error"], chosen, archive, server)
    except command.CommandError as error:
        raise DamagedError(f"pg_restore can't load the dump of {made.database}: {error.words}") from None
    with server.connect(into) as connection, connection.cursor() as cursor:
        after = database.count_rows(cursor, list(expected))
    if wrong := [f"{name}: {after[name]} rows instead of {rows}" for name, rows in expected.items()
                 if after[name] != rows]:  # fmt: skip
        raise DamagedError(f"the restored rows differ from the manifest: {'; '.join(wrong[:10])}")
    return sum(after.values())


def _restore(words: Sequence[str | Path], entries: Sequence[str], archive: Path, server: Server) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".list", encoding="utf-8") as file:
        file.write("\n".join(entries) + "\n")
        file.flush()
        # pg_restore's own --dbname wins over the one of the environment.
        command.run([*words, f"--use-list={file.name}", archive], server.environment("postgres"))


def _kind(line: str) -> str:
    """Return what an entry of an archive's list is; its schema stands second."""
    match = ENTRY.match(line)
    if not match:
        return ""
    words = match[1].split()
    return " ".join(words[:2]) if words[:2] in (["TABLE", "DATA"], ["FK", "CONSTRAINT"]) else words[0]


def _belongs(line: str, schema: str, name: str) -> bool:
    """Return whether an entry is a table, its rows, its defaults or its keys, but not those to other tables."""
    match = ENTRY.match(line)
    if not match or _kind(line) not in ("TABLE", "TABLE DATA", "DEFAULT", "CONSTRAINT"):
        return False
    # Names stand as they are, without quotes; the owner, or the name of a key, follows.
    return match[1].removeprefix(_kind(line)).lstrip().startswith(f"{schema} {name} ")


def _is_of(line: str, extensions: set[str]) -> bool:
    """Return whether an entry is one of these extensions, or a comment on it."""
    match = ENTRY.match(line)
    words = match[1].split() if match else []
    if "EXTENSION" not in words:
        return False
    return words[words.index("EXTENSION") + (2 if words[0] == "EXTENSION" else 1)] in extensions


def _untrusted(server: Server, entries: Sequence[str]) -> set[str]:
    """Return the extensions of an archive that only an administrator may create."""
    trusted = {row[0] for row in server.ask("postgres", TRUSTED)}
    names = {match[1].split()[2] for line in entries if (match := ENTRY.match(line)) and _kind(line) == "EXTENSION"}
    return names - trusted


def _literal(text: str) -> str:
    return str(psycopg2.extensions.QuotedString(text).getquoted().decode())


def _run(server: Server, sql: str) -> None:
    with server.connect("postgres") as connection, connection.cursor() as cursor:
        cursor.execute(sql)
