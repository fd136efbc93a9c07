"""One pass over each request: ids in and out, span, metrics, access line."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from opentelemetry.context import attach, detach
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, set_span_in_context

from nano_telemetry import context
from nano_telemetry.context import RequestState, request_state
from nano_telemetry.logs import Entry
from nano_telemetry.routes import method_label, route_template

if TYPE_CHECKING:
    from nano_telemetry.metrics import ASGIApp, Metrics

log = logging.getLogger("nano_telemetry.http")
CLIENT_GONE = 499  # nginx's own number for it
Message = MutableMapping[str, Any]
_CARRIED = frozenset({b"traceparent", b"tracestate", b"x-request-id", b"x-correlation-id"})


class TelemetryMiddleware:
    """Wraps the whole application, its error pages included, so that an answer never lacks its request id."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        tracer: Tracer,
        metrics: Metrics,
        write: Callable[[Entry], None],
        quiet: frozenset[str],
        debug: bool,
        metrics_path: str,
        on_end: Callable[[], None],
    ) -> None:
        """Wrap the application.

        Args:
            app: the application with all its other middleware.
            tracer: makes the server spans.
            metrics: counts requests.
            write: takes access lines.
            quiet: paths of probes, without span and, unless debug, without access line.
            debug: the log level is debug.
            metrics_path: where metrics are served, empty for nowhere.
            on_end: called when the application has stopped; may take a second or two.
        """
        self.app, self.tracer, self.metrics, self.write = app, tracer, metrics, write
        self.quiet, self.debug, self.on_end = quiet, debug, on_end
        self.metrics_path, self.metrics_app = metrics_path, metrics.app()

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Serve one connection's request."""
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        if scope["type"] == "http" and self.metrics_path and scope["path"] == self.metrics_path:
            await self.metrics_app(scope, receive, send)
            return
        carried = {key.decode(): value.decode("latin-1") for key, value in scope["headers"] if key in _CARRIED}
        request_id = context.valid_id(carried.get(context.REQUEST_ID)) or context.new_id()
        state = RequestState(
            request_id,
            context.valid_id(carried.get(context.CORRELATION_ID)) or request_id,
            method_label(scope.get("method", "GET")),
            scope,
        )
        quiet = scope["path"] in self.quiet
        scope["fastapi.telemetry"] = None  # keeps FastAPI applications mounted inside from making spans of their own
        parent = context.PROPAGATOR.extract(carried) if "traceparent" in carried else None
        if not quiet:
            state.span = self.tracer.start_span(
                state.method,
                context=parent,
                kind=SpanKind.SERVER,
                attributes={"http.request.method": state.method, "request_id": state.request_id},
            )
        span_token = attach(set_span_in_context(state.span, parent)) if state.span else None
        state_token = request_state.set(state)
        request = _Request(self, state, send, quiet)
        try:
            await self.app(scope, receive, request.send if scope["type"] == "http" else send)
        except BaseException as error:
            request.fail(error)
            raise
        finally:
            request.finish()
            request_state.reset(state_token)
            if span_token is not None:
                detach(span_token)

    async def _lifespan(self, scope: Any, receive: Any, send: Any) -> None:
        async def flushed(message: Message) -> None:
            # uvicorn waits for this message and for nothing after it: then it ends itself by its signal.
            if message["type"].startswith("lifespan.shutdown."):
                await asyncio.to_thread(self.on_end)
            await send(message)

        await self.app(scope, receive, flushed)


class _Request:
    """What is known of the answer, and the one place that reports it."""

    def __init__(self, owner: TelemetryMiddleware, state: RequestState, send: Any, quiet: bool) -> None:
        self.owner, self.state, self._send, self.quiet = owner, state, send, quiet
        self.started = time.perf_counter()
        self.status = 0
        self.error: BaseException | None = None
        self.finished = False

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*self._kept(message.get("headers", ())), *self._headers()]
        await self._send(message)
        # The end of the answer is the end of the request, whatever background task follows. Of a failure the exception
        # is still to come: Starlette answers first and raises then.
        if kind == "http.response.body" and not message.get("more_body") and self.status < 500:
            self.finish()

    @staticmethod
    def _kept(headers: Any) -> list[tuple[bytes, bytes]]:
        return [(key, value) for key, value in headers if key.lower() not in (b"x-request-id", b"x-correlation-id")]

    def _headers(self) -> list[tuple[bytes, bytes]]:
        headers = [
            (b"x-request-id", self.state.request_id.encode()),
            (b"x-correlation-id", self.state.correlation_id.encode()),
        ]
        if self.state.span is not None:
            # W3C Trace Context level 2: tells the caller, and nginx's log, under which trace to look.
            c = self.state.span.get_span_context()
            value = f"00-{c.trace_id:032x}-{c.span_id:016x}-{int(c.trace_flags):02x}"
            headers.append((b"traceresponse", value.encode()))
        return headers

    def fail(self, error: BaseException) -> None:
        if self.finished:
            log.error("a task after the answer failed", exc_info=error, extra={"action": "http.background"})
        elif isinstance(error, asyncio.CancelledError):
            self.status = self.status or CLIENT_GONE
        else:
            self.status, self.error = max(self.status, 500), error
        try:
            error._nano_logged = True  # type: ignore[attr-defined]
        except AttributeError:
            pass  # an exception with slots is then logged by uvicorn once more

    def finish(self) -> None:
        if self.finished:
            return
        self.finished = True
        try:
            self._report(time.perf_counter() - self.started)
        except Exception:
            log.exception("a request could not be reported", extra={"action": "telemetry.request"})

    def _report(self, seconds: float) -> None:
        state = self.state
        if state.scope["type"] != "http":
            if state.span is not None:
                self._end_span(state.span, route_template(state.scope))
            return
        status, route = self.status or 500, route_template(state.scope)
        trace_id = span_id = None
        sampled = False
        if state.span is not None:
            ids = state.span.get_span_context()
            trace_id, span_id, sampled = f"{ids.trace_id:032x}", f"{ids.span_id:016x}", ids.trace_flags.sampled
            self._end_span(state.span, route)
        # An exemplar must lead somewhere: a trace that was not sampled is nowhere.
        self.owner.metrics.observe(state.method, route, status, seconds, trace_id if sampled else None)
        if self.quiet and status < 500 and not self.owner.debug:
            return
        fields = {
            "action": "http.request",
            **state.fields,
            "duration_ms": round(seconds * 1000, 3),
            "http_status": status,
            "http_method": state.method,
            "http_path": route,
            "request_id": state.request_id,
            "trace_id": trace_id,
            "span_id": span_id,
            "correlation_id": state.correlation_id,
        }
        level = "error" if status >= 500 else "info"
        text = f"{state.method} {route} {status}"
        self.owner.write(Entry(time.time(), level, "nano_telemetry.access", text, fields, self.error, access=True))

    def _end_span(self, span: Span, route: str) -> None:
        state = self.state
        if span.is_recording():
            span.update_name(f"{state.method} {route}")
            span.set_attribute("http.route", route)
            span.set_attribute("correlation_id", state.correlation_id)
            if self.status:
                span.set_attribute("http.response.status_code", self.status)
            for key, value in state.fields.items():
                span.set_attribute(key, value if isinstance(value, (str, int, float, bool)) else str(value))
            if self.error is not None:
                span.record_exception(self.error)
            if self.status >= 500:
                span.set_status(StatusCode.ERROR)
        span.end()
