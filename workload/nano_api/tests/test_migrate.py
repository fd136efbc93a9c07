"""The tables: made once however many try, as the code expects them, with the indexes that its queries need."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql

from nano_api.database import Database
from nano_api.models import Base
from nano_api.routes.nanos import Search, statement
from nano_api.schema import LOCK
from nano_api.settings import load

from . import machine
from .machine import Postgres, Service

Env = dict[str, str]


def in_database(env: Env, work: Callable[[Connection], Any]) -> Any:
    async def run() -> Any:
        database = Database(load(env), pool_size=1)
        try:
            async with database.engine.begin() as connection:
                return await connection.run_sync(work)
        finally:
            await database.close()

    return asyncio.run(run())


def test_runs_at_once_do_not_collide(empty: Callable[[], Env], postgres: Postgres) -> None:
    env = empty()
    argv = [sys.executable, "-m", "nano_api", "migrate"]
    runs = [subprocess.Popen(argv, env=env, cwd="/", stderr=subprocess.PIPE, text=True) for _ in range(3)]
    ends = [(run.communicate(timeout=120)[1], run.returncode) for run in runs]
    assert [code for _, code in ends] == [0, 0, 0], ends
    assert postgres.sql("SELECT count(*) FROM alembic_version", env["NANO_DATABASE_NAME"]) == "1"


def test_a_run_waits_for_the_one_before(empty: Callable[[], Env], postgres: Postgres) -> None:
    env = empty()
    database = env["NANO_DATABASE_NAME"]
    with postgres.holding(f"SELECT pg_advisory_lock({LOCK})", database):
        run = subprocess.Popen([sys.executable, "-m", "nano_api", "migrate"], env=env, cwd="/")
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        machine.wait_for(lambda: run.poll() is not None or postgres.sql(waiting) == "1", "it waits")
        assert postgres.sql("SELECT to_regclass('users') IS NULL", database) == "t"
    assert run.wait(60) == 0
    assert postgres.sql("SELECT to_regclass('users') IS NULL", database) == "f"


def test_a_second_run_changes_nothing(env: Env) -> None:
    assert machine.command(env, "migrate").returncode == 0


def test_tables_are_as_the_code_has_them(env: Env) -> None:
    def differences(connection: Connection) -> list[Any]:
        return list(compare_metadata(MigrationContext.configure(connection), Base.metadata))

    assert in_database(env, differences) == []


@pytest.fixture(scope="module")
def full(empty: Callable[[], Env], postgres: Postgres) -> Env:
    """Return a database with so many nanos that the planner has reason to choose."""
    env = empty()
    assert machine.command(env, "migrate").returncode == 0
    user = "00000000-0000-0000-0000-000000000001"
    postgres.sql(
        f"INSERT INTO users (id, email, display_name, password_hash) VALUES ('{user}', 'a@b', 'a', '');"
        " INSERT INTO nanos (id, seller_id, title, description, category, price_cents, status, rating_sum,"
        f" rating_count, published_at) SELECT gen_random_uuid(), '{user}', 't',"
        " 'a' || n % 1009 || ' b' || n % 797, 'c' || n % 50, n % 9973,"
        " CASE n % 5 WHEN 0 THEN 'draft' ELSE 'published' END, n % 500, 100, now() - n * interval '1 minute'"
        " FROM generate_series(1, 20000) AS n; ANALYZE nanos",
        env["NANO_DATABASE_NAME"],
    )
    return env


@pytest.mark.parametrize(
    ("search", "index"),
    [
        (Search(), "ix_nanos_published_at"),
        (Search(category="c7"), "ix_nanos_category_published_at"),
        (Search(order="price", min_price_cents=5000), "ix_nanos_price"),
        (Search(order="rating"), "ix_nanos_rating"),
        (Search(q="a7 b7"), "ix_nanos_words"),
    ],
)
def test_each_hot_filter_has_its_index(full: Env, search: Search, index: str) -> None:
    compiled = statement(search).compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True})

    def plan(connection: Connection) -> str:
        return "\n".join(connection.exec_driver_sql(f"EXPLAIN {compiled}").scalars())

    assert index in in_database(full, plan)


def test_not_ready_before_the_tables_are_there(empty: Callable[[], Env], start: Callable[..., Service]) -> None:
    env = empty()
    service = start(env)
    assert service.ready() == 503
    assert machine.command(env, "migrate").returncode == 0
    machine.wait_for(lambda: service.ready() == 200, "ready after the migration")


def test_ready_on_tables_newer_than_the_code(
    empty: Callable[[], Env], start: Callable[..., Service], postgres: Postgres
) -> None:
    env = empty()
    assert machine.command(env, "migrate").returncode == 0
    postgres.sql("UPDATE alembic_version SET version_num = '9999'", env["NANO_DATABASE_NAME"])
    assert start(env).ready() == 200
