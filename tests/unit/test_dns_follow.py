"""A name server that was away catches up with the other by itself, with BIND's own programs."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .bind import ROLE, ZONE, NameServer, Pair

A, B = "10.0.1.21", "10.0.2.31"
INTERVAL = 0.3


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program beside what it imports, as the role puts them."""
    folder = tmp_path_factory.mktemp("program")
    for name in ("nano-dns-follow", "dns_update.py"):
        (folder / name).write_text((ROLE / "files" / name).read_text())
    return folder / "nano-dns-follow"


class Follower:
    """The program at work for one server."""

    def __init__(self, program: Path, own: NameServer, other: NameServer) -> None:
        self.metrics = own.folder / "nano_dns.prom"
        self.metrics.unlink(missing_ok=True)
        argv = [program, "--zone", ZONE, "--own", own.address, "--others", other.address, "--names", "api", "db"]
        argv += ["--key", own.folder / "nano.key", "--metrics", self.metrics, "--interval", INTERVAL]
        self.out = own.folder / "follow.log"
        with self.out.open("wb") as out:
            env = {**own.env, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
            self.process = subprocess.Popen(["/usr/bin/python3", *map(str, argv)], env=env, stdout=out, stderr=out)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.read_text().splitlines()]

    def shows(self, row: str) -> bool:
        return self.metrics.exists() and row in self.metrics.read_text().splitlines()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    pair = Pair(tmp_path_factory.mktemp("follow"))
    try:
        for server in pair.both:
            server.start()
        yield pair
    finally:
        for server in pair.both:
            server.end()


@pytest.fixture
def pair(running: Pair) -> Pair:
    for server in running.both:
        for name in ("api", "db"):
            server.update(f"update delete {name}.{ZONE}. A", f"update delete {name}.{ZONE}. TXT")
    return running


@pytest.fixture
def follower(pair: Pair, program: Path) -> Iterator[Follower]:
    """It follows for ops1."""
    found = Follower(program, pair.ops1, pair.store1)
    yield found
    found.process.terminate()
    found.process.wait(20)


def eventually(check: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)


def looked(follower: Follower) -> None:
    """Wait until it has looked twice more."""
    for _ in range(2):
        follower.metrics.unlink(missing_ok=True)
        eventually(follower.metrics.exists)


def test_a_server_that_was_away_gets_what_it_missed(pair: Pair, follower: Follower) -> None:
    pair.present(A)
    pair.ops1.end()
    assert not pair.move(B, A).failed
    pair.ops1.start()
    eventually(lambda: pair.ops1.holds() == (B, 2))
    eventually(lambda: any(line["action"] == "caught up" for line in follower.lines()))
    (line,) = (line for line in follower.lines() if line["action"] == "caught up")
    assert (line["about"], line["address"], line["version"]) == (f"api.{ZONE}", B, 2)


def test_a_server_that_lost_everything_gets_all_of_it(pair: Pair, follower: Follower) -> None:
    pair.record({"name": "api", "value": A}, {"name": "db", "value": "10.0.1.22"})
    pair.ops1.end()
    for path in pair.ops1.folder.glob(f"{ZONE}.zone*"):
        path.unlink()
    pair.ops1.start()
    eventually(lambda: pair.ops1.holds() == (A, 1) and pair.ops1.holds("db") == ("10.0.1.22", 1))


def test_it_never_goes_back_to_what_is_older(pair: Pair, follower: Follower) -> None:
    pair.present(A)
    pair.move(B, A, servers=[pair.ops1.address])
    looked(follower)
    assert (pair.ops1.holds(), pair.store1.holds()) == ((B, 2), (A, 1))


def test_it_chooses_none_of_two_that_are_equally_new(pair: Pair, follower: Follower) -> None:
    for server, value in zip(pair.both, (A, B), strict=True):
        server.update(f"update add api.{ZONE}. 30 A {value}", f'update add api.{ZONE}. 30 TXT "nano-version=4"')
    eventually(lambda: follower.shows(f'nano_dns_servers_disagree{{name="api.{ZONE}"}} 1'))
    looked(follower)
    assert (pair.ops1.holds(), pair.store1.holds()) == ((A, 4), (B, 4))
    told = [line for line in follower.lines() if line["level"] == "error"]
    assert len(told) == 1 and "only a person can tell" in told[0]["action"], "once, not at every look"


def test_it_makes_no_name_that_nobody_has(pair: Pair, follower: Follower) -> None:
    looked(follower)
    assert pair.ops1.holds() == ("", 0)


def test_figures_tell_who_answers_and_what(pair: Pair, follower: Follower) -> None:
    pair.present(A)
    eventually(lambda: follower.shows(f'nano_dns_record_info{{name="api.{ZONE}",address="{A}"}} 1'))
    assert follower.shows(f'nano_dns_record_version{{name="api.{ZONE}"}} 1')
    # A look may have fallen between the answers of the two.
    eventually(lambda: follower.shows(f'nano_dns_servers_disagree{{name="api.{ZONE}"}} 0'))
    assert follower.shows(f'nano_dns_server_answers{{server="{pair.store1.address}"}} 1')
    assert oct(os.stat(follower.metrics).st_mode & 0o777) == "0o644"
    pair.store1.end()
    try:
        eventually(lambda: follower.shows(f'nano_dns_server_answers{{server="{pair.store1.address}"}} 0'))
        # What is said of a name stays what this server gives for it.
        assert follower.shows(f'nano_dns_record_info{{name="api.{ZONE}",address="{A}"}} 1')
    finally:
        pair.store1.start()


def test_it_lives_on_without_a_server_of_its_own(pair: Pair, follower: Follower) -> None:
    pair.ops1.end()
    try:
        eventually(lambda: follower.shows(f'nano_dns_server_answers{{server="{pair.ops1.address}"}} 0'))
        assert follower.process.poll() is None
        assert not any(row.startswith("nano_dns_record_version{") for row in follower.metrics.read_text().splitlines())
    finally:
        pair.ops1.start()
