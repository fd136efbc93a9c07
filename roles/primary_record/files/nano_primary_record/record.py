"""What the record says, and how it may change."""

from __future__ import annotations

import datetime
import re
from dataclasses import asdict, dataclass
from typing import Any

from nano_primary_record.register import Value
from nano_primary_record.rounds import Declined, Update


class ClaimError(Exception):
    """What is wrong with a claim, and what to do."""


@dataclass(frozen=True)
class Claim:
    """Who shall be the primary.

    Attributes:
        host: its name in the inventory.
        system_identifier: of its cluster, as pg_controldata shows it.
        timeline: of its cluster; with an older one it does not start as a primary any more.
        claim: random name of this claim: by it a proposer knows its own again, whoever completed it.
    """

    host: str
    system_identifier: str
    timeline: int
    claim: str


def now() -> str:
    """Return the time in UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def epoch(value: Value | None) -> int:
    """Return the number of a record, 0 where there is none."""
    return int(value["epoch"]) if value else 0


def valid(value: Any) -> str:
    """Say what is wrong with a record, "" if nothing."""
    if not isinstance(value, dict):
        return "it is no object"
    wanted = {"epoch": int, "host": str, "system_identifier": str, "timeline": int, "time": str, "claim": str}
    if wrong := [name for name, kind in wanted.items() if type(value.get(name)) is not kind]:
        return f"{', '.join(wrong)} missing or of another type"
    if value["epoch"] < 1 or value["timeline"] < 1 or not re.fullmatch(r"\d{1,20}", value["system_identifier"]):
        return "its numbers are none"
    return ""


def compare_and_set(claim: Claim, expected: int, *, other_cluster: bool = False) -> Update:
    """Return the change that makes a claim the record, if the record has the expected epoch.

    Args:
        claim: what it shall say.
        expected: the epoch that the record has now; 0 for none.
        other_cluster: whether another cluster, or an older timeline of it, may be recorded: after a restore.
    """

    def update(current: Value | None) -> Value:
        if current and current["claim"] == claim.claim:
            return current
        if epoch(current) != expected:
            raise Declined(current)
        if current and not other_cluster:
            if current["system_identifier"] != claim.system_identifier:
                raise ClaimError(
                    f"the record is of cluster {current['system_identifier']}, the claim of {claim.system_identifier}: "
                    "correct --system-identifier, or add --other-cluster if the data was restored into a new cluster"
                )
            if claim.timeline < current["timeline"]:
                raise ClaimError(
                    f"the record is of timeline {current['timeline']}, the claim of {claim.timeline}, which is older: "
                    "correct --timeline, or add --other-cluster if an older state was restored on purpose"
                )
        return {"epoch": expected + 1, "time": now(), **asdict(claim)}

    return update


def first(claim: Claim) -> Update:
    """Return the change that makes the first record and leaves one that is there alone."""

    def update(current: Value | None) -> Value:
        return current or {"epoch": 1, "time": now(), **asdict(claim)}

    return update
