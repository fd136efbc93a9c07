"""Loki: a line is found by its request, whatever it holds costs no stream, and what is too old goes from the disk."""

from __future__ import annotations

import json
import secrets
import time
import urllib.parse
from collections.abc import Callable
from typing import Any

import pytest

from tests.verify.controller import read_inventory
from tests.verify.lab import Lab
from tests.verify.otlp import Line, ask, log_request

if "loki" not in read_inventory():
    pytest.skip("the inventory has no group loki", allow_module_level=True)

HOST = "ops1"
RESOURCE = {"service.name": "verify", "site": "site_ops", "host": HOST, "level": "error"}
HOUR, DAY = 3600.0, 86400.0
COPY = "https://127.0.0.1:23100"
PUSH = "/otlp/v1/logs"
# Of the real configuration all but its places and its times.
EDITS = [
    (r"http_listen_address: \S+", "http_listen_address: 127.0.0.1"),
    (r"http_listen_port: \d+", "http_listen_port: 23100"),
    (r"grpc_listen_port: \d+", "grpc_listen_port: 29096"),
    (r"/var/lib/loki", "FOLDER/data"),
    (r"retention_period: \S+", "retention_period: 24h"),
    (r"retention_delete_delay: \S+", "retention_delete_delay: 1s"),
    (r"compaction_interval: \S+", "compaction_interval: 5s"),
]
CHUNKS = "data/chunks/fake/**"


def query_path(query: str, hours: float = 1.0) -> str:
    """Return the path that asks for the lines of the last hours."""
    now = time.time()
    span = {"start": f"{int((now - hours * HOUR) * 1e9)}", "end": f"{int((now + 60) * 1e9)}", "limit": "5000"}
    return f"/loki/api/v1/query_range?{urllib.parse.urlencode({'query': query, **span})}"


def lines_of(body: str) -> list[tuple[dict[str, str], str]]:
    """Return labels and text of each line of an answer."""
    found = json.loads(body)["data"]["result"]
    return [(stream["stream"], text) for stream in found for _, text in stream["values"]]


def push(lab: Lab, resource: dict[str, str], *lines: Line) -> tuple[int, str]:
    """Send lines to Loki."""
    return ask(lab, HOST, f"https://{HOST}:3100{PUSH}", log_request(resource, lines))


def query(lab: Lab, text: str) -> list[tuple[dict[str, str], str]]:
    """Return the lines of a query."""
    status, body = ask(lab, HOST, f"https://{HOST}:3100{query_path(text)}")
    assert status == 200, body
    return lines_of(body)


def test_is_ready(lab: Lab, eventually: Callable[..., Any]) -> None:
    # It counts 15 s from the first time that somebody asks.
    eventually(lambda: ask(lab, HOST, f"https://{HOST}:3100/ready") == (200, "ready\n"), 30, "Loki is not ready")


def test_line_is_found_by_its_request(lab: Lab, eventually: Callable[..., Any]) -> None:
    request, trace = secrets.token_hex(8), secrets.token_hex(16)
    text = json.dumps({"action": "verify", "request_id": request})
    status, body = push(lab, RESOURCE, Line(text, {"request_id": request, "trace_id": trace}), Line("another line"))
    assert status == 204, body
    found = eventually(
        lambda: query(lab, f'{{service_name="verify"}} | request_id="{request}"'), 10, "the line is not found"
    )
    assert [line for _, line in found] == [text]
    labels = found[0][0]
    assert labels["trace_id"] == trace
    assert {labels[name] for name in ("service_name", "site", "host", "level")} == set(RESOURCE.values())


def test_ten_thousand_urls_make_one_stream(lab: Lab, eventually: Callable[..., Any]) -> None:
    run = secrets.token_hex(4)
    # Attributes that Loki would make labels of by itself.
    resource = {**RESOURCE, "service.name": f"verify-{run}", "service.instance.id": run, "k8s.pod.name": run}
    for part in range(10):
        lines = [
            Line("read", {"http_path": f"/nanos/{part}-{number}", "user_id": str(number)}) for number in range(1000)
        ]
        status, body = push(lab, resource, *lines)
        assert status == 204, body

    def all_there() -> bool:
        count = f'sum(count_over_time({{service_name="verify-{run}"}}[1h]))'
        parameters = urllib.parse.urlencode({"query": count})
        _, answer = ask(lab, HOST, f"https://{HOST}:3100/loki/api/v1/query?{parameters}")
        assert int(json.loads(answer)["data"]["result"][0]["value"][1]) == 10000, answer
        return True

    eventually(all_there, 20, "not all lines are there")
    parameters = urllib.parse.urlencode({"match[]": f'{{service_name="verify-{run}"}}'})
    _, streams = ask(lab, HOST, f"https://{HOST}:3100/loki/api/v1/series?{parameters}")
    expected = {"service_name": f"verify-{run}", "site": "site_ops", "host": HOST, "level": "error"}
    assert json.loads(streams)["data"] == [expected]
    (found,) = query(lab, f'{{service_name="verify-{run}"}} | http_path="/nanos/7-777"')
    assert found[0]["user_id"] == "777"


def test_line_from_long_ago_is_refused_and_says_why(lab: Lab) -> None:
    status, body = push(lab, RESOURCE, Line("old", age=8 * DAY))
    assert status == 400 and "too old" in body


def test_long_line_is_cut_and_says_so(lab: Lab, eventually: Callable[..., Any]) -> None:
    request = secrets.token_hex(8)
    status, body = push(lab, RESOURCE, Line("y" * 300_000, {"request_id": request}))
    assert status == 204, body
    ((_, text),) = eventually(
        lambda: query(lab, f'{{service_name="verify"}} | request_id="{request}"'), 10, "the line is not found"
    )
    assert len(text) == 256 * 1024 and text.endswith("(cut here)")


def test_labels_are_few(lab: Lab) -> None:
    _, body = ask(lab, HOST, f"https://{HOST}:3100/loki/api/v1/labels")
    assert set(json.loads(body)["data"]) <= {"service_name", "level", "site", "host"}


@pytest.mark.disturbs
def test_lines_survive_a_crash(lab: Lab, eventually: Callable[..., Any]) -> None:
    request = secrets.token_hex(8)
    assert push(lab, RESOURCE, Line("just before the crash", {"request_id": request}))[0] == 204
    before = lab.host(HOST).run("systemctl show loki.service --property=MainPID --value").stdout
    done = lab.host(HOST).run("systemctl kill --signal=KILL loki.service")
    assert done.rc == 0, done.stderr

    def ready_again() -> bool:
        now = lab.host(HOST).run("systemctl show loki.service --property=MainPID --value").stdout
        return now not in (before, "0\n") and ask(lab, HOST, f"https://{HOST}:3100/ready")[0] == 200

    eventually(ready_again, 60, "Loki is not ready after a crash")
    found = query(lab, f'{{service_name="verify"}} | request_id="{request}"')
    assert [line for _, line in found] == ["just before the crash"]


@pytest.mark.disturbs
def test_expired_lines_go_from_the_disk_and_others_stay(lab: Lab, eventually: Callable[..., Any]) -> None:
    """On a second copy whose day of retention has passed for one of two lines."""
    argv = ["/opt/nano/loki/current/loki", "-target=all", "-config.file", "CONFIG"]
    with lab.talk(
        HOST,
        "trial",
        seconds=120,
        argv=argv,
        user="loki",
        config="/etc/nano/loki.yml",
        edits=EDITS,
        ready=f"{COPY}/ready",
    ) as say:

        def tell(**order: Any) -> dict[str, Any]:
            answer: dict[str, Any] = json.loads(say(json.dumps(order)))
            return answer

        def found(name: str) -> list[str]:
            answer = tell(url=COPY + query_path(f'{{service_name="{name}"}}', hours=40))
            assert answer["status"] == 200, answer
            return [text for _, text in lines_of(answer["body"])]

        for name, age in (("expired", 30 * HOUR), ("kept", 60.0)):
            sent = tell(url=COPY + PUSH, data=log_request({"service.name": name}, [Line(name, age=age)]))
            assert sent["status"] == 204, sent
        assert tell(url=f"{COPY}/flush", data={})["status"] == 204
        eventually(lambda: tell(files=CHUNKS)["count"] == 2, 30, "the lines are not on the disk")
        # Its index is handed over at the stop; until then the compactor does not know the lines.
        tell(restart=True)
        assert (found("expired"), found("kept")) == (["expired"], ["kept"])
        eventually(lambda: tell(files=CHUNKS)["count"] == 1, 150, "nothing was deleted from the disk")
        # And its memory is forgotten.
        tell(restart=True)
        assert (found("expired"), found("kept")) == ([], ["kept"])
