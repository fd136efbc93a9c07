from __future__ import annotations

import shutil
import signal
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from . import machine, programs
from .client import Client
from .machine import Postgres, Process, Redis, Service, Store


@pytest.fixture(scope="session")
def scratch() -> Iterator[Callable[[], Path]]:
    """Return a function that makes folders that user postgres can reach, unlike pytest's own."""
    made: list[Path] = []

    def make() -> Path:
        made.append(Path(tempfile.mkdtemp(prefix="nano-api-")))
        made[-1].chmod(0o755)
        return made[-1]

    yield make
    for process in Process.started:
        if process.alive():
            process.stop(signal.SIGKILL)
    for path in made:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(scratch: Callable[[], Path]) -> Iterator[Postgres]:
    if not programs.find("initdb"):
        pytest.skip("needs PostgreSQL: make application fetches it, where there is apt")
    server = Postgres(scratch())
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def redis(scratch: Callable[[], Path]) -> Iterator[Redis]:
    if not programs.find("redis-server"):
        pytest.skip("needs Redis: make application fetches it, where there is apt")
    server = Redis(scratch())
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def store(scratch: Callable[[], Path]) -> Iterator[Store]:
    if programs.minio() is None:
        pytest.importorskip("moto.server", reason="needs MinIO, or pip install 'moto[server]'")
    server = Store(scratch())
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def empty(postgres: Postgres, redis: Redis, store: Store) -> Callable[[], dict[str, str]]:
    """Return a function that makes an empty database and returns the settings of a service that uses it."""

    def make() -> dict[str, str]:
        name = f"nano_{uuid.uuid4().hex}"
        postgres.sql(f"CREATE DATABASE {name}")
        return machine.environment(postgres, redis, store, name)

    return make


@pytest.fixture(scope="session")
def env(empty: Callable[[], dict[str, str]]) -> dict[str, str]:
    """Return the settings of a service whose tables are made."""
    settings = empty()
    done = machine.command(settings, "migrate")
    assert done.returncode == 0, done.stderr
    return settings


@pytest.fixture(scope="session")
def service(scratch: Callable[[], Path], env: dict[str, str]) -> Iterator[Service]:
    running = Service(scratch(), env)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def start(scratch: Callable[[], Path]) -> Iterator[Callable[..., Service]]:
    """Return a function that starts another service; it ends with the test."""
    started: list[Process] = []

    def begin(env: dict[str, str], **more: str) -> Service:
        another = Service(scratch(), {**env, **more})
        started.append(another)
        another.start()
        return another

    yield begin
    for process in started:
        process.stop()


@pytest.fixture
def anyone(service: Service) -> Iterator[Client]:
    """Return a client that isn't logged in."""
    with Client(service.url) as client:
        yield client


@pytest.fixture
def join(service: Service, env: dict[str, str]) -> Iterator[Callable[..., Client]]:
    """Return a function that makes a user and returns their client."""
    clients: list[Client] = []

    def make(moderator: bool = False, url: str = service.url) -> Client:
        client = Client(url)
        clients.append(client)
        client.join()
        if moderator:
            done = machine.command(env, "moderator", client.email)
            assert done.returncode == 0, done.stderr
        return client

    yield make
    for client in clients:
        client.close()
