"""Metrics on a port of their own: who has no certificate of the CA gets nothing."""

from __future__ import annotations

import datetime
import http.client
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from collector import wait_until
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from running import Service

CERTS = ("NANO_METRICS_TLS_CERT", "NANO_METRICS_TLS_KEY", "NANO_METRICS_TLS_CA")


class Authority:
    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.key = folder, ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.file = folder / f"{name}-ca.crt"
        self.file.write_bytes(self._sign(self.name, self.key, True))

    def _sign(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, ca: bool) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        local = x509.SubjectAlternativeName([x509.DNSName("localhost")])
        made = x509.CertificateBuilder(self.name, subject, key.public_key(), x509.random_serial_number())
        made = made.not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(1))
        made = made.add_extension(x509.BasicConstraints(ca, None), True).add_extension(local, False)
        return made.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def issue(self, name: str) -> tuple[str, str]:
        key = ec.generate_private_key(ec.SECP256R1())
        cert_file, key_file = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        cert_file.write_bytes(self._sign(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key, False))
        plain = serialization.NoEncryption()
        key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
        return str(cert_file), str(key_file)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def scrape(port: int, ca: Authority, client: tuple[str, str] | None, path: str = "/metrics") -> tuple[int, str]:
    context = ssl.create_default_context(cafile=str(ca.file))
    if client:
        context.load_cert_chain(*client)
    connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=10)
    connection.request("GET", path, headers={"Accept": "application/openmetrics-text"})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


@pytest.fixture
def guarded(tmp_path: Path, start: Callable[..., Service]) -> tuple[Service, int, Authority]:
    ours, port = Authority(tmp_path, "ours"), free_port()
    files = dict(zip(CERTS, (*ours.issue("app1"), str(ours.file)), strict=True))
    return start(NANO_METRICS_LISTEN=f"127.0.0.1:{port}", **files), port, ours


def test_only_a_certificate_of_our_authority_gets_the_metrics(
    guarded: tuple[Service, int, Authority], tmp_path: Path
) -> None:
    service, port, ours = guarded
    service.http.get("/api/nanos/1")
    status, text = scrape(port, ours, ours.issue("prometheus"))
    assert status == 200 and "http_requests_total{" in text
    assert scrape(port, ours, ours.issue("prometheus"), "/other")[0] == 404
    with pytest.raises((ssl.SSLError, ConnectionError)):
        scrape(port, ours, None)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        scrape(port, ours, Authority(tmp_path, "theirs").issue("stranger"))
    assert service.http.get("/metrics").status_code == 404  # not in the application as well


def test_a_silent_caller_keeps_nobody_out(guarded: tuple[Service, int, Authority]) -> None:
    _, port, ours = guarded
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(4)]
    assert scrape(port, ours, ours.issue("prometheus"))[0] == 200
    for each in silent:
        each.close()


def test_a_renewed_certificate_is_served_without_a_restart(guarded: tuple[Service, int, Authority]) -> None:
    _, port, ours = guarded
    client = ours.issue("prometheus")

    def serial() -> int:
        context = ssl.create_default_context(cafile=str(ours.file))
        context.load_cert_chain(*client)
        with socket.create_connection(("localhost", port)) as plain:
            with context.wrap_socket(plain, server_hostname="localhost") as secure:
                return x509.load_der_x509_certificate(secure.getpeercert(True) or b"").serial_number

    before = serial()
    ours.issue("app1")
    wait_until(lambda: serial() != before, "the new certificate")


def test_a_taken_port_is_an_error_at_the_start(start: Callable[..., Service]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(AssertionError, match="Address already in use"):
            start(NANO_METRICS_LISTEN=f"127.0.0.1:{taken.getsockname()[1]}")
