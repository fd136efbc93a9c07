"""The keeper's door: HTTPS on the host's address, for certificates of the platform's CA alone."""

from __future__ import annotations

import http.server
import json
import socket
import socketserver
import ssl
import threading
from typing import Any

from nano_primary_record.keeper import SERVICE, Forbidden, Keeper
from nano_primary_record.settings import Settings, notify, server_context, tell

MOST_BYTES = 65536
MOST_CONNECTIONS = 64
# Of a handshake, and of each read and write after it.
SECONDS = 5.0
OPERATIONS = ("look", "found", "prepare", "accept")


def common_name(certificate: Any) -> str:
    """Return the name on a client's certificate, as role host has made it."""
    names = [value for part in (certificate or {}).get("subject", ()) for key, value in part if key == "commonName"]
    return str(names[0]) if len(names) == 1 else ""


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version = "nano-primary-record"
    sys_version = ""
    timeout = SECONDS

    def do_GET(self) -> None:
        """Show the metrics."""
        if self.path == "/metrics":
            self._send(200, self.server.keeper.metrics(), "text/plain; version=0.0.4")
        else:
            self._send(404, json.dumps({"error": "there is only /metrics and what nano-primary-record asks"}))

    def do_POST(self) -> None:
        """Follow a message of another keeper or of a database host."""
        operation = self.path.removeprefix("/v1/")
        length = self.headers.get("Content-Length", "")
        if operation not in OPERATIONS or not length.isdigit() or int(length) > MOST_BYTES:
            self.close_connection = True
            self._send(400, json.dumps({"error": "no message of nano-primary-record"}))
            return
        assert isinstance(self.connection, ssl.SSLSocket)
        caller = common_name(self.connection.getpeercert())
        try:
            message = json.loads(self.rfile.read(int(length)))
            if not isinstance(message, dict):
                raise ValueError("the message is no object")
            status, answer = self._follow(operation, message, caller)
        except ValueError as error:
            status, answer = 400, {"error": str(error)}
        self._send(status, json.dumps(answer))

    def _follow(self, operation: str, message: dict[str, Any], caller: str) -> tuple[int, dict[str, Any]]:
        try:
            return 200, self.server.keeper.answer(operation, message, caller)
        except Forbidden as error:
            tell(SERVICE, "refused", "warning", caller=caller, error=str(error))
            return 403, {"error": str(error)}
        except OSError as error:
            tell(SERVICE, "disk failed", "error", error=str(error))
            return 503, {"error": f"its disk does not take the register: {error.strerror}"}

    def _send(self, status: int, text: str, kind: str = "application/json") -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a line per look would bury everything else."""


class Server(http.server.ThreadingHTTPServer):
    """Takes connections; each has its handshake in a thread of its own, so that a slow one delays nobody."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, settings: Settings, keeper: Keeper) -> None:
        """Listen."""
        self.settings, self.keeper = settings, keeper
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        self._context: tuple[tuple[float, ...], ssl.SSLContext] | None = None
        super().__init__((settings.address, settings.keepers[settings.host][1]), Handler)

    def server_bind(self) -> None:
        """Bind without asking a resolver for the host's name, as the base class would."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def context(self) -> ssl.SSLContext:
        """Return the TLS of now: a renewed certificate counts from the next connection on."""
        folder = self.settings.tls
        stamps = tuple((folder / name).stat().st_mtime for name in ("ca.crt", "host.crt", "host.key"))
        known = self._context
        if not known or known[0] != stamps:
            known = self._context = (stamps, server_context(self.settings))
        return known[1]

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve one connection."""
        if not self._free.acquire(blocking=False):
            return
        try:
            request.settimeout(SECONDS)
            with self.context().wrap_socket(request, server_side=True) as secure:
                Handler(secure, client_address, self)
        except (OSError, ValueError):
            # Strangers, and callers that gave up: they know it themselves.
            return
        finally:
            self._free.release()

    def handle_error(self, request: socket.socket | tuple[bytes, socket.socket], client_address: Any) -> None:
        """Note a mistake of ours in one line."""
        import traceback

        tell(SERVICE, "error", "error", error=traceback.format_exc(limit=-3))


def keep(settings: Settings) -> int:
    """Run the keeper of this host until it is ended."""
    keeper = Keeper(settings)
    server = Server(settings, keeper)
    threading.Thread(target=keeper.learn_when_empty, daemon=True).start()
    if keeper.reason:
        tell(SERVICE, "no vote", "error", error=keeper.reason)
    tell(SERVICE, "serving", state=keeper.state(), address=settings.address)
    notify("READY=1")
    server.serve_forever()
    return 0
