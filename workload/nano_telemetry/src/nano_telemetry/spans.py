"""Spans on their way to the collector: queued within bounds, cleaned, sent by a thread; never waited for."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Event, ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Link, Status

from nano_telemetry.logs import STACK_LIMIT
from nano_telemetry.metrics import Metrics
from nano_telemetry.redaction import HIDDEN, redact, redact_text, secret_name
from nano_telemetry.tokens import strip_sql

log = logging.getLogger("nano_telemetry.traces")
BATCH = 128
DELAY = 1.0
_TELL_EVERY = 60.0
_STATEMENTS = ("db.statement", "db.query.text")
# What this package sets itself, checked where it is made.
_OWN = frozenset(
    {"http.route", "http.request.method", "http.response.status_code", "request_id", "correlation_id", "rpc.method"}
)


class QueueProcessor(SpanProcessor):
    """Keeps ended spans until a thread has sent them. The SDK's own logs a line for each span that it drops."""

    def __init__(self, exporter: SpanExporter, limit: int, metrics: Metrics) -> None:
        """Start the thread.

        Args:
            exporter: sends a batch within its own time limit.
            limit: spans kept; newer ones are dropped and counted.
            metrics: where drops and failures are counted.
        """
        self._exporter, self._limit, self._metrics = exporter, limit, metrics
        self._queue: deque[ReadableSpan] = deque()
        self._told, self._unsaid = -_TELL_EVERY, 0
        self._stopped = self._hurry = self._sending = False
        self._start()
        os.register_at_fork(after_in_child=self._start)

    def _start(self) -> None:
        self._queue.clear()
        self._wake, self._done = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="nano-telemetry-spans", daemon=True)
        self._thread.start()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Do nothing."""

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a sampled span; never waits."""
        context = span.get_span_context()
        if context is None or not context.trace_flags.sampled:
            return
        if self._stopped or len(self._queue) >= self._limit:
            self._metrics.spans_dropped.labels("shutdown" if self._stopped else "queue_full").inc()
            return
        self._queue.append(span)
        if len(self._queue) >= BATCH and not self._wake.is_set():
            self._wake.set()

    def _run(self) -> None:
        while not self._stopped:
            full = self._wake.wait(DELAY)
            self._wake.clear()
            # Woken by a full batch, the thread leaves the rest to the next one: under steady traffic it would send
            # span after span, and each export costs more than a hundred spans.
            waiting = len(self._queue)
            self._send_first(waiting - waiting % BATCH if full and not self._hurry else waiting)
        self._send_first(len(self._queue))
        self._done.set()

    def _send_first(self, count: int) -> None:
        self._sending = True
        while count > 0 and not self._done.is_set():
            self._send([self._queue.popleft() for _ in range(min(BATCH, count))])
            count -= BATCH
        self._sending = False

    def _send(self, batch: Sequence[ReadableSpan]) -> None:
        reason = "the collector did not take the spans"
        try:
            result = self._exporter.export([clean(span) for span in batch])
        except Exception as error:
            result, reason = SpanExportResult.FAILURE, type(error).__name__
        if result is SpanExportResult.SUCCESS:
            self._metrics.spans_exported.inc(len(batch))
            return
        self._metrics.export_errors.inc()
        self._metrics.spans_dropped.labels("export_failed").inc(len(batch))
        self._unsaid += len(batch)
        if time.monotonic() - self._told >= _TELL_EVERY:
            text = "%d spans were lost: %s; the next line about it comes in a minute at the earliest"
            log.warning(text, self._unsaid, reason, extra={"action": "telemetry.export"})
            self._told, self._unsaid = time.monotonic(), 0

    def force_flush(self, timeout_millis: int = 3000) -> bool:
        """Wait until the queue is empty, at most for the time given; tell whether it is."""
        deadline = time.monotonic() + timeout_millis / 1000
        self._hurry = True
        while (self._queue or self._sending) and time.monotonic() < deadline:
            self._wake.set()
            time.sleep(0.005)
        self._hurry = False
        return not (self._queue or self._sending)

    def finish(self, seconds: float) -> None:
        """Send what is queued, at most for these seconds, and stop; what is left is counted as lost."""
        if self._stopped:
            return
        self._stopped = True
        self._wake.set()
        self._thread.join(seconds)
        self._done.set()
        if self._queue:
            self._metrics.spans_dropped.labels("shutdown").inc(len(self._queue))
        # Closing may wait for a request under way: that is the thread's business, not the caller's.
        threading.Thread(target=self._exporter.shutdown, daemon=True).start()

    def shutdown(self) -> None:
        """Stop within two seconds."""
        self.finish(2.0)


def clean(span: ReadableSpan) -> ReadableSpan:
    """Return the span without secrets, personal data and the literals of its SQL."""
    events = [Event(redact_text(e.name), _attributes(e.attributes), e.timestamp) for e in span.events]
    links = [Link(link.context, _attributes(link.attributes)) for link in span.links]
    status = span.status
    if status.description:
        status = Status(status.status_code, redact_text(status.description, limit=1024))
    return ReadableSpan(
        name=redact_text(span.name, limit=256),
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=_attributes(span.attributes),
        events=events,
        links=links,
        kind=span.kind,
        status=status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _attributes(attributes: Any) -> dict[str, Any]:
    return {key: _attribute(key, value) for key, value in (attributes or {}).items()}


def _attribute(key: str, value: Any) -> Any:
    if key in _OWN:
        return value
    if key in _STATEMENTS and isinstance(value, str):
        return redact_text(strip_sql(value))
    if secret_name(key):
        return HIDDEN
    if isinstance(value, str):
        return redact_text(value, limit=STACK_LIMIT, ids=key.endswith("_id"))
    if isinstance(value, (list, tuple)):
        return [str(redact(key, item)) for item in value] if any(isinstance(i, str) for i in value) else value
    return redact(key, value)
