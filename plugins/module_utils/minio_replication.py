"""Buckets of a MinIO store that hand over what is written to them: where to, and by which rules.

Where to is told by MinIO's administration, the rules by S3's own call.
"""

from __future__ import annotations

import io
import json
import urllib.parse
import xml.etree.ElementTree as ElementTree
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ansible_collections.nano.ops.plugins.module_utils import s3_buckets, s3_lifecycle
from ansible_collections.nano.ops.plugins.module_utils.minio_iam import ADMIN
from ansible_collections.nano.ops.plugins.module_utils.minio_sealed import seal
from ansible_collections.nano.ops.plugins.module_utils.s3 import Store, StoreError, read_json
from ansible_collections.nano.ops.plugins.module_utils.s3_lifecycle import OURS, text_at
from ansible_collections.nano.ops.plugins.module_utils.sigv4 import Keys

# Objects, those from before the rule, marks of deletion, and what is changed about a copy; a deletion of a version
# stays where it was made. The prefix is empty: all of the bucket.
WORDS = {
    "Status": "Enabled",
    "DeleteMarkerReplication/Status": "Enabled",
    "DeleteReplication/Status": "Disabled",
    "ExistingObjectReplication/Status": "Enabled",
    "SourceSelectionCriteria/ReplicaModifications/Status": "Enabled",
    "Filter/Prefix": "",
}


@dataclass(frozen=True)
class Peer:
    """Another store, and the user there by whom it takes over objects."""

    name: str
    url: str
    access_key: str
    secret: str = field(repr=False)

    def keys(self) -> Keys:
        """Return what its user signs with."""
        return Keys(self.access_key, self.secret)

    def place(self) -> str:
        """Return its address as MinIO notes it."""
        return urllib.parse.urlsplit(self.url).netloc

    def rule(self) -> str:
        """Return the id of the rule that leads to it."""
        return f"{OURS}to-{self.name}"


@dataclass(frozen=True)
class Target:
    """What MinIO knows of another store."""

    arn: str
    place: str
    access_key: str
    secret: str = field(repr=False)

    def fits(self, peer: Peer) -> bool:
        """Return whether it leads to a store by the right user."""
        return (self.place, self.access_key) == (peer.place(), peer.access_key)


@dataclass(frozen=True)
class Found:
    """How a bucket hands over. `rules` is target by the id of a rule of ours that is as it should be.

    `spoilt` are ids of those that are not, `others` the rules that are not ours.
    """

    targets: tuple[Target, ...] = ()
    rules: Mapping[str, str] = field(default_factory=dict)
    spoilt: tuple[str, ...] = ()
    others: tuple[ElementTree.Element, ...] = ()

    def target(self, peer: Peer) -> Target | None:
        """Return what leads to a store, if anything does."""
        return next((target for target in self.targets if target.fits(peer)), None)

    def right(self, peer: Peer) -> bool:
        """Return whether a bucket hands over to a store, with its secret of today."""
        target = self.target(peer)
        return target is not None and target.secret == peer.secret and self.rules.get(peer.rule()) == target.arn


def look(store: Store, bucket: str) -> Found:
    """Return how a bucket hands over. A bucket that does not exist does not.

    Raises:
        StoreError: the store does not tell.
    """
    answer = store.ask("GET", f"{ADMIN}/export-bucket-metadata", {"bucket": bucket}, also=(404,))
    if answer.status == 404:
        return Found()
    try:
        with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
            parts = {name.rsplit("/", 1)[-1]: archive.read(name) for name in archive.namelist()}
        return read(parts.get("bucket-targets.json", b""), parts.get("replication.xml", b""))
    except (zipfile.BadZipFile, ElementTree.ParseError) as error:
        raise StoreError(f"what {bucket} hands over came back in a form that is not known here: {error}") from error


def read(targets: bytes, rules: bytes) -> Found:
    """Return what two documents of the store say, both in XML."""
    known = tuple(
        Target(
            text_at(each, "Arn"),
            text_at(each, "Endpoint"),
            text_at(each, "Credentials/AccessKeyId"),
            text_at(each, "Credentials/SecretAccessKey"),
        )
        for each in s3_lifecycle.elements(targets, "Targets")
    )
    ours, spoilt, others = {}, [], []
    for rule in s3_lifecycle.elements(rules, "Rule"):
        name = text_at(rule, "ID")
        if not name.startswith(OURS):
            others.append(rule)
        elif all(text_at(rule, path) == word for path, word in WORDS.items()):
            ours[name] = text_at(rule, "Destination/Bucket")
        else:
            spoilt.append(name)
    return Found(known, ours, tuple(spoilt), tuple(others))


def write(rules: Mapping[str, str], others: Iterable[ElementTree.Element]) -> bytes:
    """Return the document with rules of ours, target by id, and of others. No two have the same priority."""
    root = ElementTree.Element("ReplicationConfiguration", xmlns=s3_lifecycle.NAMESPACE)
    kept = list(others)
    taken = {text_at(rule, "Priority") for rule in kept}
    free = (number for number in range(1, len(rules) + len(taken) + 1) if str(number) not in taken)
    for name, arn in sorted(rules.items()):
        element = ElementTree.SubElement(root, "Rule")
        s3_lifecycle.add(element, "ID", name)
        s3_lifecycle.add(element, "Priority", str(next(free)))
        s3_lifecycle.add(element, "Destination/Bucket", arn)
        for path, word in WORDS.items():
            s3_lifecycle.add(element, path, word)
    root.extend(s3_lifecycle.without_namespace(rule) for rule in kept)
    return bytes(ElementTree.tostring(root))


def set_target(store: Store, bucket: str, peer: Peer, found: Target | None) -> str:
    """Tell a store about another one, or about its new secret; return the name that rules use for it.

    Raises:
        StoreError: it has refused.
    """
    words = {
        "sourcebucket": bucket,
        "endpoint": peer.place(),
        "credentials": {"accessKey": peer.access_key, "secretKey": peer.secret},
        "targetbucket": bucket,
        "secure": True,
        "type": "replication",
        "region": store.region,
        # Each store answers with what it has: one that is away must not make the other slow.
        "disableProxy": True,
        **({"arn": found.arn} if found else {}),
    }
    query = {"bucket": bucket, **({"update": "true", "creds": "true"} if found else {})}
    body = seal(store.keys.secret, json.dumps(words).encode())
    return str(read_json(store.ask("PUT", f"{ADMIN}/set-remote-target", query, body=body)))


def set_rules(store: Store, bucket: str, rules: Mapping[str, str], found: Found) -> None:
    """Set a bucket's rules; those of others stay. Without any, the store forgets the targets as well.

    Raises:
        StoreError: it has refused.
    """
    if rules or found.others:
        s3_buckets.put(store, bucket, "replication", write(rules, found.others))
    else:
        store.ask("DELETE", f"/{bucket}", {"replication": ""})


def forget(store: Store, bucket: str, target: Target) -> None:
    """Take away a target that no rule uses.

    Raises:
        StoreError: the store has refused.
    """
    store.ask("DELETE", f"{ADMIN}/remove-remote-target", {"bucket": bucket, "arn": target.arn}, also=(404,))


def shuns(store: Store, bucket: str, arn: str) -> bool:
    """Return whether a store takes another one for down; it looks every few seconds once it has had something to send.

    Raises:
        StoreError: it does not tell.
    """
    answer = store.ask("GET", f"{ADMIN}/list-remote-targets", {"bucket": bucket, "type": "replication"})
    known = [target for target in read_json(answer) or [] if target.get("arn") == arn]
    return any(target.get("totalDowntime") and not target.get("isOnline") for target in known)


def send_again(store: Store, bucket: str, arn: str) -> None:
    """Hand over all that is in a bucket once more, for a store that was built anew.

    Raises:
        StoreError: it has refused.
    """
    store.ask("PUT", f"/{bucket}", {"replication-reset": "", "arn": arn})
