"""The keepers and the program nano-primary-record as real processes over mutual TLS."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import ssl
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from .keepers import DATABASES, PASSPHRASE, Platform, authority, certificate, eventually, platform
from .primary_record import register

from nano_primary_record import keeper, record, settings  # isort: skip


@pytest.fixture
def bare() -> Iterator[Platform]:
    """Keepers that are empty and run."""
    with platform() as made:
        made.start()
        yield made


@pytest.fixture
def kept(bare: Platform) -> Platform:
    """Keepers with a record of epoch 1: db1."""
    bare.found()
    return bare


def test_record_is_shown_and_changed_by_compare_and_set(kept: Platform) -> None:
    shown = kept.call("db2", "show")
    assert shown.rc == 0 and shown.result["record"]["host"] == "db1" and shown.result["record"]["epoch"] == 1
    assert [row["state"] for row in shown.result["keepers"]] == ["voting"] * 3
    won = kept.claim("db2", 1)
    assert won.rc == 0 and won.result["record"]["epoch"] == 2, won.error
    late = kept.claim("db1", 1)
    assert late.rc == 3 and late.result["record"]["host"] == "db2"
    assert "epoch 2, not 1, and names db2" in late.error and "nothing was changed" in late.error
    assert kept.call("db1", "show").result["record"] == won.result["record"]


def test_before_the_first_record_it_is_said_so(bare: Platform) -> None:
    shown = bare.call("db1", "show")
    assert shown.rc == 4, "empty keepers have no vote, and so there is no majority"
    assert set(bare.states().values()) == {"empty"}


def test_same_claim_again_is_the_same_and_another_for_the_same_host_is_not(kept: Platform) -> None:
    first = kept.claim("db2", 1, "--claim-id", "failover-7")
    again = kept.claim("db2", 1, "--claim-id", "failover-7")
    assert (first.rc, again.rc) == (0, 0) and again.result["record"] == first.result["record"]
    assert kept.claim("db2", 1).rc == 3, "two operators who type the same cannot both win"


def test_wrong_claims_are_refused_with_the_reason(kept: Platform) -> None:
    assert "no database host of the inventory" in kept.claim("app1", 1).error
    other = kept.call("db2", *kept.claim_argv("db2", 1, identifier="7000000000000000002"))
    assert other.rc == 3 and "--other-cluster" in other.error
    assert kept.claim("db1", 1, timeline=5).rc == 0
    older = kept.claim("db2", 2, timeline=4)
    assert older.rc == 3 and "timeline 5, the claim of 4" in older.error
    assert kept.claim("db2", 2, "--other-cluster", timeline=4).rc == 0
    assert kept.call("db1", "show").result["record"]["timeline"] == 4


def test_of_many_claims_at_once_one_wins_each_epoch(kept: Platform) -> None:
    for epoch in range(1, 6):
        racing = [kept.spawn(host, *kept.claim_argv(host, epoch)) for host in (*DATABASES, *DATABASES)]
        results = [(process.communicate(timeout=30)[0], process.returncode) for process in racing]
        winners = [json.loads(out)["record"] for out, rc in results if rc == 0]
        assert sorted(rc for _, rc in results) == [0, 3, 3, 3], results
        shown = kept.call("db1", "show").result["record"]
        assert shown == winners[0] and shown["epoch"] == epoch + 1


def test_claimers_killed_anywhere_leave_a_record_that_the_next_one_completes(kept: Platform) -> None:
    chance = random.Random(6)
    epoch = 1
    for _ in range(12):
        process = kept.spawn("db1", *kept.claim_argv("db1", epoch))
        with pytest.raises(Exception, match="timed out"):
            process.communicate(timeout=0.1 + chance.random() * 0.12)
        process.kill()
        process.communicate()
        shown = kept.call("db2", "show")
        assert shown.rc == 0, shown.error
        seen = shown.result["record"]
        assert (seen["epoch"], seen["host"]) in ((epoch, seen["host"]), (epoch + 1, "db1"))
        won = kept.claim("db2", seen["epoch"])
        assert won.rc == 0 and won.result["record"]["epoch"] == seen["epoch"] + 1
        epoch = seen["epoch"] + 1


def holding(kept: Platform, epoch: int) -> int:
    """Return how many keepers have a record on their disks."""
    return [kept.register(name)["value"]["epoch"] for name in kept.names].count(epoch)


def test_one_keeper_may_be_killed_and_two_may_not(kept: Platform) -> None:
    kept.kill("keeper1")
    assert kept.claim("db2", 1).rc == 0
    kept.kill("keeper2")
    lost = kept.claim("db1", 2)
    assert lost.rc == 4 and "keeper1: " in lost.error and "keeper2: " in lost.error
    assert "may or may not have been taken" in lost.error
    assert kept.call("db1", "show").rc == 4
    kept.start("keeper1", "keeper2")
    shown = kept.call("db1", "show").result["record"]
    assert (shown["epoch"], shown["host"]) in ((2, "db2"), (3, "db1"))
    assert kept.claim("db2", shown["epoch"]).rc == 0
    assert holding(kept, shown["epoch"] + 1) >= 2


def test_stopped_keeper_costs_its_deadline_at_most_and_follows_later(kept: Platform) -> None:
    kept.kill("keeper3", number=signal.SIGSTOP)
    won = kept.claim("db2", 1)
    assert won.rc == 0 and won.seconds < 3, won
    assert kept.states()["keeper3"] == "silent"
    kept.kill("keeper3", number=signal.SIGCONT)
    for epoch in range(2, 9):
        assert kept.claim("db1", epoch).rc == 0
        # On a busy machine it may be late once more.
        if kept.register("keeper3")["value"]["epoch"] == epoch + 1:
            break
    else:
        pytest.fail("a keeper that was stopped hears of nothing any more")


def test_keeper_that_lost_its_disk_learns_before_it_votes(kept: Platform) -> None:
    assert kept.claim("db2", 1).rc == 0
    life = kept.register("keeper1")["life"]
    kept.kill("keeper1", "keeper2")
    (kept.here / "keeper1/state/register.json").unlink()
    kept.start("keeper1")
    # It could only ask one of the others, and that one may be the one that knows nothing of epoch 2.
    assert kept.states()["keeper1"] == "empty"
    assert kept.claim("db1", 2).rc == 4, "a keeper without a register has voted"
    kept.start("keeper2")
    eventually(lambda: kept.states()["keeper1"] == "voting")
    assert kept.register("keeper1")["life"] != life
    assert kept.register("keeper1")["value"]["epoch"] == 2
    kept.kill("keeper2")
    assert kept.claim("db1", 2).rc == 0


def test_first_record_needs_all_keepers(bare: Platform) -> None:
    bare.kill("keeper2")
    with pytest.raises(Exception, match="returned non-zero"):
        bare.found()
    assert not (bare.here / "keeper1/state/register.json").exists()
    bare.start("keeper2")
    bare.found()
    assert bare.call("db1", "show").result["record"]["epoch"] == 1


def test_creation_that_was_cut_off_goes_on(bare: Platform) -> None:
    """One keeper has got its first register. The empty ones must not ask it for promises: those tell of a record."""
    bare.kill("keeper1")
    own = keeper.Keeper(settings.read(bare.here / "keeper1/settings.json"))
    assert own.answer("found", {"keepers": bare.names, "life": own.look()["life"]}, "db1")["ok"]
    bare.start("keeper1")
    time.sleep(3 * keeper.LEARN_SECONDS)
    assert bare.register("keeper1")["promised"] == [0, ""]
    bare.found()
    assert bare.call("db1", "show").result["record"]["epoch"] == 1


def test_register_that_is_damaged_or_anothers_has_no_vote(kept: Platform) -> None:
    path = kept.here / "keeper1/state/register.json"
    for spoil, reason in (("{", "is damaged"), ("keeper2", "is that of keeper2")):
        kept.kill("keeper1")
        text = (kept.here / "keeper2/state/register.json").read_text() if spoil == "keeper2" else spoil
        path.write_text(text)
        kept.start("keeper1")
        row = next(row for row in kept.call("db1", "show").result["keepers"] if row["keeper"] == "keeper1")
        assert row["state"] == "stuck" and reason in row["error"] and "move" in row["error"]
        assert path.read_text() == text, "nothing is ever deleted or overwritten"
    assert kept.claim("db2", 1).rc == 0, "the other two are a majority"


def test_hosts_that_know_other_keepers_are_turned_away(kept: Platform) -> None:
    kept.configure("db2", keepers={name: kept.places[name] for name in ("keeper1", "keeper2")} | {"new": ["::1", 1]})
    refused = kept.claim("db1", 1)
    assert refused.rc == 4 and "run site.yml --tags primary_record" in refused.error
    assert kept.call("db1", "show").result["record"]["epoch"] == 1


@pytest.mark.parametrize(
    ("old", "new", "safe"),
    [
        ("abc", "abc", True),
        ("abc", "abd", True),
        ("abc", "abcde", True),
        ("abcde", "abcdf", True),
        ("abc", "ade", False),
        ("abcde", "abc", False),
        ("abc", "abdef", False),
    ],
)
def test_list_of_keepers_changes_in_steps_that_lose_nothing(old: str, new: str, safe: bool) -> None:
    assert keeper.safe_change(list(old), list(new)) is safe


def test_only_database_hosts_and_keepers_change_it(kept: Platform) -> None:
    assert kept.call("app1", "show").rc == 0
    refused = kept.call("app1", *kept.claim_argv("db1", 1))
    assert refused.rc == 4 and "app1 may look at the record" in refused.error
    assert kept.call("db1", "show").result["record"]["epoch"] == 1


def context(folder: Path, ca: Path) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=ca / "ca.crt")
    if (folder / "host.crt").exists():
        made.load_cert_chain(folder / "host.crt", folder / "host.key")
    return made


def answered(place: tuple[str, int], tls: ssl.SSLContext | None) -> bytes:
    """Return what a keeper says to somebody; nothing when it hangs up in any way."""
    with contextlib.suppress(OSError), socket.create_connection(place, timeout=5) as plain:
        with tls.wrap_socket(plain, server_hostname="keeper1") if tls else plain as channel:
            channel.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            return channel.recv(100)
    return b""


def test_strangers_are_turned_away(kept: Platform) -> None:
    """No certificate, one of another CA, and no TLS at all."""
    authority.ensure(kept.here / "other", PASSPHRASE, create=True)
    certificate(kept.here / "other", kept.here / "stranger", "db1")
    place = (kept.places["keeper1"][0], kept.places["keeper1"][1])
    assert answered(place, context(kept.here / "app1/tls", kept.ca)).startswith(b"HTTP/1.1 200 OK")
    assert answered(place, context(kept.here / "nobody", kept.ca)) == b""
    assert answered(place, context(kept.here / "stranger", kept.ca)) == b""
    assert answered(place, None) == b""


def metrics(kept: Platform, name: str) -> str:
    """Read a keeper's page as Prometheus does, by its address."""
    tls = context(kept.here / "app1/tls", kept.ca)
    tls.check_hostname = False
    address, port = kept.places[name]
    with urllib.request.urlopen(f"https://{address}:{port}/metrics", context=tls, timeout=5) as page:
        return page.read().decode()


def test_metrics_tell_the_record(kept: Platform) -> None:
    page = metrics(kept, "keeper2")
    assert 'nano_primary_record_epoch{host="db1"} 1\n' in page
    assert "nano_primary_record_voting 1\n" in page and "nano_primary_record_keepers 3\n" in page


def test_silent_connections_delay_nobody(kept: Platform) -> None:
    """More than it serves at once, none of which says a word; they are dropped after five seconds."""
    crowd = [socket.create_connection(tuple(kept.places[name])) for name in kept.names for _ in range(70)]
    try:
        eventually(lambda: kept.call("db1", "show").rc == 0, 15)
    finally:
        for each in crowd:
            each.close()


def test_renewed_certificate_is_shown_without_a_restart(kept: Platform) -> None:
    def serial() -> int:
        address, port = kept.places["keeper1"]
        tls = context(kept.here / "app1/tls", kept.ca)
        with socket.create_connection((address, port)) as plain:
            with tls.wrap_socket(plain, server_hostname="keeper1") as secure:
                return int(str(secure.getpeercert()["serialNumber"]), 16)

    before = serial()
    time.sleep(0.01)
    certificate(kept.ca, kept.here / "keeper1/tls", "keeper1")
    assert serial() != before


def test_disk_that_fails_changes_nothing(kept: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be written to the disk is neither answered nor remembered."""
    kept.kill("keeper1")
    own = keeper.Keeper(settings.read(kept.here / "keeper1/settings.json"))
    before = own.register

    def fail(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(keeper, "replace_file", fail)
    message = {"ballot": [99, "x"], "keepers": kept.names}
    with pytest.raises(OSError, match="No space left"):
        own.answer("prepare", message, "db1")
    assert own.register == before
    monkeypatch.undo()
    assert own.answer("prepare", message, "db1")["ok"]


def test_first_register_is_for_the_life_that_was_seen_empty(bare: Platform) -> None:
    bare.kill("keeper1")
    own = keeper.Keeper(settings.read(bare.here / "keeper1/settings.json"))
    message = {"keepers": bare.names}
    assert not own.answer("found", {**message, "life": "an earlier one"}, "db1")["ok"]
    assert own.answer("prepare", {**message, "ballot": [1, "x"]}, "db1") == {"ok": False, "why": "empty"}
    assert own.answer("found", {**message, "life": own.look()["life"]}, "db1")["ok"]
    assert not own.answer("found", {**message, "life": own.look()["life"]}, "db1")["ok"], "a register was replaced"


def test_what_is_no_record_is_not_taken(kept: Platform) -> None:
    kept.kill("keeper1")
    own = keeper.Keeper(settings.read(kept.here / "keeper1/settings.json"))
    message = {"ballot": [99, "x"], "keepers": kept.names}
    life = own.answer("prepare", message, "db1")["life"]
    good = {"epoch": 9, "host": "db1", "system_identifier": "1", "timeline": 1, "time": "x", "claim": "x"}
    for wrong in ("x", {**good, "epoch": "9"}, {**good, "system_identifier": "x"}, {**good, "timeline": True}):
        with pytest.raises(ValueError, match="no record"):
            own.answer("accept", {**message, "value": wrong, "life": life}, "db1")
    assert own.answer("accept", {**message, "value": good, "life": life}, "db1")["ok"]
    assert record.valid(good) == ""
    for ballot in (None, [], [1], ["1", "x"], [-1, "x"], [True, "x"], [1, 2]):
        with pytest.raises(ValueError, match="is no ballot"):
            register.as_ballot(ballot)
