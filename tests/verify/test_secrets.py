"""No secret lies where somebody else can read it: searched for by its value, after all other tests have run."""

from __future__ import annotations

import base64
import secrets
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from tests.verify import identity
from tests.verify.controller import STATE, Secret
from tests.verify.lab import Lab

pytestmark = pytest.mark.last
# Made by the controller for itself; no host has any use for it.
CONTROLLERS_OWN = ("host_ca_passphrase",)


def values(lab: Lab) -> dict[str, dict[str, str]]:
    """Return the values to look for: secrets, plain and in base 64, and what must be nowhere."""
    known = lab.secrets()
    assert len(known) >= 5 and all(len(value) >= 16 for value in known.values())
    key = identity.platform(STATE / "ca", known["host_ca_passphrase"]).key
    plain = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    nowhere = {name: known.pop(name) for name in CONTROLLERS_OWN}
    # A line from the middle: the first ones are the same for every key of this kind.
    nowhere["key of the CA"] = plain.decode().splitlines()[2]
    nowhere["key of the CA, encrypted"] = (STATE / "ca/ca.key").read_text(encoding="ascii").splitlines()[-3]
    nowhere["password of the vault"] = (STATE / "vault-password").read_text(encoding="utf-8").strip()
    coded = {f"{name} in base 64": base64.b64encode(value.encode()).decode() for name, value in known.items()}
    # What a failing test shows is no place for them either.
    return {
        "secrets": {name: Secret(value) for name, value in (known | coded).items()},
        "nowhere": {name: Secret(value) for name, value in nowhere.items()},
    }


def search(lab: Lab, host: str, looked_for: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Return what was found on a host, and how much was looked at."""
    units = sorted(lab.main_pids(host))
    found: dict[str, Any] = lab.remote(
        host, "search", units=units, secrets=looked_for["secrets"], nowhere=looked_for["nowhere"]
    )
    assert found["counted"]["units"] == len(units) > 0
    least = {"files": 100, "processes": 5, "journal": 1000}
    assert all(found["counted"][kind] >= number for kind, number in least.items()), found["counted"]
    return found


@pytest.mark.parametrize("host", ["app1", "app2", "db1", "db2", "ops1", "store1", "store2"])
def test_secrets_are_nowhere_for_others_to_see(lab: Lab, host: str) -> None:
    assert search(lab, host, values(lab))["found"] == []


@dataclass(frozen=True)
class Decoys:
    """What the search has to find: values that are in a file, a command line, an environment and the journal."""

    open_file: str
    closed_file: str
    process: str
    environment: str
    journal: str


@pytest.fixture
def decoys(lab: Lab) -> Iterator[Decoys]:
    """Decoys on store1; the journal's stays there and means nothing."""
    made = Decoys(*(f"decoy{secrets.token_hex(16)}" for _ in range(5)))
    folder = f"/opt/nano-verify-{uuid.uuid4().hex[:8]}"
    host = lab.host("store1")
    host.run_expect([0], "install --directory --mode=0755 %s", folder)
    for name, value, mode in (("open", made.open_file, "0644"), ("closed", made.closed_file, "0600")):
        lab.command("store1", ["install", f"--mode={mode}", "/dev/stdin", f"{folder}/{name}"], input=value)
    lab.command("store1", ["systemd-cat", "--identifier=nano-verify"], input=made.journal)
    with lab.talk("store1", "decoy", argument=made.process, variable=made.environment) as ask:
        assert ask("are you there?") == "yes"
        yield made
    host.run_expect([0], "rm --recursive %s", folder)


def test_search_finds_what_is_there(lab: Lab, decoys: Decoys) -> None:
    """The control: a value in each kind of place is found; one in a private file only if it may be nowhere."""
    found = search(lab, "store1", {"secrets": vars(decoys), "nowhere": {}})["found"]
    for place, name in (
        ("/opt/nano-verify-", "open_file"),
        ("command line of process", "process"),
        ("environment of process", "environment"),
        ("journal", "journal"),
    ):
        assert any(line.startswith(place) and line.endswith(f": {name}") for line in found), (name, found)
    assert not any(line.endswith(": closed_file") for line in found), found
    strict = search(lab, "store1", {"secrets": {}, "nowhere": vars(decoys)})["found"]
    assert any(line.endswith("/closed: closed_file") for line in strict), strict
