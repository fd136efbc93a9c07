"""Spans of what the service calls, and nothing in them that people entered."""

from __future__ import annotations

import json
import os
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from collector import Collector, Span
from running import Service


class FakeRedis(socketserver.StreamRequestHandler):
    """Says OK to every command, in Redis' own protocol."""

    def handle(self) -> None:
        while line := self.rfile.readline():
            for _ in range(int(line[1:])):
                length = int(self.rfile.readline()[1:])
                self.rfile.read(length + 2)
            self.wfile.write(b"+OK\r\n")


class FakeHttp(BaseHTTPRequestHandler):
    """An object store and a search engine that agree to everything; remembers the headers it got."""

    protocol_version = "HTTP/1.1"
    seen: ClassVar[list[dict[str, str]]] = []

    def _answer(self) -> None:
        self.seen.append({key.lower(): value for key, value in self.headers.items()})
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
        else:
            while self.rfile.readline().strip() not in (b"0", b""):
                pass
            while self.rfile.readline().strip():
                pass
        body = b"" if self.command == "PUT" else b'{"took":1,"hits":{"hits":[]}}'
        self.send_response(200)
        self.send_header("X-Elastic-Product", "Elasticsearch")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_PUT = do_POST = do_GET = _answer

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def calling(collector: Collector) -> Iterator[Service]:
    servers = [
        socketserver.ThreadingTCPServer(("127.0.0.1", 0), FakeRedis),
        ThreadingHTTPServer(("127.0.0.1", 0), FakeHttp),
    ]
    for server in servers:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
    running = Service(
        OTEL_SDK_DISABLED="false",
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint,
        TEST_CLIENTS="yes",
        TEST_REDIS=f"redis://127.0.0.1:{servers[0].server_address[1]}/0",
        TEST_HTTP=f"http://127.0.0.1:{servers[1].server_address[1]}",
        NANO_SQL_TRACE_COMMENT="true",
    )
    yield running
    running.stop()
    for server in servers:
        server.shutdown()
        server.server_close()


def follow(calling: Service, collector: Collector, path: str, name: str) -> list[Span]:
    """Ask for the path and return the spans that hang below the request's."""
    answer = calling.http.get(path)
    line = calling.access(answer)
    assert answer.status_code == 200, line["error"]["stack"][-1500:]
    collector.wait_for(lambda s: s.span_id == line["span_id"], f"of {path}")
    below = [s for s in collector.spans if s.trace_id == line["trace_id"] and s.span_id != line["span_id"]]
    assert below and all(s.parent_id == line["span_id"] for s in below), f"no {name} below {line['span_id']}: {below}"
    assert "hunter2" not in "".join(s.everything for s in below) + json.dumps(calling.lines())
    return below


def test_statements_of_every_named_engine(calling: Service, collector: Collector) -> None:
    below = follow(calling, collector, "/sql", "statement")
    assert [s.attributes["db.statement"] for s in below] == ["SELECT ?", "SELECT ? AS a, ? AS b"]
    assert {s.attributes["db.system"] for s in below} == {"sqlite"}


def test_cache_commands(calling: Service, collector: Collector) -> None:
    spans = follow(calling, collector, "/cache", "command")
    assert "SET ? ?" in [s.attributes.get("db.statement") for s in spans]


def test_object_store_calls_carry_the_trace(calling: Service, collector: Collector) -> None:
    FakeHttp.seen.clear()
    (span,) = follow(calling, collector, "/store", "S3 call")
    assert span.name == "S3.PutObject"
    assert FakeHttp.seen[0]["traceparent"].split("-")[1] == span.trace_id


def test_search_engine_by_its_own_client(calling: Service, collector: Collector) -> None:
    (span,) = follow(calling, collector, "/search", "search")
    assert (span.name, span.attributes["db.system.name"]) == ("search", "elasticsearch")


def test_a_missing_library_is_one_line_and_no_error(tmp_path: Path) -> None:
    for name in ("redis", "botocore"):
        (tmp_path / f"{name}.py").write_text("raise ModuleNotFoundError(f'No module named {__name__}', name=__name__)")
    program = (
        "from nano_telemetry import Telemetry; t = Telemetry.from_env();"
        "t.instrument_redis(); t.instrument_botocore(); t.shutdown(); t.shutdown()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(tmp_path), "OTEL_SDK_DISABLED": "true"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    told = [json.loads(line)["message"] for line in done.stdout.splitlines()]
    assert told == [f"no spans of {n}: the package {n} is not installed" for n in ("redis", "botocore")]
