"""Restores for real: what is asked for is there afterwards, and whatever goes wrong, the old data are."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from .restore_site import ADDRESS, Site
from .scratch import BIN, VERSION

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not VERSION or not shutil.which("pgbackrest"),
    reason="needs root, unshare(1), Debian's PostgreSQL and pgBackRest",
)
# Marks of the history, in order: what is in table marks tells how far a restore came.
MARKS = ("before the backup", "after the backup", "before the accident", "after the accident")


class History:
    """Times and positions of the marks."""

    def __init__(self, site: Site) -> None:
        self.site, self.times, self.lsns = site, {}, {}

    def mark(self, word: str) -> None:
        self.site.sql(f"INSERT INTO marks VALUES ('{word}')")
        # Times are told apart by whole moments, and a restore to a time needs a transaction behind it.
        time.sleep(0.2)
        self.times[word] = datetime.now(UTC).isoformat()
        self.lsns[word] = self.site.sql("SELECT pg_current_wal_lsn()")
        time.sleep(0.2)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Site, History]:
    """Return a cluster that was backed up, lived on and lost a table; it is stopped."""
    site = Site.made(tmp_path_factory.mktemp("made"))
    site.run(f"{BIN}/initdb", "-D", f"/var/lib/postgresql/{VERSION}/main", "-E", "UTF8", "--locale=C.UTF-8", "-k")
    site.systemctl("start")
    site.sql("CREATE DATABASE nano", "postgres")
    site.sql("CREATE SCHEMA nano_ops; CREATE TABLE nano_ops.heartbeat (id int, written_at timestamptz, host text)")
    site.sql("CREATE TABLE marks (word text); CREATE TABLE dear AS SELECT generate_series(1, 1000) AS id")
    site.run("pgbackrest", "--stanza=nano", "stanza-create")
    history = History(site)
    history.mark("before the backup")
    for repository in (1, 2):
        site.run("pgbackrest", "--stanza=nano", f"--repo={repository}", "--type=full", "backup")
    for word in ("after the backup", "before the accident"):
        history.mark(word)
        site.sql("SELECT pg_switch_wal()")
    site.sql("SELECT pg_create_restore_point('release')")
    site.sql("DROP TABLE dear")
    history.mark("after the accident")
    site.sql("INSERT INTO nano_ops.heartbeat VALUES (1, clock_timestamp(), 'here')")
    site.systemctl("stop")
    return site, history


@pytest.fixture
def site(made: tuple[Site, History], tmp_path: Path) -> Iterator[Site]:
    copied = made[0].copy(tmp_path / "site")
    yield copied
    copied.systemctl("stop")


@pytest.fixture
def history(made: tuple[Site, History]) -> History:
    return made[1]


def marks(site: Site) -> list[str]:
    return site.sql("SELECT word FROM marks").splitlines()


def has_table(site: Site) -> bool:
    return site.sql("SELECT to_regclass('dear') IS NOT NULL") == "t"


def test_plan_only_looks(site: Site) -> None:
    before = site.content()
    plan = site.module("planned")
    assert not plan.failed, plan.message
    assert (plan["choice"]["repository"], plan["choice"]["missing"], plan.changed) == (1, "", False)
    assert [each["problem"] for each in plan["repositories"]] == ["", ""]
    assert plan["data"]["state"] == "shut down"
    assert site.content() == before


def test_back_to_a_time_before_a_table_was_dropped(site: Site, history: History) -> None:
    options = {"type": "time", "target": history.times["before the accident"]}
    recovered = site.restore(**options)
    assert not recovered.failed, recovered.message
    assert marks(site) == list(MARKS[:3]) and has_table(site)
    (old,) = site.kept()
    assert (site.data.parent / old / "PG_VERSION").exists() and site.names() == ["main", old]
    assert recovered["timeline"] == 2
    assert site.sql("SHOW listen_addresses") == "", "somebody may write before the data are verified"
    verified = site.module("verified", expected={"public.dear": 1000, 'public."gone"': 3})
    assert not verified.failed, verified.message
    assert verified["odd"] == ["public.gone is not there (a dump had 3 rows)"]
    assert site.sql("SELECT count(*) FROM pg_extension WHERE extname = 'amcheck'") == "0"
    assert site.module("opened").changed and not site.module("opened").changed
    site.systemctl("stop")
    site.systemctl("start")
    assert site.sql("SHOW listen_addresses") == ADDRESS
    assert site.module("finished")["kept"] == [old]
    site.run("pgbackrest", "--stanza=nano", "check")


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"type": "latest"}, 4),
        ({"type": "name", "target": "release"}, 3),
        ({"type": "immediate"}, 1),
        ({"type": "lsn"}, 2),
        ({"type": "latest", "repository": 2}, 4),
    ],
    ids=["latest", "name", "immediate", "lsn", "repository 2"],
)
def test_each_kind_of_target(site: Site, history: History, options: dict[str, str], count: int) -> None:
    if options["type"] == "lsn":
        options = {**options, "target": history.lsns["after the backup"]}
    recovered = site.restore(**options)
    assert not recovered.failed, recovered.message
    assert marks(site) == list(MARKS[:count])
    assert has_table(site) == (count < 4)


def test_what_a_crashed_server_had_not_archived_is_replayed_and_the_loss_measured(site: Site) -> None:
    site.systemctl("start")
    site.sql("INSERT INTO marks VALUES ('never archived')")
    site.crash()
    recovered = site.restore(type="latest")
    assert not recovered.failed, recovered.message
    assert marks(site)[-1] == "never archived"
    verified = site.module("verified", amcheck=False)
    assert verified["rpo_seconds"] is not None and verified["rpo_seconds"] < 30


def test_copy_of_the_restored_server_does_not_stop_where_the_restore_did(site: Site, history: History) -> None:
    site.restore(type="time", target=history.times["before the accident"])
    site.run("mkdir", "-p", "/var/lib/postgresql/standby")
    site.run(
        f"{BIN}/pg_basebackup",
        "-D",
        "/var/lib/postgresql/standby",
        "-R",
        "-X",
        "stream",
        "-c",
        "fast",
        "-d",
        "user=postgres",
    )
    text = (site.here / "lib/postgresql/standby/postgresql.auto.conf").read_text()
    assert "primary_conninfo" in text and "recovery_target" not in text and "main.restoring" not in text


@pytest.mark.parametrize("number", range(1, 7))
def test_killed_at_each_rename_it_goes_on_and_the_old_data_are_kept(site: Site, number: int) -> None:
    (site.data / "the-old-one").write_text("of great worth")
    was_killed = site.killed("restored", number, type="latest")
    copies = [path for path in site.data.parent.glob("main*/the-old-one")]
    assert len(copies) == 1, "the old data are not there once"
    recovered = site.restore(type="latest")
    assert not recovered.failed, recovered.message
    assert marks(site) == list(MARKS)
    (old,) = site.kept()
    assert (site.data.parent / old / "the-old-one").read_text() == "of great worth"
    assert site.names() == ["main", old]
    assert was_killed == (number < 6), "count the renames anew: a stage is not tried"


def test_killed_while_it_copies_it_goes_on(site: Site) -> None:
    first = site.module("restored", type="latest", seconds=0)
    assert not first.failed, first.message
    killed = 0
    # As the kernel has it, which may leave out where a filesystem of its own is mounted.
    here = "/".join(site.here.parts[-3:])
    for path in Path("/proc").glob("[0-9]*"):
        try:
            ours = here in (path / "mountinfo").read_text()
            if ours and b"main.restoring" in (path / "cmdline").read_bytes():
                os.kill(int(path.name), 9)
                killed += 1
        except (OSError, ProcessLookupError):
            continue
    again = site.module("restored", type="latest")
    if again.failed:
        assert "the copy was ended from outside" in again.message and "goes on" in again.message
        assert (site.data / "PG_VERSION").exists()
        again = site.module("restored", type="latest")
    assert not again.failed and again["is_done"], again.message
    assert killed, "it had ended before it could be killed"
    assert not site.module("recovered").failed
    site.started = True
    assert marks(site) == list(MARKS)


def test_target_that_is_not_reached_is_told_and_the_next_attempt_takes_the_copy_over(site: Site) -> None:
    (site.data / "the-old-one").write_text("of great worth")
    recovered = site.restore(type="name", target="no-such-point")
    assert recovered.failed
    assert "the archive ends before the target no-such-point" in recovered.message
    assert "The last transaction that could be replayed is of 20" in recovered.message
    assert "restore_type=latest" in recovered.message
    again = site.restore(type="latest")
    assert not again.failed, again.message
    assert marks(site) == list(MARKS)
    assert "--delta" in (site.data.parent / ".main.restore.log").read_text(errors="replace")
    (old,) = site.kept()
    assert (site.data.parent / old / "the-old-one").exists() and site.names() == ["main", old]


def test_full_disk_is_told_and_room_helps(site: Site) -> None:
    """The copy takes some 30 MB; there are 8 left."""
    assert site.killed("restored", 1, type="latest"), "begun, and nothing copied yet"
    (site.data / "the-old-one").write_text("of great worth")
    small = site.here / "small"
    small.mkdir()
    keep = f"/var/lib/postgresql/{VERSION}"
    steps = [
        f'mount -t tmpfs -o size=90%,mode=755 none "{small}"',
        f'cp --archive {keep}/. "{small}/" && chown postgres "{small}"',
        f'mount -o remount,size=$(($(du -sk "{small}" | cut -f1) + 8192))k "{small}"',
        f'mount --bind "{small}" {keep}',
    ]
    full = " && ".join(steps)
    result = site.module("restored", type="latest", extra=full)
    assert result.failed
    assert "is full" in result.message and "The old data are where they were" in result.message
    assert (site.data / "the-old-one").exists() and site.kept() == []
    again = site.restore(type="latest")
    assert not again.failed, again.message
    assert marks(site) == list(MARKS)


def test_too_small_a_disk_is_refused_before_anything(site: Site) -> None:
    small = f"mount -t tmpfs -o size=64m,mode=755 none /var/lib/postgresql/{VERSION}"
    for state in ("planned", "restored"):
        result = site.module(state, extra=small)
        assert result.failed and "MiB are needed beside the old data" in result.message, result.message


def test_missing_segment_is_named_and_refused_unless_accepted(site: Site, history: History) -> None:
    for repository in ("pgbackrest", "pgbackrest2"):
        victim = site.segments(repository)[-2]
        victim.unlink()
    name = victim.name[:24]
    plan = site.module("planned", type="latest")
    assert plan.failed
    assert f"WAL segment {name} is missing in every repository" in plan.message
    assert "restore_accept_gap=true" in plan.message
    assert site.names() == ["main"]
    fine = site.module("planned", type="time", target=history.times["after the backup"])
    assert not fine.failed and fine["choice"]["missing"] == name, fine.message
    recovered = site.restore(type="latest", accept_gap=True)
    assert not recovered.failed, recovered.message
    assert marks(site)[-1] != MARKS[-1]


def test_segment_that_the_other_repository_has_is_no_gap(site: Site) -> None:
    site.segments("pgbackrest")[-2].unlink()
    assert not site.restore(type="latest").failed
    assert marks(site) == list(MARKS)


def test_wrong_passphrase_is_told_and_the_other_repository_used(site: Site) -> None:
    site.cipher("not-the-passphrase-at-all")
    plan = site.module("planned")
    assert not plan.failed, plan.message
    assert plan["choice"]["repository"] == 2
    assert any(
        "repository 1 cannot be deciphered: pgbackrest_cipher_passphrase" in note for note in plan["choice"]["notes"]
    )
    alone = site.module("planned", repository=1)
    assert alone.failed and "cannot be deciphered" in alone.message
    assert alone.message.isprintable() and "not-the-passphrase" not in alone.message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"type": "time", "target": "2001-01-01T00:00:00Z"}, "no backup is from before 2001-01-01"),
        ({"type": "time", "target": "2999-01-01T00:00:00Z"}, "is in the future"),
        ({"type": "lsn", "target": "FF/0"}, "the archive ends before the target FF/0"),
        ({"set": "20010101-000000F"}, "there is no backup 20010101-000000F, there are: "),
        ({"repository": 7}, "there is no repository 7, only 1, 2"),
        ({"timeline": 9}, "no repository knows how timeline 9 began"),
    ],
)
def test_what_cannot_be_is_refused_with_nothing_touched(site: Site, options: dict[str, str], words: str) -> None:
    before = site.content()
    for state in ("planned", "restored"):
        result = site.module(state, **options)
        assert result.failed and words in result.message, result.message
    assert site.content() == before


def test_data_of_another_cluster_are_not_replaced(site: Site) -> None:
    shutil.rmtree(site.data)
    site.run(f"{BIN}/initdb", "-D", f"/var/lib/postgresql/{VERSION}/main")
    result = site.module("restored", type="latest")
    assert result.failed and "is of another cluster (system identifier" in result.message
    assert site.names() == ["main"]


def test_data_of_another_version_are_not_replaced(site: Site) -> None:
    (site.data / "PG_VERSION").write_text("9\n")
    result = site.module("planned")
    assert result.failed and f"was made by PostgreSQL 9, postgresql_version is {VERSION}" in result.message


def test_folder_with_anything_else_is_not_replaced(site: Site) -> None:
    shutil.rmtree(site.data)
    site.write("lost+found/invoice.txt", "of great worth")
    result = site.module("restored", type="latest")
    assert result.failed and "holds no PostgreSQL cluster, nothing was changed" in result.message
    assert (site.data / "lost+found/invoice.txt").exists()


def test_restored_onto_a_host_that_has_nothing(site: Site) -> None:
    shutil.rmtree(site.data.parent)
    assert not site.restore(type="latest").failed
    assert marks(site) == list(MARKS) and site.names() == ["main"]


def test_running_server_is_not_replaced(site: Site) -> None:
    site.systemctl("start")
    result = site.module("restored", type="latest")
    assert result.failed and "PostgreSQL runs on" in result.message
    assert site.names() == ["main"]
    assert site.module("looked")["data"]["is_running"]
    assert not site.module("planned", grows=True).failed, "a plan may be made while it runs"


def test_copy_with_other_options_that_is_under_way_is_left_alone(site: Site, history: History) -> None:
    assert site.killed("restored", 1, type="latest")
    with (site.data.parent / ".main.restore.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        other = site.module("restored", type="time", target=history.times["after the backup"])
        assert other.failed and "a copy with other options is still under way" in other.message
        same = site.module("restored", type="latest", seconds=0)
        assert not same.failed and not same["is_done"], same.message


def test_check_mode_changes_nothing(site: Site) -> None:
    before = site.content()
    assert site.module("restored", check=True, type="latest").changed
    assert site.module("aside", check=True).changed
    assert site.content() == before


def test_member_that_is_built_anew_is_put_aside(site: Site) -> None:
    result = site.module("aside")
    assert result.changed and site.names() == [result["aside"]]
    assert not site.module("aside").changed


def test_old_data_are_discarded_by_their_name_alone(site: Site) -> None:
    site.restore(type="latest")
    (old,) = site.kept()
    early = site.module("discarded", name=old)
    assert early.failed and "is not finished" in early.message
    site.module("finished")
    for name in ("main", "../main", "main.before-restore-20010101T000000Z"):
        wrong = site.module("discarded", name=name)
        assert wrong.failed and old in wrong.message
    assert site.module("discarded", name=old).changed
    assert site.names() == ["main"] and marks(site) == list(MARKS)


def test_other_timeline_brings_back_what_a_restore_has_undone(site: Site, history: History) -> None:
    site.restore(type="time", target=history.times["after the backup"])
    site.sql("INSERT INTO marks VALUES ('on the second timeline'); SELECT pg_switch_wal()")
    site.module("finished")
    site.systemctl("stop")
    latest = site.restore(type="latest")
    assert not latest.failed, latest.message
    assert marks(site) == [*MARKS[:2], "on the second timeline"]
    site.module("finished")
    site.systemctl("stop")
    first = site.restore(type="latest", timeline=1)
    assert not first.failed, first.message
    assert marks(site) == list(MARKS)


def test_damaged_segment_ends_recovery_and_nobody_is_let_in(site: Site) -> None:
    """PostgreSQL takes it for the end of the archive and would open with half the data."""
    for repository in ("pgbackrest", "pgbackrest2"):
        victim = site.segments(repository)[-2]
        victim.write_bytes(victim.read_bytes()[:100])
    recovered = site.restore(type="latest")
    assert recovered.failed, "half the data pass for all of them"
    assert "but the archive has WAL until segment" in recovered.message
    assert site.kept()
    subprocess.run([*site.below(), "true"], check=True)
