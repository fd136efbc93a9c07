"""`nano-backup restore-dump`: into a new database, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .backup_site import DATABASE, Cluster, Site

SIDE = ("restore-dump", "--database", DATABASE, "--into", "side")


@pytest.fixture(scope="module")
def dumped_once(cluster: Cluster, open_folder: object) -> Site:
    site = Site(cluster, cluster.here.parent / "restore")
    site.run("run", "--only", "dump")
    return site


@pytest.fixture
def dumped(dumped_once: Site, cluster: Cluster) -> Iterator[Site]:
    yield dumped_once
    for name in ("side", "side_nano_unfinished"):
        cluster.sql(f"DROP DATABASE IF EXISTS {name}", "postgres")


def databases(cluster: Cluster) -> list[str]:
    return cluster.sql("SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY 1", "postgres").splitlines()


def test_a_database_is_restored_beside_the_others(dumped: Site, cluster: Cluster) -> None:
    cluster.sql("CREATE DATABASE side_nano_unfinished", "postgres")  # what a killed one has left
    said = dumped.run(*SIDE)
    assert "SHA-256 fits its manifest" in said and "restored into database side: " in said
    assert databases(cluster) == [DATABASE, "postgres", "side"]
    assert cluster.sql("SELECT count(*), sum(id) FROM people", "side") == "2000|2001000"
    assert cluster.sql("SELECT indexdef FROM pg_indexes WHERE tablename = 'people'", "side").count("INDEX") == 2


def test_an_existing_database_is_refused(dumped: Site, cluster: Cluster) -> None:
    said = dumped.run("restore-dump", "--database", DATABASE, "--into", DATABASE, code=1)
    assert f"database {DATABASE} is there already and stays as it is" in said
    assert cluster.sql("SELECT count(*) FROM people") == "2000"


@pytest.mark.parametrize(("table", "rows"), [("people", "2000"), ("public.orders_1", "500"), ("Odd name", "2")])
def test_one_table_is_restored(dumped: Site, cluster: Cluster, table: str, rows: str) -> None:
    dumped.run(*SIDE, "--table", table)
    schema, name = table.split(".") if "." in table else ("public", table)
    assert cluster.sql(f'SELECT count(*) FROM {schema}."{name}"', "side") == rows
    tables = cluster.sql(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace", "side"
    )
    assert tables == name


def test_a_table_that_is_not_in_the_dump_is_told(dumped: Site, cluster: Cluster) -> None:
    said = dumped.run(*SIDE, "--table", "poeple", code=1)
    assert "has no table public.poeple; it has " in said and "public.people" in said
    assert databases(cluster) == [DATABASE, "postgres"]


def test_a_dump_is_chosen_by_its_time(dumped: Site, cluster: Cluster) -> None:
    name = dumped.dumps()[0].name
    assert "there is no dump of nano of 20200101T000000Z" in dumped.run(*SIDE, "--from", "20200101T000000Z", code=1)
    dumped.run(*SIDE, "--from", name)
    assert "there is no dump of other" in dumped.run("restore-dump", "--database", "other", "--into", "x", code=1)


def test_a_user_who_may_not_create_databases_is_told(dumped: Site) -> None:
    said = dumped.run(*SIDE, "--user", "reader", code=1)
    assert "reader may not create databases" in said and "playbooks/restore.yml allows it" in said


def test_a_user_who_is_no_administrator_restores_without_untrusted_extensions(dumped: Site, cluster: Cluster) -> None:
    cluster.sql("CREATE EXTENSION pg_stat_statements; ALTER ROLE reader CREATEDB")
    try:
        dumped.run("run", "--only", "dump")
        said = dumped.run(*SIDE, "--user", "reader")
        assert "extension pg_stat_statements needs an administrator and is left out" in said
        assert cluster.sql("SELECT count(*) FROM people", "side") == "2000"
        owner = "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'people'"
        assert cluster.sql(owner, "side") == "reader"
    finally:
        cluster.sql("DROP EXTENSION pg_stat_statements; ALTER ROLE reader NOCREATEDB")
