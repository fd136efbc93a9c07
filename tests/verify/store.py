"""The object store as its clients see it: S3 by curl, whose keys travel over stdin."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest

from tests.verify.controller import Secret
from tests.verify.lab import TLS, Lab

PORT = 9000
BUCKET = "/nano-uploads"
ROOT = "nano-admin"
VERSIONS = re.compile(r"<VersionId>([^<]+)</VersionId>")


@dataclass(frozen=True)
class Answer:
    """Status, body and the version that was made, if any."""

    status: int
    body: str
    version: str = ""


@dataclass(frozen=True)
class Client:
    """Somebody who asks the store from a host; without an access key, anybody."""

    lab: Lab
    store: str
    host: str
    access_key: str = ""
    secret: str = ""
    service: str = "s3"

    def ask(self, method: str, path: str, body: str = "", headers: Mapping[str, str] | None = None) -> Answer:
        """Send a request. `path` begins with a slash and may have a query."""
        lines = [f'url = "https://{self.store}:{PORT}{path}"', f'request = "{method}"']
        if self.access_key:
            lines += [f'user = "{self.access_key}:{self.secret}"', f'aws-sigv4 = "aws:amz:us-east-1:{self.service}"']
        lines += [f'header = "{name}: {value}"' for name, value in (headers or {}).items()]
        if body:
            text = body.replace("\\", "\\\\").replace('"', '\\"')
            # curl would call it a form, and a store reads forms differently.
            kind = "application/x-www-form-urlencoded" if self.service == "sts" else "application/octet-stream"
            lines += [f'data-raw = "{text}"', f'header = "Content-Type: {kind}"']
        argv = ["curl", "--silent", "--show-error", "--include", "--http1.1", "--max-time", "15"]
        argv += ["--cacert", f"{TLS}/ca.crt", "--config", "-"]
        found = self.lab.command(self.host, argv, input="\n".join(lines) + "\n")
        assert found["rc"] == 0, f"{method} {path} from {self.host}: {found['stderr']}"
        head, _, rest = str(found["stdout"]).partition("\n\n")
        version = re.search(r"^x-amz-version-id: (\S+)", head, re.IGNORECASE | re.MULTILINE)
        return Answer(int(head.split()[1]), rest, version.group(1) if version else "")


def client(
    lab: Lab, host: str = "app1", access_key: str = "nano-api", secret: str | None = None, store: str = ""
) -> Client:
    """Return a client of a store, the first one by name; the application unless another name is given."""
    own = lab.secrets()["nano_api_s3_secret"] if secret is None else secret
    return Client(lab, store or lab.group("minio")[0], host, access_key, Secret(own))


def administrator(lab: Lab, store: str = "") -> Client:
    """Return the administrator of a store, on its own host."""
    name = store or lab.group("minio")[0]
    return client(lab, name, ROOT, lab.secrets()["minio_root_password"], name)


def token(access_key: str, secret: str) -> str:
    """Return a token for metrics, as the store's documentation describes it."""

    def encode(part: bytes) -> str:
        return base64.urlsafe_b64encode(part).rstrip(b"=").decode()

    claims = {"exp": 4102444800, "sub": access_key, "iss": "prometheus"}
    text = ".".join(encode(json.dumps(part).encode()) for part in ({"alg": "HS512", "typ": "JWT"}, claims))
    return f"{text}.{encode(hmac.new(secret.encode(), text.encode(), hashlib.sha512).digest())}"


def versions(root: Client, path: str) -> list[str]:
    """Return the versions of an object, marks of deletion among them, the newest first."""
    bucket, _, name = path.removeprefix("/").partition("/")
    answer = root.ask("GET", f"/{bucket}?prefix={name}&versions=")
    assert answer.status == 200, answer
    return VERSIONS.findall(answer.body)


@pytest.fixture
def key(lab: Lab) -> Iterator[str]:
    """Path of an object of the test's own; the administrators take all its versions away."""
    path = f"{BUCKET}/verify-{secrets.token_hex(6)}"
    yield path
    for store in lab.group("minio"):
        take_away(administrator(lab, store), path)


def take_away(root: Client, path: str) -> None:
    """Delete every version of an object in one store, over the lock that the lab's mode leaves to its administrator."""
    for version in versions(root, path):
        answer = root.ask(
            "DELETE", f"{path}?versionId={version}", headers={"x-amz-bypass-governance-retention": "true"}
        )
        assert answer.status == 204, answer
