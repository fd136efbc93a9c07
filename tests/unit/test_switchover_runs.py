"""Switchovers and rejoins for real: nothing is lost, what has to be given up is kept aside, and doubt refuses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import switchover_site
from .scratch import VERSION
from .switchover_site import ADDRESSES, Member, wait_for

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not VERSION or not shutil.which("pgbackrest"),
    reason="needs root, unshare(1), Debian's PostgreSQL and pgBackRest",
)
Pair = dict[str, Member]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return switchover_site.made(tmp_path_factory.mktemp("pair"))


@pytest.fixture
def pair(made: Pair, tmp_path: Path) -> Iterator[Pair]:
    """A primary db1 and its standby db2, both at work."""
    subprocess.run(["cp", "--archive", str(made["db1"].repository), str(tmp_path / "repository")], check=True)
    copies = {name: each.copied(tmp_path / name, tmp_path / "repository") for name, each in made.items()}
    try:
        for each in copies.values():
            each.start()
        wait_for(lambda: follows(copies["db1"], "db2"), "db2 streams")
        yield copies
    finally:
        for each in copies.values():
            each.stop()


def follows(primary: Member, standby: str) -> bool:
    sql = f"SELECT count(*) FROM pg_stat_replication WHERE application_name = '{standby}' AND state = 'streaming'"
    return primary.sql(sql, "postgres") == "1"


def switch(old: Member, new: Member) -> float:
    """Do what the playbook does; return the seconds without a primary."""
    new.done("rejoin", "expected", hosts=[old.name])
    demoted = old.done("switchover", "demoted", target=new.name)
    assert demoted.changed
    new.done("switchover", "gated", wanted=demoted.data)
    promoted = new.done("failover", "promoted", host=new.name)
    expected = new.done("rejoin", "expected", hosts=[old.name])
    followed = old.done("rejoin", "followed", position=expected["position"])
    assert followed["server"]["is_streaming"]
    assert old.done("switchover", "finished").changed
    return float(promoted["written"] - demoted["began"])


def fail_over(pair: Pair, *, crash: bool = False) -> tuple[Member, Member]:
    """Promote db2 although db1 lives on and takes writes for a while; return the old and the new primary."""
    old, new = pair["db1"], pair["db2"]
    old.write("both have it")
    wait_for(lambda: new.words()[-1] == "both have it", "db2 has it")
    new.done("failover", "promoted", host="db2")
    new.done("rejoin", "expected", hosts=["db1"])
    for number in range(3):
        old.write(f"lost {number}")
    new.write("won")
    if crash:
        old.crash()
    else:
        old.stop()
    return old, new


def rejoined(old: Member, new: Member, **options: str) -> dict:
    """Make the old primary a standby of the new one and wait until it follows."""
    result = old.done("rejoin", "rejoined", primary=ADDRESSES[new.name], **options)
    new.write("after")
    position = new.done("rejoin", "expected", hosts=[old.name])["position"]
    old.done("rejoin", "followed", position=position)
    assert old.is_standby() and old.is_enabled() and follows(new, old.name)
    assert old.words() == new.words()
    return result.data


def switch_twice(old: Member, new: Member) -> None:
    """Switch over and call each step once more, as a playbook that was cut off does."""
    assert new.done("rejoin", "expected", hosts=[old.name]).changed
    first = old.done("switchover", "demoted", target=new.name)
    assert (first.changed, first["timeline"]) == (True, 1)
    assert old.does("switchover", "seen")["member"]["note"]["target"] == new.name
    again = old.done("switchover", "demoted", target=new.name)
    assert (again.changed, again["position"], again["began"]) == (False, first["position"], first["began"])
    new.done("switchover", "gated", wanted=first.data)
    assert new.done("failover", "promoted", host=new.name).changed
    assert not new.done("failover", "promoted", host=new.name).changed
    # The control file of the new primary is behind until its first checkpoint.
    assert not new.done("switchover", "gated", wanted=first.data)["server"]["is_standby"]
    expected = new.done("rejoin", "expected", hosts=[old.name])
    assert not expected.changed
    assert old.done("rejoin", "followed", position=expected["position"]).changed
    assert not old.done("rejoin", "followed", position=expected["position"]).changed
    assert old.does("rejoin", "seen", primary=ADDRESSES[new.name])["way"] == "none"
    assert not old.done("rejoin", "rejoined", primary=ADDRESSES[new.name]).changed
    assert old.done("switchover", "finished").changed and not old.done("switchover", "finished").changed


def test_there_and_back_without_loss(pair: Pair) -> None:
    one, two = pair["db1"], pair["db2"]
    switch_twice(one, two)
    two.write("on db2")
    assert one.is_standby() and not two.is_standby() and follows(two, "db1")
    wait_for(lambda: one.words() == ["first", "on db2"], "db1 follows")
    assert one.sql("SELECT count(*) FROM pg_replication_slots", "postgres") == "0", "it keeps WAL for nobody"
    assert switch(two, one) < 10
    one.write("on db1")
    wait_for(lambda: two.words() == ["first", "on db2", "on db1"], "db2 follows")
    assert one.sql("SELECT slot_name || active FROM pg_replication_slots", "postgres") == "db2true"
    assert not one.kept() and not two.kept()


def only_looks(one: Member, two: Member) -> None:
    """Demand that a check run changes nothing."""
    for state, more in (("demoted", {"target": "db2"}), ("resumed", {}), ("finished", {})):
        assert not one.does("switchover", state, check=True, **more).failed
    assert not one.is_standby() and not one.does("switchover", "seen")["member"]["note"]
    seen = two.does("rejoin", "rejoined", check=True, primary=ADDRESSES["db1"])
    assert (seen.changed, seen["way"]) == (False, "none")
    assert not one.does("rejoin", "expected", check=True, hosts=["db3"]).failed
    assert one.sql("SELECT string_agg(slot_name, ' ') FROM pg_replication_slots", "postgres") == "db2"


def test_standby_that_does_not_get_there_leaves_the_old_primary_as_it_was(pair: Pair) -> None:
    one, two = pair["db1"], pair["db2"]
    only_looks(one, two)
    two.sql("SELECT pg_wal_replay_pause()", "postgres")
    one.write("before the stop")
    demoted = one.done("switchover", "demoted", target="db2")
    refused = two.does("switchover", "gated", wanted=demoted.data, seconds=3)
    assert refused.failed and "pg_wal_replay_resume" in refused.message
    other = two.does("switchover", "gated", wanted={**demoted.data, "system_identifier": "7"}, seconds=3)
    assert other.failed and "another cluster" in other.message
    two.stop()
    two.start()
    ahead = two.does("switchover", "gated", wanted={**demoted.data, "position": "7F/0"}, seconds=1)
    assert ahead.failed and "1 s were not enough" in ahead.message
    assert one.done("switchover", "resumed").changed and not one.is_standby()
    assert one.sql("SELECT timeline_id FROM pg_control_checkpoint()") == "1"
    one.write("after")
    wait_for(lambda: two.words() == ["first", "before the stop", "after"], "db2 follows on the old timeline")
    assert not one.done("switchover", "resumed").changed
    assert "nothing to go back to" in two.does("switchover", "resumed").message and two.is_standby()


def test_nobody_goes_back_once_another_was_promoted(pair: Pair) -> None:
    one, two = pair["db1"], pair["db2"]
    assert "is a standby, nothing was stopped" in two.does("switchover", "demoted", target="db1").message
    assert two.done("rejoin", "expected", hosts=["db1"]).changed
    demoted = one.done("switchover", "demoted", target="db2")
    two.done("switchover", "gated", wanted=demoted.data)
    two.done("failover", "promoted", host="db2")
    wait_for(lambda: follows(two, "db1"), "db1 follows by itself, whatever becomes of who runs the playbook")
    refused = one.does("switchover", "resumed")
    assert refused.failed and "another host has become the primary" in refused.message
    wait_for(lambda: one.is_standby() and follows(two, "db1"), "db1 follows again")


def test_diverged_primary_that_crashed_is_rewound_and_its_writes_are_kept(pair: Pair) -> None:
    old, new = fail_over(pair, crash=True)
    assert old.does("rejoin", "seen", primary=ADDRESSES["db2"])["way"] == "rewind"
    result = rejoined(old, new)
    assert (result["way"], result["notes"]) == ("rewind", [])
    assert old.words() == ["first", "both have it", "won", "after"]
    (kept,) = old.kept()
    note = json.loads((kept / "diverged.json").read_text())
    assert (
        note["commits"] == 3 and 0 < note["bytes"] < 16384 and note["timeline"] == 1 and note["primary_timeline"] == 2
    )
    assert result["kept"]["last_commit"] == note["last_commit"] > note["first_commit"] and "UTC" in note["last_commit"]
    assert b"lost 2" in b"".join((kept / name).read_bytes() for name in note["segments"])
    assert not old.done("rejoin", "rejoined", primary=ADDRESSES["db2"]).changed and len(old.kept()) == 1


def test_crashed_primary_with_nothing_of_its_own_just_follows(pair: Pair) -> None:
    old, new = pair["db1"], pair["db2"]
    old.crash()
    new.done("failover", "promoted", host="db2")
    new.done("rejoin", "expected", hosts=["db1"])
    assert rejoined(old, new)["way"] == "signal" and not old.kept()


def test_rewind_that_was_cut_off_goes_on_and_starts_nothing_before(pair: Pair) -> None:
    old, new = fail_over(pair)
    old.cut_off_rewind(primary=ADDRESSES["db2"])
    assert not old.is_enabled() and not (old.data / "standby.signal").exists()
    assert old.does("switchover", "seen")["member"]["rejoin"]["stage"] == "rewinding"
    assert old.does("rejoin", "seen", primary=ADDRESSES["db2"])["goes_on"] == "rewinding"
    result = rejoined(old, new)
    assert (result["way"], result["kept"]["commits"], len(old.kept())) == ("rewind", 3, 1)


def test_delta_restore_where_nothing_can_be_rewound(pair: Pair) -> None:
    old, new = fail_over(pair)
    function = "pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean)"
    new.sql(f"REVOKE EXECUTE ON FUNCTION {function} FROM replicator", "postgres")
    moved = old.repository / "backup"
    moved.rename(moved.with_name("backup.away"))
    failed = old.does("rejoin", "rejoined", primary=ADDRESSES["db2"])
    assert failed.failed and "permission denied for function pg_read_binary_file" in failed.message
    assert "mv " in failed.message and "site.yml" in failed.message and not old.is_enabled()
    moved.with_name("backup.away").rename(moved)
    result = rejoined(old, new)
    assert result["way"] == "delta" and result["kept"]["commits"] == 3
    assert "restore_command" not in (old.data / "postgresql.auto.conf").read_text()
    assert old.sql("SHOW restore_command").startswith("pgbackrest --stanza=nano archive-get")


def test_doubt_refuses(pair: Pair) -> None:
    one, two = pair["db1"], pair["db2"]
    running = one.does("rejoin", "rejoined", primary=ADDRESSES["db1"])
    assert running.failed and "runs here as a primary as well, nothing was changed" in running.message
    two.done("failover", "promoted", host="db2")
    two.stop()
    silent = two.does("rejoin", "rejoined", primary="127.0.0.9")
    assert silent.failed and "refused" in silent.message
    control = two.data / "global/pg_control"
    right = control.read_bytes()
    other = two.below("true")
    subprocess.run([*other, "sh", "-c", f"rm -r /var/lib/postgresql/{VERSION}/main"], check=True)
    two.run(f"{switchover_site.BIN}/initdb", "-D", f"/var/lib/postgresql/{VERSION}/main", "-k")
    assert control.read_bytes() != right
    foreign = two.does("rejoin", "rejoined", primary=ADDRESSES["db1"])
    assert foreign.failed and "is of another cluster than the primary's" in foreign.message
    assert not (two.data / "standby.signal").exists() and not two.kept()
