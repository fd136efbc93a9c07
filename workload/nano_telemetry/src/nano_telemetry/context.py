"""What belongs to the request in hand: its ids, and the domain's ids that the service adds."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.trace import Span, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

REQUEST_ID = "x-request-id"
CORRELATION_ID = "x-correlation-id"
PROPAGATOR = TraceContextTextMapPropagator()
# What comes from outside ends in log lines and headers: a bounded alphabet leaves no room for forged lines.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{3,63}")


@dataclass(slots=True)
class RequestState:
    """One request, from its first byte to its access line."""

    request_id: str
    correlation_id: str
    method: str
    scope: Any
    span: Span | None = None
    fields: dict[str, Any] = field(default_factory=dict)


request_state: ContextVar[RequestState | None] = ContextVar("nano_telemetry_request", default=None)
_fields: ContextVar[dict[str, Any]] = ContextVar("nano_telemetry_fields", default={})  # noqa: B039 (never changed)


def valid_id(value: str | None) -> str | None:
    """Return the id when it may be taken over: 4 to 64 letters, digits, '.', '_', ':' or '-'; else None."""
    return value if value is not None and _ID.fullmatch(value) else None


def new_id() -> str:
    """Return a new random id."""
    return str(uuid.uuid4())


@contextmanager
def log_context(**fields: Any) -> Iterator[None]:
    """Add fields such as user_id, nano_id or action to every line logged inside.

    Within a request, the first value of each field also goes into the request's access line and its span.
    """
    token = _fields.set({**_fields.get(), **fields})
    remember(fields)
    try:
        yield
    finally:
        try:
            _fields.reset(token)
        except ValueError:
            # A generator dependency may be closed in another task's context; its copy of the fields ends there anyway.
            pass


def remember(fields: dict[str, Any]) -> None:
    """Keep fields for the access line of the request in hand, if there is one; what is there already stays."""
    state = request_state.get()
    if state is not None:
        for key, value in fields.items():
            state.fields.setdefault(key, value)


def current_fields() -> dict[str, Any]:
    """Return the fields of the enclosing log_context; not to be changed."""
    return _fields.get()


def request_id() -> str | None:
    """Return the id of the request in hand, None outside of one."""
    state = request_state.get()
    return state.request_id if state else None


def outgoing_headers(headers: dict[str, str] | None = None) -> dict[str, str]:
    """Return headers for a call to another service: trace context, request id and correlation id."""
    sent = dict(headers or {})
    PROPAGATOR.inject(sent)
    state = request_state.get()
    if state is not None:
        sent.setdefault("X-Request-ID", state.request_id)
        sent.setdefault("X-Correlation-ID", state.correlation_id)
    return sent


def trace_ids() -> tuple[str, str] | None:
    """Return trace id and span id in hexadecimal, None without a trace."""
    span = get_current_span().get_span_context()
    return (f"{span.trace_id:032x}", f"{span.span_id:016x}") if span.is_valid else None
