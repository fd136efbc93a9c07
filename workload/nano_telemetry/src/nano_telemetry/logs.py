"""JSON lines: one object per record, redacted, never longer than the journal takes in one piece."""

from __future__ import annotations

import json
import logging
import time
import traceback
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from nano_telemetry import context
from nano_telemetry.redaction import redact, redact_text
from nano_telemetry.routes import route_template

# journald cuts a line at LineMax=48K (its default); what is longer would arrive as two broken objects.
LINE_LIMIT = 40_000
STACK_LIMIT = 12_000
CONTRACT = (
    "timestamp",
    "level",
    "service",
    "action",
    "duration_ms",
    "http_status",
    "http_method",
    "http_path",
    "user_id",
    "request_id",
    "trace_id",
    "span_id",
    "correlation_id",
    "error",
)
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}
# Made by this package out of checked parts, so there is nothing to look for in them.
_OWN = frozenset(
    {"duration_ms", "http_status", "http_method", "http_path", "request_id", "correlation_id", "trace_id", "span_id"}
)
_PLAIN = (str, int, float, bool, type(None), bytes)


@dataclass(slots=True)
class Entry:
    """A record with all that has to be read from the thread that logged it."""

    created: float
    level: str
    logger: str
    message: str
    fields: dict[str, Any]
    error: BaseException | None = None
    stack: str | None = None
    access: bool = False


def capture(record: logging.LogRecord) -> Entry:
    """Read a record and its context; cheap, and independent of objects that may change afterwards."""
    try:
        message = record.getMessage()
    except Exception:  # a wrong format string is the program's mistake, and no reason to lose the line
        message = f"{record.msg} (its arguments do not fit)"
    fields: dict[str, Any] = {}
    state = context.request_state.get()
    if state is not None:
        fields |= {"http_method": state.method, "http_path": route_template(state.scope)}
        fields |= {"request_id": state.request_id, "correlation_id": state.correlation_id}
    if ids := context.trace_ids():
        fields["trace_id"], fields["span_id"] = ids
    elif state is not None and state.span is not None and (span := state.span.get_span_context()).is_valid:
        fields |= {"trace_id": f"{span.trace_id:032x}", "span_id": f"{span.span_id:016x}"}
    extra = {k: v for k, v in record.__dict__.items() if k not in _STANDARD}
    for key, value in {**context.current_fields(), **extra}.items():
        fields[key] = value if type(value) in _PLAIN else _freeze(value)
    error = record.exc_info[1] if record.exc_info else None
    return Entry(
        record.created,
        record.levelname.lower(),
        record.name,
        message,
        fields,
        error,
        record.stack_info if isinstance(record.stack_info, str) else None,
    )


def _freeze(value: Any, depth: int = 0) -> Any:
    # Another thread writes the line: an ORM object must not load itself there, nor a dict change under it.
    if isinstance(value, _PLAIN):
        return value
    if depth < 6 and isinstance(value, dict):
        return {str(k): _freeze(v, depth + 1) for k, v in list(value.items())[:64]}
    if depth < 6 and isinstance(value, (list, tuple, set, frozenset)):
        return [_freeze(v, depth + 1) for v in list(value)[:64]]
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__}>"


def render(entry: Entry, static: dict[str, str]) -> str:
    """Return the entry as one line of JSON without its line end.

    Args:
        entry: what was logged.
        static: fields of the process: service, env, site.
    """
    fields = entry.fields
    seconds, millis = divmod(int(entry.created * 1000), 1000)
    line: dict[str, Any] = {
        "timestamp": f"{_second(seconds)}.{millis:03d}Z",
        "level": entry.level,
        **static,
        "action": _action(str(fields.get("action") or "log")),
        "logger": entry.logger,
        "message": entry.message if entry.access else redact_text(entry.message),
    }
    if entry.access:
        # Every field of the contract is there, so that a query needs to ask for none.
        line |= dict.fromkeys(key for key in CONTRACT if key not in line)
    for key, value in fields.items():
        if key in _OWN:
            line[key] = value
        elif key not in line or line[key] is None:
            line[key] = redact(key, value)
    if entry.error is not None:
        line["error"] = describe(entry.error)
    if entry.stack:
        line["stack"] = redact_text(entry.stack, limit=STACK_LIMIT)
    text = _dump(line)
    if len(text) <= LINE_LIMIT:
        return text
    kept = {key: line[key] for key in ("timestamp", "level", *static, "logger", *CONTRACT[3:-1]) if key in line}
    kept = {key: value for key, value in kept.items() if not isinstance(value, (dict, list))}
    return _dump({**kept, "message": line["message"][:2000], "truncated": True})


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


@lru_cache(maxsize=512)
def _action(text: str) -> str:
    return redact_text(text, limit=128)


def _dump(line: dict[str, Any]) -> str:
    # NaN and infinity are no JSON; and control characters stay escaped, so that a line is a line.
    try:
        return json.dumps(line, separators=(",", ":"), allow_nan=False, default=str)
    except ValueError:
        return json.dumps({k: str(v) if isinstance(v, float) else _freeze_floats(v) for k, v in line.items()})


def _freeze_floats(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str), parse_constant=str)


def describe(error: BaseException) -> dict[str, str]:
    """Return type, message and stack of an exception, redacted; the stack is one string."""
    try:
        message = str(error)
    except Exception:
        message = "(its text cannot be made)"
    stack = "".join(traceback.format_exception(type(error), error, error.__traceback__, limit=-40))
    if len(stack) > STACK_LIMIT:
        # The start names the first cause, the end the line that failed.
        stack = f"{stack[: STACK_LIMIT // 3]}\n  [...]\n{stack[-STACK_LIMIT * 2 // 3 :]}"
    return {
        "type": type(error).__name__,
        "message": redact_text(message, limit=2048),
        "stack": redact_text(stack, limit=STACK_LIMIT + 100).rstrip(),
    }
