"""Ids in and out, and the request metrics."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from running import Service

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


def test_request_and_correlation_id_are_taken_over_and_sent_back(service: Service) -> None:
    sent = {"X-Request-ID": "req-2026.11:24_a", "X-Correlation-ID": "cor-12345"}
    answer = service.http.get("/api/nanos/1", headers=sent)
    assert {key: answer.headers[key] for key in sent} == sent
    assert service.access(answer)["correlation_id"] == "cor-12345"


@pytest.mark.parametrize(
    "bad", ["", "abc", "x" * 65, "a b c d", 'quote"quote', "semi;colon", "bob@example.org", "-leading", "new%0aline/"]
)
def test_bad_ids_are_replaced(service: Service, bad: str) -> None:
    answer = service.http.get("/api/nanos/1", headers={"X-Request-ID": bad, "X-Correlation-ID": bad})
    assert re.fullmatch(r"[0-9a-f-]{36}", answer.headers["x-request-id"])
    assert answer.headers["x-correlation-id"] == answer.headers["x-request-id"]


def test_trace_context_comes_in_and_goes_out(traced: Service) -> None:
    answer = traced.http.post("/api/nanos", headers={"traceparent": PARENT, "tracestate": "vendor=1"})
    assert answer.headers["traceresponse"].split("-")[1] == TRACE
    out = answer.json()
    assert out["traceparent"].split("-")[1] == TRACE and out["traceparent"] != PARENT
    assert out["tracestate"] == "vendor=1" and out["X-Request-ID"] == answer.headers["x-request-id"]
    assert traced.access(answer)["trace_id"] == TRACE


def test_a_broken_trace_context_starts_a_new_trace(traced: Service) -> None:
    answer = traced.http.get("/api/nanos/1", headers={"traceparent": "00-zz-yy-01"})
    assert re.fullmatch(r"[0-9a-f]{32}", traced.access(answer)["trace_id"])


@pytest.mark.parametrize(
    ("path", "route", "status"),
    [
        ("/api/nanos/n1", "/api/nanos/{nano_id}", 200),
        ("/inner/deep/x", "/inner/deep/{name}", 200),
        ("/inner/nowhere", "/inner/*", 404),
        ("/docs", "/docs", 200),
        ("/slow/not-a-number", "/slow/{seconds}", 422),
        ("/no/such/thing", "unmatched", 404),
        ("/fail", "/fail", 500),
        ("/refuse", "/refuse", 503),
    ],
)
def test_requests_are_counted_by_route_template(service: Service, path: str, route: str, status: int) -> None:
    series = f'http_requests_total{{method="GET",route="{route}",status="{status}"}}'
    before = service.value(series)
    assert service.http.get(path).status_code == status
    assert service.value(series) == before + 1


def test_ten_thousand_urls_and_odd_methods_make_no_new_series(start: Callable[..., Service]) -> None:
    service = start()
    service.http.get("/api/nanos/first")
    service.http.get("/nothing/first")

    def ask(share: int) -> None:
        with httpx.Client(base_url=service.http.base_url, trust_env=False, timeout=60) as client:
            for number in range(2500):
                client.get(f"/nothing/{share}/{number}" if number % 2 else f"/api/nanos/{share}-{number}")
            for number in range(10):
                client.request(("PROPFIND", "MKCOL", "LOCK")[number % 3], "/nothing")

    before = service.metrics().count("http_requests_total{")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, range(4)))
    assert service.metrics().count("http_requests_total{") == before + 1  # method OTHER
    assert service.value('http_requests_total{method="GET",route="unmatched",status="404"}') == 5001


def test_histogram_resolves_objectives_and_alerts(service: Service) -> None:
    service.http.get("/slow/0.11")
    text = service.metrics()
    for bound in ("0.1", "0.2", "0.5", "1.0", "2.0", "3.0", "5.0"):
        assert f'http_request_duration_seconds_bucket{{le="{bound}",method="GET",route="/slow/{{seconds}}"' in text
    low = 'http_request_duration_seconds_bucket{le="0.1",method="GET",route="/slow/{seconds}",status="200"}'
    high = low.replace('"0.1"', '"0.2"')
    assert (service.value(low), service.value(high)) == (0, 1)


def test_exemplar_leads_from_the_metric_to_the_trace(traced: Service) -> None:
    answer = traced.http.get("/slow/0.25")
    trace_id = traced.access(answer)["trace_id"]
    found = [
        sample.exemplar.labels["trace_id"]
        for family in text_string_to_metric_families(traced.metrics())
        for sample in family.samples
        if sample.exemplar and sample.labels.get("route") == "/slow/{seconds}" and sample.name.endswith("_bucket")
    ]
    assert found == [trace_id]


def test_metrics_speak_the_format_that_is_asked_for(service: Service) -> None:
    plain = service.http.get("/metrics", headers={"accept": "text/plain"})
    assert plain.headers["content-type"].startswith("text/plain") and " # {" not in plain.text
    open_metrics = service.http.get("/metrics", headers={"accept": "application/openmetrics-text"})
    assert open_metrics.headers["content-type"].startswith("application/openmetrics-text")
    assert open_metrics.text.endswith("# EOF\n")


def test_metrics_are_not_shown_through_a_proxy(service: Service) -> None:
    assert service.http.get("/metrics", headers={"X-Forwarded-For": "192.0.2.1"}).status_code == 404
    assert service.http.post("/metrics").status_code == 405
