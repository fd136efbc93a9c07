"""The service ends, and no request is lost."""

from __future__ import annotations

import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from .client import Client
from .load import Load
from .machine import Process, Service, wait_for

Env = dict[str, str]


def test_not_ready_at_once_but_still_serving(env: Env, start: Callable[..., Service]) -> None:
    service = start(env, NANO_DRAIN_SECONDS="30")
    assert service.ready() == 200
    assert service.running is not None
    service.running.send_signal(signal.SIGTERM)
    wait_for(lambda: service.ready() == 503, "not ready after SIGTERM", 1)
    answer = httpx.get(f"{service.url}/health/ready")
    assert answer.json()["status"] == "draining"
    found = httpx.get(f"{service.url}/v1/nanos")
    assert (found.status_code, found.headers["connection"]) == (200, "close")
    # A second signal doesn't wait for the rest of the drain time.
    assert service.stop(seconds=10) == 0


def slow_body(half: list[bytes], go: Callable[[], None]) -> Iterator[bytes]:
    yield half[0]
    go()
    yield half[1]


def test_a_running_upload_is_finished(env: Env, start: Callable[..., Service]) -> None:
    service = start(env, NANO_DRAIN_SECONDS="0")
    with Client(service.url) as seller:
        seller.join()
        nano = seller.draft()

        def end() -> None:
            assert service.running is not None
            service.running.send_signal(signal.SIGTERM)
            wait_for(lambda: not_accepting(service.port), "no new connections after SIGTERM")

        body = slow_body([b"first half, ", b"second half"], end)
        stored = seller.put(f"/v1/nanos/{nano}/file", content=body)
    assert (stored.status_code, stored.json()["file_bytes"]) == (200, 23)
    assert service.stop() == 0


def not_accepting(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_what_never_finishes_does_not_hold_it_up(env: Env, start: Callable[..., Service]) -> None:
    service = start(env, NANO_DRAIN_SECONDS="0", NANO_SHUTDOWN_SECONDS="1")
    with Client(service.url) as seller:
        seller.join()
        path, token = f"/v1/nanos/{seller.draft()}/file", seller.headers["Authorization"]
    with socket.create_connection(("127.0.0.1", service.port)) as stuck:
        stuck.sendall(f"PUT {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n".encode())
        stuck.sendall(b"Content-Length: 100\r\n\r\nnot a hundred bytes")
        began = time.monotonic()
        service.stop(seconds=15)
    assert time.monotonic() - began < 8


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """Return the socket that systemd would hold while the service restarts."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as held:
        yield held


def test_a_restart_under_load_fails_no_request(env: Env, scratch: Callable[[], Path], listening: socket.socket) -> None:
    # As systemd does it: the socket as descriptor 3, and the process's own number beside it.
    script = f'exec 3<&{listening.fileno()}; LISTEN_PID=$$ LISTEN_FDS=1 exec "{sys.executable}" -m nano_api serve'
    here, port = scratch(), listening.getsockname()[1]
    services = [Process(here, f"service{number}", ["bash", "-c", script], env) for number in range(2)]
    url = f"http://127.0.0.1:{port}"
    services[0].start(pass_fds=[listening.fileno()])
    with Load(url, lambda client: client.get("/v1/nanos", params={"limit": 5})) as load:
        wait_for(lambda: load.done > 200, "requests are answered", log=services[0].text)
        assert services[0].stop() == 0
        services[1].start(pass_fds=[listening.fileno()])
        before = load.done
        wait_for(lambda: load.done > before + 200, "requests are answered again", log=services[1].text)
    # Kept connections of callers that have ended don't hold it up.
    assert services[1].stop() == 0
    assert load.errors == []
    assert set(load.statuses) == {200}


def test_an_update_one_by_one_fails_no_request(env: Env, start: Callable[..., Service]) -> None:
    """Callers go to the first that says it is ready, as a balancer does that asks ten times a second."""
    services = [start(env), start(env)]
    ready = dict.fromkeys(services, True)
    end = threading.Event()

    def look() -> None:
        while not end.wait(0.1):
            for service in services:
                try:
                    ready[service] = service.ready() == 200
                except httpx.HTTPError:
                    ready[service] = False

    def ask(client: httpx.Client) -> httpx.Response:
        return client.get(f"{next(service for service in services if ready[service]).url}/v1/nanos")

    looking = threading.Thread(target=look)
    looking.start()
    try:
        with Load("", ask) as load:
            wait_for(lambda: load.done > 100, "requests are answered")
            assert services[0].stop() == 0
            before = load.done
            wait_for(lambda: load.done > before + 100, "requests are answered by the other")
            services[0].start()
            wait_for(lambda: ready[services[0]], "the new one is ready")
            assert services[1].stop() == 0
    finally:
        end.set()
        looking.join()
    assert load.errors == []
    assert set(load.statuses) == {200}
