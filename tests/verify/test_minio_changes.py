"""The object store through changes: crashes, new certificates, clients that come, change and go."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.verify.conftest import Run
from tests.verify.controller import read_inventory
from tests.verify.lab import TLS, Lab
from tests.verify.store import BUCKET, PORT, Answer, Client, administrator, client, key, versions

# The fixture belongs to this module by its import.
__all__ = ["key"]
if "minio" not in read_inventory():
    pytest.skip("the inventory has no group minio", allow_module_level=True)

pytestmark = pytest.mark.disturbs
HOST = "store1"
MINIO = ("site.yml", "--limit", HOST, "--tags", "minio")
NEW_BUCKET = "verify-kept"
LOCKED = {"name": "verify-locked", "object_lock": True}
GRANT = {"name": NEW_BUCKET, "access": "readwrite", "delete": True}


def test_objects_survive_a_crash(lab: Lab, key: str, eventually: Callable[..., Any]) -> None:
    version = client(lab).ask("PUT", key, "before the crash").version
    lab.host(HOST).run_expect([0], "systemctl kill --signal=KILL minio.service")

    def there() -> bool:
        answer = client(lab).ask("GET", key)
        return (answer.status, answer.body) == (200, "before the crash")

    eventually(there, 60, "the object is not back after a crash")
    assert versions(administrator(lab), key) == [version]


def test_renewed_certificate_is_shown_without_a_restart(
    lab: Lab, playbook: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    def serial() -> str:
        shown = f"openssl s_client -connect {HOST}:{PORT} -CAfile {TLS}/ca.crt -verify_return_error </dev/null"
        return str(lab.host(HOST).check_output(f"{shown} 2>/dev/null | openssl x509 -noout -serial"))

    def pid() -> str:
        return str(lab.host(HOST).check_output("systemctl show minio.service --property=MainPID --value"))

    before, process = serial(), pid()
    run = playbook("site.yml", "--limit", HOST, "--tags", "host", extra_vars={"host_certificate_renew": True})
    assert run.rc == 0, run.output
    on_disk = lab.host(HOST).check_output(f"openssl x509 -noout -serial -in {TLS}/host.crt")
    assert on_disk != before
    eventually(lambda: serial() == on_disk, 30, "the old certificate is still shown")
    assert pid() == process


@pytest.fixture
def restored(lab: Lab, playbook: Callable[..., Run]) -> Iterator[None]:
    """The store as the inventory has it, afterwards."""
    yield
    run = playbook(*MINIO)
    assert run.rc == 0, run.output
    root = administrator(lab)
    if root.ask("GET", f"/{NEW_BUCKET}?versioning=").status == 200:
        for version in re.findall("<VersionId>([^<]+)<", root.ask("GET", f"/{NEW_BUCKET}?versions=").body):
            assert root.ask("DELETE", f"/{NEW_BUCKET}/object?versionId={version}").status == 204
        assert root.ask("DELETE", f"/{NEW_BUCKET}").status == 204


def temporary(user: Client) -> Callable[[], Answer]:
    """Take temporary keys as a user; return how they look into the bucket."""
    given = Client(user.lab, user.store, user.host, user.access_key, user.secret, "sts").ask(
        "POST", "/", "Action=AssumeRole&Version=2011-06-15&DurationSeconds=3600"
    )
    assert given.status == 200, given.status
    access, secret, token = (
        re.findall(f"<{name}>([^<]+)<", given.body)[0] for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")
    )
    other = client(user.lab, access_key=access, secret=secret)
    return lambda: other.ask("GET", f"/{NEW_BUCKET}?list-type=2", headers={"x-amz-security-token": token})


@pytest.mark.usefixtures("restored")
def test_client_comes_changes_and_goes(lab: Lab, playbook: Callable[..., Run]) -> None:
    own = lab.hostvars[HOST]

    def give(secret: str) -> Run:
        user = {"access_key": "verify", "secret": secret, "buckets": [GRANT]}
        # Who may delete where versions are kept needs object lock there.
        bucket = {"name": NEW_BUCKET, "object_lock": True}
        more = {"minio_buckets": [*own["minio_buckets"], bucket], "minio_users": [user]}
        run = playbook(*MINIO, "--diff", extra_vars=more)
        assert run.rc == 0 and secret not in run.output, run.output
        return run

    first, second = secrets.token_hex(16), secrets.token_hex(16)
    given = [give(first).changed]
    old = client(lab, access_key="verify", secret=first)
    assert old.ask("PUT", f"/{NEW_BUCKET}/object", "kept").status == 200
    assert old.ask("DELETE", f"/{NEW_BUCKET}/object").status == 204
    # The other client is not named any more: its access has gone with it.
    assert client(lab).ask("GET", f"{BUCKET}?list-type=2").status == 403
    look = temporary(old)
    assert look().status == 200

    given += [give(second).changed, give(second).changed]
    assert given == [[HOST], [HOST], []]
    assert (old.ask("GET", f"/{NEW_BUCKET}?list-type=2").status, look().status) == (403, 403)
    new = client(lab, access_key="verify", secret=second)
    assert new.ask("GET", f"/{NEW_BUCKET}?list-type=2").status == 200

    assert playbook(*MINIO).changed == [HOST]
    gone = new.ask("GET", f"/{NEW_BUCKET}?list-type=2")
    assert gone.status == 403 and "InvalidAccessKeyId" in gone.body
    assert client(lab).ask("GET", f"{BUCKET}?list-type=2").status == 200
    # A bucket that is not named any more stays, with all that was ever in it.
    kept = administrator(lab).ask("GET", f"/{NEW_BUCKET}?versions=")
    assert len(re.findall("<Version>", kept.body)) == len(re.findall("<DeleteMarker>", kept.body)) == 1


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "name that S3 does not take": ({"minio_buckets": [{"name": "Nano_Uploads"}]}, "is not a name that S3 takes"),
    "bucket of nobody": ({"minio_buckets": [{"name": "nano-other"}]}, "which minio_buckets does not have"),
    "short secret": (
        {"minio_users": [{"access_key": "verify", "secret": "short"}]},
        "the secret of verify is missing or shorter than 8",
    ),
    "versions given up": (
        {"minio_users": [], "minio_buckets": [{"name": BUCKET.strip("/"), "versioning": False}]},
        "keeps old versions and is told not to",
    ),
    "lock shortened": (
        {"minio_users": [], "minio_buckets": [{"name": "nano-backups", "object_lock": True}]},
        "a lock is never shortened or weakened here",
    ),
    "old versions gone before their lock": (
        {"minio_users": [], "minio_buckets": [{**LOCKED, "lock_days": 30, "noncurrent_days": 7}]},
        "noncurrent_days: 7, less than lock_days: 30",
    ),
    "deletion that nothing holds": (
        {
            "minio_buckets": [{"name": NEW_BUCKET}],
            "minio_users": [{"access_key": "verify", "secret": "a-good-secret", "buckets": [GRANT]}],
        },
        "which keeps versions without object_lock",
    ),
    "disk too small": ({"minio_disk_free_min_mb": 10**9}, "MiB free on the filesystem of /var/lib/minio"),
}


@pytest.mark.parametrize("name", WRONG)
def test_mistake_is_told_and_changes_nothing(playbook: Callable[..., Run], name: str) -> None:
    variables, words = WRONG[name]
    run = playbook(*MINIO, extra_vars=variables)
    said = " ".join(run.output.split())
    assert run.rc == 2 and run.changed == [], run.output
    assert words in said, run.output
    assert "Traceback" not in said
