"""What is wrong with the buckets and users that an inventory asks for, found before anything is changed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")
# MinIO allows more; a name with `=`, `,` or `/` means something else in a policy or a signature.
ACCESS_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,63}")
SECRET_LENGTH = 8
# As S3 has it: characters of a prefix, and the longest time that stores take.
PREFIX_LENGTH, MOST_DAYS = 1024, 36500


def twice(names: Iterable[str]) -> list[str]:
    """Return the names that occur more than once."""
    return sorted(name for name, count in Counter(names).items() if count > 1)


def bucket_name(name: str) -> str:
    """Return what is wrong with the name of a bucket, or ""."""
    if (
        not BUCKET.fullmatch(name)
        or ".." in name
        or ADDRESS.fullmatch(name)
        or name.startswith(("xn--", "sthree-"))
        or name.endswith(("-s3alias", "--ol-s3"))
    ):
        return (
            f"minio_buckets: {name!r} is not a name that S3 takes; use 3 to 63 lower-case letters, digits and hyphens, "
            "such as nano-uploads."
        )
    return ""


def days(bucket: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the times of a bucket."""
    name = bucket["name"]
    prefixes = {word: bucket.get(word) or {} for word in ("expire_days", "transition_days")}
    wrong = []
    times = {word: (bucket.get(word, 0), 0) for word in ("noncurrent_days", "lock_days")}
    for word, entries in prefixes.items():
        times |= {f"{word}[{str(prefix)!r}]": (value, 1) for prefix, value in entries.items()}
        wrong += [
            f"minio_buckets: {name} has a prefix in {word} that starts with / or is too long: {str(prefix)[:80]!r}."
            for prefix in entries
            if str(prefix).startswith("/") or len(str(prefix)) > PREFIX_LENGTH
        ]
    for where, (value, least) in times.items():
        if not whole(value, least):
            wrong.append(f"minio_buckets: {name} has {where}: {value}; write whole days from {least} to {MOST_DAYS}.")
    if bool(prefixes["transition_days"]) != bool(bucket.get("transition_class")):
        wrong.append(
            f"minio_buckets: {name} has one of transition_days and transition_class; objects move after so many days "
            "into such a class, so write both."
        )
    return wrong


def whole(value: Any, least: int = 0) -> bool:
    """Return whether a value is a whole number of days that stores take."""
    return not isinstance(value, bool) and str(value).isdecimal() and least <= int(value) <= MOST_DAYS


def kept(bucket: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with how a bucket keeps what is in it: versions, locks, copies in another store."""
    name, versioning, lock = bucket["name"], bucket.get("versioning", True), bucket.get("object_lock", False)
    days, old = bucket.get("lock_days", 0), bucket.get("noncurrent_days", 0)
    wrong = []
    if lock and not versioning:
        wrong.append(f"minio_buckets: {name} has object_lock, which needs versioning: true.")
    if bucket.get("replicate") and not versioning:
        wrong.append(f"minio_buckets: {name} has replicate, which needs versioning: true.")
    if bucket.get("lock_mode", "compliance") not in ("compliance", "governance"):
        wrong.append(f"minio_buckets: {name} has lock_mode: {bucket['lock_mode']}; write compliance or governance.")
    if not (whole(days) and whole(old)):
        return wrong
    if int(days) and not lock:
        wrong.append(
            f"minio_buckets: {name} has lock_days, which needs object_lock: true; a bucket gets that when it is made, "
            "or never."
        )
    if int(days) > int(old) > 0:
        wrong.append(
            f"minio_buckets: {name} has noncurrent_days: {old}, less than lock_days: {days}; a locked version cannot "
            "go before its lock ends. Raise noncurrent_days."
        )
    return wrong


def user_problems(user: Mapping[str, Any], buckets: Mapping[str, Mapping[str, Any]], root: str) -> list[str]:
    """Return what is wrong with a user. No text has a secret in it.

    Args:
        user: the user.
        buckets: the buckets by name.
        root: name of the administrator.
    """
    key = str(user.get("access_key", ""))
    wrong = []
    if not ACCESS_KEY.fullmatch(key):
        wrong.append(
            f"minio_users: {key!r} is not an access key; use 3 to 64 letters, digits, dots, hyphens and underscores, "
            "and begin with a letter or digit."
        )
    if key == root:
        wrong.append(f"minio_users: {key} is the name of the administrator (minio_root_user); a client needs its own.")
    if len(str(user.get("secret") or "")) < SECRET_LENGTH:
        wrong.append(
            f"minio_users: the secret of {key} is missing or shorter than {SECRET_LENGTH} characters; "
            "playbooks/secrets.yml makes good ones."
        )
    granted = [str(grant.get("name", "")) for grant in user.get("buckets") or []]
    wrong += [f"minio_users: {key} names the bucket {name} twice." for name in twice(granted)]
    wrong += [
        f"minio_users: {key} uses the bucket {name}, which minio_buckets does not have; add it there, or correct it."
        for name in granted
        if name not in buckets
    ]
    for grant in user.get("buckets") or []:
        if grant.get("access") not in ("read", "write", "readwrite"):
            wrong.append(f"minio_users: {key} has access {grant.get('access')!r}; use read, write or readwrite.")
        bucket = buckets.get(str(grant.get("name", "")), {})
        if grant.get("delete") and bucket.get("versioning", True) and bucket and not bucket.get("object_lock"):
            # The header x-minio-force-delete, which no policy knows; a bucket with object lock refuses it.
            wrong.append(
                f"minio_users: {key} may delete in {bucket['name']}, which keeps versions without object_lock: MinIO "
                "lets who may delete there take an object with all its versions. Set object_lock: true for that bucket "
                "before it is made, or versioning: false if its versions are not needed, or delete: false."
            )
    return wrong


def problems(
    buckets: Sequence[Mapping[str, Any]], users: Sequence[Mapping[str, Any]], root: str, password: str
) -> list[str]:
    """Return everything that is wrong, a sentence each.

    Args:
        buckets: the role's C(minio_buckets).
        users: the role's C(minio_users), and the one that reads the metrics.
        root: name of the administrator.
        password: the administrator's password.
    """
    names = [str(bucket.get("name", "")) for bucket in buckets]
    wrong = [text for name in names if (text := bucket_name(name))]
    wrong += [f"minio_buckets: {name} is there twice." for name in twice(names)]
    for bucket in buckets:
        named = {**bucket, "name": str(bucket.get("name", ""))}
        wrong += [*days(named), *kept(named)]
    keys = [str(user.get("access_key", "")) for user in users]
    wrong += [f"minio_users: the access key {key} is there twice; each client has its own." for key in twice(keys)]
    for user in users:
        wrong += user_problems(user, dict(zip(names, buckets, strict=True)), root)
    if not ACCESS_KEY.fullmatch(root):
        wrong.append(f"minio_root_user: {root!r} is not an access key; use 3 to 64 letters, digits and hyphens.")
    if len(password) < SECRET_LENGTH or password != password.strip():
        wrong.append(
            f"minio_root_password has to have {SECRET_LENGTH} characters or more, and no space at either end; "
            "playbooks/secrets.yml makes a good one."
        )
    return wrong
