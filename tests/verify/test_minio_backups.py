"""Stolen keys of the backups: they write and hide, and destroy nothing."""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from collections.abc import Iterator

import pytest

from tests.verify.controller import read_inventory
from tests.verify.lab import Lab
from tests.verify.store import Client, administrator, client, take_away, versions

if len(read_inventory().get("minio", {}).get("hosts", [])) < 2:
    pytest.skip("the inventory has no two object stores", allow_module_level=True)

BUCKET = "/nano-backups"
STORE = "store2"
BYPASS = {"x-amz-bypass-governance-retention": "true"}
SUSPENDED = "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>"
UNLOCKED = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>"


def thief(lab: Lab) -> Client:
    """Return somebody on a database host who has read the keys there."""
    return client(lab, "db1", "nano-backup", lab.secrets()["pgbackrest_s3_secret"], STORE)


def retention(seconds: int) -> str:
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
    return f"<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>{until}</RetainUntilDate></Retention>"


# Method, path and query, body, headers.
ATTACKS: dict[str, tuple[str, str, str, dict[str, str]]] = {
    "delete the version": ("DELETE", "KEY?versionId=VERSION", "", {}),
    "delete it as the administrator may": ("DELETE", "KEY?versionId=VERSION", "", BYPASS),
    "delete all versions at once": ("DELETE", "KEY", "", {"x-minio-force-delete": "true"}),
    "delete it as another store": ("DELETE", "KEY?versionId=VERSION", "", {"x-amz-replication-status": "REPLICA"}),
    "overwrite the version": ("PUT", "KEY?versionId=VERSION", "evil", {}),
    "overwrite it as another store": ("PUT", "KEY?versionId=VERSION", "evil", {"x-amz-replication-status": "REPLICA"}),
    "overwrite it in parts": ("POST", "KEY?uploads=&versionId=VERSION", "", {}),
    "unpack an archive over it": ("PUT", "KEY", "evil", {"x-amz-meta-snowball-auto-extract": "true"}),
    "shorten its lock": ("PUT", "KEY?retention=&versionId=VERSION", retention(60), BYPASS),
    "drop what expires": ("DELETE", f"{BUCKET}?lifecycle=", "", {}),
    "drop replication": ("DELETE", f"{BUCKET}?replication=", "", {}),
    "suspend versions": ("PUT", f"{BUCKET}?versioning=", SUSPENDED, {}),
    "drop the bucket's lock": ("PUT", f"{BUCKET}?object-lock=", UNLOCKED, {}),
    "open the bucket": ("PUT", f"{BUCKET}?policy=", '{"Version":"2012-10-17","Statement":[]}', {}),
    "drop the bucket": ("DELETE", BUCKET, "", {"x-minio-force-delete": "true"}),
    "read files of customers": ("GET", "/nano-uploads?list-type=2", "", {}),
    "write among them": ("PUT", "/nano-uploads/evil", "evil", {}),
    "read audit logs": ("GET", "/nano-audit?list-type=2", "", {}),
}


@pytest.fixture
def backup(lab: Lab) -> Iterator[str]:
    """Path of an object among the backups."""
    path = f"{BUCKET}/verify-{secrets.token_hex(6)}"
    assert thief(lab).ask("PUT", path, "good").status == 200
    yield path
    for store in lab.group("minio"):
        take_away(administrator(lab, store), path)


@pytest.mark.parametrize("name", ATTACKS)
def test_stolen_key_destroys_nothing(lab: Lab, backup: str, name: str) -> None:
    root = administrator(lab, STORE)
    (version,) = versions(root, backup)
    method, path, body, headers = ATTACKS[name]
    path = path.replace("KEY", backup).replace("VERSION", version)
    if body.startswith("<"):
        digest = hashlib.md5(body.encode(), usedforsecurity=False).digest()
        headers = {**headers, "Content-MD5": base64.b64encode(digest).decode()}
    answer = thief(lab).ask(method, path, body, headers)
    # A deletion of all versions is no question of rights: the store does not know it where objects are locked.
    assert answer.status in (400, 403), answer
    assert root.ask("GET", f"{backup}?versionId={version}").body == "good"
    assert versions(root, backup) == [version]


def test_what_the_key_deletes_is_hidden_and_comes_back(lab: Lab, backup: str) -> None:
    root = administrator(lab, STORE)
    (version,) = versions(root, backup)
    assert thief(lab).ask("DELETE", backup).status == 204
    assert thief(lab).ask("GET", backup).status == 404
    (mark,) = [each for each in versions(root, backup) if each != version]
    assert root.ask("DELETE", f"{backup}?versionId={mark}").status == 204
    assert thief(lab).ask("GET", backup).body == "good"


def test_new_backup_is_locked_for_the_days_of_the_inventory(lab: Lab, backup: str) -> None:
    wanted = next(bucket for bucket in lab.hostvars[STORE]["minio_buckets"] if f"/{bucket['name']}" == BUCKET)
    root = administrator(lab, STORE)
    (version,) = versions(root, backup)
    found = root.ask("GET", f"{backup}?retention=&versionId={version}").body
    assert f"<Mode>{wanted['lock_mode'].upper()}</Mode>" in found
    day = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 86400 * wanted["lock_days"] - 60))
    assert day <= found.partition("<RetainUntilDate>")[2][:10], found
    assert root.ask("DELETE", f"{backup}?versionId={version}").status == 400


def test_audit_logs_stay_for_two_years(lab: Lab) -> None:
    found = administrator(lab, STORE).ask("GET", "/nano-audit?lifecycle=").body
    assert "<Prefix>audit/</Prefix>" in found and "<Days>730</Days>" in found
