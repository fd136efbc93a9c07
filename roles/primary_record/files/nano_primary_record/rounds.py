"""How proposers agree: each function is one attempt, written as a generator that yields what it asks the keepers.

Who runs it sends the messages, collects the answers and sends them in; so the same code runs over TLS and in the
simulation of the tests, where messages are lost, late and doubled. An answer is a dict with `ok`; a keeper that did not
answer in time is missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Generator, Mapping
from dataclasses import dataclass
from typing import Any

from nano_primary_record.register import NEVER, Ballot, Value, as_ballot

Answers = Mapping[str, Mapping[str, Any]]
OVERTAKEN = ("outdated", "another life")
Update = Callable[[Value | None], Value | None]


@dataclass(frozen=True)
class Ask:
    """One message to each of several keepers; `enough` good answers let the asker go on."""

    operation: str
    messages: Mapping[str, Mapping[str, Any]]
    enough: int


class NoMajority(Exception):
    """Too few keepers answered. What was asked for may or may not have happened."""

    def __init__(self, answers: Answers) -> None:
        """Keep what came."""
        super().__init__("no majority of the keepers answers")
        self.answers = answers


class Contended(Exception):
    """Somebody else proposes at the same time; try again above `highest`."""

    def __init__(self, highest: int) -> None:
        """Keep the counter."""
        super().__init__("another proposer was faster")
        self.highest = highest


class Declined(Exception):
    """The record is not what the proposer expected; `current` is what it is, and it is agreed."""

    def __init__(self, current: Value | None) -> None:
        """Keep the record."""
        super().__init__("the record is another one than expected")
        self.current = current


class NotEmpty(Exception):
    """The first creation of the record is refused; the text says why."""


@dataclass(frozen=True)
class Reading:
    """What the keepers say.

    Attributes:
        state: `agreed` (a majority holds the same), `split` (a change is under way or was cut off), `unreachable`.
        value: the record when it is agreed; None is the record that nobody has made yet.
        answers: each keeper's answer, those that did not answer are missing.
    """

    state: str
    value: Value | None
    answers: Answers


def majority(keepers: Collection[str]) -> int:
    """Return how many keepers decide."""
    return len(keepers) // 2 + 1


def good(answers: Answers) -> dict[str, Mapping[str, Any]]:
    """Return the answers of those that agreed."""
    return {keeper: answer for keeper, answer in answers.items() if answer.get("ok")}


def short_of(answers: Answers, ballot: Ballot) -> NoMajority | Contended:
    """Return why there were too few good answers."""
    promised = [as_ballot(answer["promised"]) for answer in answers.values() if answer.get("why") in OVERTAKEN]
    return Contended(max(ballot, *promised)[0]) if promised else NoMajority(answers)


def change(
    keepers: Collection[str], ballot: Ballot, update: Update, quorum: int
) -> Generator[Ask, Answers, Value | None]:
    """Change the record once by a function of what it is; the function may raise Declined.

    What was found is written in every case, even that there is no record: a value that one keeper alone has taken,
    because its proposer was killed, is either seen here and completed, or can never be chosen any more.

    Args:
        keepers: whom to ask.
        ballot: higher than all that were used before, and nobody else's.
        update: from the record (None: there is none) to the new one; the same one only reads.
        quorum: how many keepers decide.

    Returns:
        The record that is agreed now.

    Raises:
        Declined: by the function; the record that it declined is agreed.
        Contended: nothing is known of the change; try again with a higher ballot.
        NoMajority: nothing is known of the change.
    """
    promises = yield Ask("prepare", {keeper: {"ballot": list(ballot)} for keeper in keepers}, quorum)
    told = good(promises)
    if len(told) < quorum:
        raise short_of(promises, ballot)
    newest = max(told.values(), key=lambda answer: as_ballot(answer["accepted"]))
    current: Value | None = newest["value"]
    declined = None
    try:
        value = update(current)
    except Declined as reason:
        declined, value = reason, current
    # Only to those whose promise was heard: what they held has been looked at.
    messages = {
        keeper: {"ballot": list(ballot), "value": value, "life": answer["life"]} for keeper, answer in told.items()
    }
    taken = yield Ask("accept", messages, quorum)
    if len(good(taken)) < quorum:
        raise short_of(taken, ballot)
    if declined:
        raise declined
    return value


def join(keepers: Collection[str], own: str, ballot: Ballot) -> Generator[Ask, Answers, tuple[Ballot, Value | None]]:
    """Learn the register as a keeper that has none, from as many of the others as a majority of all has.

    The others promise the ballot and hold the value under it, so that nothing which this keeper may have promised or
    taken before it lost its disk can be completed without what it now knows.

    Returns:
        The ballot that it has promised from its first moment on, and the value.

    Raises:
        Contended, NoMajority: as change.
    """
    others = [keeper for keeper in keepers if keeper != own]
    value = yield from change(others, ballot, lambda current: current, majority(keepers))
    return ballot, value


def look(keepers: Collection[str], enough: int = 0) -> Generator[Ask, Answers, Reading]:
    """Read without a trace. What a majority holds under one ballot is agreed; nothing older can be."""
    answers = yield Ask("look", {keeper: {} for keeper in keepers}, enough or majority(keepers))
    return judge(keepers, answers)


def judge(keepers: Collection[str], answers: Answers) -> Reading:
    """Say what answers to a look mean."""
    voting = [answer for answer in good(answers).values() if answer["state"] == "voting"]
    held = Counter(as_ballot(answer["accepted"]) for answer in voting)
    for ballot, count in held.items():
        if count >= majority(keepers):
            value = next(answer["value"] for answer in voting if as_ballot(answer["accepted"]) == ballot)
            return Reading("agreed", value, answers)
    return Reading("split" if len(voting) >= majority(keepers) else "unreachable", None, answers)


def found(keepers: Collection[str]) -> Generator[Ask, Answers, None]:
    """Give every keeper its first, empty register; where a majority votes already, do nothing.

    Raises:
        NotEmpty: not every keeper answers, or too few of them vote to teach the others and they have heard of a record:
            most disks were lost, and only a person can tell what was recorded.
    """
    answers = yield Ask("look", {keeper: {} for keeper in keepers}, len(keepers))
    told = good(answers)
    voting = [keeper for keeper, answer in told.items() if answer["state"] == "voting"]
    if len(voting) >= majority(keepers):
        return
    if missing := sorted(set(keepers) - set(told)):
        raise NotEmpty(f"{', '.join(missing)} did not answer, and before the first record is made all keepers have to")
    if stuck := sorted(keeper for keeper, answer in told.items() if answer["state"] not in ("voting", "empty")):
        raise NotEmpty(f"{stuck[0]} has no vote: {told[stuck[0]].get('reason', '')}")
    if known := sorted(keeper for keeper in voting if as_ballot(told[keeper]["promised"]) != NEVER):
        raise NotEmpty(f"{known[0]} has a register and too many others have lost theirs to learn from each other")
    empty = {keeper: {"life": answer["life"]} for keeper, answer in told.items() if answer["state"] == "empty"}
    answers = yield Ask("found", empty, len(empty))
    if refused := sorted(set(empty) - set(good(answers))):
        raise NotEmpty(f"{', '.join(refused)} did not take its first register; run it again")
