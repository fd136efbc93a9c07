"""Make and move records at every server of a zone: one after the other, checked at each, never by force."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ansible_collections.nano.ops.plugins.module_utils.dns_update import (
    ConflictError,
    DnsError,
    Held,
    Server,
    SilentError,
    Survey,
    made,
    newest,
    survey,
    told,
)

# Somebody else changes the same record at the same moment; more often than this is no coincidence.
TRIES = 3


@dataclass(frozen=True)
class Record:
    """An address that a name is to have.

    Attributes:
        name: its full name.
        value: the address.
        ttl: how long others may keep it, in seconds.
        expect: addresses that it may have before it is moved; empty allows any.
    """

    name: str
    value: str
    ttl: int
    expect: tuple[str, ...] = ()


@dataclass
class Outcome:
    """What came of it.

    Attributes:
        before: what each server held.
        after: what each server holds now, or would.
        changed: the servers that were changed, by name of the record.
    """

    before: Survey
    after: Survey
    changed: dict[str, list[str]] = field(default_factory=dict)


def ensure(zone: str, servers: Sequence[Server], records: Sequence[Record], check: bool) -> Outcome:
    """Make records that no server has, let servers catch up that are behind, move none.

    Raises:
        DnsError: a server is silent (it may know better), or two disagree.
    """
    names = [record.name for record in records]
    before = seen = survey(servers, names)
    outcome = Outcome(before, before)
    for _ in range(TRIES):
        if seen.silent and not check:
            words = "; ".join(f"{address}: {why}" for address, why in seen.silent.items())
            raise DnsError(
                f"a name server is silent and may know better than the others, no record was changed: {words}. Bring "
                "it up, or take its host out of group dns"
            )
        work = [(record, _wanted(record, seen)) for record in records]
        if check:
            return _foretold(outcome, work)
        late = [
            (record.name, server, held, wanted)
            for record, wanted in work
            for server in servers
            if not _right(held := seen.held[server.address][record.name], wanted)
        ]
        taken = [(name, server, _change(zone, server, name, held, wanted)) for name, server, held, wanted in late]
        for name, server, done in taken:
            if done:
                outcome.changed.setdefault(name, []).append(server.address)
        seen = outcome.after = survey(servers, names)
        if all(done for _, _, done in taken):
            _verify(seen, {record.name: wanted for record, wanted in work})
            return outcome
    raise DnsError("somebody else keeps changing the records; wait for them and run this again")


def move(zone: str, servers: Sequence[Server], records: Sequence[Record], check: bool) -> Outcome:
    """Give records the address that is wanted at every server that answers.

    The servers are changed in the order given, and the first one that answers decides: whoever comes second there
    changes nothing anywhere.

    Raises:
        DnsError: no server answers, a record has an address that is not expected, or somebody else was faster.
    """
    names = [record.name for record in records]
    before = survey(servers, names)
    if not before.held:
        words = "; ".join(f"{address}: {why}" for address, why in before.silent.items())
        raise DnsError(f"no name server answers, nothing was changed: {words}")
    work = [(record, _target(record, before)) for record in records]
    outcome = Outcome(before, before)
    if check:
        return _foretold(outcome, work)
    # One that was silent is not waited for again; when it returns, it catches up by itself.
    answering = [server for server in servers if server.address in before.held]
    for record, wanted in work:
        _move(zone, answering, record, wanted, outcome)
    outcome.after = survey(answering, names)
    _verify(outcome.after, {record.name: wanted for record, wanted in work})
    return outcome


def _right(held: Held, wanted: Held) -> bool:
    """Tell whether a server has nothing to learn."""
    return bool(held.same(wanted)) and held.ttl == wanted.ttl


def _change(zone: str, server: Server, name: str, held: Held, wanted: Held) -> bool:
    """Change a record at a server. Raises DnsError when it falls silent."""
    try:
        return bool(server.change(zone, name, held, wanted))
    except SilentError as error:
        raise DnsError(f"{server.address} fell silent while {name} was changed ({error}): run this again") from error


def _wanted(record: Record, seen: Survey) -> Held:
    """Return what every server should hold for a record that is not to be moved. Raises ConflictError."""
    held = seen.of(record.name)
    try:
        last = newest(record.name, held)
    except ConflictError as error:
        raise ConflictError(f"{error}: move it to the one that is right, with state moved") from error
    if last is None:
        return made(record.value, record.ttl, 1 + max((each.version for each in held.values()), default=0))
    return Held(last.values, record.ttl, last.texts)


def _target(record: Record, seen: Survey) -> Held:
    """Return what every server should hold for a record that is moved. Raises DnsError if it may not be."""
    held = seen.of(record.name)
    version = max(each.version for each in held.values())
    allowed = {record.value, *record.expect}
    try:
        last = newest(record.name, held)
        current = [last] if last else []
    except ConflictError:
        last, current = None, [each for each in held.values() if each.version == version]
    if record.expect and not all(set(each.values) <= allowed for each in current):
        raise DnsError(
            f"{record.name} is not where it was expected, at {' or '.join(record.expect)}: {told(held)}. Nothing was "
            "changed: see who moved it, and why"
        )
    if last and last.values == (record.value,) and last.version:
        return made(record.value, record.ttl, last.version)
    return made(record.value, record.ttl, version + 1)


def _move(zone: str, servers: Sequence[Server], record: Record, wanted: Held, outcome: Outcome) -> None:
    """Change a record at each server, in their order. Raises DnsError when somebody else was faster."""
    for server in servers:
        held = outcome.before.held[server.address][record.name]
        if _right(held, wanted):
            continue
        try:
            if not server.change(zone, record.name, held, wanted):
                # A server that catches up by itself may have been faster, with the same address.
                found = server.ask([record.name])[record.name]
                if not found.same(wanted):
                    there = outcome.changed.get(record.name, [])
                    raise DnsError(
                        f"{record.name} was changed by somebody else meanwhile: {told({server.address: found})}. "
                        + (f"It was moved at {' and '.join(there)} already" if there else "It was not moved anywhere")
                        + ": see who moved it, then run this again"
                    )
            outcome.changed.setdefault(record.name, []).append(server.address)
        except SilentError:
            # It was there a moment ago. The check at the end tells what has become of it.
            continue


def _foretold(outcome: Outcome, work: Sequence[tuple[Record, Held]]) -> Outcome:
    """Return what would come of it."""
    before = outcome.before
    for record, wanted in work:
        late = [address for address, held in before.of(record.name).items() if not _right(held, wanted)]
        outcome.changed |= {record.name: late} if late else {}
    wanted_by_name = {record.name: wanted for record, wanted in work}
    outcome.after = Survey({address: dict(wanted_by_name) for address in before.held}, dict(before.silent))
    return outcome


def _verify(seen: Survey, wanted: dict[str, Held]) -> None:
    """Compare what each server holds with what it should. Raises DnsError if one differs, or none answers."""
    if not seen.held:
        raise DnsError(f"no name server answers any more: {'; '.join(seen.silent.values())}")
    for name, held in wanted.items():
        wrong = {address: each for address, each in seen.of(name).items() if not each.same(held)}
        if wrong:
            raise DnsError(f"{name} should be {' and '.join(held.values)}, but {told(wrong)}: run this again")
