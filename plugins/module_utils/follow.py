"""One request out of Loki, Jaeger and Prometheus, as a tree of text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

# An id as requests carry it (8 to 64 characters); nothing in it can end a string of LogQL.
ID = re.compile(r"[A-Za-z0-9._-]{8,64}$")
TRACE = re.compile(r"[0-9a-f]{32}$")
WINDOW_S = 3600.0
Fetch = Callable[[str], Any]


class FollowError(Exception):
    """Something can't be asked; the text says what."""


def log_lines(fetch: Fetch, loki: str, words: str, since_s: float) -> list[dict[str, Any]]:
    """Return what Loki finds, in order of time: each line's fields, its time in ns and its text."""
    query = urlencode({"query": f'{{service_name=~".+"}} | {words}', "since": f"{since_s:.0f}s", "limit": 1000})
    found = fetch(f"{loki}/loki/api/v1/query_range?{query}")["data"]["result"]
    lines = [
        {**stream["stream"], "at": int(value[0]), "text": value[1]} for stream in found for value in stream["values"]
    ]
    return sorted(lines, key=lambda line: line["at"])


def find_lines(fetch: Fetch, loki: str, wanted: str, since_s: float) -> list[dict[str, Any]]:
    """Return the lines of a request and those of its trace."""
    names = ("request_id", "correlation_id", *(("trace_id",) if TRACE.match(wanted) else ()))
    lines = log_lines(fetch, loki, " or ".join(f'{name}="{wanted}"' for name in names), since_s)
    traces = sorted({line["trace_id"] for line in lines if TRACE.match(line.get("trace_id", ""))})[:20]
    if traces:
        seen = {(line["at"], line["text"]) for line in lines}
        more = log_lines(fetch, loki, " or ".join(f'trace_id="{trace}"' for trace in traces), since_s)
        lines += [line for line in more if (line["at"], line["text"]) not in seen]
    return sorted(lines, key=lambda line: line["at"])


def find_trace(fetch: Fetch, jaeger: str, trace: str) -> list[dict[str, Any]]:
    """Return the spans of a trace with the name of their service, none if Jaeger has not kept it."""
    found = fetch(f"{jaeger}/api/traces/{trace}")["data"]
    spans = []
    for each in found or []:
        for span in each["spans"]:
            spans.append({**span, "service": each["processes"][span["processID"]]["serviceName"]})
    return spans


def find_series(fetch: Fetch, prometheus: str, traces: list[str], at_s: float) -> list[dict[str, Any]]:
    """Return the series that carry one of the traces as an exemplar, with what the request added to them."""
    if not traces:
        return []
    query = {
        "query": "http_request_duration_seconds_bucket",
        "start": f"{at_s - WINDOW_S:.0f}",
        "end": f"{at_s + WINDOW_S:.0f}",
    }
    series = []
    for each in fetch(f"{prometheus}/api/v1/query_exemplars?{urlencode(query)}")["data"]:
        for exemplar in each["exemplars"]:
            if exemplar["labels"].get("trace_id") in traces:
                series.append({"labels": each["seriesLabels"], "value": float(exemplar["value"])})
    return series


def count_of(fetch: Fetch, prometheus: str, fields: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the counter that the request was counted in, by the fields of its line: one per route."""
    labels = {"instance": fields.get("host"), "method": fields.get("http_method"), "status": fields.get("http_status")}
    words = ",".join(f"{name}={json.dumps(value)}" for name, value in labels.items() if value)
    query = urlencode({"query": f"http_requests_total{{{words}}}"})
    found: list[dict[str, Any]] = fetch(f"{prometheus}/api/v1/query?{query}")["data"]["result"]
    path = fields.get("http_path", "")
    return [each for each in found if route_fits(each["metric"].get("route", ""), path)]


def route_fits(route: str, path: str) -> bool:
    """Return whether a path is one of a route's, such as /v1/nanos/{nano_id}."""
    return bool(re.fullmatch("[^/]+".join(map(re.escape, re.split(r"\{[^}]*\}", route))), path))


def span_tree(spans: list[dict[str, Any]]) -> list[str]:
    """Return a line for each span, children below their parent and indented."""
    known = {span["spanID"] for span in spans}
    children: dict[str, list[dict[str, Any]]] = {}
    for span in sorted(spans, key=lambda span: span["startTime"]):
        parents = [ref["spanID"] for ref in span.get("references", []) if ref["refType"] == "CHILD_OF"]
        parent = parents[0] if parents and parents[0] in known else ""
        children.setdefault(parent, []).append(span)
    begin = min((span["startTime"] for span in spans), default=0)
    lines: list[str] = []

    def walk(parent: str, stem: str) -> None:
        mine = children.get(parent, [])
        for number, span in enumerate(mine):
            last = number == len(mine) - 1
            tags = {tag["key"]: tag["value"] for tag in span.get("tags", [])}
            failed = "  ERROR" if tags.get("error") or tags.get("otel.status_code") == "ERROR" else ""
            system = tags.get("db.system") or tags.get("db.system.name") or tags.get("rpc.system")
            kind = f" [{system}]" if system else ""
            when, length = (span["startTime"] - begin) / 1000, span["duration"] / 1000
            lines.append(
                f"{stem}{'└─ ' if last else '├─ '}{span['service']}: {span['operationName']}{kind}"
                f"  {length:.1f} ms (at +{when:.1f}){failed}"
            )
            walk(span["spanID"], stem + ("   " if last else "│  "))

    walk("", "")
    return lines


def line_text(line: Mapping[str, Any]) -> str:
    """Return a log line for people: where, who, how bad, and what."""
    what = line["text"].splitlines()[0] if line["text"] else ""
    if what.startswith("{"):
        try:
            told = json.loads(line["text"])
            what = str(
                told.get("message") or told.get("event") or ""
            ) or "{http_method} {http_path} {http_status}".format(
                **{"http_method": "", "http_path": "", "http_status": "", **told}
            )
        except ValueError:
            pass
    more = [f"{line['duration_ms']} ms"] if line.get("duration_ms") else []
    more += [f"of it {line['upstream_ms']} ms upstream"] if line.get("upstream_ms") else []
    seconds, rest = divmod(line["at"], 10**9)
    clock = f"{seconds // 3600 % 24:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{rest // 10**6:03}"
    place = f"{line.get('host', '?')}/{line.get('service_name', '?')}"
    return f"{clock}  {place:<18}{line.get('level', '?'):<9}{what[:160]}{'  (' + ', '.join(more) + ')' if more else ''}"


def tree(found: Mapping[str, Any]) -> str:
    """Return all that was found as text."""
    parts = [f"Request {found['id']}"]
    lines, traces = found["lines"], found["traces"]
    parts.append(f"├─ Log: {len(lines)} line{'s' * (len(lines) != 1)} (Loki)")
    parts += [f"│    {line_text(line)}" for line in lines[:60]]
    if len(lines) > 60:
        parts.append(f"│    ... and {len(lines) - 60} more")
    parts.append("├─ Metrics (Prometheus)")
    for each in found["series"]:
        names = {k: v for k, v in each["labels"].items() if k in ("instance", "method", "route", "status", "le")}
        parts.append(f"│    {each['labels']['__name__']}{pairs(names)}  exemplar {each['value'] * 1000:.1f} ms")
    for each in found["counters"]:
        names = {k: v for k, v in each["metric"].items() if k in ("instance", "method", "route", "status")}
        parts.append(f"│    http_requests_total{pairs(names)}  {float(each['value'][1]):.0f} so far")
    if not found["series"] and not found["counters"]:
        parts.append("│    none: the request did not reach the application, or was not scraped yet (15 s)")
    for number, (trace, spans) in enumerate(traces.items()):
        last = number == len(traces) - 1
        services = len({span["service"] for span in spans})
        parts.append(f"{'└─' if last else '├─'} Trace {trace}: {len(spans)} spans of {services} services (Jaeger)")
        parts += [f"{'  ' if last else '│ '}   {line}" for line in span_tree(spans)]
        if not spans:
            parts.append(
                "     not there: the sampling did not keep it, it is older than Jaeger's retention, or comes soon"
            )
    if not traces:
        parts.append("└─ Trace: no line names one")
    return "\n".join(parts)


def pairs(labels: Mapping[str, str]) -> str:
    """Return labels as PromQL writes them."""
    return "{" + ", ".join(f"{name}={json.dumps(value)}" for name, value in sorted(labels.items())) + "}"


def follow(fetch: Fetch, wanted: str, *, loki: str, jaeger: str, prometheus: str, since_s: float) -> dict[str, Any]:
    """Return lines, traces and series of a request.

    Args:
        fetch: returns the JSON of a URL, raises FollowError.
        wanted: request id, correlation id or trace id.
        loki: URL of Loki, empty if there is none; so are the others.
        jaeger: URL of Jaeger's pages.
        prometheus: URL of Prometheus.
        since_s: how far back lines are looked for, in seconds.

    Raises:
        FollowError: the id can't be one, or a service can't be asked.
    """
    if not ID.match(wanted):
        raise FollowError(f"{wanted!r} is no id: 8 to 64 letters, digits, dots, underscores and hyphens")
    lines = find_lines(fetch, loki, wanted, since_s) if loki else []
    named = {line["trace_id"] for line in lines if TRACE.match(line.get("trace_id", ""))}
    if TRACE.match(wanted) and not named:
        named = {wanted}
    # The oldest few: a correlation id may be on very many requests.
    ids = sorted(named)[:10]
    traces = {trace: find_trace(fetch, jaeger, quote(trace)) if jaeger else [] for trace in ids}
    traces = {trace: spans for trace, spans in traces.items() if spans or trace != wanted or lines}
    answered = [line for line in lines if line.get("http_status") and line.get("service_name") != "nginx"]
    series, counters = [], []
    if prometheus and lines:
        series = find_series(fetch, prometheus, ids, lines[0]["at"] / 1e9)
        counters = [each for line in answered[:1] for each in count_of(fetch, prometheus, line)]
    return {"id": wanted, "lines": lines, "traces": traces, "series": series, "counters": counters}
