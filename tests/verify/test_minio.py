"""The object store: old versions stay, and a client may do in its own bucket what it needs and nothing else."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator

import pytest

from tests.verify.controller import read_inventory
from tests.verify.lab import TLS, Lab
from tests.verify.store import BUCKET, PORT, administrator, client, key, token, versions

# The fixture belongs to this module by its import.
__all__ = ["key"]
if "minio" not in read_inventory():
    pytest.skip("the inventory has no group minio", allow_module_level=True)

HOST = "store1"
METRICS = "/minio/v2/metrics/cluster"
READY = f"https://{HOST}:{PORT}/minio/health/ready"


@pytest.fixture(scope="module")
def other(lab: Lab) -> Iterator[str]:
    """A bucket with an object that belongs to nobody's client."""
    root, path = administrator(lab), f"/verify-{secrets.token_hex(6)}"
    assert root.ask("PUT", path).status == 200
    assert root.ask("PUT", f"{path}/object", "hidden").status == 200
    yield path
    assert root.ask("DELETE", f"{path}/object").status == 204
    assert root.ask("DELETE", path).status == 204


def test_application_stores_reads_and_lists(lab: Lab, key: str) -> None:
    api = client(lab)
    assert api.ask("PUT", key, "hello").status == 200
    assert api.ask("GET", key).body == "hello"
    part = api.ask("GET", key, headers={"Range": "bytes=1-3"})
    assert (part.status, part.body) == (206, "ell")
    listed = api.ask("GET", f"{BUCKET}?list-type=2&prefix=verify-")
    assert listed.status == 200 and f"<Key>{key.removeprefix(f'{BUCKET}/')}</Key>" in listed.body


def test_overwritten_object_is_still_there(lab: Lab, key: str) -> None:
    api, root = client(lab), administrator(lab)
    first, second = api.ask("PUT", key, "first"), api.ask("PUT", key, "second")
    assert first.version and second.version and first.version != second.version
    assert api.ask("GET", key).body == "second"
    assert root.ask("GET", f"{key}?versionId={first.version}").body == "first"
    assert set(versions(root, key)) == {first.version, second.version}


def test_old_versions_go_in_the_end(lab: Lab) -> None:
    days = lab.hostvars[HOST]["minio_buckets"][0]["noncurrent_days"]
    found = administrator(lab).ask("GET", f"{BUCKET}?lifecycle=")
    assert f"<NoncurrentDays>{days}</NoncurrentDays>" in found.body, found


REFUSED = {
    "delete": ("DELETE", "KEY", ""),
    "delete a version": ("DELETE", "KEY?versionId=OLD", ""),
    "make a bucket": ("PUT", "/verify-other", ""),
    "delete its bucket": ("DELETE", BUCKET, ""),
    "switch versioning off": (
        "PUT",
        f"{BUCKET}?versioning=",
        "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>",
    ),
    "open its bucket": ("PUT", f"{BUCKET}?policy=", '{"Version":"2012-10-17","Statement":[]}'),
    "change what expires": ("DELETE", f"{BUCKET}?lifecycle=", ""),
    "write into another bucket": ("PUT", "OTHER/mine", "mine"),
    "another bucket": ("GET", "OTHER?list-type=2", ""),
    "another bucket's object": ("GET", "OTHER/object", ""),
    "information for administrators": ("GET", "/minio/admin/v3/info", ""),
    "all users and their secrets": ("GET", "/minio/admin/v3/export-iam", ""),
    "a secret of its own choice": ("PUT", "/minio/admin/v3/add-user?accessKey=nano-api", "anything"),
    "another user": ("PUT", "/minio/admin/v3/add-user?accessKey=verify", "anything"),
    "settings of the store": ("GET", "/minio/admin/v3/get-config-kv?key=api", ""),
}


@pytest.mark.parametrize("name", REFUSED)
def test_application_is_refused(lab: Lab, key: str, other: str, name: str) -> None:
    old = client(lab).ask("PUT", key, "old").version
    assert client(lab).ask("PUT", key, "to stay").status == 200
    method, path, body = REFUSED[name]
    path = path.replace("KEY", key).replace("OLD", old).replace("OTHER", other)
    answer = client(lab).ask(method, path, body)
    assert (answer.status, "AccessDenied" in answer.body) == (403, True), answer
    root = administrator(lab)
    assert root.ask("GET", key).body == "to stay" and len(versions(root, key)) == 2


@pytest.mark.parametrize("path", [f"{BUCKET}/any", f"{BUCKET}?list-type=2", "/", METRICS, "/minio/admin/v3/info"])
def test_nobody_comes_in_without_keys(lab: Lab, path: str) -> None:
    assert client(lab, access_key="").ask("GET", path).status == 403


@pytest.mark.parametrize("access_key", ["nano-api", "nano-admin", "minioadmin", "prometheus"])
def test_wrong_secret_is_refused(lab: Lab, access_key: str) -> None:
    for secret in ("minioadmin", secrets.token_hex(16)):
        answer = client(lab, access_key=access_key, secret=secret).ask("GET", f"{BUCKET}?list-type=2")
        assert answer.status == 403
        assert re.search("SignatureDoesNotMatch|InvalidAccessKeyId", answer.body), answer


def test_plain_http_is_refused(lab: Lab) -> None:
    argv = ["curl", "--silent", "--max-time", "15", f"http://{HOST}:{PORT}{BUCKET}/any"]
    assert "HTTP request to an HTTPS server" in lab.command("app1", argv)["stdout"]


@pytest.mark.parametrize(("version", "code"), [("1.1", False), ("1.3", True)])
def test_old_tls_is_refused(lab: Lab, version: str, code: bool) -> None:
    argv = ["curl", "--silent", "--max-time", "15", "--cacert", f"{TLS}/ca.crt", "--ciphers", "DEFAULT@SECLEVEL=0"]
    found = lab.command("app1", [*argv, "--tlsv1.0", "--tls-max", version, READY])
    assert (found["rc"] == 0) == code, found


def test_listens_on_its_address_and_loopback_alone(lab: Lab) -> None:
    shown = lab.host(HOST).check_output("cat /proc/net/tcp /proc/net/tcp6").splitlines()
    words = [line.split() for line in shown]
    found = {word[1].split(":")[0] for word in words if word[3] == "0A" and word[1].endswith(f":{PORT:04X}")}
    # The kernel writes an address from its last byte to its first.
    expected = [bytes(int(byte) for byte in text.split(".")) for text in (lab.address(HOST), "127.0.0.1")]
    assert found == {address[::-1].hex().upper() for address in expected}


def test_metrics_are_for_a_token(lab: Lab) -> None:
    known = lab.secrets()

    def ask(shown: str) -> tuple[int, str]:
        answer = client(lab, "ops1", access_key="").ask("GET", METRICS, headers={"Authorization": f"Bearer {shown}"})
        return answer.status, answer.body

    status, body = ask(token("prometheus", known["minio_metrics_secret"]))
    assert status == 200 and "minio_cluster_capacity_usable_total_bytes" in body
    # The application's own secret opens none.
    for wrong in (
        token("nano-api", known["nano_api_s3_secret"]),
        token("prometheus", "wrong-secret"),
        "x",
    ):
        assert ask(wrong)[0] == 403


def test_reader_of_metrics_reads_no_object(lab: Lab, key: str) -> None:
    assert client(lab).ask("PUT", key, "hello").status == 200
    reader = client(lab, access_key="prometheus", secret=lab.secrets()["minio_metrics_secret"])
    for method, path in (("GET", key), ("PUT", key), ("GET", f"{BUCKET}?list-type=2"), ("GET", "/minio/admin/v3/info")):
        assert reader.ask(method, path).status == 403
