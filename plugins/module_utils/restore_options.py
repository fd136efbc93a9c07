"""What a restore is asked for: read and checked before anything is looked at."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

TYPES = ("latest", "time", "lsn", "name", "immediate")
LABEL = re.compile(r"\d{8}-\d{6}F(_\d{8}-\d{6}[DI])?")
LSN = re.compile(r"[0-9A-F]{1,8}/[0-9A-F]{1,8}", re.IGNORECASE)
# PostgreSQL keeps a restore point's name in 64 bytes; the characters are those that need no quoting anywhere.
NAME = re.compile(r"[A-Za-z0-9_.:+-]{1,63}")
ZONE = re.compile(r"(Z|[+-]\d{2}(:?\d{2})?| ?UTC)$", re.IGNORECASE)
KEPT = re.compile(r"main\.before-restore-\d{8}T\d{6}Z(-\d+)?")


class RestoreError(Exception):
    """Why a restore cannot be done, and what to do."""


@dataclass(frozen=True)
class Wanted:
    """What is to be restored.

    Attributes:
        type: one of TYPES.
        target: time in PostgreSQL's own words (UTC), LSN or name; empty for latest and immediate.
        moment: the target as seconds since 1970, for a time.
        backup: label of a backup, empty for the newest that fits.
        repository: number of a repository, 0 for the first that fits.
        timeline: number of a timeline, 0 for the newest.
        exclusive: stop before the target instead of after it.
    """

    type: str = "latest"
    target: str = ""
    moment: float = 0.0
    backup: str = ""
    repository: int = 0
    timeline: int = 0
    exclusive: bool = False

    def same(self, options: Mapping[str, Any] | None) -> bool:
        """Whether these are the options of a record."""
        return options is not None and asdict(self) == dict(options)


def lsn_number(text: str) -> int:
    """Return a position in the WAL as a number of bytes."""
    high, low = text.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def lsn_text(number: int) -> str:
    """Return a position in the WAL as PostgreSQL writes it."""
    return f"{number >> 32:X}/{number & 0xFFFFFFFF:X}"


def utc(moment: float) -> str:
    """Return a moment as people read it, in UTC to the second."""
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S} UTC"


def read_time(text: str) -> datetime:
    """Return a moment in UTC.

    Raises:
        RestoreError: it is no time, or has no zone.
    """
    example = "write it like 2026-03-01T14:05:00+00:00 or 2026-03-01 14:05:00 UTC"
    found = ZONE.search(text)
    if not found or not re.search(r"\d:\d", text):
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            wrong = "has no time of day; a value with spaces is quoted twice, like -e \"restore_target='...'\""
        elif re.match(r"\d{4}-\d{2}-\d{2}.*\d:\d", text):
            wrong = "has no time zone, so that it could mean another hour"
        else:
            wrong = "is no time"
        raise RestoreError(f"restore_target: {text!r} {wrong}; {example}")
    zone = found.group().strip().upper()
    if re.fullmatch(r"[+-]\d{2}", zone):
        zone += ":00"
    elif re.fullmatch(r"[+-]\d{4}", zone):
        zone = f"{zone[:3]}:{zone[3:]}"
    plain = text[: found.start()].strip()
    try:
        moment = datetime.fromisoformat(plain + ("+00:00" if zone in ("Z", "UTC") else zone))
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise RestoreError(f"restore_target: {text!r} is no time ({error}); {example}") from error


def target_of(kind: str, target: str, now: float) -> tuple[str, float]:
    """Return the target in PostgreSQL's words, and as seconds since 1970 when it is a time."""
    if kind in ("latest", "immediate"):
        if target:
            raise RestoreError(
                f"restore_target: type {kind} has none; remove it, or choose restore_type time, lsn or name"
            )
        return "", 0.0
    if not target:
        raise RestoreError(f"restore_target: missing, type {kind} needs it; add -e restore_target=...")
    if kind == "lsn":
        if not LSN.fullmatch(target):
            raise RestoreError(f"restore_target: {target!r} is no LSN; write it like 0/3000148")
        return lsn_text(lsn_number(target)), 0.0
    if kind == "name":
        if not NAME.fullmatch(target):
            raise RestoreError(f"restore_target: {target!r} is no name of a restore point; letters, digits, _ . : + -")
        return target, 0.0
    moment = read_time(target)
    if moment.timestamp() > now:
        raise RestoreError(
            f"restore_target: {utc(moment.timestamp())} is in the future, it is {utc(now)} now; look at the zone"
        )
    return f"{moment:%Y-%m-%d %H:%M:%S.%f}+00", moment.timestamp()


def number(name: str, value: Any, most: int) -> int:
    """Return a number from 1 on, 0 for none.

    Raises:
        RestoreError: it is none.
    """
    text = str(value if value is not None else "").strip()
    if not text or text in ("0", "latest"):
        return 0
    if not re.fullmatch(r"\d{1,9}", text) or not 1 <= int(text) <= most:
        raise RestoreError(f"{name}: {text!r} is no number from 1 to {most}")
    return int(text)


def wanted(params: Mapping[str, Any], now: float) -> Wanted:
    """Return what a restore is asked for.

    Args:
        params: type, target, set, repository, timeline and exclusive, as the operator gave them.
        now: seconds since 1970.

    Raises:
        RestoreError: one of them is wrong; the text names the variable of the playbook.
    """
    kind = params.get("type") or "latest"
    if kind not in TYPES:
        raise RestoreError(f"restore_type: {kind!r} is none of {', '.join(TYPES)}, dump")
    target, moment = target_of(kind, str(params.get("target") or "").strip(), now)
    label = params.get("set") or ""
    if label and not LABEL.fullmatch(label):
        raise RestoreError(f"restore_set: {label!r} is no label of a backup; they look like 20260301-020000F")
    exclusive = bool(params.get("exclusive"))
    if exclusive and kind not in ("time", "lsn"):
        raise RestoreError(f"restore_exclusive: type {kind} has no moment to stop before; remove it")
    return Wanted(
        type=kind,
        target=target,
        moment=moment,
        backup=label,
        # pgBackRest knows 256 of them.
        repository=number("restore_repository", params.get("repository"), 256),
        timeline=number("restore_timeline", params.get("timeline"), 0x7FFFFFFF),
        exclusive=exclusive,
    )
