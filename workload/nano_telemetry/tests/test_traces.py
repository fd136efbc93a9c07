"""Traces as the collector gets them, and what becomes of requests when it gets none."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import httpx
import pytest
from collector import Collector, SilentCollector, closed_port, wait_until
from running import Service

ON = {"OTEL_SDK_DISABLED": "false"}


def test_one_server_span_per_request_with_route_ids_and_resource(traced: Service, collector: Collector) -> None:
    answer = traced.http.get("/api/nanos/n-77?token=hunter2")
    request_id = answer.headers["x-request-id"]
    span = collector.wait_for(lambda s: s.attributes.get("request_id") == request_id, "the request's")
    line = traced.access(answer)
    assert (span.name, span.kind) == ("GET /api/nanos/{nano_id}", 2)
    assert (span.trace_id, span.span_id) == (line["trace_id"], line["span_id"])
    assert span.attributes["http.route"] == "/api/nanos/{nano_id}"
    assert span.attributes["http.response.status_code"] == 200
    assert (span.attributes["user_id"], span.attributes["nano_id"]) == ("u-1", "n-77")
    assert (span.resource["service.name"], span.resource["site"]) == ("nano_api", "site_a")
    assert [s.span_id for s in collector.spans if s.trace_id == span.trace_id] == [span.span_id]
    assert "hunter2" not in span.everything


def test_mounted_applications_make_no_second_span(traced: Service, collector: Collector) -> None:
    trace_id = traced.access(traced.http.get("/inner/deep/x"))["trace_id"]
    collector.wait_for(lambda s: s.trace_id == trace_id, "the request's")
    traced.access(traced.http.get("/inner/deep/y"))
    assert len([s for s in collector.spans if s.trace_id == trace_id]) == 1


def test_a_failed_request_is_an_error_span_with_a_clean_exception(traced: Service, collector: Collector) -> None:
    line = traced.access(traced.http.get("/fail", params={"secret": "hunter2"}))
    span = collector.wait_for(lambda s: s.trace_id == line["trace_id"], "the failed request's")
    assert "STATUS_CODE_ERROR" in span.everything and "exception.stacktrace" in span.everything
    assert "login failed" in span.everything and "hunter2" not in span.everything


def test_probes_make_no_spans(traced: Service, collector: Collector) -> None:
    before = len([s for s in collector.spans if s.attributes.get("http.route") == "/healthz"])
    traced.http.get("/healthz")
    line = traced.access(traced.http.get("/api/nanos/after"))
    collector.wait_for(lambda s: s.trace_id == line["trace_id"], "the request after the probe")
    assert before == len([s for s in collector.spans if s.attributes.get("http.route") == "/healthz"]) == 0


def test_a_caller_that_does_not_sample_is_obeyed(traced: Service, collector: Collector) -> None:
    trace = "11111111111111111111111111111111"
    traced.http.get("/api/nanos/1", headers={"traceparent": f"00-{trace}-2222222222222222-00"})
    line = traced.access(traced.http.get("/api/nanos/after"))
    collector.wait_for(lambda s: s.trace_id == line["trace_id"], "the request after")
    assert not [s for s in collector.spans if s.trace_id == trace] and trace not in traced.metrics()


def test_spans_of_the_last_moment_are_sent(start: Callable[..., Service]) -> None:
    collector = Collector()
    running = start(OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint, **ON)
    for number in range(300):
        running.http.get(f"/api/nanos/{number}")
    running.stop()
    assert len({s.attributes["nano_id"] for s in collector.spans if "nano_id" in s.attributes}) == 300


def _latencies(running: Service, count: int = 150) -> list[float]:
    with httpx.Client(base_url=running.http.base_url, trust_env=False) as client:
        taken = []
        for number in range(count):
            begun = time.perf_counter()
            assert client.get(f"/api/nanos/{number}").status_code == 200
            taken.append(time.perf_counter() - begun)
    return sorted(taken)


@pytest.mark.parametrize("kind", ["silent", "refuses", "fails", "unknown"])
def test_requests_do_not_notice_a_collector_that_is_down(start: Callable[..., Service], kind: str) -> None:
    silent, failing = SilentCollector(), Collector(status=503)
    endpoint = {
        "silent": silent.endpoint,
        "refuses": closed_port(),
        "fails": failing.endpoint,
        "unknown": "http://collector.invalid:4318",
    }[kind]
    running = start(OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, NANO_EXPORT_TIMEOUT="0.5", **ON)
    taken = _latencies(running)
    # Generous for a busy machine, and a hundredth of what waiting for the collector once would cost.
    assert statistics.median(taken) < 0.05 and taken[-3] < 0.4
    for failures in (1, 2):
        wait_until(lambda n=failures: running.value("nano_telemetry_export_errors_total") >= n, "a counted failure", 15)
        running.http.get("/api/nanos/again")
    running.access(running.http.get("/api/nanos/last"))  # what was logged before it has been written, too
    told = [x for x in running.lines() if x["action"] == "telemetry.export"]
    assert len(told) == 1 and "spans were lost" in told[0]["message"]
    assert not [x for x in running.lines() if x["logger"].startswith(("opentelemetry", "urllib3"))]
    begun = time.monotonic()
    running.stop()
    assert time.monotonic() - begun < 6


def test_queue_is_bounded_and_drops_are_counted(start: Callable[..., Service]) -> None:
    silent = SilentCollector()
    running = start(OTEL_EXPORTER_OTLP_ENDPOINT=silent.endpoint, NANO_TRACE_QUEUE="64", NANO_EXPORT_TIMEOUT="20", **ON)
    _latencies(running, 300)
    series = 'nano_telemetry_spans_dropped_total{reason="queue_full"}'
    wait_until(lambda: running.value(series) > 0, "dropped spans")
    _latencies(running, 150)
    assert running.value(series) >= 150


def test_spans_arrive_again_when_the_collector_returns(start: Callable[..., Service]) -> None:
    collector = Collector(status=503)
    running = start(OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint, NANO_EXPORT_TIMEOUT="0.3", **ON)
    running.http.get("/api/nanos/lost")
    wait_until(lambda: running.value("nano_telemetry_export_errors_total") >= 1, "a counted failure")
    collector.status = 200
    running.http.get("/api/nanos/found")
    collector.wait_for(lambda s: s.attributes.get("nano_id") == "found", "the request after the outage")
    assert running.value("nano_telemetry_spans_exported_total") >= 1
