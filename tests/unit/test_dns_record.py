"""Records made, moved and checked at two name servers of BIND that know nothing of each other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .bind import ZONE, Pair
from .conftest import ROOT
from .modules import run_module

A, B, C = "10.0.1.21", "10.0.2.31", "10.0.3.41"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    pair = Pair(tmp_path_factory.mktemp("dns"))
    try:
        for server in pair.both:
            server.start()
        yield pair
    finally:
        for server in pair.both:
            server.end()


@pytest.fixture
def pair(running: Pair) -> Iterator[Pair]:
    """Two servers that run and have no record."""
    for server in running.both:
        for name in ("api", "db"):
            said = server.update(f"update delete {name}.{ZONE}. A", f"update delete {name}.{ZONE}. TXT")
            assert said == ""
    yield running
    for server in running.both:
        if server.process is None or server.process.poll() is not None:
            server.start()


def held(pair: Pair, name: str = "api") -> list[tuple[str, int]]:
    return [server.holds(name) for server in pair.both]


def test_a_missing_record_is_made_at_each_server_once(pair: Pair) -> None:
    first = pair.present(A)
    assert not first.failed, first.message
    assert first.changed and first["records"]["api"]["changed"] == [server.address for server in pair.both]
    assert held(pair) == [(A, 1)] * 2
    assert not pair.present(A).changed


def test_a_record_that_is_elsewhere_is_not_moved(pair: Pair) -> None:
    """A run of site.yml after a failover, with an inventory that is old by now."""
    pair.present(A)
    pair.move(B, A)
    again = pair.present(A)
    assert (again.failed, again.changed) == (False, False)
    assert again["records"]["api"]["values"] == {server.address: [B] for server in pair.both}
    assert held(pair) == [(B, 2)] * 2


def test_a_record_is_moved_at_each_server_and_the_second_time_nothing_changes(pair: Pair) -> None:
    pair.present(A)
    moved = pair.move(B, A)
    assert not moved.failed, moved.message
    assert moved["records"]["api"]["values"] == {server.address: [B] for server in pair.both}
    assert moved["silent"] == {} and held(pair) == [(B, 2)] * 2
    again = pair.move(B, A)
    assert (again.failed, again.changed) == (False, False), again.message
    assert held(pair) == [(B, 2)] * 2


def test_others_may_keep_it_for_thirty_seconds(pair: Pair) -> None:
    pair.present(A)
    assert f"api.{ZONE}. 30 IN A {A}" in " ".join(pair.ops1.dig(f"api.{ZONE}.", "A").split())
    assert pair.record({"value": A, "ttl": 60}).changed
    assert f"api.{ZONE}. 60 IN A {A}" in " ".join(pair.store1.dig(f"api.{ZONE}.", "A").split())
    assert held(pair) == [(A, 1)] * 2, "a TTL is no move"


def test_both_names_move_in_one_call(pair: Pair) -> None:
    pair.record({"name": "api", "value": A}, {"name": "db", "value": "10.0.1.22"})
    moved = pair.record({"name": "api", "value": B}, {"name": "db", "value": "10.0.2.32"}, state="moved")
    assert not moved.failed, moved.message
    assert (held(pair, "api"), held(pair, "db")) == ([(B, 2)] * 2, [("10.0.2.32", 2)] * 2)


def test_a_record_that_is_not_where_it_was_expected_is_left_alone(pair: Pair) -> None:
    pair.present(C)
    moved = pair.move(B, A)
    assert moved.failed and f"not where it was expected, at {A}" in moved.message
    assert f"{pair.ops1.address} has {C}" in moved.message and "Nothing was changed" in moved.message
    assert held(pair) == [(C, 1)] * 2


def test_a_lost_server_does_not_stop_a_move_but_is_told(pair: Pair) -> None:
    for lost, left in (pair.both, pair.both[::-1]):
        pair.present(A)
        lost.end()
        moved = pair.move(B)
        assert not moved.failed, moved.message
        assert list(moved["silent"]) == [lost.address] and "connection refused" in moved["silent"][lost.address]
        assert left.holds()[0] == B
        lost.start()
        # It is behind, and learns by the next run.
        assert pair.present(A).changed
        assert held(pair)[0] == held(pair)[1] and held(pair)[0][0] == B
        pair.move(A)


def test_a_server_that_hangs_costs_its_deadline_and_no_more(pair: Pair) -> None:
    pair.present(A)
    pair.ops1.pause()
    try:
        started = time.monotonic()
        moved = pair.move(B, A, seconds=2)
        took = time.monotonic() - started
    finally:
        pair.ops1.end(9)
    assert not moved.failed, moved.message
    assert list(moved["silent"]) == [pair.ops1.address] and pair.store1.holds() == (B, 2)
    # Once, to look. The rest is for two busy cores.
    assert 2 <= took < 2 + 2


def test_a_silent_server_may_know_better_when_a_record_would_be_made(pair: Pair) -> None:
    pair.present(A)
    pair.move(B, A)
    pair.store1.end()
    pair.ops1.update(f"update delete api.{ZONE}. A", f"update delete api.{ZONE}. TXT")
    made = pair.present(A)
    assert made.failed and "may know better" in made.message and pair.store1.address in made.message
    assert pair.ops1.holds() == ("", 0)
    pair.store1.start()
    # The one that lost everything gets what the other has, not what the inventory says.
    assert pair.present(A).changed
    assert held(pair) == [(B, 2)] * 2


def test_no_server_at_all_is_a_failure(pair: Pair) -> None:
    for server in pair.both:
        server.end()
    moved = pair.move(B)
    assert moved.failed and "no name server answers, nothing was changed" in moved.message


def test_servers_that_disagree_are_told_and_settled_by_a_person(pair: Pair) -> None:
    for server, value in zip(pair.both, (A, B), strict=True):
        server.update(f"update add api.{ZONE}. 30 A {value}", f'update add api.{ZONE}. 30 TXT "nano-version=4"')
    stuck = pair.present(C)
    assert stuck.failed and f"{pair.ops1.address} has {A}, {pair.store1.address} has {B}" in stuck.message
    assert held(pair) == [(A, 4), (B, 4)]
    assert not pair.move(B).failed
    assert held(pair) == [(B, 5)] * 2


def test_a_move_that_was_cut_off_is_finished_by_the_next(pair: Pair) -> None:
    pair.present(A)
    assert not pair.move(B, A, servers=[pair.ops1.address]).failed
    assert held(pair) == [(B, 2), (A, 1)]
    done = pair.move(B, A)
    assert done["records"]["api"]["changed"] == [pair.store1.address]
    assert held(pair) == [(B, 2)] * 2


def test_of_two_operators_one_wins_everywhere(pair: Pair) -> None:
    """Each in a process of its own, at once, many times: never a mixture, and never two who think they won."""
    argv = [sys.executable, "-m", "tests.unit.modules", "dns_record"]
    env = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}:{ROOT / 'collections'}",
        "PATH": pair.path,
        "LD_LIBRARY_PATH": pair.libraries,
    }
    pair.present(A)
    refused = 0
    for _ in range(8):
        before = held(pair)
        assert before[0] == before[1] == (A, before[0][1])
        running = []
        for value in (B, C):
            options = pair.options({"value": value, "expect": [A]}, state="moved")
            process = subprocess.Popen(
                argv, cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            assert process.stdin
            process.stdin.write(json.dumps(options))
            process.stdin.close()
            running.append((value, process))
        answers = {}
        for value, process in running:
            assert process.stdout
            answers[value] = json.loads(process.stdout.read().splitlines()[-1])
            process.wait(30)
        won = [value for value, answer in answers.items() if not answer.get("failed")]
        assert len(won) == 1, answers
        assert held(pair) == [(won[0], before[0][1] + 1)] * 2
        (lost,) = (answer["msg"] for value, answer in answers.items() if value not in won)
        assert "not where it was expected" in lost or "changed by somebody else meanwhile" in lost
        refused += "meanwhile" in lost
        pair.move(A)
    print(f"{refused} of 8 were refused by the server itself")


def test_check_mode_tells_and_changes_nothing(pair: Pair) -> None:
    assert pair.present(A, check=True).changed and held(pair) == [("", 0)] * 2
    pair.present(A)
    told = pair.move(B, A, check=True)
    assert told.changed and held(pair) == [(A, 1)] * 2
    assert f"api.{ZONE} at {pair.ops1.address}: {A}, 30 s, moved 1 times" in told["diff"]["before"]
    assert f"api.{ZONE} at {pair.store1.address}: {B}, 30 s, moved 2 times" in told["diff"]["after"]
    assert not pair.present(A, check=True).changed


def test_looking_changes_nothing(pair: Pair) -> None:
    pair.present(A)
    seen = pair.record({}, state="seen")
    assert not seen.changed and seen["records"]["api"]["values"][pair.store1.address] == [A]


def test_a_bare_host_is_not_held_against_check_mode(tmp_path: Path) -> None:
    options = {"zone": ZONE, "servers": ["192.0.2.1"], "records": [{"name": "api", "value": A}]}
    options["key_file"] = str(tmp_path / "none")
    assert run_module("dns_record", options, check=True).changed
    failed = run_module("dns_record", options)
    assert failed.failed and "none: role dns brings them" in failed.message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"zone": "nano.example\nsend"}, "is no name of a zone"),
        ({"records": [{"name": "api. A", "value": A}]}, "is no name of a zone or record"),
        ({"records": [{"name": "api", "value": "10.0.0.1\nsend"}]}, "is no IPv4 address"),
        ({"records": [{"name": "api"}]}, "an empty value is no IPv4 address"),
        ({"servers": ["ops1"]}, "ops1 is no IPv4 address"),
        ({"servers": []}, "must not be empty"),
        ({"seconds": 0}, "seconds must be"),
    ],
)
def test_what_would_become_another_command_is_refused(change: dict, message: str) -> None:
    options = {"zone": ZONE, "servers": ["192.0.2.1"], "records": [{"name": "api", "value": A}]}
    result = run_module("dns_record", {**options, **change})
    assert result.failed and message in result.message


def test_another_key_changes_nothing(pair: Pair, tmp_path: Path) -> None:
    pair.present(A)
    for key in ("x" * 32, ""):
        said = pair.ops1.update(f"update delete api.{ZONE}. A", key=key)
        assert "NOTAUTH" in said or "REFUSED" in said, said
    wrong = tmp_path / "wrong.key"
    wrong.write_text((pair.ops1.folder / "nano.key").read_text().replace('secret "', 'secret "AAAA'))
    result = pair.move(B, key_file=str(wrong))
    assert result.failed and "does not know our key" in result.message
    assert held(pair) == [(A, 1)] * 2


@pytest.mark.parametrize(
    "line",
    [
        f"update add www.{ZONE}. 30 A {A}",
        f"update add {ZONE}. 30 NS elsewhere.example.",
        f"update add ns-ops1.{ZONE}. 30 A {A}",
        f"update delete {ZONE}. NS",
        f"update add api.{ZONE}. 30 CNAME elsewhere.example.",
        f"update add api.{ZONE}. 30 NS elsewhere.example.",
        f"update add x.api.{ZONE}. 30 A {A}",
    ],
)
def test_the_key_opens_two_names_and_two_types(pair: Pair, line: str) -> None:
    assert "REFUSED" in pair.ops1.update(line)


def test_the_server_tells_no_more_than_it_must(pair: Pair) -> None:
    pair.present(A)
    plain = pair.ops1.dig(f"api.{ZONE}.", "A")
    assert "flags: qr aa rd;" in plain and "recursion requested but not available" in plain
    assert "status: REFUSED" in pair.ops1.dig("www.debian.org.", "A")
    for key in ((), ("-k", str(pair.ops1.folder / "nano.key"))):
        assert "Transfer failed" in pair.ops1.dig(*key, ZONE, "AXFR")
    for name in ("version.bind.", "hostname.bind.", "authors.bind.", "id.server."):
        answer = pair.ops1.dig("CH", "TXT", name)
        assert "ANSWER: 0" in answer or "status: REFUSED" in answer, answer
