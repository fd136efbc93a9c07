"""The database goes away, and comes back: the service recovers without a restart, and never lies."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from . import machine, programs
from .client import PASSWORD, Client, done
from .load import Load
from .machine import Postgres, Redis, Service, Store, wait_for

Env = dict[str, str]


@pytest.fixture(scope="module")
def own(scratch: Callable[[], Path], postgres: Postgres) -> Iterator[Postgres]:
    """Return a cluster that the tests may stop. (The other fixture skips them where there is no PostgreSQL.)"""
    server = Postgres(scratch())
    server.start()
    yield server
    if server.server.alive():
        server.stop()


@pytest.fixture
def own_env(own: Postgres, redis: Redis, store: Store) -> Env:
    name = f"nano_{uuid.uuid4().hex}"
    own.sql(f"CREATE DATABASE {name}")
    env = machine.environment(own, redis, store, name)
    assert machine.command(env, "migrate").returncode == 0
    return env


def register(client: httpx.Client) -> httpx.Response:
    new = {"email": f"{uuid.uuid4().hex}@example.org", "password": PASSWORD, "display_name": "Someone"}
    return client.post("/v1/users", json=new)


def test_a_restart_of_the_database_under_load(own: Postgres, own_env: Env, start: Callable[..., Service]) -> None:
    service = start(own_env, NANO_DATABASE_RETRY_SECONDS="30")
    with Client(service.url) as someone:
        someone.join()

    def read(client: httpx.Client) -> httpx.Response:
        return client.get(f"/v1/nanos/{uuid.uuid4()}")

    with Load(service.url, read, 4) as reads, Load(service.url, register, 2) as writes:
        wait_for(lambda: reads.done > 100 and writes.done > 5, "requests are answered")
        # Fast, as an operator's restart is: transactions are cut off.
        own.stop(signal.SIGINT)
        own.start()
        before = reads.done, writes.done
        wait_for(lambda: reads.done > before[0] + 100 and writes.done > before[1] + 5, "requests are answered again")
    assert reads.errors == writes.errors == []
    assert set(reads.statuses) == {404}
    # A commit that was cut off is told as such, and nothing else fails.
    assert set(writes.statuses) <= {201, 503}
    users = int(own.sql("SELECT count(*) - 1 FROM users", own_env["NANO_DATABASE_NAME"]))
    assert writes.statuses[201] <= users <= writes.done
    assert service.alive() and service.ready() == 200


def test_without_a_database_it_is_not_ready_and_says_so(
    own: Postgres, own_env: Env, start: Callable[..., Service]
) -> None:
    service = start(own_env, NANO_DATABASE_RETRY_SECONDS="0.2")
    assert service.ready() == 200
    own.stop()
    try:
        assert httpx.get(f"{service.url}/health/ready").json()["database"] == "unreachable"
        assert httpx.get(f"{service.url}/health/live").status_code == 200
        answer = httpx.get(f"{service.url}/v1/nanos/{uuid.uuid4()}")
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/unavailable")
        assert answer.headers["retry-after"]
        assert "error  database" in machine.command(own_env, "check").stdout
    finally:
        own.start()
    wait_for(lambda: service.ready() == 200, "ready again")


@contextlib.contextmanager
def standby_of(primary: Postgres, standby: Postgres) -> Iterator[None]:
    """Run a cluster as the standby of another, for the length of a block; both end with it."""
    shutil.rmtree(standby.here / "data")
    argv = [*standby.prefix, *programs.find("pg_basebackup"), "-D", str(standby.here / "data"), "-R", "-c", "fast"]
    argv += ["-d", f"host=127.0.0.1 port={primary.port} user=nano"]
    env = {**os.environ, "PGPASSWORD": machine.PASSWORD}
    try:
        subprocess.run(argv, check=True, cwd="/", capture_output=True, env=env)
        standby.start()
        yield
    finally:
        for server in (standby, primary):
            if server.server.alive():
                server.stop(signal.SIGQUIT)


def test_follows_the_primary_to_the_standby(
    scratch: Callable[[], Path], redis: Redis, store: Store, postgres: Postgres, start: Callable[..., Service]
) -> None:
    primary = Postgres(scratch(), "wal_level=replica", "hot_standby=on")
    with (primary.here / "data/pg_hba.conf").open("a") as hba:
        hba.write("host replication nano 127.0.0.1/32 scram-sha-256\n")
    primary.start()
    standby = Postgres(scratch())
    with standby_of(primary, standby):
        env = machine.environment(primary, redis, store, "nano")
        primary.sql("CREATE DATABASE nano")
        env["NANO_DATABASE_HOSTS"] = f"127.0.0.1:{standby.port},127.0.0.1:{primary.port}"
        assert machine.command(env, "migrate").returncode == 0
        service = start(env, NANO_DATABASE_RETRY_SECONDS="30")
        with Client(service.url) as someone:
            someone.join()
            synced = "SELECT count(*) FROM users"
            wait_for(lambda: standby.sql(synced, "nano") == "1", "the standby has the user")
            primary.stop(signal.SIGQUIT)
            standby.sql("SELECT pg_promote()")
            assert done(someone.get("/v1/users/me"))["email"] == someone.email
            someone.draft()
        assert standby.sql("SELECT count(*) FROM nanos", "nano") == "1"


def test_a_server_that_is_silent_does_not_use_up_the_time_of_the_next(env: Env, start: Callable[..., Service]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hosts = f"127.0.0.1:{silent.getsockname()[1]},{env['NANO_DATABASE_HOSTS']}"
        service = start(env, NANO_DATABASE_HOSTS=hosts, NANO_DATABASE_CONNECT_TIMEOUT_SECONDS="1")
        wait_for(lambda: service.ready() == 200, "ready by the second server", 15)


class Cut:
    """A way to the database that ends as soon as a COMMIT has gone through, before its answer comes back."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.armed = False
        self.cuts = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near = self.listener.accept()[0]
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.port))
            threading.Thread(target=self._copy, args=(near, far, True), daemon=True).start()
            threading.Thread(target=self._copy, args=(far, near, False), daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket, forward: bool) -> None:
        try:
            while data := source.recv(65536):
                if forward and self.armed and b"COMMIT" in data:
                    self.armed = False
                    self.cuts += 1
                    source.shutdown(socket.SHUT_RDWR)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def test_a_commit_whose_answer_is_lost_is_not_repeated(
    env: Env, postgres: Postgres, start: Callable[..., Service]
) -> None:
    cut = Cut(postgres.port)
    with cut.listener:
        service = start(env, NANO_DATABASE_HOSTS=f"127.0.0.1:{cut.listener.getsockname()[1]}")
        with Client(service.url) as someone:
            someone.join()
            # The first request of a user has a COMMIT of its own, for the count of active users.
            assert someone.get("/v1/users/me").status_code == 200
            title = f"only once {uuid.uuid4()}"
            cut.armed = True
            draft = {"title": title, "description": "x", "category": "c", "price_cents": 1}
            answer = someone.post("/v1/nanos", json=draft)
            assert cut.cuts == 1
            assert (answer.status_code, answer.json()["type"]) == (503, "/problems/fate-unknown")
            count = f"SELECT count(*) FROM nanos WHERE title = '{title}'"
            wait_for(lambda: postgres.sql(count, env["NANO_DATABASE_NAME"]) == "1", "the change was made once")
            assert someone.get("/v1/users/me").status_code == 200
