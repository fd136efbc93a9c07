"""PostgreSQL: where it answers, a snapshot of it, and how many rows each table has."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.errors
from psycopg2.extensions import TRANSACTION_STATUS_INTRANS
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from . import units
from .config import Config
from .errors import BackupError

# Of libpq; the other parameters of a connection have the environment variables that their names suggest.
VARIABLES = {
    "host": "PGHOST",
    "port": "PGPORT",
    "dbname": "PGDATABASE",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
    "application_name": "PGAPPNAME",
}
# Seconds that the clocks of two hosts may differ: less than what S3 refuses, more than a busy host takes to answer.
SKEW_S = 120
# Tables with rows of their own that a dump holds: no parents of partitions, nothing of an extension, nothing unlogged.
TABLES = """
SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1
"""


@dataclass(frozen=True)
class Server:
    """How a server is reached: parameters of libpq."""

    parameters: Mapping[str, str]

    def environment(self, database: str) -> dict[str, str]:
        """Return what PostgreSQL's programs need to reach a database; the password is in no command line."""
        return {VARIABLES[name]: value for name, value in {**self.parameters, "dbname": database}.items()}

    @contextlib.contextmanager
    def connect(self, database: str, seconds: int = 0) -> Iterator[Connection]:
        """Open a connection that commits each statement.

        Args:
            database: its name.
            seconds: how long a statement may take; 0 is for ever.

        Raises:
            BackupError: it can't be reached, or a statement fails.
        """
        connection = None
        try:
            connection = psycopg2.connect(
                **{**self.parameters, "dbname": database}, options=f"-c statement_timeout={seconds}s"
            )
            connection.autocommit = True
            yield connection
        except psycopg2.Error as error:
            text = "; ".join(line.strip() for line in str(error).strip().splitlines())
            raise BackupError(f"PostgreSQL on {self.parameters['host']}, database {database}: {text}") from error
        finally:
            if connection is not None:
                connection.close()

    def ask(self, database: str, sql: str, seconds: int = 30) -> list[Any]:
        """Return the rows of a query. Raises BackupError."""
        with self.connect(database, seconds) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())


def server(config: Config, target: str, only: str = "", seconds: int = 10) -> Server:
    """Return the platform's server.

    Args:
        config: names all of them.
        target: libpq's target_session_attrs.
        only: name of the one that is meant; else whichever fits.
        seconds: how long connecting to each may take.
    """
    hosts = [config.servers[only]] if only else list(config.servers.values())
    return Server(
        {
            **config.connection,
            "host": ",".join(hosts),
            "user": config.user,
            "password": config.secret("database_password"),
            "target_session_attrs": target,
            "connect_timeout": str(seconds),
            "application_name": "nano-backup",
        }
    )


def demand_clock(config: Config) -> None:
    """Refuse to work by a clock that is not the database's: good backups would be deleted as old ones.

    A server that can't be asked is no reason; whoever needs it says so.

    Raises:
        BackupError: the two differ.
    """
    try:
        ((there,),) = server(config, "any").ask("postgres", "SELECT extract(epoch FROM clock_timestamp())::float8")
    except BackupError:
        return
    here = time.time()
    if abs(here - there) > SKEW_S:
        raise BackupError(
            f"it is {units.clock(here)} UTC here and {units.clock(there)} UTC on the database's host: nothing was made "
            "or deleted, set the clock that is wrong (timedatectl)"
        )


def databases(config: Config) -> list[str]:
    """Return the databases to dump: those that are named, else all but templates and the empty `postgres`."""
    if config.databases:
        return list(config.databases)
    sql = (
        "SELECT datname FROM pg_database WHERE NOT datistemplate AND datallowconn AND datname <> 'postgres' ORDER BY 1"
    )
    return [row[0] for row in server(config, "any").ask("postgres", sql)]


def count_rows(cursor: Cursor, tables: Sequence[str] | None = None) -> dict[str, int]:
    """Return table to its exact number of rows, in the cursor's transaction; without those that are dropped meanwhile."""
    if tables is None:
        cursor.execute(TABLES)
        tables = [row[0] for row in cursor.fetchall()]
    found = {}
    is_open = cursor.connection.info.transaction_status == TRANSACTION_STATUS_INTRANS
    for table in tables:
        if is_open:
            cursor.execute("SAVEPOINT counted")
        try:
            cursor.execute(f"SELECT count(*) FROM ONLY {table}")
        except psycopg2.errors.UndefinedTable:
            if not is_open:
                raise
            cursor.execute("ROLLBACK TO SAVEPOINT counted")
            continue
        (row,) = cursor.fetchall()
        found[table] = int(row[0])
    return found


def heartbeat(cursor: Cursor) -> float | None:
    """Return the time of the heartbeat in the cursor's database in seconds since 1970; None where there is none."""
    cursor.execute("SELECT to_regclass('nano_ops.heartbeat') IS NOT NULL")
    (row,) = cursor.fetchall()
    if not row[0]:
        return None
    cursor.execute("SELECT extract(epoch FROM max(written_at)) FROM nano_ops.heartbeat")
    (row,) = cursor.fetchall()
    return None if row[0] is None else float(row[0])


def major(programs: Path) -> int:
    """Return the major version of PostgreSQL's programs. Raises BackupError when they are not there."""
    from . import command

    return int(command.run([programs / "pg_dump", "--version"]).split()[2].split(".")[0])
