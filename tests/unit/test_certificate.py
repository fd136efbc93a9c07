"""The CA on the controller and the certificate on the host, with the real openssl."""

from __future__ import annotations

import datetime
import os
import stat
import subprocess
from pathlib import Path

import pytest
from ansible_collections.nano.ops.plugins.modules import certificate
from ansible_collections.nano.ops.plugins.plugin_utils import authority

PASSPHRASE = "correct-horse-battery"
NAMES, ADDRESSES = ["db1", "localhost"], ["10.0.0.2", "127.0.0.1"]


def issue(ca: Path, host: Path, days: int = 365) -> dict:
    """Give a folder a certificate as the action does; return the module's parameters."""
    pem = authority.ensure(ca, PASSPHRASE, create=True)
    host.mkdir(exist_ok=True)
    request = certificate.request(host, "db1")
    gid = os.getgid()
    certificate.put(
        host / "host.crt", authority.sign(ca, PASSPHRASE, request, "db1", NAMES, ADDRESSES, days), 0o644, gid
    )
    certificate.put(host / "host.key", (host / ".host.key.next").read_text(), 0o640, gid)
    certificate.put(host / "ca.crt", pem, 0o644, gid)
    return {"directory": str(host), "ca": pem, "names": NAMES, "addresses": ADDRESSES, "renew": False}


def now(days: float = 0) -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)


@pytest.fixture
def params(tmp_path: Path) -> dict:
    return issue(tmp_path / "ca", tmp_path / "host")


def test_fresh_certificate_is_kept_for_two_thirds_of_its_life(params: dict) -> None:
    assert certificate.why_renew(params, now()) == ""
    assert certificate.why_renew(params, now(240)) == ""


def test_it_is_renewed_in_its_last_third(params: dict) -> None:
    assert "last third" in certificate.why_renew(params, now(245))


def test_it_is_renewed_when_it_has_expired(params: dict) -> None:
    assert "last third" in certificate.why_renew(params, now(400))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"renew": True}, "asked for"),
        ({"addresses": ["10.0.0.9"]}, "names or addresses"),
        ({"names": ["db9"]}, "names or addresses"),
        ({"ca": "another"}, "CA is another"),
    ],
)
def test_it_is_renewed_when_what_it_says_changes(params: dict, change: dict, reason: str) -> None:
    assert reason in certificate.why_renew({**params, **change}, now())


def test_it_is_renewed_when_the_key_is_another(params: dict) -> None:
    other = subprocess.run(
        ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    Path(params["directory"], "host.key").write_text(other)
    assert "does not belong" in certificate.why_renew(params, now())


def test_it_is_renewed_when_it_is_garbage(params: dict) -> None:
    Path(params["directory"], "host.crt").write_text("garbage")
    assert "cannot be read" in certificate.why_renew(params, now())


def test_certificate_of_another_ca_is_renewed(tmp_path: Path, params: dict) -> None:
    other = issue(tmp_path / "other-ca", tmp_path / "other")
    Path(params["directory"], "host.crt").write_text(Path(other["directory"], "host.crt").read_text())
    assert "cannot be read or verified" in certificate.why_renew(params, now())


def test_it_serves_both_sides_of_a_connection(params: dict) -> None:
    for purpose in ("sslserver", "sslclient"):
        subprocess.run(
            ["openssl", "verify", "-purpose", purpose, "-CAfile", "ca.crt", "-verify_ip", "10.0.0.2", "host.crt"],
            cwd=params["directory"],
            check=True,
            capture_output=True,
        )


def test_ca_key_is_encrypted_and_private(tmp_path: Path, params: dict) -> None:
    key = tmp_path / "ca/ca.key"
    assert "ENCRYPTED PRIVATE KEY" in key.read_text()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "ca").stat().st_mode) == 0o700


def test_wrong_passphrase_says_which_variable(tmp_path: Path, params: dict) -> None:
    request = certificate.request(Path(params["directory"]), "db1")
    with pytest.raises(authority.AuthorityError, match="host_ca_passphrase does not open"):
        authority.sign(tmp_path / "ca", "x" * 20, request, "db1", [], [], 1)


def test_short_passphrase_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(authority.AuthorityError, match="16 are the least"):
        authority.ensure(tmp_path / "ca", "short", create=True)
    assert not (tmp_path / "ca").exists()


def test_check_mode_makes_no_ca(tmp_path: Path) -> None:
    assert authority.ensure(tmp_path / "ca", PASSPHRASE, create=False) == ""
    assert not (tmp_path / "ca").exists()


def test_half_a_ca_is_never_replaced(tmp_path: Path, params: dict) -> None:
    (tmp_path / "ca/ca.crt").unlink()
    with pytest.raises(authority.AuthorityError, match="bring it back from a backup"):
        authority.ensure(tmp_path / "ca", PASSPHRASE, create=True)
    assert (tmp_path / "ca/ca.key").exists()
