"""The keepers' program for the tests: importable, and a network of keepers that loses, delays and doubles messages."""

from __future__ import annotations

import random
import sys
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

from .conftest import ROOT

FILES = ROOT / "roles/primary_record/files"
sys.path.insert(0, str(FILES))

from nano_primary_record import register, rounds  # noqa: E402

MOST_STEPS = 20_000


@dataclass
class Keeper:
    """A keeper of the simulation: what is on its disk, and the name of its life while nothing is."""

    name: str
    disk: register.Register | None = None
    waiting_life: str = field(default_factory=register.new_life)

    def answer(self, operation: str, message: dict[str, Any]) -> dict[str, Any]:
        """Do what the service does with a message."""
        if operation == "found":
            if self.disk or message["life"] != self.waiting_life:
                return {"ok": False, "why": "not empty"}
            self.disk = register.Register(register.new_life())
            return {"ok": True}
        if operation == "look":
            if not self.disk:
                return {"ok": True, "state": "empty", "life": self.waiting_life}
            return {"ok": True, "state": "voting", **register.to_json(self.disk)}
        if not self.disk:
            return {"ok": False, "why": "empty"}
        ballot = register.as_ballot(message["ballot"])
        try:
            if operation == "prepare":
                self.disk = register.prepare(self.disk, ballot)
            else:
                self.disk = register.accept(self.disk, ballot, message["value"], message["life"])
        except register.Refusal as refusal:
            return {"ok": False, "why": refusal.why, "promised": list(refusal.promised)}
        return {"ok": True, **register.to_json(self.disk)}


@dataclass
class Asker:
    """A generator of rounds that waits for answers."""

    work: Generator[rounds.Ask, Any, Any]
    done: Any
    round: int = 0
    ask: rounds.Ask | None = None
    answers: dict[str, Any] = field(default_factory=dict)


class Network:
    """Keepers, askers and the messages between them; a step is one random event."""

    def __init__(self, seed: int, count: int) -> None:
        self.random = random.Random(seed)
        self.keepers = {f"k{number}": Keeper(f"k{number}") for number in range(count)}
        self.askers: list[Asker] = []
        # (asker, round, keeper, operation, message) on the way there; with an answer on the way back.
        self.there: list[tuple[Asker, int, str, str, dict[str, Any]]] = []
        self.back: list[tuple[Asker, int, str, dict[str, Any]]] = []

    def start(self, work: Generator[rounds.Ask, Any, Any], done: Any) -> Asker:
        """Begin; `done` is called with the result, or the exception."""
        asker = Asker(work, done)
        self.askers.append(asker)
        self.resume(asker, None)
        return asker

    def resume(self, asker: Asker, answers: dict[str, Any] | None) -> None:
        """Give an asker its answers and send what it asks next."""
        try:
            asker.ask = asker.work.send(answers)
        except StopIteration as end:
            self.askers.remove(asker)
            asker.done(end.value)
            return
        except Exception as error:
            self.askers.remove(asker)
            asker.done(error)
            return
        asker.round, asker.answers = asker.round + 1, {}
        for keeper, message in asker.ask.messages.items():
            self.there.append((asker, asker.round, keeper, asker.ask.operation, dict(message)))

    def take(self, bag: list[Any], keep: float) -> Any:
        """Take one message out of a bag in any order; sometimes it stays in and comes again."""
        index = self.random.randrange(len(bag))
        return bag[index] if self.random.random() < keep else bag.pop(index)

    def step(self, lossy: bool = True) -> None:
        """Let one thing happen."""
        choices = ["there"] * 6 * bool(self.there) + ["back"] * 6 * bool(self.back) + ["time"] * bool(self.askers)
        if lossy:
            choices += ["lose there"] * bool(self.there) + ["lose back"] * bool(self.back)
        what = self.random.choice(choices)
        doubled = 0.1 if lossy else 0.0
        if what == "there":
            asker, number, keeper, operation, message = self.take(self.there, doubled)
            self.back.append((asker, number, keeper, self.keepers[keeper].answer(operation, message)))
        elif what == "back":
            asker, number, keeper, answer = self.take(self.back, doubled)
            if asker in self.askers and asker.round == number:
                # The first answer counts, as with a connection for each message.
                asker.answers.setdefault(keeper, answer)
                if len(asker.answers) == len(asker.ask.messages):
                    self.resume(asker, asker.answers)
        elif what == "time":
            asker = self.random.choice(self.askers)
            # A deadline passes when all that is on its way is late; before that only sometimes.
            if lossy or not any(item[0] is asker and item[1] == asker.round for item in [*self.there, *self.back]):
                self.resume(asker, asker.answers)
        else:
            self.take(self.there if what == "lose there" else self.back, 0.0)

    def deliver(self, asker: Asker, *keepers: str, keep: bool = False) -> None:
        """Bring messages to these keepers and their answers back, in this order; `keep` a copy on its way."""
        for name in keepers:
            item = next(item for item in self.there if item[0] is asker and item[2] == name)
            if not keep:
                self.there.remove(item)
            asker.answers.setdefault(name, self.keepers[name].answer(item[3], item[4]))

    def go_on(self, asker: Asker) -> None:
        """Let an asker's deadline pass."""
        self.resume(asker, asker.answers)

    def kill(self, asker: Asker) -> None:
        """End an asker where it stands; what it has sent goes on."""
        self.askers.remove(asker)
        asker.work.close()

    def wipe(self, name: str) -> None:
        """Take a keeper's disk away."""
        self.keepers[name].disk = None
        self.keepers[name].waiting_life = register.new_life()

    def learn(self, name: str, result: Any, life: str) -> None:
        """Give a keeper what it has learned, as the service does: if it is still as empty as when it began to learn."""
        keeper = self.keepers[name]
        if isinstance(result, tuple) and not keeper.disk and keeper.waiting_life == life:
            ballot, value = result
            keeper.disk = register.Register(register.new_life(), ballot, ballot, value)

    def settle(self) -> None:
        """Let all that is under way end, with nothing lost any more."""
        for _ in range(MOST_STEPS):
            if not (self.there or self.back or self.askers):
                return
            self.step(lossy=False)
        raise AssertionError("the network does not come to rest")
