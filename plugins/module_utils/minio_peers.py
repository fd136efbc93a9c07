"""What has to be done so that buckets are handed over to other stores, also while one of these is away."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ansible_collections.nano.ops.plugins.module_utils import minio_marks, minio_replication
from ansible_collections.nano.ops.plugins.module_utils.minio_replication import Found, Peer, Target
from ansible_collections.nano.ops.plugins.module_utils.s3 import PAUSE_S, Store, StoreError
from ansible_collections.nano.ops.plugins.module_utils.s3_lifecycle import text_at

# A store looks at the others every 5 s.
LOOK_S = 20.0
# Why another store cannot be told of yet, or ""; asked of the store itself.
Ready = Callable[[Peer, str], str]
# Opens another store as the user who takes over objects there.
Opener = Callable[[Peer], Store]


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
        """Return the targets of ours that lead nowhere that is wanted, and that no rule of others uses."""
        used = {text_at(rule, "Destination/Bucket") for rule in self.found.others}
        return [
            target
            for target in self.found.targets
            if target.access_key == access_key
            and target.arn not in used
            and not any(target.fits(peer) for peer in self.peers)
        ]


@dataclass
class Work:
    """All buckets. `changes` is what was done, `early` what is to be done again later, a sentence each.

    `late` are the buckets that another store did not let be set, by its name and the reason.
    """

    buckets: list[Bucket]
    access_key: str
    changes: list[str] = field(default_factory=list)
    early: list[str] = field(default_factory=list)
    late: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def waiting(self) -> list[str]:
        """Return what could not be done yet, a sentence for each store and reason."""
        return self.early + [
            f"{peer} does not get the buckets {', '.join(names)} as it should: {reason}. That was left as it is; run "
            "this again when that store is set up and answers."
            for (peer, reason), names in self.late.items()
        ]

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


def asker(open_peer: Opener) -> Ready:
    """Return how another store is asked, with the replication's own keys. One that does not answer is asked once."""
    silent: dict[str, str] = {}

    def ready(peer: Peer, bucket: str) -> str:
        if peer.name not in silent:
            try:
                versioning = open_peer(peer).ask("GET", f"/{bucket}", {"versioning": ""}, also=(404,))
            except StoreError as error:
                silent[peer.name] = str(error)
            else:
                enabled = b"<Status>Enabled</Status>" in versioning.body
                return "" if enabled else "it has no such bucket with versions"
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
            work.late.setdefault((peer.name, reason), []).append(name)
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


def unseen(store: Store, bucket: str, target: Target) -> str:
    """Return why a store would send to another one in vain, or "", having waited for it to look."""
    deadline = time.monotonic() + LOOK_S
    while minio_replication.shuns(store, bucket, target.arn):
        if time.monotonic() > deadline:
            return f"the store itself does not reach it at {target.place}"
        time.sleep(PAUSE_S)
    return ""


def send_again(store: Store, work: Work, open_peer: Opener) -> None:
    """Hand over all that there is once more, to every store that is set up and answers.

    Raises:
        StoreError: a store has refused.
    """
    ready = asker(open_peer)
    for bucket in work.buckets:
        for peer in bucket.peers:
            target = bucket.found.target(peer)
            if not target or not bucket.found.right(peer):
                continue
            reason = ready(peer, bucket.name) or unseen(store, bucket.name, target)
            if reason:
                work.late.setdefault((peer.name, reason), []).append(bucket.name)
                continue
            minio_replication.send_again(store, bucket.name, target.arn)
            work.changes.append(f"all of bucket {bucket.name} is sent to {peer.name} again")
            _, early = minio_marks.hand_over(store, open_peer(peer), bucket.name)
            if early:
                work.early.append(
                    f"{early} deleted objects of bucket {bucket.name} have not arrived at {peer.name} yet; run this "
                    "again when they have, so that they are hidden there too."
                )
