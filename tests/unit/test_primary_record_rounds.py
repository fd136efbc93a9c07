"""No two hosts win an epoch and no acknowledged claim is lost, whatever the network, the proposers and the disks do.

Each seed is one random history: proposers that race and are killed, messages that are lost, late and doubled, disks
that are emptied one at a time and learn again, readers. Values carry the list of all claims that they came from: the
record itself tells at the end whether one was lost or counted twice.
"""

from __future__ import annotations

from typing import Any

import pytest

from .primary_record import Network, register, rounds

SEEDS = 400


class History:
    """A run of the network with a record of all that was promised to the callers."""

    def __init__(self, seed: int, count: int, wipes: bool) -> None:
        self.network = Network(seed, count)
        self.random = self.network.random
        self.names = list(self.network.keepers)
        self.wipes, self.serial, self.highest = wipes, 0, 0
        # Claim to the epoch that it won.
        self.acknowledged: dict[str, int] = {}
        self.refuted: list[str] = []
        self.learned = 0
        for keeper in self.network.keepers.values():
            keeper.disk = register.Register(register.new_life())

    def ballot(self, name: str) -> register.Ballot:
        # Proposers know little of each other: later ones are often lower, so that they meet.
        self.serial += 1
        return (self.random.randint(max(1, self.highest - 2), self.highest + 4), f"{name}-{self.serial}")

    def claim(self, expected: int) -> None:
        """Claim the next epoch, as an operator does who has read the record."""
        self.serial += 1
        name = f"c{self.serial}"

        def update(current: dict[str, Any] | None) -> dict[str, Any]:
            if current and name in current["log"]:
                return current
            if (current["epoch"] if current else 0) != expected:
                raise rounds.Declined(current)
            log = current["log"] if current else []
            return {"epoch": expected + 1, "host": name, "log": [*log, name]}

        def done(result: Any) -> None:
            if isinstance(result, dict):
                assert result["log"][expected] == name, "it won, but the record says somebody else"
                self.acknowledged[name] = expected + 1
            elif isinstance(result, rounds.Contended):
                self.highest = max(self.highest, result.highest)
                if self.random.random() < 0.7:
                    again()
            elif isinstance(result, rounds.Declined):
                self.refuted.append(name)

        def again() -> None:
            work = rounds.change(self.names, self.ballot(name), update, rounds.majority(self.names))
            self.network.start(work, done)

        again()

    def read(self) -> None:
        """Read; what was acknowledged before the reading began must be in it."""
        least = max(self.acknowledged.values(), default=0)

        def done(reading: Any) -> None:
            if reading.state == "agreed":
                seen = reading.value["epoch"] if reading.value else 0
                assert seen >= least, f"a reader was told epoch {seen} after {least} had been acknowledged"
                for name, epoch in self.acknowledged.items():
                    assert epoch > seen or reading.value["log"][epoch - 1] == name

        self.network.start(rounds.look(self.names), done)

    def join(self) -> None:
        """Let keepers without a register try to learn."""
        for name, keeper in self.network.keepers.items():
            if not keeper.disk:
                life = keeper.waiting_life

                def done(result: Any, name: str = name, life: str = life) -> None:
                    if isinstance(result, rounds.Contended):
                        self.highest = max(self.highest, result.highest)
                    self.learned += isinstance(result, tuple)
                    self.network.learn(name, result, life)

                self.network.start(rounds.join(self.names, name, self.ballot(name)), done)

    def disturb(self) -> None:
        """Do one of the things that happen on a bad day."""
        what = self.random.random()
        if what < 0.35:
            held = [
                keeper.disk.value["epoch"]
                for keeper in self.network.keepers.values()
                if keeper.disk and keeper.disk.value
            ]
            self.claim(self.random.choice([*held, max(held, default=0), max(held, default=0)]))
        elif what < 0.5:
            self.read()
        elif what < 0.6 and self.network.askers:
            self.network.kill(self.random.choice(self.network.askers))
        elif what < 0.75 and self.wipes and all(keeper.disk for keeper in self.network.keepers.values()):
            self.network.wipe(self.random.choice(self.names))
        else:
            self.join()

    def run(self) -> dict[str, Any] | None:
        """Live through a bad day, then through a quiet evening, and return the record."""
        for _ in range(self.random.randrange(50, 1500)):
            if self.random.random() < 0.08:
                self.disturb()
            if self.network.there or self.network.back or self.network.askers:
                self.network.step()
        self.network.settle()
        for _ in range(20):
            self.join()
            self.network.settle()
        final: list[Any] = []
        while not final or isinstance(final[-1], rounds.Contended):
            self.highest += 10
            work = rounds.change(self.names, self.ballot("last"), lambda current: current, rounds.majority(self.names))
            self.network.start(work, final.append)
            self.network.settle()
        assert not isinstance(final[-1], Exception), final[-1]
        self.read()
        self.network.settle()
        return final[-1]


@pytest.mark.parametrize("wipes", [False, True], ids=["disks stay", "disks are lost"])
@pytest.mark.parametrize("count", [3, 5])
def test_no_epoch_has_two_winners_and_no_claim_is_lost(count: int, wipes: bool) -> None:
    won = refuted = learned = 0
    for seed in range(SEEDS):
        history = History(seed, count, wipes)
        final = history.run()
        log = final["log"] if final else []
        assert len(log) == len(set(log)) and len(log) == (final["epoch"] if final else 0), f"seed {seed}"
        winners = {epoch: name for name, epoch in history.acknowledged.items()}
        assert len(winners) == len(history.acknowledged), f"seed {seed}: an epoch has two winners"
        for epoch, name in winners.items():
            assert log[epoch - 1] == name, f"seed {seed}: {name} won epoch {epoch} and the record has {log}"
        assert not [name for name in history.refuted if name in log and name not in history.acknowledged], seed
        won, refuted, learned = won + len(winners), refuted + len(history.refuted), learned + history.learned
    # A simulation in which nothing happens proves nothing.
    assert won > SEEDS / 2 and refuted > SEEDS / 8
    assert not wipes or learned > SEEDS / 2


def simple(name: str) -> rounds.Update:
    """Return the change of a host that claims the first epoch."""

    def update(current: dict[str, Any] | None) -> dict[str, Any]:
        if current and current["host"] != name:
            raise rounds.Declined(current)
        return {"epoch": 1, "host": name}

    return update


@pytest.mark.parametrize("doubled", [False, True], ids=["late", "doubled"])
def test_promise_of_a_lost_disk_does_not_count(doubled: bool) -> None:
    """The keeper k0 promises, loses its disk and learns anew; meanwhile another claim wins with its vote."""
    network = Network(0, 3)
    names, results = list(network.keepers), {}
    for keeper in network.keepers.values():
        keeper.disk = register.Register(register.new_life())

    def begin(name: str, counter: int) -> Any:
        work = rounds.change(names, (counter, name), simple(name), 2)
        return network.start(work, lambda result: results.update({name: result}))

    slow = begin("slow", 9)
    network.deliver(slow, "k0", keep=doubled)
    network.wipe("k0")
    life = network.keepers["k0"].waiting_life
    learner = network.start(rounds.join(names, "k0", (1, "k0")), lambda result: network.learn("k0", result, life))
    for _ in range(2):
        network.deliver(learner, "k1", "k2")
        network.go_on(learner)
    fast = begin("fast", 5)
    for _ in range(2):
        network.deliver(fast, "k0", "k2")
        network.go_on(fast)
    assert results["fast"] == {"epoch": 1, "host": "fast"}

    if doubled:
        network.keepers["k0"].answer("prepare", {"ballot": [9, "slow"]})
    network.deliver(slow, "k1")
    network.go_on(slow)
    network.there = [item for item in network.there if item[3] == "accept"]
    network.deliver(slow, "k0", "k1")
    network.go_on(slow)
    assert isinstance(results["slow"], rounds.Contended), "both hosts were told that they are the primary of epoch 1"


def test_value_that_one_keeper_took_is_completed_by_the_next_proposer() -> None:
    """Its proposer was killed between two messages; whoever comes next finds it or overwrites it, and says which."""
    for reached, expected in ((["k0"], "cut off"), ([], "next")):
        network = Network(0, 3)
        names, results = list(network.keepers), []
        for keeper in network.keepers.values():
            keeper.disk = register.Register(register.new_life())
        asker = network.start(rounds.change(names, (1, "a"), simple("cut off"), 2), results.append)
        network.deliver(asker, *names)
        network.go_on(asker)
        network.deliver(asker, *reached)
        network.kill(asker)
        network.there.clear()
        network.start(rounds.change(names, (2, "b"), simple("next"), 2), results.append)
        network.settle()
        (result,) = results
        found = result.current if isinstance(result, rounds.Declined) else result
        assert found["host"] == expected
        assert {keeper.disk.value["host"] for keeper in network.keepers.values()} == {expected}


def founding(network: Network) -> Any:
    """Found, with nothing lost, and return None or the refusal."""
    results: list[Any] = []
    network.start(rounds.found(list(network.keepers)), results.append)
    network.settle()
    return results[0]


def test_first_registers_are_given_once() -> None:
    network = Network(0, 3)
    assert founding(network) is None
    lives = [keeper.disk.life for keeper in network.keepers.values()]
    assert founding(network) is None
    assert [keeper.disk.life for keeper in network.keepers.values()] == lives


def test_first_registers_are_refused_while_one_keeper_is_away() -> None:
    network = Network(0, 3)
    results: list[Any] = []
    asker = network.start(rounds.found(list(network.keepers)), results.append)
    network.deliver(asker, "k0", "k1")
    network.go_on(asker)
    assert "k2 did not answer" in str(results[0])
    assert [keeper.disk for keeper in network.keepers.values()] == [None, None, None]


def test_creation_that_was_cut_off_goes_on_and_lost_majority_is_refused() -> None:
    network = Network(0, 3)
    network.keepers["k1"].disk = register.Register(register.new_life())
    assert founding(network) is None, "one keeper had got its register before the run was cut off"
    results: list[Any] = []
    network.start(rounds.change(list(network.keepers), (1, "a"), simple("a"), 2), results.append)
    network.settle()
    network.wipe("k0")
    network.wipe("k2")
    refused = founding(network)
    assert isinstance(refused, rounds.NotEmpty) and "k1 has a register" in str(refused)
    assert network.keepers["k0"].disk is None


def test_late_first_register_does_not_reach_a_keeper_that_lost_its_disk_since() -> None:
    network = Network(0, 3)
    results: list[Any] = []
    asker = network.start(rounds.found(list(network.keepers)), results.append)
    network.deliver(asker, "k0", "k1", "k2")
    network.go_on(asker)
    network.wipe("k2")
    network.settle()
    assert "k2 did not take" in str(results[0])
    assert network.keepers["k2"].disk is None
