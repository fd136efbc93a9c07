"""Measure what nano_telemetry costs a request: the same service with and without it, in turns, in one run.

    python bench.py [--rounds 6] [--requests 1500]

Prints p50 and p99 (milliseconds) and CPU time of the server per request (microseconds), and their ratios. The service
does next to nothing, so the ratio is the worst there is; the difference is what a real request pays.
"""

from __future__ import annotations

import argparse
import http.client
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

APP = """
from fastapi import FastAPI
app = FastAPI()
{telemetry}
@app.get("/nanos/{{nano_id}}")
async def nano(nano_id: str) -> dict[str, str]:
    return {{"nano_id": nano_id}}
"""
WITH = "from nano_telemetry import Telemetry; telemetry = Telemetry.from_env(); telemetry.instrument(app)"
_TICKS = os.sysconf("SC_CLK_TCK")


class Collector(BaseHTTPRequestHandler):
    """Takes spans and forgets them."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer as a collector does."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@dataclass
class Server:
    """One of the two services, and what was measured of it."""

    process: subprocess.Popen[bytes]
    port: int
    latencies: list[float] = field(default_factory=list)
    cpu: float = 0.0

    @classmethod
    def start(cls, telemetry: bool, endpoint: str) -> Server:
        """Start uvicorn with the service, its output read away by the kernel."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        program = APP.format(telemetry=WITH if telemetry else "")
        log = {} if telemetry else {"access_log": True}
        program += f"\nimport uvicorn\nuvicorn.run(app, port={port}, **{log})\n"
        path = os.environ.get("PYTHONPATH", "")
        environ = {
            **os.environ,
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "PYTHONPATH": f"{Path(__file__).parent / 'src'}:{path}",
        }
        process = subprocess.Popen(
            [sys.executable, "-c", program], env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        server = cls(process, port)
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                return server
            except ConnectionError as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit("bench: the service does not start; are fastapi and uvicorn installed?") from error
                time.sleep(0.05)

    def used(self) -> float:
        """Return the seconds of CPU that the process has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def round(self, requests: int, keep: bool) -> None:
        """Ask so many times, one after the other."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        before, taken = self.used(), []
        for number in range(requests):
            begun = time.perf_counter()
            connection.request("GET", f"/nanos/{number}")
            answer = connection.getresponse()
            answer.read()
            taken.append((time.perf_counter() - begun) * 1000)
            if answer.status != 200:
                raise SystemExit(f"bench: the service answered {answer.status}")
        connection.close()
        if keep:
            self.latencies += taken
            self.cpu += self.used() - before


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=6, help="rounds of each service, in turns (6)")
    parser.add_argument("--requests", type=int, default=1500, help="requests of a round (1500)")
    asked = parser.parse_args()
    collector = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{collector.server_address[1]}"
    servers = {name: Server.start(name == "with", endpoint) for name in ("without", "with")}
    try:
        for turn in range(asked.rounds + 1):
            # The first round warms up and does not count; the order changes so that none is always second.
            for name in sorted(servers, reverse=bool(turn % 2)):
                servers[name].round(asked.requests, keep=turn > 0)
    finally:
        for server in servers.values():
            server.process.terminate()
            server.process.wait(10)
    count = asked.rounds * asked.requests
    print(f"{count} requests of each service, in {asked.rounds} turns")
    rows: dict[str, list[float]] = {}
    for name, server in servers.items():
        cuts = statistics.quantiles(server.latencies, n=100)
        rows[name] = [cuts[49], cuts[98], server.cpu / count * 1e6]
        print(
            f"{name:8}  p50 {rows[name][0]:7.3f} ms   p99 {rows[name][1]:7.3f} ms   CPU {rows[name][2]:6.0f} us/request"
        )
    more = [a - b for a, b in zip(rows["with"], rows["without"], strict=True)]
    share = [a / b for a, b in zip(rows["with"], rows["without"], strict=True)]
    print(f"{'ratio':8}  p50 {share[0]:7.2f}      p99 {share[1]:7.2f}      CPU {share[2]:6.2f}")
    print(f"{'more':8}  p50 {more[0]:+7.3f} ms   p99 {more[1]:+7.3f} ms   CPU {more[2]:+6.0f} us/request")


if __name__ == "__main__":
    main()
