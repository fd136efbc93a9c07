"""Uvicorn, ending so that no request is lost."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import ssl
import time
from types import FrameType

import uvicorn
from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .services import Services
from .settings import Settings

log = logging.getLogger(__name__)

# Where systemd puts the first socket that it hands over (sd_listen_fds(3)).
FIRST_SOCKET = 3
# Time for callers to use or give up the connections that they keep, in seconds; longer than it takes a request that
# was sent just before to arrive.
LINGER_SECONDS = 2.0


def inherited_sockets() -> list[socket.socket] | None:
    """Return the sockets that systemd opened for this process; None where there are none.

    Such a socket stays open while the service restarts: who connects meanwhile waits and is not refused.
    """
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    count = int(os.environ.get("LISTEN_FDS", "0"))
    return [socket.socket(fileno=FIRST_SOCKET + number) for number in range(count)] or None


class Draining:
    """While draining, has every connection end with the answer that it is giving."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        """Wrap an application."""
        self._app = app
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start" and self._services.draining:
                MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        await self._app(scope, receive, marked if scope["type"] == "http" else send)


class Server(uvicorn.Server):
    """On SIGTERM: not ready any more; after the drain time, no new connections; then what runs finishes, bounded."""

    def __init__(self, config: uvicorn.Config, services: Services) -> None:
        """Make a server of an application."""
        super().__init__(config)
        self._services = services

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end. A second signal ends the drain time at once."""
        if self._services.draining:
            self.should_exit = True
            return
        self._services.draining = True
        seconds = 0.0 if sig == signal.SIGINT else self._services.settings.drain_seconds
        self._ends = time.monotonic() + seconds

    async def on_tick(self, counter: int) -> bool:
        """Tell, ten times a second, whether to end."""
        if self._services.draining and time.monotonic() >= self._ends:
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, let kept connections be used up, then end as uvicorn does."""
        for server in self.servers:
            server.close()
        log.info("no new connections", extra={"action": "shutdown"})
        ends = time.monotonic() + LINGER_SECONDS
        while self.server_state.connections and time.monotonic() < ends:
            await asyncio.sleep(0.05)
        await super().shutdown(sockets)


def serve(app: FastAPI, settings: Settings) -> None:
    """Serve until told to end. Exits with status 1 when the address is taken."""
    services: Services = app.state.services
    config = uvicorn.Config(
        Draining(app, services),
        host=settings.listen_address,
        port=settings.listen_port,
        loop="uvloop",
        http="httptools",
        # Logging is nano_telemetry's; the access log too.
        log_config=None,
        access_log=False,
        server_header=False,
        # nginx says who calls; it is on the same host.
        proxy_headers=True,
        forwarded_allow_ips="127.0.0.1",
        # Longer than nginx keeps a connection (60 s), so that never both end it at once.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=settings.shutdown_seconds,
        ssl_certfile=str(settings.tls_certificate) if settings.tls_certificate else None,
        ssl_keyfile=str(settings.tls_key) if settings.tls_key else None,
        ssl_ca_certs=str(settings.tls_client_ca) if settings.tls_client_ca else None,
        ssl_cert_reqs=ssl.CERT_REQUIRED if settings.tls_client_ca else ssl.CERT_NONE,
    )
    config.load()
    if config.ssl is not None:
        # Its callers are the platform's own: none needs an older version.
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_3
    Server(config, services).run(sockets=inherited_sockets())
