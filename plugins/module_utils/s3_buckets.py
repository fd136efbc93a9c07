"""Buckets of an S3 store: versions, locks and lifecycle, by S3's own calls. It works with any such store."""

from __future__ import annotations

import base64
import hashlib
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass, field

from ansible_collections.nano.ops.plugins.module_utils import s3_lifecycle
from ansible_collections.nano.ops.plugins.module_utils.s3 import Store, StoreError
from ansible_collections.nano.ops.plugins.module_utils.s3_lifecycle import NAMESPACE, Rules, text_at

# From weak to strong: who has the right may take back the first, nobody the second.
MODES = ("", "governance", "compliance")
DAYS_OF_A_YEAR = 365


@dataclass(frozen=True)
class Lock:
    """How long a new object is locked unless its writer says more: nobody deletes it within these days."""

    mode: str = ""
    days: int = 0

    def weaker(self, other: Lock) -> bool:
        """Return whether this one protects less than another, in mode or in time."""
        return self.days < other.days or MODES.index(self.mode) < MODES.index(other.mode)

    def __str__(self) -> str:
        """Return it in the words of the options."""
        return f"lock_mode {self.mode}, lock_days {self.days}" if self.days else "lock_days 0"


@dataclass(frozen=True)
class Bucket:
    """What a bucket is to be. Days are whole; with 0 old versions stay for good, and objects are not locked."""

    name: str
    versioning: bool = True
    noncurrent_days: int = 0
    expire_days: Mapping[str, int] = field(default_factory=dict)
    object_lock: bool = False
    lock_mode: str = "compliance"
    lock_days: int = 0
    transition_days: Mapping[str, int] = field(default_factory=dict)
    transition_class: str = ""

    def rules(self) -> Rules:
        """Return its lifecycle by the rules' ids."""
        old = self.noncurrent_days if self.versioning else 0
        return s3_lifecycle.rules(old, self.expire_days, self.transition_days, self.transition_class)

    def lock(self) -> Lock:
        """Return its lock; the mode says nothing without days."""
        return Lock(self.lock_mode, self.lock_days) if self.lock_days else Lock()


@dataclass(frozen=True)
class Found:
    """What a bucket is. `others` are the rules of its lifecycle that are not ours."""

    versioning: bool = False
    object_lock: bool = False
    lock: Lock = Lock()
    rules: Rules = field(default_factory=dict)
    others: list[ElementTree.Element] = field(default_factory=list)


def look(store: Store, name: str) -> Found | None:
    """Return a bucket as it is, or None if there is none.

    Raises:
        StoreError: the store does not tell.
    """
    versioning = store.ask("GET", f"/{name}", {"versioning": ""}, also=(404,))
    if versioning.status == 404:
        return None
    lock = store.ask("GET", f"/{name}", {"object-lock": ""}, also=(404,))
    lifecycle = store.ask("GET", f"/{name}", {"lifecycle": ""}, also=(404,))
    rules, others = s3_lifecycle.read(lifecycle.body if lifecycle.status == 200 else b"")
    return Found(
        versioning=b"<Status>Enabled</Status>" in versioning.body,
        object_lock=lock.status == 200 and b"<ObjectLockEnabled>Enabled<" in lock.body,
        lock=read_lock(lock.body if lock.status == 200 else b""),
        rules=rules,
        others=others,
    )


def read_lock(body: bytes) -> Lock:
    """Return how long new objects are locked. Stores say it in days or in years."""
    for element in s3_lifecycle.elements(body, "DefaultRetention"):
        days = int(text_at(element, "Days") or 0) or int(text_at(element, "Years") or 0) * DAYS_OF_A_YEAR
        return Lock(text_at(element, "Mode").lower(), days)
    return Lock()


def problem(bucket: Bucket, found: Found | None) -> str:
    """Return why a bucket cannot become what it is to be, or "". Nothing that keeps data is ever switched off."""
    if found and found.versioning and not bucket.versioning:
        return (
            f"bucket {bucket.name} keeps old versions and is told not to: set versioning: true, or suspend it by hand "
            "first; this is never done here."
        )
    if found and found.object_lock != bucket.object_lock:
        has = "has" if found.object_lock else "lacks"
        return (
            f"bucket {bucket.name} {has} object lock, which is decided when a bucket is made: set object_lock: "
            f"{str(found.object_lock).lower()}, or use a new bucket."
        )
    if found and bucket.lock().weaker(found.lock):
        return (
            f"bucket {bucket.name} locks new objects with {found.lock} and is told {bucket.lock()}: a lock is never "
            "shortened or weakened here. Write what it has, or more; or change it by hand first."
        )
    return ""


def differs(bucket: Bucket, found: Found | None) -> bool:
    """Return whether something has to be done."""
    return (
        found is None
        or (bucket.versioning and not found.versioning)
        or found.rules != bucket.rules()
        or found.lock != bucket.lock()
    )


def apply(store: Store, bucket: Bucket, found: Found | None) -> None:
    """Make a bucket what it is to be; one that is there is only changed.

    Raises:
        StoreError: the store has refused.
    """
    if found is None:
        make(store, bucket)
    # A bucket with object lock has it from its beginning.
    if bucket.versioning and not bucket.object_lock and not (found and found.versioning):
        text = f'<VersioningConfiguration xmlns="{NAMESPACE}"><Status>Enabled</Status></VersioningConfiguration>'
        store.ask("PUT", f"/{bucket.name}", {"versioning": ""}, body=text.encode())
    if (found or Found()).lock != bucket.lock():
        set_lock(store, bucket)
    if (found or Found()).rules != bucket.rules():
        set_lifecycle(store, bucket, found.others if found else [])


def make(store: Store, bucket: Bucket) -> None:
    """Make a bucket."""
    body = b""
    # S3 refuses the name of this one region, and wants that of every other.
    if store.region != "us-east-1":
        place = f"<LocationConstraint>{store.region}</LocationConstraint>"
        body = f'<CreateBucketConfiguration xmlns="{NAMESPACE}">{place}</CreateBucketConfiguration>'.encode()
    extra = {"x-amz-bucket-object-lock-enabled": "true"} if bucket.object_lock else {}
    store.ask("PUT", f"/{bucket.name}", body=body, extra=extra)


def put(store: Store, bucket: str, what: str, body: bytes) -> None:
    """Send a document about a bucket, with the sum that S3 demands for most of them.

    Raises:
        StoreError: the store has refused.
    """
    digest = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
    store.ask("PUT", f"/{bucket}", {what: ""}, body=body, extra={"content-md5": digest})


def set_lock(store: Store, bucket: Bucket) -> None:
    """Set how long new objects are locked; `problem` has made sure that it is not less than before."""
    root = ElementTree.Element("ObjectLockConfiguration", xmlns=NAMESPACE)
    s3_lifecycle.add(root, "ObjectLockEnabled", "Enabled")
    s3_lifecycle.add(root, "Rule/DefaultRetention/Mode", bucket.lock_mode.upper())
    s3_lifecycle.add(root, "Rule/DefaultRetention/Days", str(bucket.lock_days))
    put(store, bucket.name, "object-lock", bytes(ElementTree.tostring(root)))


def set_lifecycle(store: Store, bucket: Bucket, others: list[ElementTree.Element]) -> None:
    """Set a bucket's lifecycle; the rules that are not ours go along as they were.

    Raises:
        StoreError: the store has refused.
    """
    body = s3_lifecycle.write(bucket.rules(), others)
    if not body:
        store.ask("DELETE", f"/{bucket.name}", {"lifecycle": ""})
        return
    try:
        put(store, bucket.name, "lifecycle", body)
    except StoreError as error:
        if not bucket.transition_days:
            raise
        raise StoreError(
            f"bucket {bucket.name}: {error}. Does the store have a storage class {bucket.transition_class}? MinIO has "
            "none of its own: a tier is made with its own tool first (mc ilm tier add). Else leave transition_days out."
        ) from error
