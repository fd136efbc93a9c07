"""A request is followed through what Loki, Jaeger and Prometheus answer, and shown as a tree."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.nano.ops.plugins.module_utils import follow

TRACE = "a" * 32
URLS = {"loki": "https://loki", "jaeger": "https://jaeger", "prometheus": "https://prometheus"}


def stream(at: int, service: str, **fields: str) -> dict[str, Any]:
    """Return a line as Loki answers it."""
    text = json.dumps({"message": f"{service} says so"})
    return {"stream": {"service_name": service, "host": "app1", "level": "info", **fields}, "values": [[str(at), text]]}


def span(number: int, parent: int | None, name: str, **tags: str) -> dict[str, Any]:
    """Return a span as Jaeger answers it."""
    references = [] if parent is None else [{"refType": "CHILD_OF", "spanID": f"s{parent}"}]
    return {
        "spanID": f"s{number}",
        "operationName": name,
        "references": references,
        "processID": "p1",
        "startTime": 1_000_000 + number * 1000,
        "duration": 2500,
        "tags": [{"key": key, "value": value} for key, value in tags.items()],
    }


def answers(url: str) -> Any:
    """Answer as the three do."""
    if url.startswith("https://loki"):
        named = stream(10**9, "nano_api", trace_id=TRACE, http_path="/v1/nanos/7", http_method="GET", http_status="200")
        of_trace = stream(5 * 10**8, "postgresql", trace_id=TRACE)
        return {"data": {"result": [named, of_trace] if "trace_id%3D" in url else [named]}}
    if url.startswith("https://jaeger"):
        spans = [
            span(1, None, "GET /v1/nanos/{nano_id}"),
            span(2, 1, "SELECT", **{"db.system": "postgresql"}),
            span(3, 1, "GET", **{"db.system": "redis", "error": "true"}),
        ]
        return {"data": [{"spans": spans, "processes": {"p1": {"serviceName": "nano_api"}}}]}
    if "exemplars" in url:
        labels = {"__name__": "http_request_duration_seconds_bucket", "route": "/v1/nanos/{nano_id}"}
        exemplars = [
            {"labels": {"trace_id": TRACE}, "value": "0.012"},
            {"labels": {"trace_id": "b" * 32}, "value": "1"},
        ]
        return {"data": [{"seriesLabels": labels, "exemplars": exemplars}]}
    routes = ["/v1/nanos/{nano_id}", "/v1/nanos"]
    return {"data": {"result": [{"metric": {"route": route}, "value": [0, "7"]} for route in routes]}}


def test_lines_trace_and_series_of_a_request_are_one_tree() -> None:
    found = follow.follow(answers, "request-0001", **URLS, since_s=60)
    text = follow.tree(found).splitlines()
    assert text[0] == "Request request-0001"
    # By time, and a line of the trace without the request's id among them.
    assert [line.split()[2] for line in text if "says so" in line] == ["app1/postgresql", "app1/nano_api"]
    assert '│    http_request_duration_seconds_bucket{route="/v1/nanos/{nano_id}"}  exemplar 12.0 ms' in text
    assert '│    http_requests_total{route="/v1/nanos/{nano_id}"}  7 so far' in text
    assert not any('route="/v1/nanos"' in line for line in text), "another route's counter is shown"
    assert text[-3:] == [
        "     └─ nano_api: GET /v1/nanos/{nano_id}  2.5 ms (at +0.0)",
        "        ├─ nano_api: SELECT [postgresql]  2.5 ms (at +1.0)",
        "        └─ nano_api: GET [redis]  2.5 ms (at +2.0)  ERROR",
    ]


def test_trace_that_was_not_kept_is_said_to_be_missing() -> None:
    found = follow.follow(
        lambda url: {"data": []} if "jaeger" in url else answers(url), "request-0001", **URLS, since_s=60
    )
    assert "the sampling did not keep it" in follow.tree(found)


def test_service_that_the_inventory_lacks_is_not_asked() -> None:
    asked: list[str] = []

    def fetch(url: str) -> Any:
        asked.append(url)
        return answers(url)

    found = follow.follow(fetch, "request-0001", loki="https://loki", jaeger="", prometheus="", since_s=60)
    assert found["lines"] and all(url.startswith("https://loki") for url in asked)


@pytest.mark.parametrize("wanted", ["short", 'x" or 1==1', "x" * 65, "two words", "line\nbreak-"])
def test_what_can_be_no_id_is_never_asked_for(wanted: str) -> None:
    def fetch(url: str) -> Any:
        raise AssertionError(url)

    with pytest.raises(follow.FollowError, match="is no id"):
        follow.follow(fetch, wanted, **URLS, since_s=60)


@pytest.mark.parametrize(
    ("route", "path", "fits"),
    [
        ("/v1/nanos/{nano_id}", "/v1/nanos/7", True),
        ("/v1/nanos/{nano_id}", "/v1/nanos/{nano_id}", True),
        ("/v1/nanos/{nano_id}", "/v1/nanos/7/file", False),
        ("/v1/nanos", "/v1/nanos/7", False),
        ("/a.b", "/axb", False),
    ],
)
def test_path_is_known_by_its_route(route: str, path: str, fits: bool) -> None:
    assert follow.route_fits(route, path) is fits
