"""Jaeger: a trace is found by its id, service or tag; errors and slow requests are kept whatever else is dropped."""

from __future__ import annotations

import json
import secrets
import time
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.verify.controller import read_inventory
from tests.verify.lab import Lab
from tests.verify.otlp import Span, ask, trace_request

if "jaeger" not in read_inventory():
    pytest.skip("the inventory has no group jaeger", allow_module_level=True)

HOST = "ops1"
QUERY = f"https://{HOST}:16686"
COPY_IN, COPY_QUERY = "https://127.0.0.1:24318", "https://127.0.0.1:26686"
TTL_SECONDS = 20
# Of the real configuration all but its places, its share and its times.
EDITS = [
    (r'"[0-9.]+:(4317|4318|9464)"', r'"127.0.0.1:2\1"'),
    (r'"[0-9.]+:16686"', '"127.0.0.1:26686"'),
    (r"127\.0\.0\.1:13134", "127.0.0.1:23134"),
    (r"127\.0\.0\.1:14318", "127.0.0.1:24319"),
    (r"127\.0\.0\.1:16685", "127.0.0.1:26685"),
    (r"/var/lib/jaeger", "FOLDER/data"),
    (r"sampling_percentage: [0-9.]+", "sampling_percentage: 0"),
    (r"ttl: \{spans: \w+\}", f"ttl: {{spans: {TTL_SECONDS}s}}"),
]


def base_path(lab: Lab) -> str:
    """Return the path that the pages are under."""
    return str(lab.hostvars[HOST].get("jaeger_base_path", "/jaeger"))


def send(lab: Lab, *spans: Span) -> str:
    """Send a trace and return its id."""
    trace = secrets.token_hex(16)
    status, body = ask(lab, HOST, f"https://{HOST}:4318/v1/traces", trace_request(trace, spans))
    assert status == 200, body
    return trace


def page(lab: Lab, path: str, **parameters: str) -> Any:
    """Return the data of a page of the API, nothing if there is none."""
    query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
    status, body = ask(lab, HOST, f"{QUERY}{base_path(lab)}/api/{path}{query}")
    assert status in (200, 404), body
    return json.loads(body)["data"]


@pytest.fixture(scope="module")
def shop(lab: Lab, eventually: Callable[..., Any]) -> tuple[str, str, str]:
    """A trace of two services that has arrived: its id, its first service and the request in its tags."""
    service, request = f"verify-{secrets.token_hex(4)}", secrets.token_hex(8)
    tags = {"request_id": request}
    spans = (Span(service, "GET /nanos/{id}", 20, attributes=tags), Span(f"{service}-db", "SELECT", 8, attributes=tags))
    trace = send(lab, *spans)
    eventually(lambda: page(lab, f"traces/{trace}"), 30, "the trace is not found by its id")
    return trace, service, request


def test_trace_is_found_by_its_id_with_all_its_spans(lab: Lab, shop: tuple[str, str, str]) -> None:
    trace, service, _ = shop
    (found,) = page(lab, f"traces/{trace}")
    assert sorted(span["operationName"] for span in found["spans"]) == ["GET /nanos/{id}", "SELECT"]
    assert {process["serviceName"] for process in found["processes"].values()} == {service, f"{service}-db"}


@pytest.mark.parametrize("how", ["service", "operation", "tags"])
def test_trace_is_found_by(lab: Lab, shop: tuple[str, str, str], how: str) -> None:
    trace, service, request = shop
    more = {
        "service": {},
        "operation": {"operation": "GET /nanos/{id}"},
        "tags": {"tags": f'{{"request_id":"{request}"}}'},
    }
    found = page(lab, "traces", service=service, lookback="1h", **more[how])
    assert [each["traceID"] for each in found] == [trace]


def test_map_of_services_has_the_call(lab: Lab, shop: tuple[str, str, str]) -> None:
    _, service, _ = shop
    calls = page(lab, "dependencies", endTs=str(int(time.time() * 1000) + 60_000), lookback="3600000")
    assert {"parent": service, "child": f"{service}-db", "callCount": 1} in calls


def test_figures_of_an_operation_reach_prometheus(
    lab: Lab, shop: tuple[str, str, str], eventually: Callable[..., Any]
) -> None:
    service = shop[1]
    query = f'traces_span_metrics_calls_total{{service_name="{service}", span_name="GET /nanos/{{id}}"}} == 1'
    assert len(eventually(lambda: lab.promql(query), 60, "no figures of the operation")) == 1
    buckets = lab.promql(
        f'traces_span_metrics_duration_milliseconds_bucket{{service_name="{service}", le=~"25([.]0)?"}}'
    )
    assert [bucket["value"] for bucket in buckets] == [1]


@pytest.mark.disturbs
def test_traces_survive_a_crash(lab: Lab, shop: tuple[str, str, str], eventually: Callable[..., Any]) -> None:
    done = lab.host(HOST).run("systemctl kill --signal=KILL jaeger.service")
    assert done.rc == 0, done.stderr
    eventually(lambda: page(lab, f"traces/{shop[0]}"), 60, "the trace is gone after a crash")


@pytest.fixture
def copy(lab: Lab) -> Iterator[Callable[..., dict[str, Any]]]:
    """A second copy that keeps no good and fast trace, and what it keeps for seconds."""
    argv = ["/opt/nano/jaeger/current/jaeger", "--config", "CONFIG"]
    with lab.talk(
        HOST,
        "trial",
        seconds=120,
        argv=argv,
        user="jaeger",
        config="/etc/nano/jaeger.yml",
        edits=EDITS,
        ready="http://127.0.0.1:23134/status",
    ) as say:
        yield lambda **order: json.loads(say(json.dumps(order)))


@pytest.mark.disturbs
def test_errors_and_slow_requests_are_kept_and_expire(
    lab: Lab, copy: Callable[..., dict[str, Any]], eventually: Callable[..., Any]
) -> None:
    traces = {
        "good": (Span("verify", "GET", 20), Span("verify-db", "SELECT", 8)),
        "failed": (Span("verify", "GET", 20), Span("verify-db", "SELECT", 8, failed=True)),
        "slow": (Span("verify", "GET", 1500), Span("verify-db", "SELECT", 8)),
    }
    ids = {name: secrets.token_hex(16) for name in traces}

    def kept(name: str) -> bool:
        found = copy(url=f"{COPY_QUERY}{base_path(lab)}/api/traces/{ids[name]}")
        assert found["status"] in (200, 404), found
        return found["status"] == 200 and len(json.loads(found["body"])["data"][0]["spans"]) == 2

    for name, spans in traces.items():
        sent = copy(url=f"{COPY_IN}/v1/traces", data=trace_request(ids[name], spans))
        assert sent["status"] == 200, sent
    eventually(lambda: kept("failed") and kept("slow"), 15, "a failed and a slow trace are not kept")
    # All three were judged together.
    assert not kept("good"), "a share of 0 % keeps a good and fast trace"
    eventually(lambda: not kept("failed") and not kept("slow"), TTL_SECONDS + 20, "the traces do not expire")
