"""Metrics on a port of their own, where Prometheus proves by certificate who it is."""

from __future__ import annotations

import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from nano_telemetry.metrics import Metrics
from nano_telemetry.settings import Settings

TIMEOUT = 10.0
CONNECTIONS = 8


class MetricsServer(ThreadingHTTPServer):
    """Answers GET of one path, in threads, to at most eight callers at once."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        """Bind the port.

        Raises:
            OSError: the port is taken.
            ssl.SSLError: certificate, key or CA can't be used.
        """
        self.metrics, self.path = metrics, settings.metrics_path
        self._slots = threading.BoundedSemaphore(CONNECTIONS)
        self._files = (settings.metrics_cert, settings.metrics_key, settings.metrics_ca)
        self._context: ssl.SSLContext | None = None
        self._stamp: tuple[int, ...] = ()
        if settings.metrics_cert:
            self._load()
        self.address_family = socket.AF_INET6 if ":" in settings.metrics_host else socket.AF_INET
        super().__init__((settings.metrics_host, settings.metrics_port), _Handler)
        threading.Thread(target=self.serve_forever, name="nano-telemetry-metrics", daemon=True).start()

    def _load(self) -> None:
        stamp = tuple(Path(name).stat().st_mtime_ns for name in self._files)
        if stamp == self._stamp:
            return
        cert, key, ca = self._files
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.minimum_version = ssl.TLSVersion.TLSv1_3
        made.verify_mode = ssl.CERT_REQUIRED
        made.load_cert_chain(cert, key)
        made.load_verify_locations(ca)
        self._context, self._stamp = made, stamp

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a caller, or hang up when there are too many."""
        if not self._slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Shake hands in the caller's own thread: one that says nothing must not keep the others out."""
        try:
            request.settimeout(TIMEOUT)
            if self._context is not None:
                self._renew()
                request = self._context.wrap_socket(request, server_side=True)
            super().process_request_thread(request, client_address)
        except (OSError, ssl.SSLError):
            self.shutdown_request(request)
        finally:
            self._slots.release()

    def _renew(self) -> None:
        try:
            self._load()  # a renewed certificate is used without a restart
        except (OSError, ssl.SSLError):
            pass  # the files are being replaced: the old certificate serves until they are whole

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing about a caller that hung up."""


class _Handler(BaseHTTPRequestHandler):
    server: MetricsServer
    server_version = "nano_telemetry"
    sys_version = ""

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != self.server.path:
            self.send_error(404)
            return
        body, kind = self.server.metrics.exposition(self.headers.get("Accept", ""))
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass
