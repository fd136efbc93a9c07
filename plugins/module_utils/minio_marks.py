"""Marks of deletion that a store has not handed over, because the other one was away or they are older than the rule.

MinIO tries each of them once. It takes what it tries again for the deletion of a version, and that stays where it is.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass

from ansible_collections.nano.ops.plugins.module_utils import s3_lifecycle
from ansible_collections.nano.ops.plugins.module_utils.s3 import Store
from ansible_collections.nano.ops.plugins.module_utils.s3_lifecycle import text_at


@dataclass(frozen=True)
class Mark:
    """A mark that hides an object: its key, its version, and when it was made."""

    key: str
    version: str
    made: str


def pages(store: Store, bucket: str) -> Iterator[bytes]:
    """Return a bucket's versions page by page.

    Raises:
        StoreError: the store does not tell.
    """
    query = {"versions": "", "encoding-type": "url"}
    while True:
        body = store.ask("GET", f"/{bucket}", query).body
        yield body
        (top,) = s3_lifecycle.elements(body, "ListVersionsResult")
        if text_at(top, "IsTruncated") != "true":
            return
        query |= {
            "key-marker": urllib.parse.unquote_plus(text_at(top, "NextKeyMarker")),
            "version-id-marker": text_at(top, "NextVersionIdMarker"),
        }


def hiding(store: Store, bucket: str) -> tuple[set[Mark], set[str]]:
    """Return the marks that hide an object now, and the keys of all that has a version.

    Raises:
        StoreError: the store does not tell.
    """
    marks, keys = set(), set()
    for body in pages(store, bucket):
        for element in s3_lifecycle.elements(body, "DeleteMarker"):
            if text_at(element, "IsLatest") == "true":
                key = urllib.parse.unquote_plus(text_at(element, "Key"))
                marks.add(Mark(key, text_at(element, "VersionId"), text_at(element, "LastModified")))
        keys |= {
            urllib.parse.unquote_plus(text_at(element, "Key")) for element in s3_lifecycle.elements(body, "Version")
        }
    return marks, keys


def hand_over(store: Store, other: Store, bucket: str) -> tuple[int, int]:
    """Make the marks of a store in another one, as MinIO would; return how many, and for how many it is too early.

    A mark without an object below it would be cleared away, so that one waits until the object has arrived.

    Args:
        store: the store.
        other: the other one, as the user who takes over objects there.
        bucket: the bucket, here and there.

    Raises:
        StoreError: one of them has refused.
    """
    here, _ = hiding(store, bucket)
    there, keys = hiding(other, bucket)
    known = {mark.version for mark in there}
    missing = sorted((mark for mark in here if mark.version not in known), key=lambda mark: mark.made)
    ready = [mark for mark in missing if mark.key in keys]
    for mark in ready:
        extra = {
            "x-amz-replication-status": "REPLICA",
            "x-minio-source-deletemarker": "true",
            "x-minio-source-mtime": mark.made,
            "x-minio-source-replication-request": "true",
        }
        other.ask("DELETE", f"/{bucket}/{mark.key}", {"versionId": mark.version}, extra=extra)
    return len(ready), len(missing) - len(ready)
