"""What is in a MinIO store, what has to be done to it, and how that is told without a secret."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.nano.ops.plugins.module_utils import minio_iam, minio_policy, s3_buckets
from ansible_collections.nano.ops.plugins.module_utils.s3 import Store, StoreError

HIDDEN = "(not shown)"


@dataclass
class Work:
    """What is in the store, and what has to be done to it."""

    buckets: list[tuple[s3_buckets.Bucket, s3_buckets.Found | None]]
    users: minio_iam.Plan
    known: minio_iam.Found
    changes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Say in words what has to be done."""
        for bucket, found in self.buckets:
            if s3_buckets.differs(bucket, found):
                self.changes.append(f"bucket {bucket.name} {'is changed' if found else 'is made'}")
        for key in self.users.users:
            self.changes.append(f"user {key} {'gets its secret' if key in self.known.secrets else 'is made'}")
        self.changes += [f"policy {name} is set" for name in self.users.policies]
        self.changes += [f"user {key} gets its policy" for key in self.users.mappings]
        self.changes += [f"user {key} is removed" for key in self.users.removed]

    def diff(self, wanted: list[minio_policy.User]) -> dict[str, str]:
        """Return the store before and after, as far as it is named here; of secrets only that they change."""
        before: dict[str, Any] = {}
        after: dict[str, Any] = {}
        for bucket, found in self.buckets:
            if found:
                before[f"bucket {bucket.name}"] = state(found.versioning, found.lock, found.rules)
            after[f"bucket {bucket.name}"] = state(bucket.versioning, bucket.lock(), bucket.rules())
        for key in [*(user.access_key for user in wanted), *self.users.removed]:
            if key in self.known.secrets:
                policy = self.known.policies.get(self.known.mappings.get(key, ""), {})
                before[f"user {key}"] = shown(self.known.statuses.get(key, ""), policy, HIDDEN)
        for user in wanted:
            secret = f"{HIDDEN}, changed" if user.access_key in self.users.users else HIDDEN
            after[f"user {user.access_key}"] = shown("enabled", user.policy(), secret)
        return {"before": text(before), "after": text(after)}


def state(versioning: bool, lock: s3_buckets.Lock, lifecycle: s3_buckets.Rules) -> dict[str, Any]:
    """Return a bucket as it is shown."""
    return {"versioning": versioning, "lock": str(lock), "lifecycle": lifecycle}


def shown(status: str, policy: dict[str, Any], secret: str) -> dict[str, Any]:
    """Return a user as it is shown; its policy in the order in which two are compared."""
    return {"status": status, "policy": [json.loads(part) for part in minio_policy.canonical(policy)], "secret": secret}


def text(state: dict[str, Any]) -> str:
    """Return a state as text that can be compared line by line."""
    return json.dumps(state, indent=2, sort_keys=True) + "\n"


def survey(store: Store | None, buckets: list[s3_buckets.Bucket], users: list[minio_policy.User]) -> Work:
    """Compare what is wanted with a store, or with an empty one.

    Raises:
        StoreError: the store does not tell, or something is wanted that is never done.
    """
    pairs = [(bucket, s3_buckets.look(store, bucket.name) if store else None) for bucket in buckets]
    wrong = [words for bucket, found in pairs if (words := s3_buckets.problem(bucket, found))]
    if wrong:
        raise StoreError(f"nothing was changed: {' '.join(wrong)}")
    known = minio_iam.read(store) if store else minio_iam.Found()
    return Work(pairs, minio_iam.plan(users, known), known)
