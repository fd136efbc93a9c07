"""Logs and traces as a program would send them: OTLP in JSON."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.verify.lab import TLS, Lab

CURL = ["curl", "--silent", "--show-error", "--max-time", "15", "--cacert", f"{TLS}/ca.crt"]
CURL += ["--cert", f"{TLS}/host.crt", "--key", f"{TLS}/host.key", "--write-out", "\\n%{http_code}"]

PLAIN = r'"$@" | tr -cd "\011\012\040-\176"'


@dataclass(frozen=True)
class Line:
    """A line of a log: its text, its attributes and its age in seconds."""

    text: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    age: float = 1.0


@dataclass(frozen=True)
class Span:
    """A span of a trace: who did what for how long (ms), and whether it failed."""

    service: str
    name: str
    milliseconds: float = 5.0
    failed: bool = False
    attributes: Mapping[str, str] = field(default_factory=dict)


def attributes(values: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return attributes as OTLP has them."""
    return [{"key": key, "value": {"stringValue": value}} for key, value in values.items()]


def log_request(resource: Mapping[str, str], lines: Sequence[Line]) -> dict[str, Any]:
    """Return a request with lines of one resource."""
    now = time.time_ns()
    records = [
        {
            "timeUnixNano": str(now - int(line.age * 1e9)),
            "body": {"stringValue": line.text},
            "attributes": attributes(line.attributes),
        }
        for line in lines
    ]
    return {
        "resourceLogs": [{"resource": {"attributes": attributes(resource)}, "scopeLogs": [{"logRecords": records}]}]
    }


def trace_request(trace: str, spans: Sequence[Span]) -> dict[str, Any]:
    """Return a request with a trace; the first span is the parent of the others, and all began just now."""
    start = time.time_ns() - int(max(span.milliseconds for span in spans) * 1e6)
    root = secrets.token_hex(8)
    groups = []
    for number, span in enumerate(spans):
        made = {
            "traceId": trace,
            "spanId": secrets.token_hex(8) if number else root,
            "parentSpanId": root if number else "",
            "name": span.name,
            "kind": 3 if number else 2,
            "startTimeUnixNano": str(start),
            "endTimeUnixNano": str(start + int(span.milliseconds * 1e6)),
            "attributes": attributes(span.attributes),
            "status": {"code": 2} if span.failed else {},
        }
        resource = {"attributes": attributes({"service.name": span.service})}
        groups.append({"resource": resource, "scopeSpans": [{"spans": [made]}]})
    return {"resourceSpans": groups}


def ask(lab: Lab, host: str, url: str, data: Any = None) -> tuple[int, str]:
    """Ask a page from a host with its certificate; return status and body, without what is not plain text."""
    more = [] if data is None else ["--header", "Content-Type: application/json", "--data-binary", "@-"]
    # Loki words its refusals in binary, whatever it was asked in.
    argv = ["sh", "-c", PLAIN, "ask", *CURL, *more, url]
    found = lab.command(host, argv, input="" if data is None else json.dumps(data))
    body, _, status = str(found["stdout"]).rpartition("\n")
    assert status not in ("", "000"), f"{url} from {host}: {found['stderr']}"
    return int(status), body
