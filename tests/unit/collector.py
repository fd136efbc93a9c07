"""Runs the collector as role otel_collector configures it, in a folder, against a receiver that takes what arrives."""

from __future__ import annotations

import contextlib
import gzip
import http.server
import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import ROOT

ROLE = ROOT / "roles/otel_collector"
CATALOGUE = yaml.safe_load((ROOT / "catalogue.yml").read_text())["programs"]["otelcol_contrib"]
PLAYBOOK = [
    {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars_files": [
            str(ROLE / "defaults/main.yml"),
            *map(str, sorted((ROLE / "vars/main").glob("*.yml"))),
            "{{ given }}",
        ],
        "tasks": [
            {
                "ansible.builtin.template": {
                    "src": str(ROLE / "templates/otel_collector.yml.j2"),
                    "dest": "{{ dest }}",
                    "mode": "0600",
                }
            }
        ],
    }
]
# Shows a file as journalctl --follow does: what is there from the position on, then what is added.
JOURNALCTL = r"""#!/usr/bin/env python3
import json, os, sys, time
arguments = dict(a.split("=", 1) for a in sys.argv[1:] if a.startswith("--") and "=" in a)
lines = lambda: open("{journal}", encoding="utf-8").read().splitlines()
number = lambda cursor: int(cursor.split("i=")[1].split(";")[0])
if "--reverse" in sys.argv:
    end = number(arguments["--cursor"])
    print("\n".join(list(reversed(lines()[: end + 1]))[: int(arguments["--lines"])]))
    sys.exit()
at = number(arguments["--cursor"]) if "--cursor" in arguments else 0
if "--since" in arguments and arguments["--since"].startswith("@"):
    since = float(arguments["--since"][1:]) * 1e6
    times = [int(json.loads(line)["__REALTIME_TIMESTAMP"]) for line in lines()]
    at = sum(time < since for time in times)
parent = os.getppid()
with open("{journal}", encoding="utf-8") as source:
    for _ in range(at):
        source.readline()
    while os.getppid() == parent:
        line = source.readline()
        if line.endswith("\n"):
            sys.stdout.write(line)
        else:
            sys.stdout.flush()
            time.sleep(0.02)
"""


def binary(folder: Path) -> Path:
    """Return the program of the lab's mirror, unpacked; NANO_OTELCOL names another one. Skips where there is none."""
    if named := os.environ.get("NANO_OTELCOL"):
        return Path(named)
    cache = Path(os.environ.get("NANO_CACHE", "~/.cache/nano.ops")).expanduser()
    version = CATALOGUE["version"]
    archive = cache / "mirror/otelcol_contrib" / version / CATALOGUE["file"].format(version=version, arch="amd64")
    if not archive.exists():
        pytest.skip(
            f"the collector is not in the mirror: python -m lab mirror --program otelcol_contrib makes {archive}"
        )
    with tarfile.open(archive) as unpacked:
        unpacked.extract("otelcol-contrib", folder, filter="data")
    return folder / "otelcol-contrib"


def configuration(folder: Path, **variables: Any) -> dict[str, Any]:
    """Return the configuration that the role makes of some variables, its own otherwise."""
    (folder / "playbook.yml").write_text(json.dumps(PLAYBOOK))
    (folder / "given.json").write_text(json.dumps(variables))
    extra = json.dumps({"given": str(folder / "given.json"), "dest": str(folder / "rendered.yml")})
    done = subprocess.run(
        [
            "ansible-playbook",
            "-i",
            "localhost,",
            "-e",
            extra,
            "-e",
            f"@{folder}/given.json",
            str(folder / "playbook.yml"),
        ],
        env=os.environ | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(yaml.safe_load((folder / "rendered.yml").read_text()))


def free_port() -> int:
    """Return a port of loopback that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def values(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    """Return OTLP's list of attributes as a dict."""
    return {item["key"]: next(iter(item["value"].values()), None) for item in attributes}


@dataclass(frozen=True)
class Record:
    """A log record as it arrived; `at` in nanoseconds since 1970."""

    body: str
    at: int
    severity: int
    trace: str
    span: str
    labels: dict[str, Any]
    fields: dict[str, Any]


@dataclass
class Receiver:
    """Takes logs as Loki's OTLP endpoint does, from clients with a certificate. `open` decides whether it answers."""

    tls: Path
    port: int = field(default_factory=free_port)
    records: list[Record] = field(default_factory=list)
    refused: int = 0
    open: bool = True

    def take(self, path: str, body: dict[str, Any]) -> int:
        """Keep what was sent and return the status."""
        if not self.open:
            self.refused += 1
            return 503
        assert path == "/otlp/v1/logs", path
        for resource in body["resourceLogs"]:
            labels = values(resource["resource"].get("attributes", []))
            for scope in resource["scopeLogs"]:
                for each in scope["logRecords"]:
                    text, at, severity = (
                        each["body"]["stringValue"],
                        int(each["timeUnixNano"]),
                        each.get("severityNumber", 0),
                    )
                    trace, span = each.get("traceId", ""), each.get("spanId", "")
                    found = Record(text, at, severity, trace, span, labels, values(each.get("attributes", [])))
                    self.records.append(found)
        return 200

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Serve until the end of the context."""
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                self.send_response(receiver.take(self.path, json.loads(body)))
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *arguments: Any) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.tls / "host.crt", self.tls / "host.key")
        context.load_verify_locations(self.tls / "ca.crt")
        context.verify_mode = ssl.CERT_REQUIRED
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


@dataclass
class Collector:
    """A collector in a folder: its journal, nginx's log, Docker's files; what it sent is in `receiver`."""

    folder: Path
    program: Path
    receiver: Receiver
    process: subprocess.Popen[bytes] | None = None
    entries: int = 0

    def journal(self, message: str, unit: str = "shop.service", pid: int = 7, priority: int = 6, **extra: str) -> None:
        """Write an entry to the journal."""
        now = time.time_ns() // 1000
        entry = {
            "__CURSOR": f"s=5e;i={self.entries};b=1;m=1;t={now:x};x=1",
            "__REALTIME_TIMESTAMP": str(now),
            "_SYSTEMD_UNIT": unit,
            "_PID": str(pid),
            "PRIORITY": str(priority),
            "MESSAGE": message,
        }
        self.entries += 1
        with (self.folder / "journal").open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(entry | extra) + "\n")

    def start(self) -> None:
        """Start it, with what the unit says."""
        arguments = ["--config", str(self.folder / "config.yml"), "--feature-gates=stanza.synchronousLogEmitter"]
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        with (self.folder / "own.log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(self.program), *arguments], stdout=log, stderr=log, env=os.environ | {"PATH": path}
            )

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it by a signal."""
        if self.process:
            self.process.send_signal(number)
            self.process.wait(timeout=30)
            self.process = None

    def own(self) -> str:
        """Return what it has said itself."""
        return (self.folder / "own.log").read_text(errors="replace")

    def wait(self, check: Callable[[], bool], seconds: float, told: Callable[[], str]) -> None:
        """Wait until a check holds."""
        deadline = time.monotonic() + seconds
        while not check():
            if time.monotonic() > deadline:
                pytest.fail(f"{told()} after {seconds} s; the collector says: {self.own()[-3000:]}")
            time.sleep(0.05)

    def await_records(self, wanted: Callable[[Record], bool], count: int, seconds: float = 30) -> list[Record]:
        """Return the records that fit once there are as many as wanted."""
        deadline = time.monotonic() + seconds
        while True:
            found = [record for record in list(self.receiver.records) if wanted(record)]
            if len(found) >= count:
                return found
            if time.monotonic() > deadline:
                pytest.fail(f"{len(found)} of {count} records after {seconds} s; it says: {self.own()[-3000:]}")
            time.sleep(0.05)


def prepared(folder: Path, program: Path, tls: Path, **variables: Any) -> Collector:
    """Return a collector that is configured in a folder but not started."""
    receiver = Receiver(tls)
    listen = {name: f"127.0.0.1:{free_port()}" for name in ("grpc", "http", "zipkin", "health")}
    given = {
        "otel_collector_loki_url": f"https://127.0.0.1:{receiver.port}/otlp",
        "otel_collector_nginx_logs": [f"{folder}/nginx/*.json"],
        "otel_collector_docker": True,
        "__otel_collector_docker_logs": f"{folder}/containers/*/*-json.log",
        "__otel_collector_state": str(folder / "state"),
        "__otel_collector_tls": str(tls),
        "__otel_collector_journalctl": str(ROLE / "files/journal_rewound.py"),
        "__otel_collector_listen": listen,
        "__otel_collector_site": "site_a",
        "__otel_collector_flush": "500ms",
        "host_env": "test",
    }
    made = configuration(folder, **given | variables)
    # The only difference to what a host gets: readable without a decoder for protobuf.
    made["exporters"]["otlp_http/loki"]["encoding"] = "json"
    (folder / "config.yml").write_text(yaml.safe_dump(made))
    (folder / "journal").touch()
    for name in ("bin", "nginx", "containers"):
        (folder / name).mkdir()
    shown = folder / "bin/journalctl"
    shown.write_text(JOURNALCTL.replace("{journal}", str(folder / "journal")))
    shown.chmod(shown.stat().st_mode | stat.S_IXUSR)
    return Collector(folder, program, receiver)
