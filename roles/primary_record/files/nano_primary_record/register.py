"""What one keeper holds, and what it may answer: the acceptor of CASPaxos (Rystsov, 2018), as plain functions.

A ballot is a counter and the name of a proposer. Two rules are stricter than in the paper, because a keeper's disk may
be lost and the host be built anew under the same name:

- a value is accepted only under exactly the ballot that was promised last, and only for the life that promised it;
- a keeper without a register has no vote. It gets one by learning (see rounds.join), never by itself.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

Ballot = tuple[int, str]
Value = dict[str, Any]
NEVER: Ballot = (0, "")


class Refusal(Exception):
    """Why a message is not followed: `why` for programs, and the highest promise where that is the reason."""

    def __init__(self, why: str, promised: Ballot = NEVER) -> None:
        """Keep both."""
        super().__init__(why)
        self.why = why
        self.promised = promised


@dataclass(frozen=True)
class Register:
    """What a voting keeper has on its disk.

    Attributes:
        life: random; another one after its register was lost.
        promised: no lower ballot is answered any more.
        accepted: the ballot under which the value came.
        value: the record, None before the first one.
    """

    life: str
    promised: Ballot = NEVER
    accepted: Ballot = NEVER
    value: Value | None = None


def new_life() -> str:
    """Return a name that no keeper has had before."""
    return secrets.token_hex(8)


def prepare(register: Register, ballot: Ballot) -> Register:
    """Promise a ballot.

    Raises:
        Refusal: as high a one, or a higher one, has been promised.
    """
    if ballot <= register.promised:
        raise Refusal("outdated", register.promised)
    return replace(register, promised=ballot)


def accept(register: Register, ballot: Ballot, value: Value | None, life: str) -> Register:
    """Take a value under a ballot that this life has promised.

    Raises:
        Refusal: another ballot was promised meanwhile, or it was promised by a life that ended.
    """
    if life != register.life:
        raise Refusal("another life", register.promised)
    if ballot != register.promised:
        raise Refusal("outdated", register.promised)
    return replace(register, accepted=ballot, value=value)


def as_ballot(given: Any) -> Ballot:
    """Read a ballot from JSON.

    Raises:
        ValueError: it is none.
    """
    match given:
        case [int() as counter, str() as proposer] if not isinstance(counter, bool) and counter >= 0:
            return (counter, proposer)
    raise ValueError(f"{given!r} is no ballot, which is a list of a number and a name")


def to_json(register: Register) -> dict[str, Any]:
    """Return what is written to the disk and told to others."""
    return {
        "life": register.life,
        "promised": list(register.promised),
        "accepted": list(register.accepted),
        "value": register.value,
    }


def from_json(given: Mapping[str, Any]) -> Register:
    """Read a register.

    Raises:
        ValueError: it is none.
    """
    value = given.get("value")
    if not isinstance(given.get("life"), str) or not (value is None or isinstance(value, dict)):
        raise ValueError("it has no life, or a value that is no record")
    return Register(given["life"], as_ballot(given.get("promised")), as_ballot(given.get("accepted")), value)
