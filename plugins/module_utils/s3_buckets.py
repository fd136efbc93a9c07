"""Buckets of an S3 store: versions and lifecycle, by S3's own calls. It works with any such store."""

from __future__ import annotations

import base64
import hashlib
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.nano.ops.plugins.module_utils.s3 import Store

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
# Rules of a lifecycle whose ids begin so are ours; others are left as they are.
OURS = "nano-ops-"
DAYS = {"noncurrent": "NoncurrentVersionExpiration/NoncurrentDays", "days": "Expiration/Days"}
Rules = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Bucket:
    """What a bucket is to be. Days are whole; with 0 old versions stay for good."""

    name: str
    versioning: bool = True
    noncurrent_days: int = 0
    expire_days: Mapping[str, int] = field(default_factory=dict)
    object_lock: bool = False

    def rules(self) -> Rules:
        """Return its lifecycle by the rules' ids: one rule for old versions, one for each prefix that expires."""
        rules: Rules = {}
        if self.versioning and self.noncurrent_days:
            # A mark of deletion that hides nothing any more goes as well.
            rules[f"{OURS}noncurrent"] = {"prefix": "", "noncurrent": self.noncurrent_days, "marks": "true"}
        for prefix, days in sorted(self.expire_days.items()):
            name = hashlib.sha256(prefix.encode()).hexdigest()[:16]
            rules[f"{OURS}expire-{name}"] = {"prefix": prefix, "days": days}
        return rules


@dataclass(frozen=True)
class Found:
    """What a bucket is. `others` are the rules of its lifecycle that are not ours."""

    versioning: bool = False
    object_lock: bool = False
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
    rules, others = read_lifecycle(lifecycle.body if lifecycle.status == 200 else b"")
    return Found(
        versioning=b"<Status>Enabled</Status>" in versioning.body,
        object_lock=lock.status == 200 and b"<ObjectLockEnabled>Enabled<" in lock.body,
        rules=rules,
        others=others,
    )


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
    return ""


def differs(bucket: Bucket, found: Found | None) -> bool:
    """Return whether something has to be done."""
    return found is None or (bucket.versioning and not found.versioning) or found.rules != bucket.rules()


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


def set_lifecycle(store: Store, bucket: Bucket, others: list[ElementTree.Element]) -> None:
    """Set a bucket's lifecycle; the rules that are not ours go along as they were."""
    body = write_lifecycle(bucket.rules(), others)
    if not body:
        store.ask("DELETE", f"/{bucket.name}", {"lifecycle": ""})
        return
    # S3 demands a sum here.
    digest = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
    store.ask("PUT", f"/{bucket.name}", {"lifecycle": ""}, body=body, extra={"content-md5": digest})


def _text(element: ElementTree.Element, path: str) -> str:
    return (element.findtext("/".join(f"{{*}}{word}" for word in path.split("/"))) or "").strip()


def read_lifecycle(body: bytes) -> tuple[Rules, list[ElementTree.Element]]:
    """Return our rules by id, and the others as they are. One of ours that is switched off is not there."""
    ours: Rules = {}
    others: list[ElementTree.Element] = []
    for element in ElementTree.fromstring(body).iter() if body else ():
        if element.tag.rsplit("}", 1)[-1] != "Rule":
            continue
        name = _text(element, "ID")
        if not name.startswith(OURS):
            others.append(element)
        elif _text(element, "Status") == "Enabled":
            rule: dict[str, Any] = {"prefix": _text(element, "Filter/Prefix")}
            for key, path in (
                ("noncurrent", "NoncurrentVersionExpiration/NoncurrentDays"),
                ("days", "Expiration/Days"),
            ):
                if days := _text(element, path):
                    rule[key] = int(days)
            if marks := _text(element, "Expiration/ExpiredObjectDeleteMarker"):
                rule["marks"] = marks
            ours[name] = rule
    return ours, others


def write_lifecycle(rules: Rules, others: list[ElementTree.Element]) -> bytes:
    """Return the XML of a lifecycle, empty if it has no rule."""
    if not rules and not others:
        return b""
    root = ElementTree.Element("LifecycleConfiguration", xmlns=NAMESPACE)

    def add(parent: ElementTree.Element, name: str, text: str = "") -> ElementTree.Element:
        child = ElementTree.SubElement(parent, name)
        child.text = text
        return child

    for name, rule in rules.items():
        element = add(root, "Rule")
        add(element, "ID", name)
        add(element, "Status", "Enabled")
        add(add(element, "Filter"), "Prefix", rule["prefix"])
        if "days" in rule:
            add(add(element, "Expiration"), "Days", str(rule["days"]))
        if "marks" in rule:
            add(add(element, "Expiration"), "ExpiredObjectDeleteMarker", rule["marks"])
        if "noncurrent" in rule:
            add(add(element, "NoncurrentVersionExpiration"), "NoncurrentDays", str(rule["noncurrent"]))
    for other in others:
        # Without the namespace that a store's answer may give every name: the document has one of its own.
        for part in other.iter():
            part.tag = part.tag.rsplit("}", 1)[-1]
        root.append(other)
    return bytes(ElementTree.tostring(root))
