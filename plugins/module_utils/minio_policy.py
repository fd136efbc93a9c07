"""What the users of a MinIO store may do, in S3's own words."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

# The name of a user's policy says that the user is ours.
OURS = "nano-ops-"
READ_BUCKET = ("s3:GetBucketLocation", "s3:ListBucket")
READ = ("s3:GetObject",)
# An upload in parts is made, looked at and given up by whoever writes.
WRITE_BUCKET = ("s3:GetBucketLocation", "s3:ListBucketMultipartUploads")
WRITE = ("s3:AbortMultipartUpload", "s3:ListMultipartUploadParts", "s3:PutObject")
# Leaves a mark; the old version stays until the bucket's lifecycle takes it.
DELETE = ("s3:DeleteObject",)
# MinIO takes the right to delete for the right to delete versions as well, unless it is denied.
NEVER = ("s3:BypassGovernanceRetention", "s3:DeleteObjectVersion")
# MinIO overwrites a version in place when a client names it, a locked one of mode governance too.
NAMED_VERSION = {"StringLike": {"s3:versionid": ["?*"]}}
# What another store does when it hands over its objects, marks of deletion and locks.
REPLICATE_BUCKET = (
    "s3:GetBucketLocation",
    "s3:GetBucketObjectLockConfiguration",
    "s3:GetBucketVersioning",
    "s3:ListBucket",
)
REPLICATE = (
    "s3:AbortMultipartUpload",
    "s3:DeleteObject",
    "s3:GetObject",
    "s3:PutObject",
    "s3:PutObjectLegalHold",
    "s3:PutObjectRetention",
    "s3:ReplicateDelete",
    "s3:ReplicateObject",
)
# Allowed to everybody unless denied: keys of one's own making would outlive a new secret.
SELF_SERVICE = (
    "admin:CreateServiceAccount",
    "admin:CreateUser",
    "admin:UpdateServiceAccount",
)


@dataclass(frozen=True)
class Grant:
    """What a user may do in a bucket: read, write or readwrite."""

    bucket: str
    access: str
    delete: bool = False

    def statements(self) -> list[dict[str, Any]]:
        """Return it as statements of a policy. No client destroys a version, whatever it may do."""
        read, write = self.access in ("read", "readwrite"), self.access in ("write", "readwrite")
        bucket = {*(READ_BUCKET if read else ()), *(WRITE_BUCKET if write else ())}
        objects = {*(READ if read else ()), *(WRITE if write else ()), *(DELETE if self.delete else ())}
        statements = allow(self.bucket, bucket, objects)
        place = f"arn:aws:s3:::{self.bucket}"
        if self.delete:
            statements.append({"Effect": "Deny", "Action": list(NEVER), "Resource": [f"{place}/*"]})
        if write:
            # The second is for archives that it unpacks on request: versions that these name inside are seen by no
            # condition and checked for no lock. It asks first for the folder to unpack into, the only name with a slash
            # at its end.
            statements += [
                {"Effect": "Deny", "Action": ["s3:PutObject"], "Resource": [f"{place}/*"], "Condition": NAMED_VERSION},
                {"Effect": "Deny", "Action": ["s3:PutObject"], "Resource": [f"{place}/", f"{place}/*/"]},
            ]
        return statements


def allow(bucket: str, of_bucket: Iterable[str], of_objects: Iterable[str]) -> list[dict[str, Any]]:
    """Return statements that allow actions on a bucket, and others on its objects."""
    place = f"arn:aws:s3:::{bucket}"
    return [
        {"Effect": "Allow", "Action": sorted(of_bucket), "Resource": [place]},
        {"Effect": "Allow", "Action": sorted(of_objects), "Resource": [f"{place}/*"]},
    ]


@dataclass(frozen=True)
class User:
    """A user as it is to be."""

    access_key: str
    secret: str = field(repr=False)
    grants: tuple[Grant, ...] = ()
    metrics: bool = False
    # Buckets that another store's objects come into.
    replicates: tuple[str, ...] = ()

    def policy_name(self) -> str:
        """Return the name of its policy."""
        return f"{OURS}{self.access_key}"

    def policy(self) -> dict[str, Any]:
        """Return what it may do, in S3's own words."""
        statements = [statement for grant in self.grants for statement in grant.statements()]
        for bucket in self.replicates:
            statements += allow(bucket, REPLICATE_BUCKET, REPLICATE)
        if self.metrics:
            statements.append({"Effect": "Allow", "Action": ["admin:Prometheus"]})
        statements.append({"Effect": "Deny", "Action": list(SELF_SERVICE)})
        return {"Version": "2012-10-17", "Statement": statements}


def user(entry: Mapping[str, Any]) -> User:
    """Return a user from the module's words for it."""
    grants = tuple(Grant(grant["name"], grant["access"], grant["delete"]) for grant in entry["buckets"])
    return User(entry["access_key"], entry["secret"], grants, entry["metrics"], tuple(entry["replicates"]))


def canonical(policy: Mapping[str, Any]) -> list[str]:
    """Return a policy in a form in which two that mean the same are equal: stores sort and fold lists their own way."""

    def words(value: Any) -> list[str]:
        return sorted([value] if isinstance(value, str) else value or [])

    statements = policy.get("Statement") or []
    return sorted(
        json.dumps(
            {
                **{name: value for name, value in statement.items() if value},
                "Action": words(statement.get("Action")),
                "Resource": words(statement.get("Resource")),
            },
            sort_keys=True,
        )
        for statement in statements
    )
