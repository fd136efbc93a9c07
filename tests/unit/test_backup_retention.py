"""What is deleted when it is old, and what never is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from .backup_site import SOURCE, Cluster, Site
from .test_backup_damage import flip

sys.path.insert(0, str(SOURCE))

from nano_backup import retention, units
from nano_backup.manifest import Dump

NOW, DAY = 1_800_000_000.0, 86400.0


def dumps(*ages: float) -> list[Dump]:
    """Return dumps of so many days."""
    return [Dump("nano", units.stamp(NOW - age * DAY), 1) for age in ages]


@pytest.mark.parametrize(
    ("ages", "damaged", "gone"),
    [
        ((1, 10, 29), (), ()),
        ((1, 29, 31, 60), (), (31, 60)),
        ((31, 60), (), (60,)),
        ((90,), (), ()),
        # The newest are damaged: the last good one stays whatever its age.
        ((1, 2, 40, 50), (1, 2), (50,)),
        ((1, 40, 50), (1, 40), ()),
        ((1, 40, 50, 60), (1, 40), (60,)),
        # Without a good one nothing goes: somebody may still get something out of it.
        ((1, 40, 50), (1, 40, 50), ()),
        ((), (), ()),
    ],
)
def test_the_last_good_one_stays(ages: tuple[float, ...], damaged: tuple[float, ...], gone: tuple[float, ...]) -> None:
    bad = {dump.name for dump in dumps(*damaged)}
    found = retention.expired(dumps(*ages), NOW, 30, lambda dump: dump.name not in bad)
    assert found == dumps(*gone)


def test_the_dumps_of_a_database_that_is_gone_keep_their_last(site: Site) -> None:
    site.run("run", "--only", "dump")
    other = site.directory / "dropped"
    folder = site.dumps()[0]
    other.mkdir(mode=0o777)
    other.chmod(0o777)
    for days in (100, 200):
        site.run("run", "--only", "dump")
        site.dumps()[-1].rename(other / units.stamp(NOW - days * DAY))
    assert "1 dumps deleted" in site.run("run", "--only", "dump")
    assert [path.name for path in other.iterdir()] == [units.stamp(NOW - 100 * DAY)]
    assert folder.exists()


def test_old_dumps_go_and_a_damaged_new_one_saves_the_old(site: Site) -> None:
    site.run("run", "--only", "dump")
    older = site.age(site.dumps()[0], 40)
    oldest = site.age(older, 50)
    site.run("run", "--only", "dump")
    assert not oldest.exists()
    old = site.age(site.dumps()[0], 40)
    site.run("run", "--only", "dump", "--kind", "auto")
    assert not old.exists()
    last = site.age(site.dumps()[0], 40)
    site.config["databases"] = ["not_there"]
    site.run("run", "--only", "dump", code=1)
    assert last.exists(), "a run that made nothing must not delete the last one"


def test_a_new_dump_that_is_damaged_does_not_count(site: Site) -> None:
    site.run("run", "--only", "dump")
    good = site.age(site.dumps()[0], 40)
    site.config["retention_days"] = 100
    site.run("run", "--only", "dump")
    flip(site.dumps()[-1] / "database.dump")
    site.config["retention_days"] = 30
    site.config["databases"] = ["not_there"]
    site.run("run", "--only", "dump", code=1)
    assert good.exists()


def test_nothing_is_deleted_while_the_clocks_differ(site: Site, cluster: Cluster) -> None:
    """A clock that has leapt a month ahead would make everything old: dumps, and what pgBackRest keeps."""
    site.run("run")
    old = site.age(site.dumps()[0], 40)
    cluster.sql(
        "CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql "
        "AS $$ SELECT pg_catalog.clock_timestamp() - interval '31 days' $$",
        "postgres",
    )
    cluster.sql("ALTER DATABASE postgres SET search_path = public, pg_catalog", "postgres")
    try:
        said = site.run("run", "--kind", "full", code=1)
        assert "this host's clock is 31 d" in said and "ahead of that of" in said and "timedatectl" in said
        assert old.exists() and len(site.dumps()) == 2, "it backs up all the same"
        site.run("metrics")
        assert site.metrics()['last_run_success{kind="clock"}'] == 0
    finally:
        cluster.sql("ALTER DATABASE postgres RESET search_path", "postgres")
        cluster.sql("DROP FUNCTION public.clock_timestamp()", "postgres")
    site.run("run")
    assert not old.exists()


def test_names_that_are_no_dumps_are_left_alone(site: Site) -> None:
    stranger = Path(site.directory / "nano" / "by-hand")
    stranger.mkdir(parents=True)
    stranger.parent.chmod(0o777)
    (stranger / "note").write_text("keep")
    site.run("run", "--only", "dump")
    assert (stranger / "note").read_text() == "keep"
