"""The platform's certificate authority: a folder on the controller whose key is encrypted at rest."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import ipaddress
import os
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_DAYS = 3650
LEAST_PASSPHRASE = 16
# Clocks of two hosts differ; a certificate that is valid only from now on would be refused by the slower one.
BACKDATE = datetime.timedelta(minutes=5)


class AuthorityError(Exception):
    """Why the CA can't be used, and what to do."""


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Keep the forks of one run, and two runs, from making two CAs."""
    with (directory / ".lock").open("a", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _write(path: Path, content: bytes, mode: int) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as handle:
        handle.write(content)
    fresh.replace(path)


def _make(directory: Path, passphrase: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nano.ops CA")])
    now = datetime.datetime.now(datetime.UTC)
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + datetime.timedelta(days=CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    # The key first: a run that is killed here finds a key without a certificate and says so, instead of losing it.
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase.encode()),
    )
    _write(directory / "ca.key", encrypted, 0o600)
    _write(directory / "ca.crt", certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def ensure(directory: Path, passphrase: str, create: bool) -> str:
    """Return the CA's certificate in PEM, making the CA on the first run.

    Args:
        directory: folder on the controller.
        passphrase: of the CA's key, at least 16 characters.
        create: whether a missing CA may be made; check mode says no.

    Returns:
        The certificate, or "" if there is none and none may be made.

    Raises:
        AuthorityError: a short passphrase, or half a CA.
    """
    if len(passphrase) < LEAST_PASSPHRASE:
        raise AuthorityError(
            f"host_ca_passphrase has {len(passphrase)} characters, {LEAST_PASSPHRASE} are the least: "
            "playbooks/secrets.yml makes a good one"
        )
    certificate, key = directory / "ca.crt", directory / "ca.key"
    if not certificate.exists() and not key.exists() and not create:
        return ""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _locked(directory):
        if not certificate.exists() and not key.exists():
            _make(directory, passphrase)
        for path, other in ((certificate, key), (key, certificate)):
            if not path.exists():
                raise AuthorityError(
                    f"{other} is there, but {path} is not: bring it back from a backup; "
                    "a new CA would cut every host off"
                )
        return certificate.read_text(encoding="ascii")


def sign(
    directory: Path, passphrase: str, request: str, common_name: str, names: list[str], addresses: list[str], days: int
) -> str:
    """Sign a host's certificate request and return the certificate in PEM.

    Only the public key is taken from the request: what the certificate says is decided here.

    Raises:
        AuthorityError: the passphrase doesn't open the CA's key, or the request is none.
    """
    issuer = x509.load_pem_x509_certificate((directory / "ca.crt").read_bytes())
    try:
        key = serialization.load_pem_private_key((directory / "ca.key").read_bytes(), passphrase.encode())
    except ValueError as error:
        raise AuthorityError(
            f"host_ca_passphrase does not open {directory / 'ca.key'}: is this the vault that the CA was made with?"
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise AuthorityError(f"{directory / 'ca.key'} is no key of an elliptic curve, as this platform makes them")
    asked = x509.load_pem_x509_csr(request.encode())
    if not asked.is_signature_valid:
        raise AuthorityError(f"the certificate request of {common_name} has a wrong signature")
    now = datetime.datetime.now(datetime.UTC)
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    alternatives += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
        .issuer_name(issuer.subject)
        .public_key(asked.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(min(now + datetime.timedelta(days=days), issuer.not_valid_after_utc))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
