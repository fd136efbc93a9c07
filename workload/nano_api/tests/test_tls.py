"""Both sides prove who they are, on every connection: PostgreSQL, Redis, and the service itself."""

from __future__ import annotations

import datetime as dt
import os
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from . import machine, programs
from .client import Client
from .machine import Postgres, Process, Redis, Service, Store, wait_for

Env = dict[str, str]
Start = Callable[..., Service]


@dataclass
class Authority:
    """A CA in a folder."""

    here: Path

    def __post_init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        # Python 3.13 asks a CA for its key usage.
        usage = x509.KeyUsage(False, False, False, False, False, True, False, False, False)
        made = self.certificate("tests", self.key).add_extension(x509.BasicConstraints(True, None), True)
        self.sign("ca", made.add_extension(usage, True))

    def certificate(self, name: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        issuer, subject = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each)]) for each in ("tests", name))
        today = dt.datetime.now(dt.UTC)
        made = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        made = made.not_valid_before(today - dt.timedelta(1)).not_valid_after(today + dt.timedelta(1))
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        return made.add_extension(authority, False).add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False
        )

    def sign(self, name: str, made: x509.CertificateBuilder) -> None:
        text = made.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)
        (self.here / f"{name}.crt").write_bytes(text)

    def issue(self, name: str) -> None:
        """Make NAME.crt and NAME.key for the DNS name `name`, and for no address."""
        key = ec.generate_private_key(ec.SECP256R1())
        self.sign(
            name, self.certificate(name, key).add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), False)
        )
        text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (self.here / f"{name}.key").write_bytes(text)

    def path(self, name: str) -> str:
        return str(self.here / name)


@pytest.fixture(scope="module")
def authority(scratch: Callable[[], Path]) -> Authority:
    made = Authority(scratch())
    made.issue("localhost")
    made.issue("app1")
    return made


@pytest.fixture(scope="module")
def secure_env(scratch: Callable[[], Path], authority: Authority, redis: Redis, store: Store) -> Iterator[Env]:
    """Return the settings of a service whose PostgreSQL and Redis speak to holders of a certificate only."""
    if not programs.find("initdb"):
        pytest.skip("needs PostgreSQL: make application fetches it, where there is apt")
    here = scratch()
    files = [f"ssl_{kind}_file={here}/localhost.{end}" for kind, end in (("cert", "crt"), ("key", "key"))]
    database = Postgres(here, "ssl=on", *files, f"ssl_ca_file={authority.path('ca.crt')}")
    for name in ("localhost.crt", "localhost.key"):
        (here / name).write_bytes(Path(authority.path(name)).read_bytes())
        os.chown(here / name, here.stat().st_uid, here.stat().st_gid)
        (here / name).chmod(0o600)
    hba = here / "data/pg_hba.conf"
    hba.write_text("hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-ca\n")
    port = machine.free_port()
    (here / "redis.conf").write_text(
        f'bind 127.0.0.1\nport 0\ntls-port {port}\nsave ""\ndir {here}\ntls-auth-clients yes\n'
        f"tls-ca-cert-file {authority.path('ca.crt')}\ntls-cert-file {authority.path('localhost.crt')}\n"
        f"tls-key-file {authority.path('localhost.key')}\nuser default off\n"
        f"user nano on >{machine.PASSWORD} ~* &* +@all -@admin -@dangerous +info\n"
    )
    secure_redis = Process(here, "redis", [*programs.find("redis-server"), str(here / "redis.conf")])
    env = {
        **machine.environment(database, redis, store, "postgres"),
        "NANO_DATABASE_HOSTS": f"localhost:{database.port}",
        "NANO_REDIS_HOST": "localhost",
        "NANO_REDIS_PORT": str(port),
        "NANO_REDIS_USER": "nano",
        "NANO_REDIS_PASSWORD": machine.PASSWORD,
    }
    for what in ("DATABASE", "REDIS"):
        env[f"NANO_{what}_TLS_CA"] = authority.path("ca.crt")
        env[f"NANO_{what}_TLS_CERTIFICATE"] = authority.path("app1.crt")
        env[f"NANO_{what}_TLS_KEY"] = authority.path("app1.key")
    database.start()
    secure_redis.start()
    wait_for(lambda: machine.answers(port), "Redis answers", log=secure_redis.text)
    yield env
    secure_redis.stop()
    database.stop()


def test_with_a_certificate_all_is_there(secure_env: Env, start: Start) -> None:
    migrated = machine.command(secure_env, "migrate")
    assert migrated.returncode == 0, migrated.stderr
    checked = machine.command(secure_env, "check")
    assert (checked.returncode, checked.stdout.count("ok   ")) == (0, 3), checked.stdout + checked.stderr
    service = start(secure_env)
    with Client(service.url) as someone:
        someone.join()
        assert someone.get("/v1/users/me").status_code == 200


@pytest.mark.parametrize(
    ("what", "change"),
    [
        # The certificate is localhost's: the address is another name, also where it leads to the same server.
        ("database", lambda env: {"NANO_DATABASE_HOSTS": env["NANO_DATABASE_HOSTS"].replace("localhost", "127.0.0.1")}),
        ("database", lambda env: {"NANO_DATABASE_TLS_CERTIFICATE": "", "NANO_DATABASE_TLS_KEY": ""}),
        ("database", lambda env: dict.fromkeys((name for name in env if name.startswith("NANO_DATABASE_TLS")), "")),
        ("database", lambda env: {"NANO_DATABASE_PASSWORD": "another"}),
        ("redis", lambda env: {"NANO_REDIS_HOST": "127.0.0.1"}),
        ("redis", lambda env: {"NANO_REDIS_TLS_CERTIFICATE": "", "NANO_REDIS_TLS_KEY": ""}),
        ("redis", lambda env: {"NANO_REDIS_PASSWORD": "another"}),
    ],
)
def test_check_says_what_is_refused(secure_env: Env, what: str, change: Callable[[Env], Env]) -> None:
    done = machine.command({**secure_env, **change(secure_env)}, "check")
    assert done.returncode == 1
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("error")] == [what], done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert machine.PASSWORD not in done.stdout + done.stderr


def test_the_service_asks_for_a_certificate(env: Env, authority: Authority, start: Start) -> None:
    service = start(
        env,
        NANO_TLS_CERTIFICATE=authority.path("localhost.crt"),
        NANO_TLS_KEY=authority.path("localhost.key"),
        NANO_TLS_CLIENT_CA=authority.path("ca.crt"),
    )
    url = f"https://localhost:{service.port}/health/live"
    context = ssl.create_default_context(cafile=authority.path("ca.crt"))
    with pytest.raises(httpx.TransportError):
        httpx.get(url, verify=context)
    context.load_cert_chain(authority.path("app1.crt"), authority.path("app1.key"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(httpx.TransportError):
        httpx.get(url, verify=context)
    context.maximum_version = ssl.TLSVersion.MAXIMUM_SUPPORTED
    assert httpx.get(url, verify=context).json() == {"status": "alive"}
