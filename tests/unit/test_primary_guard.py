"""The guard in front of a real PostgreSQL, and the watch beside it: what starts, what does not, and what is stopped.

Needs root, to run PostgreSQL as its own user, and a PostgreSQL of Debian's.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .keepers import Platform, eventually, platform
from .primary_record import register
from .scratch import BIN, VERSION

from nano_primary_record import data, guard, rounds, settings  # isort: skip

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not VERSION or not Path("/usr/bin/python3").exists(),
    reason="needs root and Debian's packages of PostgreSQL and Python",
)
AS_POSTGRES = ("setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups")
OPTIONS = ("-c", "listen_addresses=", "-c", "fsync=off", "-c", "shared_buffers=16MB", "-c", "max_wal_senders=3")


class Host:
    """A database host: its data directory, the server that its unit would run, and the watch."""

    def __init__(self, made: Platform, name: str, template: Path) -> None:
        self.platform, self.name = made, name
        folder = made.here / name
        owner = pwd.getpwnam("postgres")
        self.data = folder / f"postgresql/{VERSION}/main"
        self.socket = folder / "run"
        self.socket.mkdir()
        self.data.parent.mkdir(parents=True)
        subprocess.run(["cp", "--archive", template, self.data], check=True)
        for path in (self.socket, *folder.rglob("tls/*"), folder / "state"):
            os.chown(path, owner.pw_uid, owner.pw_gid)
        self.server: subprocess.Popen[str] | None = None
        self.log = folder / "server.log"

    def follow(self) -> None:
        """Make its data a standby's."""
        (self.data / "standby.signal").touch()
        shutil.chown(self.data / "standby.signal", "postgres")

    @property
    def identifier(self) -> str:
        return data.read(self.data).system_identifier

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of the program as user postgres, who cannot use every Python."""
        return [*AS_POSTGRES, "/usr/bin/python3", *self.platform.argv(self.name, *arguments)[1:]]

    def start(self) -> None:
        """Do what the unit does."""
        server = [f"{BIN}/postgres", "-D", str(self.data), "-k", str(self.socket), *OPTIONS]
        argv = self.command("run", "--data", str(self.data), "--", *server)
        self.server = subprocess.Popen(argv, env=self.platform.env, stdout=self.log.open("a"), stderr=subprocess.STDOUT)

    def ends(self, seconds: float = 15) -> int:
        """Return the exit code of the server, or of the guard in front of it."""
        assert self.server
        return self.server.wait(timeout=seconds)

    def sql(self, text: str) -> str:
        """Ask the server; "" if it does not answer."""
        argv = [*AS_POSTGRES, f"{BIN}/psql", "-XAtqc", text, f"host={self.socket} dbname=postgres connect_timeout=2"]
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=20, cwd="/").stdout.strip()

    def serves(self) -> bool:
        return self.sql("SELECT 1") == "1"

    def says(self, text: str) -> bool:
        return text in self.log.read_text()

    def claim(self, epoch: int, timeline: int = 1) -> None:
        """Make this host the primary of the record."""
        argv = self.platform.claim_argv(self.name, epoch, timeline, self.identifier)
        done = self.platform.call(self.name, *argv)
        assert done.rc == 0, done.error

    def watch(self) -> subprocess.Popen[bytes]:
        log = (self.platform.here / self.name / "watch.log").open("a")
        return subprocess.Popen(self.command("watch"), env=self.platform.env, stdout=log, stderr=log)

    def close(self) -> None:
        for pid in data.processes(self.data):
            os.kill(pid, signal.SIGKILL)
        if self.server:
            self.server.kill()
            self.server.wait(timeout=10)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cluster that was started and stopped once: initdb writes WAL that no standby can follow."""
    folder = Path(f"/tmp/nano-guard-{os.getpid()}")
    folder.mkdir(mode=0o755)
    shutil.chown(folder, "postgres", "postgres")
    argv = [*AS_POSTGRES, f"{BIN}/initdb", "--no-sync", "--auth=trust", "-D", str(folder / "main")]
    subprocess.run(argv, check=True, capture_output=True, cwd="/", timeout=120)
    options = " ".join([*OPTIONS, "-k", str(folder)])
    for action in (["start", "-o", options, "-l", "/dev/null"], ["stop"]):
        argv = [*AS_POSTGRES, f"{BIN}/pg_ctl", *action, "-w", "-D", str(folder / "main")]
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, cwd="/", timeout=60)
    yield folder / "main"
    shutil.rmtree(folder)


@pytest.fixture
def hosts(template: Path) -> Iterator[tuple[Platform, Host, Host]]:
    """Running keepers, and two hosts with copies of one cluster; db1 is the primary of the record."""
    with platform() as made:
        made.start()
        db1, db2 = Host(made, "db1", template), Host(made, "db2", template)
        done = made.call("db1", "create")
        assert done.rc == 0 and done.result["changed"], done.error
        try:
            yield made, db1, db2
        finally:
            db1.close()
            db2.close()


def test_first_record_is_made_of_what_the_data_say_and_once(hosts: tuple[Platform, Host, Host]) -> None:
    made, db1, _ = hosts
    shown = made.call("db2", "show").result["record"]
    assert (shown["host"], shown["system_identifier"], shown["timeline"]) == ("db1", db1.identifier, 1)
    again = made.call("db1", "create")
    assert again.rc == 0 and again.result == {"changed": False, "record": shown}
    other = made.call("db2", "create")
    assert other.rc == 3 and "names db1 as the primary, and the data here are a primary's too" in other.error


def test_primary_of_the_record_starts_and_comes_back_from_a_crash(hosts: tuple[Platform, Host, Host]) -> None:
    _, db1, _ = hosts
    db1.start()
    eventually(db1.serves, 30)
    assert data.server(db1.data) == db1.server.pid, "the guard has become PostgreSQL: one process for the unit"
    db1.server.kill()
    db1.ends()
    started = time.monotonic()
    db1.start()
    eventually(db1.serves, 30)
    print(f"back after {time.monotonic() - started:.2f} s")


def test_another_primary_is_refused_with_what_to_type(hosts: tuple[Platform, Host, Host]) -> None:
    made, db1, db2 = hosts
    db2.start()
    assert db2.ends() == guard.REFUSED
    words = db2.log.read_text()
    assert "names db1 as the primary, and the data here are a primary's too" in words
    typed = re.search(r"nano-primary-record (claim --host db2 .*?), then start it", words)
    assert typed and made.call("db2", *typed[1].split()).rc == 0, "what it says to type does not work"
    db2.start()
    eventually(db2.serves, 30)
    db1.start()
    assert db1.ends() == guard.REFUSED


def test_check_tells_what_the_guard_would_do(hosts: tuple[Platform, Host, Host]) -> None:
    made, db1, db2 = hosts
    found = made.call("db1", "check")
    own = {"kind": "primary", "timeline": 1, "system_identifier": db1.identifier, "path": str(db1.data)}
    assert (found.rc, found.result["verdict"], found.result["data"]) == (0, "allowed", {**own, "running": False})
    found = made.call("db2", "check")
    assert (found.rc, found.result["verdict"]) == (3, "refused") and found.result["data"]["timeline"] == 1
    db2.follow()
    assert made.call("db2", "check").rc == 0
    made.kill("keeper1", "keeper2")
    found = made.call("db1", "check")
    assert (found.rc, found.result["verdict"]) == (4, "undecided") and "keeper2: " in found.error


def test_standby_starts_without_any_keeper(hosts: tuple[Platform, Host, Host]) -> None:
    made, _, db2 = hosts
    made.kill(*made.names)
    db2.follow()
    db2.start()
    eventually(lambda: db2.sql("SELECT pg_is_in_recovery()") == "t", 30)


def test_without_a_majority_it_waits_and_starts_by_itself(hosts: tuple[Platform, Host, Host]) -> None:
    """A reboot of the whole platform: the database host is there before the keepers are."""
    made, db1, _ = hosts
    made.kill(*made.names)
    db1.start()
    eventually(lambda: db1.says("No majority of the keepers tells who is the primary"))
    assert db1.says("keeper2: ") and db1.says(guard.OVERRIDE)
    made.start("keeper1")
    time.sleep(2 * guard.ASK_AGAIN_SECONDS)
    assert not db1.serves() and db1.server.poll() is None, "one keeper of three is not enough"
    made.start("keeper2")
    eventually(db1.serves, 30)
    # Once for each new finding, not once for each try.
    assert db1.log.read_text().count("No majority") <= 4


def test_stop_while_it_waits_is_no_failure(hosts: tuple[Platform, Host, Host]) -> None:
    made, db1, _ = hosts
    made.kill(*made.names)
    db1.start()
    eventually(lambda: db1.says("No majority"))
    db1.server.send_signal(signal.SIGINT)
    assert db1.ends() == -signal.SIGINT, "systemd counts the signal that it sent as a clean end, and no exit code"
    assert not db1.says("Traceback")


def test_override_lets_one_start_go(hosts: tuple[Platform, Host, Host]) -> None:
    made, db1, _ = hosts
    made.kill(*made.names)
    assert made.call("db1", "override").rc == 2, "without the sentence it does nothing"
    done = made.call("db1", *guard.OVERRIDE.split()[1:])
    assert done.rc == 0, done.error
    db1.start()
    eventually(db1.serves, 30)
    assert db1.says("OVERRIDE by ")
    running = made.call("db1", *guard.OVERRIDE.split()[1:])
    assert running.rc == 3 and "PostgreSQL runs" in running.error
    db1.server.kill()
    db1.ends()
    db1.log.write_text("")
    db1.start()
    eventually(lambda: db1.says("No majority"))
    assert not db1.serves(), "the override counted twice"


def test_override_does_not_beat_a_record_that_is_known(hosts: tuple[Platform, Host, Host]) -> None:
    made, _, db2 = hosts
    assert made.call("db2", *guard.OVERRIDE.split()[1:]).rc == 0
    db2.start()
    assert db2.ends() == guard.REFUSED
    assert not (db2.socket / "override").exists(), "it would count for a later start"


def test_old_override_is_not_used(hosts: tuple[Platform, Host, Host], monkeypatch: pytest.MonkeyPatch) -> None:
    made, _, _ = hosts
    own = settings.read(made.here / "db1/settings.json")
    guard.override(own, "an operator")
    monkeypatch.setattr(guard, "OVERRIDE_SECONDS", -1.0)
    assert guard.take_override(own) == "" and not own.override.exists()


def test_running_primary_is_stopped_when_another_is_recorded(hosts: tuple[Platform, Host, Host]) -> None:
    made, db1, db2 = hosts
    db1.start()
    eventually(db1.serves, 30)
    watch = db1.watch()
    try:
        time.sleep(2)
        assert db1.serves(), "the primary of the record was stopped"
        db2.claim(1)
        started = time.monotonic()
        assert db1.ends() == 0
        print(f"stopped {time.monotonic() - started:.2f} s after the claim, with looks every 0.5 s")
        eventually(lambda: "nano_primary_record_fenced_total 1" in (made.here / "db1/state/metrics.prom").read_text())
        assert "names db2 as the primary" in (made.here / "db1/watch.log").read_text()
        # Its unit starts it again, and the guard says no.
        db1.start()
        assert db1.ends() == guard.REFUSED
    finally:
        watch.kill()
        watch.wait()


def test_paused_primary_is_killed_before_it_wakes(hosts: tuple[Platform, Host, Host]) -> None:
    _, db1, db2 = hosts
    db1.start()
    eventually(db1.serves, 30)
    with subprocess.Popen(
        [*AS_POSTGRES, f"{BIN}/psql", "-XAtq", f"host={db1.socket} dbname=postgres"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd="/",
    ) as session:
        session.stdin.write("SELECT 'here';\n")
        session.stdin.flush()
        assert session.stdout.readline() == "here\n"
        paused = data.processes(db1.data)
        assert len(paused) > 3
        for pid in paused:
            os.kill(pid, signal.SIGSTOP)
        db2.claim(1)
        watch = db1.watch()
        try:
            assert db1.ends() == -signal.SIGKILL
            eventually(lambda: not data.processes(db1.data))
        finally:
            watch.kill()
            watch.wait()


def test_losing_sight_of_the_keepers_stops_a_primary_only_if_that_was_chosen(
    hosts: tuple[Platform, Host, Host],
) -> None:
    made, db1, _ = hosts
    db1.start()
    eventually(db1.serves, 30)
    watch = db1.watch()
    made.kill(*made.names)
    time.sleep(5)
    watch.kill()
    watch.wait()
    assert db1.serves()
    made.configure("db1", isolated_stop_seconds=2)
    watch = db1.watch()
    try:
        assert db1.ends() == 0
        assert "no majority of the keepers has answered for" in (made.here / "db1/watch.log").read_text()
    finally:
        watch.kill()
        watch.wait()


def test_standby_is_never_stopped(hosts: tuple[Platform, Host, Host]) -> None:
    made, _, db2 = hosts
    db2.follow()
    db2.start()
    eventually(lambda: db2.sql("SELECT pg_is_in_recovery()") == "t", 30)
    watch = db2.watch()
    try:
        eventually(lambda: "nano_primary_record_majority 1" in read(made.here / "db2/state/metrics.prom"))
        time.sleep(1.5)
        assert db2.sql("SELECT pg_is_in_recovery()") == "t"
        # Promoted by hand, without a claim: the record still names db1.
        assert db2.sql("SELECT pg_promote()") in ("t", "")
        assert db2.ends() == 0
    finally:
        watch.kill()
        watch.wait()


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def test_timeline_of_a_promotion_is_known_before_its_first_checkpoint(hosts: tuple[Platform, Host, Host]) -> None:
    _, db1, _ = hosts
    db1.follow()
    db1.start()
    eventually(lambda: db1.sql("SELECT pg_is_in_recovery()") == "t", 30)
    assert data.read(db1.data).timeline == 1 and data.read(db1.data).kind == "standby"
    checkpointer = db1.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'")
    os.kill(int(checkpointer), signal.SIGSTOP)
    assert db1.sql("SELECT pg_promote()") == "t"
    db1.server.send_signal(signal.SIGQUIT)
    db1.ends()
    assert data.read(db1.data).timeline == 2 and data.read(db1.data).kind == "primary"
    db1.claim(1, timeline=2)
    db1.start()
    eventually(db1.serves, 30)


ALLOWED = {"epoch": 4, "host": "db1", "system_identifier": "7", "timeline": 3, "time": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("kind", "state", "record", "verdict", "words"),
    [
        ("primary", "agreed", {}, "allowed", "epoch 4"),
        ("standby", "agreed", {"host": "db2"}, "allowed", "a standby starts always"),
        ("standby", "unreachable", None, "allowed", "a standby starts always"),
        ("primary", "agreed", {"host": "db2"}, "refused", "names db2"),
        ("primary", "agreed", {"system_identifier": "8"}, "refused", "with cluster 8"),
        ("primary", "agreed", {"timeline": 4}, "refused", "an older copy"),
        ("primary", "agreed", {"timeline": 2}, "allowed", "epoch 4"),
        ("primary", "agreed", None, "undecided", "no record of who is the primary yet"),
        ("primary", "split", None, "undecided", "a change of the record is under way"),
        ("primary", "unreachable", None, "undecided", "keeper1: refused"),
    ],
)
def test_verdict(kind: str, state: str, record: dict | None, verdict: str, words: str) -> None:
    value: register.Value | None = None if record is None else {**ALLOWED, **record}
    own = data.Data(Path("/data"), kind, "7", 3)
    complaints = "keeper1: refused" if state == "unreachable" else ""
    found = guard.judge("db1", own, rounds.Reading(state, value, {}), complaints)
    assert found.kind == verdict and words in found.text
