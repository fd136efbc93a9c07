"""Whether restored data are sound, how old they are, and whether they can be written."""

from __future__ import annotations

import re
import subprocess
import uuid
from collections.abc import Mapping
from typing import Any

from ansible_collections.nano.ops.plugins.module_utils.restore_options import RestoreError
from ansible_collections.nano.ops.plugins.module_utils.restore_place import Record
from ansible_collections.nano.ops.plugins.module_utils.restore_repository import as_postgres
from ansible_collections.nano.ops.plugins.module_utils.restore_server import SOCKET, query

DATABASES = "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY 1"
TABLES = """SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
    AND n.nspname !~ '^pg_toast'"""
# Tables that change with every beat; their counts say nothing.
OF_THE_PLATFORM = ("nano_ops.",)


def databases() -> list[str]:
    """Return the databases that hold somebody's data."""
    return [row[0] for row in query(DATABASES)]


def amcheck(version: int, seconds: float) -> str:
    """Check all tables and B-tree indexes; return what is wrong, "" if nothing is.

    The extension that it needs is taken away again where it was not before.

    Raises:
        RestoreError: the program is missing, or takes longer than it may.
    """
    had = {name for name in databases() if query("SELECT 1 FROM pg_extension WHERE extname = 'amcheck'", name)}
    program = f"/usr/lib/postgresql/{version}/bin/pg_amcheck"
    argv = [
        program,
        "--all",
        "--install-missing",
        "--jobs=2",
        f"--host={SOCKET}",
        "--username=postgres",
        "--no-password",
    ]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=seconds, **as_postgres())
    except FileNotFoundError as error:
        raise RestoreError(f"{program} is missing: install postgresql-{version}") from error
    except subprocess.TimeoutExpired as error:
        raise RestoreError(
            f"pg_amcheck has not ended within {seconds:.0f} s; raise restore_amcheck_seconds, or leave it out with "
            "-e restore_amcheck=false and run it later"
        ) from error
    finally:
        for name in databases():
            if name not in had:
                query("DROP EXTENSION IF EXISTS amcheck", name)
    return "" if done.returncode == 0 else (done.stdout + done.stderr).strip()[:1500]


def last_beat(database: str) -> float:
    """Return when the last heartbeat in the restored data was written, in seconds since 1970, 0 if there is none."""
    if database not in databases() or query("SELECT to_regclass('nano_ops.heartbeat') IS NULL", database)[0][0] == "t":
        return 0.0
    found = query("SELECT extract(epoch FROM max(written_at)) FROM nano_ops.heartbeat", database)
    return float(found[0][0] or 0) if found else 0.0


def count(database: str, expected: Mapping[str, int]) -> list[dict[str, Any]]:
    """Compare the rows of tables with what a manifest says.

    Args:
        database: where the tables are.
        expected: schema.table to its rows.
    """
    there = {row[0] for row in query(TABLES, database)}
    found = []
    # A manifest quotes names that need it.
    plain = {name.replace('"', ""): rows for name, rows in expected.items()}
    for table in sorted(plain):
        if table.startswith(OF_THE_PLATFORM) or not re.fullmatch(r'[^".]+\.[^".]+', table):
            continue
        rows = None
        if table in there:
            schema, name = table.split(".")
            rows = int(query(f'SELECT count(*) FROM "{schema}"."{name}"', database, seconds=3600)[0][0])
        found.append({"table": table, "then": plain[table], "now": rows})
    return found


def odd_counts(counts: list[dict[str, Any]]) -> list[str]:
    """Return the tables that a person should look at: gone, or empty now."""
    odd = [f"{each['table']} is not there (a dump had {each['then']} rows)" for each in counts if each["now"] is None]
    return odd + [
        f"{each['table']} is empty (a dump had {each['then']} rows)"
        for each in counts
        if each["now"] == 0 < each["then"]
    ]


def write_and_read(database: str) -> None:
    """Write a row, read it in another session, and take it away.

    Raises:
        RestoreError: what was read is not what was written.
    """
    name, word = f"restore_check_{uuid.uuid4().hex[:12]}", uuid.uuid4().hex
    query(f"CREATE TABLE public.{name} AS SELECT '{word}'::text AS word", database)
    try:
        read = query(f"SELECT word FROM public.{name}", database)
    finally:
        query(f"DROP TABLE public.{name}", database)
    if read != [[word]]:
        raise RestoreError(f"a row that was written was read back as {read!r}: look at the server's log")


def measured(record: Record, beat: float) -> dict[str, Any]:
    """Return what is gone, in seconds: `rpo_seconds` of all that was there, `undone_seconds` behind a time as asked.

    Args:
        record: what was restored; its reference is when somebody last wrote.
        beat: the last heartbeat in the restored data.
    """
    newest = max(beat, float(record.facts.get("end_moment") or 0))
    kind, reference = record.options["type"], record.reference
    lost = round(max(0.0, reference - newest), 1) if kind == "latest" and newest and reference else None
    # PostgreSQL ends a recovery whose time it has not reached, so that nothing before it is missing.
    undone = round(max(0.0, reference - record.options["moment"]), 1) if kind == "time" and reference else None
    return {"rpo_seconds": lost, "undone_seconds": undone, "newest": newest, "reference": reference}


def verify(
    version: int, database: str, expected: Mapping[str, int], *, with_amcheck: bool, seconds: float
) -> dict[str, Any]:
    """Verify a restored server; return facts and `problems`, what is wrong.

    Args:
        version: major version of PostgreSQL.
        database: the application's.
        expected: rows by table of a dump, empty if there is none.
        with_amcheck: check all tables and indexes.
        seconds: how long that may take.
    """
    beat = last_beat(database)
    problems = []
    if with_amcheck and (wrong := amcheck(version, seconds)):
        problems.append(f"pg_amcheck found damage: {wrong}")
    is_there = database in databases()
    if not is_there:
        problems.append(f"there is no database {database}")
    counts = count(database, expected) if is_there else []
    write_and_read(database if is_there else "postgres")
    return {
        "last_beat": beat,
        "databases": databases(),
        "amcheck": with_amcheck,
        "counts": counts,
        "odd": odd_counts(counts),
        "problems": problems,
    }
