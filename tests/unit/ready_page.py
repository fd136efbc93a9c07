"""A readiness page over TLS that only answers to a certificate of its CA, as the platform's services do."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PEM = serialization.Encoding.PEM


def certificate(name: str, signer: tuple[x509.Name, Any] | None) -> tuple[x509.Certificate, Any]:
    """Make a CA, or a certificate for loopback that it signs."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer, issuer_key = signer or (subject, key)
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
    )
    loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    builder = builder.add_extension(x509.SubjectAlternativeName([loopback]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256()), key


def identity(folder: Path) -> Path:
    """Write a CA and a host's certificate and key, as role host leaves them on a host."""
    folder.mkdir(exist_ok=True)
    authority, authority_key = certificate("CA", None)
    host, key = certificate("host", (authority.subject, authority_key))
    (folder / "ca.crt").write_bytes(authority.public_bytes(PEM))
    (folder / "host.crt").write_bytes(host.public_bytes(PEM))
    (folder / "host.key").write_bytes(
        key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder


class Page:
    """A readiness page; `status` decides what it answers, given how often it was asked before; 0 is no HTTP."""

    def __init__(self) -> None:
        self.status: Callable[[int], int] = lambda asked: 200
        self.asked = 0
        self.url = ""


@contextmanager
def serve(tls: Path) -> Iterator[Page]:
    """Serve a page on loopback to whoever shows a certificate of the CA."""
    found = Page()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status = found.status(found.asked)
            found.asked += 1
            if not status:
                self.wfile.write(b"still starting\r\n\r\n")
                return
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tls / "ca.crt"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(tls / "host.crt", tls / "host.key")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    found.url = f"https://127.0.0.1:{server.server_port}/-/ready"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield found
    server.shutdown()
    server.server_close()
