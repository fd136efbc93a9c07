"""The process's metrics: requests, the business, and telemetry itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics import disable_created_metrics

# Seconds. The objectives are p95 < 1 s and p99 < 2 s, the alerts stand at 2 and 3 s: each is a bound of its own,
# with neighbours close enough that a quantile read between them is worth something.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 10.0, 30.0)

ASGIApp = Callable[
    [
        MutableMapping[str, Any],
        Callable[[], Awaitable[MutableMapping[str, Any]]],
        Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ],
    Awaitable[None],
]


class Metrics:
    """The registry of one service and the metrics that this package feeds by itself."""

    def __init__(self) -> None:
        """Make an empty registry with the process's CPU, memory and file descriptors."""
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "http_requests_total", "Requests answered.", ["method", "route", "status"], registry=self.registry
        )
        self.duration = Histogram(
            "http_request_duration_seconds",
            "Time from the request's arrival to the last byte of its answer.",
            ["method", "route", "status"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._series: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self.spans_exported = self._own("spans_exported", "Spans that the collector took.")
        self.spans_dropped = Counter(
            "nano_telemetry_spans_dropped_total",
            "Spans that were lost: the queue was full, or an export failed.",
            ["reason"],
            registry=self.registry,
        )
        self.export_errors = self._own("export_errors", "Exports of spans that failed.")
        self.lines_dropped = self._own("log_lines_dropped", "Log lines that were lost: stdout took them too slowly.")
        for reason in ("queue_full", "export_failed", "shutdown"):
            self.spans_dropped.labels(reason)

    def _own(self, name: str, text: str) -> Counter:
        return Counter(f"nano_telemetry_{name}_total", text, registry=self.registry)

    def observe(self, method: str, route: str, status: int, seconds: float, trace_id: str | None) -> None:
        """Count one request; the trace id, in hexadecimal, becomes the exemplar."""
        key = (method, route, status)
        series = self._series.get(key)
        if series is None:
            labels = (method, route, str(status))
            series = self._series[key] = (self.requests.labels(*labels), self.duration.labels(*labels))
        exemplar = {"trace_id": trace_id} if trace_id else None
        series[0].inc(1, exemplar)
        series[1].observe(seconds, exemplar)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics and their content type: OpenMetrics with exemplars to those who accept it."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self.registry), content_type

    def app(self) -> ASGIApp:
        """Return an ASGI application that answers every GET with the metrics."""

        async def metrics(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                return
            headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
            status, kind, body = 200, "text/plain; charset=utf-8", b""
            if proxied(headers):
                status, body = 404, b"not found\n"
            elif scope["method"] not in ("GET", "HEAD"):
                status, body = 405, b"only GET\n"
            else:
                body, kind = self.exposition(headers.get("accept", ""))
            sent = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": status, "headers": sent})
            await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

        return metrics


def proxied(headers: MutableMapping[str, str]) -> bool:
    """Tell whether a proxy sent the request: it came from the people's side, where nobody scrapes."""
    return any(name in headers for name in ("x-forwarded-for", "forwarded", "x-real-ip"))
