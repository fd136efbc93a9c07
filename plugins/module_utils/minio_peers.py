"""What has to be done so that buckets are handed over to other stores, also while one of these is away."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ansible_collections.nano.ops.plugins.module_utils import minio_replication
from ansible_collections.nano.ops.plugins.module_utils.minio_replication import Found, Peer, Target
from ansible_collections.nano.ops.plugins.module_utils.s3 import Store, StoreError, UnreachableError

# Why another store cannot be told of yet, or ""; asked of the store itself.
Ready = Callable[[Peer, str], str]


@dataclass(frozen=True)
class Bucket:
    """A bucket, how it hands over, and the stores that it is to hand over to."""

    name: str
    found: Found
    peers: tuple[Peer, ...]

    def missing(self) -> list[Peer]:
        """Return the stores that it does not hand over to as it should."""
        return [peer for peer in self.peers if not self.found.right(peer)]

    def surplus(self) -> list[str]:
        """Return the ids of rules of ours that lead to a store that is not named any more."""
        return [name for name in (*self.found.rules, *self.found.spoilt) if name not in {p.rule() for p in self.peers}]

    def stale(self, access_key: str) -> list[Target]:
        """Return the targets of ours that lead nowhere that is wanted."""
        ours = [target for target in self.found.targets if target.access_key == access_key]
        return [target for target in ours if not any(target.fits(peer) for peer in self.peers)]


@dataclass
class Work:
    """All buckets. `changes` is what was done, `waiting` what could not be done yet, a sentence each."""

    buckets: list[Bucket]
    access_key: str
    changes: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)

    def intended(self) -> list[str]:
        """Return what would be done, if every store answers."""
        texts = []
        for bucket in self.buckets:
            texts += [f"bucket {bucket.name} is replicated to {peer.name}" for peer in bucket.missing()]
            if bucket.surplus() or bucket.stale(self.access_key):
                texts.append(gone(bucket))
        return texts

    def diff(self) -> dict[str, str]:
        """Return the rules before and after."""
        before = {bucket.name: sorted(bucket.found.rules) for bucket in self.buckets if bucket.found.rules}
        after = {bucket.name: sorted(peer.rule() for peer in bucket.peers) for bucket in self.buckets if bucket.peers}
        return {"before": json.dumps(before, indent=2) + "\n", "after": json.dumps(after, indent=2) + "\n"}


def gone(bucket: Bucket) -> str:
    """Say that a bucket is handed over to fewer stores."""
    return f"bucket {bucket.name} is replicated no more to stores that are not named"


def survey(
    store: Store | None, buckets: Iterable[str], replicated: Sequence[str], peers: Sequence[Peer], access_key: str
) -> Work:
    """Look at buckets, or take them for new ones that hand over nothing.

    Args:
        store: the store, None for one that is not there yet.
        buckets: all buckets that are looked at.
        replicated: those that are to hand over.
        peers: the stores to hand over to.
        access_key: the user by whom, in every store.

    Raises:
        StoreError: the store does not tell.
    """
    return Work(
        [
            Bucket(
                name,
                minio_replication.look(store, name) if store else Found(),
                tuple(peers) if name in replicated else (),
            )
            for name in buckets
        ],
        access_key,
    )


def asker(ca_file: str, region: str) -> Ready:
    """Return how another store is asked, with the replication's own keys. One that does not answer is asked once."""
    silent: dict[str, str] = {}

    def ready(peer: Peer, bucket: str) -> str:
        if peer.name not in silent:
            try:
                store = Store(peer.url, peer.keys(), ca_file, region, 0)
                versioning = store.ask("GET", f"/{bucket}", {"versioning": ""})
                return "" if b"<Status>Enabled</Status>" in versioning.body else "its bucket keeps no versions"
            except UnreachableError as error:
                silent[peer.name] = str(error)
            except StoreError as error:
                return str(error)
        return silent[peer.name]

    return ready


def apply(store: Store, work: Work, ready: Ready) -> None:
    """Do what has to be done. What another store makes impossible is left as it is, and told.

    Raises:
        StoreError: the store itself has refused.
    """
    for bucket in work.buckets:
        if bucket.missing() or bucket.surplus():
            connect(store, work, bucket, ready)
        for target in bucket.stale(work.access_key):
            minio_replication.forget(store, bucket.name, target)
        if bucket.surplus() or bucket.stale(work.access_key):
            work.changes.append(gone(bucket))


def connect(store: Store, work: Work, bucket: Bucket, ready: Ready) -> None:
    """Bring a bucket's targets and rules up to date.

    Raises:
        StoreError: the store itself has refused.
    """
    found, name = bucket.found, bucket.name
    rules = {rule: arn for rule, arn in found.rules.items() if rule not in bucket.surplus()}
    done = []
    for peer in bucket.missing():
        reason = ready(peer, name)
        if reason:
            work.waiting.append(
                f"bucket {name} is not replicated to {peer.name} as it should be: {reason}. It was left as it was; run "
                "this again when that store is set up and answers."
            )
            continue
        target = found.target(peer)
        if target is None or target.secret != peer.secret:
            target_arn = minio_replication.set_target(store, name, peer, target)
        else:
            target_arn = target.arn
        rules[peer.rule()] = target_arn
        done.append(f"bucket {name} is replicated to {peer.name}")
    if rules != found.rules or (found.spoilt and done):
        minio_replication.set_rules(store, name, rules, found)
    work.changes += done


def send_again(store: Store, work: Work) -> None:
    """Hand over all that there is once more, to every store that is set up.

    Raises:
        StoreError: the store has refused.
    """
    for bucket in work.buckets:
        for peer in bucket.peers:
            target = bucket.found.target(peer)
            if bucket.found.right(peer) and target:
                minio_replication.send_again(store, bucket.name, target.arn)
                work.changes.append(f"all of bucket {bucket.name} is sent to {peer.name} again")
