"""What stolen keys can do to a real MinIO: nothing to a version that is there, and nothing to what protects it."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import secrets
import tarfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible_collections.nano.ops.plugins.module_utils.s3 import Answer

from .minio import Client, Minio, binary
from .ready_page import identity

SECRET = "the-secret-of-the-client"
LOCKED: dict[str, Any] = {"name": "locked", "object_lock": True, "lock_days": 1, "noncurrent_days": 1}
# A lock that the administrator may open: weaker, and the client must not profit from it.
OPENED: dict[str, Any] = {**LOCKED, "name": "opened", "lock_mode": "governance"}
PLAIN: dict[str, Any] = {"name": "plain", "noncurrent_days": 30}
GRANTS = [
    {"name": "locked", "access": "readwrite", "delete": True},
    {"name": "opened", "access": "readwrite", "delete": True},
    {"name": "plain", "access": "readwrite", "delete": False},
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Minio]:
    folder = tmp_path_factory.mktemp("minio")
    made = Minio("store1", binary(folder / "program"), folder / "store1", identity(folder / "tls"))
    try:
        made.start()
        users = [
            {"access_key": "client", "secret": SECRET, "buckets": GRANTS},
            {"access_key": "other", "secret": SECRET, "buckets": [GRANTS[0]]},
        ]
        assert made.fill([LOCKED, OPENED, PLAIN], users).changed
        yield made
    finally:
        made.stop()


def md5(body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()


def archive(key: str, version: str) -> bytes:
    """Return an archive whose only file says which version of an object it is."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as tar:
        entry = tarfile.TarInfo(key)
        entry.size, entry.mtime = 4, int(time.time())
        entry.pax_headers = {"minio.versionId": version}
        tar.addfile(entry, io.BytesIO(b"evil"))
    return content.getvalue()


def unpack(prefix: str | None) -> Callable[[Client, str, str, str], Answer]:
    """Return the attack that lets the store unpack an archive, into a folder if one is given."""

    def attack(client: Client, bucket: str, key: str, version: str) -> Answer:
        extra = {} if prefix is None else {"x_amz_meta_minio_snowball_prefix": prefix}
        body = archive(key, version)
        return client.ask("PUT", f"/{bucket}/a.tar", body=body, x_amz_meta_snowball_auto_extract="true", **extra)

    return attack


def in_parts(client: Client, bucket: str, key: str, version: str) -> Answer:
    begun = client.ask("POST", f"/{bucket}/{key}", {"uploads": "", "versionId": version})
    found = re.search(rb"<UploadId>([^<]+)<", begun.body)
    if not found:
        return begun
    upload = found.group(1).decode()
    client.ask("PUT", f"/{bucket}/{key}", {"partNumber": "1", "uploadId": upload}, b"evil")
    tag = hashlib.md5(b"evil", usedforsecurity=False).hexdigest()
    part = f"<Part><PartNumber>1</PartNumber><ETag>{tag}</ETag></Part>"
    whole = f"<CompleteMultipartUpload>{part}</CompleteMultipartUpload>".encode()
    return client.ask("POST", f"/{bucket}/{key}", {"uploadId": upload}, whole)


def many(client: Client, bucket: str, key: str, version: str) -> Answer:
    body = f"<Delete><Object><Key>{key}</Key><VersionId>{version}</VersionId></Object></Delete>".encode()
    answer = client.ask("POST", f"/{bucket}", {"delete": ""}, body, content_md5=md5(body))
    # The whole is no error, what was asked for is.
    return Answer(403 if b"<Code>AccessDenied</Code>" in answer.body else answer.status, answer.body)


def replica(method: str) -> Callable[[Client, str, str, str], Answer]:
    def attack(client: Client, bucket: str, key: str, version: str) -> Answer:
        extra = {"x_amz_replication_status": "REPLICA", "x_minio_source_replication_request": "true"}
        return client.ask(
            method, f"/{bucket}/{key}", {"versionId": version}, b"evil" if method == "PUT" else b"", **extra
        )

    return attack


def copy(client: Client, bucket: str, key: str, version: str) -> Answer:
    assert client.ask("PUT", f"/{bucket}/source", body=b"evil").status == 200
    query = {"versionId": version}
    return client.ask("PUT", f"/{bucket}/{key}", query, x_amz_copy_source=f"/{bucket}/source")


def shorten(client: Client, bucket: str, key: str, version: str) -> Answer:
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60))
    body = f"<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>{until}</RetainUntilDate></Retention>".encode()
    query = {"retention": "", "versionId": version}
    extra = {"x_amz_bypass_governance_retention": "true", "content_md5": md5(body)}
    return client.ask("PUT", f"/{bucket}/{key}", query, body, **extra)


def settings(method: str, what: str, body: bytes = b"") -> Callable[[Client, str, str, str], Answer]:
    def attack(client: Client, bucket: str, key: str, version: str) -> Answer:
        return client.ask(method, f"/{bucket}", {what: ""}, body, content_md5=md5(body))

    return attack


SUSPENDED = b"<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>"
UNLOCKED = b"<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>"
ATTACKS: dict[str, Callable[[Client, str, str, str], Answer]] = {
    "delete a version": lambda c, b, k, v: c.ask("DELETE", f"/{b}/{k}", {"versionId": v}),
    "delete it as an administrator might": lambda c, b, k, v: c.ask(
        "DELETE", f"/{b}/{k}", {"versionId": v}, x_amz_bypass_governance_retention="true"
    ),
    "delete it among many": many,
    "delete all versions at once": lambda c, b, k, v: c.ask("DELETE", f"/{b}/{k}", x_minio_force_delete="true"),
    "delete it as another store": replica("DELETE"),
    "overwrite a version": lambda c, b, k, v: c.ask("PUT", f"/{b}/{k}", {"versionId": v}, b"evil"),
    "overwrite it in parts": in_parts,
    "overwrite it with a copy": copy,
    "overwrite it as another store": replica("PUT"),
    "unpack over it": unpack(None),
    "unpack over it from a folder": unpack("."),
    "unpack over it from no folder": unpack(" "),
    "shorten its lock": shorten,
    "drop what expires": settings("DELETE", "lifecycle"),
    "drop replication": settings("DELETE", "replication"),
    "suspend versions": settings("PUT", "versioning", SUSPENDED),
    "drop the bucket's lock": settings("PUT", "object-lock", UNLOCKED),
    "open the bucket": settings("PUT", "policy", b'{"Version":"2012-10-17","Statement":[]}'),
    "drop the bucket": lambda c, b, k, v: c.ask("DELETE", f"/{b}", x_minio_force_delete="true"),
}


def protection(root: Client, bucket: str) -> list[bytes]:
    """Return what protects a bucket, as the store tells it."""
    answers = [root.ask("GET", f"/{bucket}", {word: ""}) for word in ("lifecycle", "versioning", "object-lock")]
    return [answer.body if answer.status == 200 else b"" for answer in answers]


@pytest.mark.parametrize("bucket", ["locked", "opened", "plain"])
@pytest.mark.parametrize("name", ATTACKS)
def test_version_outlives_stolen_keys(store: Minio, bucket: str, name: str) -> None:
    client, root, key = store.client("client", SECRET), store.client(), f"key-{secrets.token_hex(6)}"
    assert client.ask("PUT", f"/{bucket}/{key}", body=b"good").status == 200
    ((_, version),) = root.versions(bucket, key)
    before = protection(root, bucket)
    answer = ATTACKS[name](client, bucket, key, version)
    assert answer.status in (400, 403), answer
    assert root.ask("GET", f"/{bucket}/{key}", {"versionId": version}).body == b"good"
    assert root.versions(bucket, key) == [("Version", version)]
    assert protection(root, bucket) == before


def test_delete_hides_an_object_and_no_more(store: Minio) -> None:
    client, root = store.client("client", SECRET), store.client()
    assert client.ask("PUT", "/locked/hidden", body=b"good").status == 200
    assert client.ask("DELETE", "/locked/hidden").status == 204
    assert client.ask("GET", "/locked/hidden").status == 404
    (_, (_, version)) = root.versions("locked", "hidden")
    assert client.ask("GET", "/locked/hidden", {"versionId": version}).body == b"good"


def test_lock_cannot_be_chosen_shorter_by_the_writer(store: Minio) -> None:
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60))
    extra = {"x_amz_object_lock_mode": "GOVERNANCE", "x_amz_object_lock_retain_until_date": until}
    answer = store.client("client", SECRET).ask("PUT", "/locked/short", body=b"x", **extra)
    assert answer.status == 403 and store.client().versions("locked", "short") == []


def test_compliance_holds_against_the_administrator(store: Minio) -> None:
    root = store.client()
    for bucket, status in (("opened", 204), ("locked", 400)):
        assert root.ask("PUT", f"/{bucket}/mine", body=b"good").status == 200
        ((_, version),) = root.versions(bucket, "mine")
        query = {"versionId": version}
        answer = root.ask("DELETE", f"/{bucket}/mine", query, x_amz_bypass_governance_retention="true")
        assert answer.status == status, answer


def test_big_object_goes_up_in_parts_and_a_part_of_it_can_be_given_up(store: Minio) -> None:
    client = store.client("client", SECRET)

    def begin() -> str:
        answer = client.ask("POST", "/locked/big", {"uploads": ""})
        return re.findall(rb"<UploadId>([^<]+)<", answer.body)[0].decode()

    part, tags = b"x" * 5 * 2**20, []
    upload, other = begin(), begin()
    for number in ("1", "2"):
        query = {"partNumber": number, "uploadId": upload}
        assert client.ask("PUT", "/locked/big", query, part, content_md5=md5(part)).status == 200
        tags.append(hashlib.md5(part, usedforsecurity=False).hexdigest())
    assert client.ask("GET", "/locked/big", {"uploadId": upload}).body.count(b"<Part>") == 2
    assert client.ask("GET", "/locked", {"uploads": "", "prefix": "big"}).body.count(b"<Upload>") == 2
    assert client.ask("DELETE", "/locked/big", {"uploadId": other}).status == 204
    parts = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{tag}</ETag></Part>" for n, tag in enumerate(tags, 1))
    whole = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
    assert client.ask("POST", "/locked/big", {"uploadId": upload}, whole).status == 200
    assert client.ask("GET", "/locked/big").body == part * 2
    assert client.ask("GET", "/locked", {"location": ""}).status == 200


@pytest.mark.parametrize("path", ["/opened", "/opened/any", "/"])
def test_other_bucket_stays_shut(store: Minio, path: str) -> None:
    answer = store.client("other", SECRET).ask("GET", path)
    assert answer.status == 403 or (path == "/" and b"opened" not in answer.body)
