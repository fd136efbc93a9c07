"""The lifecycle of a bucket as S3 writes it; rules that are somebody else's go along as they are."""

from __future__ import annotations

import hashlib
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from typing import Any

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
# Rules whose ids begin so are ours.
OURS = "nano-ops-"
Rules = dict[str, dict[str, Any]]
# What a rule says in days, and where.
DAYS = {
    "noncurrent": "NoncurrentVersionExpiration/NoncurrentDays",
    "days": "Expiration/Days",
    "transition": "Transition/Days",
}
WORDS = {"marks": "Expiration/ExpiredObjectDeleteMarker", "class": "Transition/StorageClass"}


def rules(
    noncurrent_days: int, expire_days: Mapping[str, int], transition_days: Mapping[str, int], storage_class: str
) -> Rules:
    """Return rules by id: one for old versions, one for each prefix that expires, one for each that moves.

    Args:
        noncurrent_days: days until an old version goes, 0 for never.
        expire_days: prefix to days until an object goes.
        transition_days: prefix to days until an object moves to another storage class.
        storage_class: that class.
    """
    made: Rules = {}
    if noncurrent_days:
        # A mark of deletion that hides nothing any more goes as well.
        made[f"{OURS}noncurrent"] = {"prefix": "", "noncurrent": noncurrent_days, "marks": "true"}
    for prefix, days in sorted(expire_days.items()):
        made[f"{OURS}expire-{short(prefix)}"] = {"prefix": prefix, "days": days}
    for prefix, days in sorted(transition_days.items()):
        made[f"{OURS}move-{short(prefix)}"] = {"prefix": prefix, "transition": days, "class": storage_class}
    return made


def short(prefix: str) -> str:
    """Return a name for a prefix that fits into an id."""
    return hashlib.sha256(prefix.encode()).hexdigest()[:16]


def text_at(element: ElementTree.Element, path: str) -> str:
    """Return the text of an element below another, whatever its namespace, or ""."""
    return (element.findtext("/".join(f"{{*}}{word}" for word in path.split("/"))) or "").strip()


def without_namespace(element: ElementTree.Element) -> ElementTree.Element:
    """Take away the namespace that a store's answer may give every name: the document has one of its own."""
    for part in element.iter():
        part.tag = part.tag.rsplit("}", 1)[-1]
    return element


def add(parent: ElementTree.Element, path: str, text: str = "") -> None:
    """Add an element below another; what is already there of the path is used."""
    *folders, name = path.split("/")
    for folder in folders:
        found = parent.find(folder)
        parent = ElementTree.SubElement(parent, folder) if found is None else found
    ElementTree.SubElement(parent, name).text = text


def elements(body: bytes, name: str) -> list[ElementTree.Element]:
    """Return all elements of a name in a document, none in an empty one."""
    return [each for each in ElementTree.fromstring(body).iter() if each.tag.rsplit("}", 1)[-1] == name] if body else []


def read(body: bytes) -> tuple[Rules, list[ElementTree.Element]]:
    """Return our rules by id, and the others as they are. One of ours that is switched off is not there."""
    ours: Rules = {}
    others: list[ElementTree.Element] = []
    for element in elements(body, "Rule"):
        name = text_at(element, "ID")
        if not name.startswith(OURS):
            others.append(element)
        elif text_at(element, "Status") == "Enabled":
            rule: dict[str, Any] = {"prefix": text_at(element, "Filter/Prefix")}
            rule |= {key: int(days) for key, path in DAYS.items() if (days := text_at(element, path))}
            rule |= {key: word for key, path in WORDS.items() if (word := text_at(element, path))}
            ours[name] = rule
    return ours, others


def write(wanted: Rules, others: list[ElementTree.Element]) -> bytes:
    """Return the document, empty if it has no rule."""
    if not wanted and not others:
        return b""
    root = ElementTree.Element("LifecycleConfiguration", xmlns=NAMESPACE)
    for name, rule in wanted.items():
        element = ElementTree.SubElement(root, "Rule")
        add(element, "ID", name)
        add(element, "Status", "Enabled")
        add(element, "Filter/Prefix", rule["prefix"])
        for key, path in (DAYS | WORDS).items():
            if key in rule:
                add(element, path, str(rule[key]))
    root.extend(without_namespace(other) for other in others)
    return bytes(ElementTree.tostring(root))
