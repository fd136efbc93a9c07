"""What nano-heartbeat writes, by the statements of the program itself on a real server."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import backup_site
from .conftest import ROOT

PROGRAM = ROOT / "roles/postgresql/files/nano-heartbeat"
pytestmark = pytest.mark.skipif(bool(backup_site.lacks()), reason=backup_site.lacks() or "all is there")


def statement(name: str) -> str:
    """Return a constant of the program."""
    tree = ast.parse(PROGRAM.read_text())
    found = [node for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name]
    return str(ast.literal_eval(found[0].value))


@pytest.fixture(scope="module")
def cluster(open_folder: Path) -> Iterator[backup_site.Cluster]:
    made = backup_site.Cluster(open_folder / "heartbeat")
    made.sql("DROP SCHEMA nano_ops CASCADE; CREATE SCHEMA nano_ops")
    yield made
    made.stop()


@pytest.fixture
def server(cluster: backup_site.Cluster) -> backup_site.Cluster:
    cluster.sql("DROP TABLE IF EXISTS nano_ops.heartbeat, nano_ops.heartbeat_wal")
    cluster.sql(statement("TABLE"))
    return cluster


def beat(server: backup_site.Cluster) -> str:
    """Beat once, each statement in a transaction of its own as in the program; return the time."""
    server.sql(statement("BEAT") % "'here'")
    server.sql(statement("SEGMENT"))
    return server.sql("SELECT written_at FROM nano_ops.heartbeat")


def noted(server: backup_site.Cluster) -> list[str]:
    return server.sql("SELECT segment, written_at FROM nano_ops.heartbeat_wal ORDER BY segment").splitlines()


def segment(server: backup_site.Cluster) -> str:
    return server.sql("SELECT pg_walfile_name(pg_current_wal_insert_lsn())")


def test_each_segment_keeps_its_last_beat(server: backup_site.Cluster) -> None:
    # Nothing else of this server writes: the segment is the one in which the beat is.
    first = segment(server)
    beat(server)
    last_of_first = beat(server)
    server.sql("SELECT pg_switch_wal()")
    last_of_second = beat(server)
    assert noted(server) == [f"{first}|{last_of_first}", f"{segment(server)}|{last_of_second}"]


def test_beat_whose_segment_has_ended_is_noted_for_the_next_one(server: backup_site.Cluster) -> None:
    """Too late rather than too early: a copy that ends between the two is not taken for younger than it is."""
    before = beat(server)
    first = segment(server)
    server.sql(statement("BEAT") % "'here'")
    server.sql("SELECT pg_switch_wal()")
    server.sql(statement("SEGMENT"))
    after = server.sql("SELECT written_at FROM nano_ops.heartbeat")
    assert noted(server) == [f"{first}|{before}", f"{segment(server)}|{after}"]


def test_beats_of_more_than_a_day_ago_go(server: backup_site.Cluster) -> None:
    beat(server)
    server.sql(
        "INSERT INTO nano_ops.heartbeat_wal VALUES ('old', now() - interval '25 h'), ('new', now() - interval '23 h')"
    )
    server.sql(statement("PRUNE"))
    assert [line.split("|")[0] for line in noted(server)] == [segment(server), "new"]


def test_everybody_may_read_and_nobody_else_may_write(server: backup_site.Cluster) -> None:
    beat(server)
    assert server.sql("SET ROLE reader; SELECT count(*) FROM nano_ops.heartbeat_wal") == "1"
    with pytest.raises(AssertionError, match="permission denied"):
        server.sql("SET ROLE reader; DELETE FROM nano_ops.heartbeat_wal")


def test_tables_are_made_once(server: backup_site.Cluster) -> None:
    beat(server)
    server.sql(statement("TABLE"))
    assert len(noted(server)) == 1
