"""Loki away, the collector killed, the queue full: what arrives in the end, counted."""

from __future__ import annotations

import collections
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from .collector import Collector, Record, binary, prepared
from .ready_page import identity


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return identity(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return binary(tmp_path_factory.mktemp("program"))


@pytest.fixture
def collector(tmp_path: Path, program: Path, tls: Path) -> Iterator[Collector]:
    made = prepared(tmp_path, program, tls)
    with made.receiver.listening():
        yield made
        made.end()


def write(collector: Collector, kind: str, start: int, count: int) -> set[str]:
    """Write lines with ids of their own to the journal and to nginx's log, and return the ids."""
    ids = set()
    with (collector.folder / "nginx/access.json").open("a") as handle:
        for number in range(start, start + count):
            collector.journal(json.dumps({"level": "info", "request_id": f"{kind}-json-{number}"}))
            collector.journal(f"plain {kind}-plain-{number} line", pid=number % 5)
            handle.write(json.dumps({"http_status": 200, "request_id": f"{kind}-nginx-{number}"}) + "\n")
            ids |= {f"{kind}-{source}-{number}" for source in ("json", "plain", "nginx")}
    return ids


def key(record: Record) -> str:
    """Return the id that `write` has given a line."""
    return str(record.fields.get("request_id") or record.body.split()[1])


def arrived(collector: Collector, ids: set[str], seconds: float = 60) -> collections.Counter[str]:
    """Wait until every line has come, whole and by itself, and return how often each came."""

    def counted() -> collections.Counter[str]:
        return collections.Counter(key(record) for record in list(collector.receiver.records))

    collector.wait(
        lambda: not ids - set(counted()), seconds, lambda: f"missing {len(ids - set(counted()))} of {len(ids)}"
    )
    return counted()


def test_all_lines_arrive_once_after_an_outage(collector: Collector) -> None:
    collector.start()
    ids = write(collector, "before", 0, 50)
    arrived(collector, ids)
    collector.receiver.open = False
    ids |= write(collector, "during", 0, 1000)
    collector.wait(lambda: collector.receiver.refused >= 3, 30, lambda: "the collector has not tried")
    assert not [record for record in collector.receiver.records if "during" in record.body]
    collector.receiver.open = True
    found = arrived(collector, ids)
    assert set(found) == ids
    assert set(found.values()) == {1}, "lines came twice"


def test_queue_survives_an_ordinary_end_during_an_outage(collector: Collector) -> None:
    collector.receiver.open = False
    collector.start()
    ids = write(collector, "kept", 0, 500)
    collector.wait(lambda: collector.receiver.refused >= 2, 30, lambda: "the collector has not tried")
    collector.end()
    ids |= write(collector, "away", 0, 500)
    collector.receiver.open = True
    collector.start()
    assert set(arrived(collector, ids)) == ids


def test_killed_it_loses_nothing(collector: Collector) -> None:
    """Killed while it reads and sends, several times; what comes twice is equal in time and text, so Loki keeps one."""
    collector.start()
    ids: set[str] = set()
    for number in range(4):
        ids |= write(collector, f"round{number}", 0, 1500)
        wanted = len(collector.receiver.records) + 500
        collector.wait(lambda wanted=wanted: len(collector.receiver.records) >= wanted, 30, lambda: "nothing comes")
        collector.end(signal.SIGKILL)
        ids |= write(collector, f"down{number}", 0, 20)
        collector.start()
    found = arrived(collector, ids, 90)
    assert set(found) == ids
    copies: dict[str, set[tuple[int, str]]] = {}
    for record in collector.receiver.records:
        copies.setdefault(key(record), set()).add((record.at, record.body))
    journal = {name: entries for name, entries in copies.items() if "nginx" not in name}
    assert max(len(entries) for entries in journal.values()) == 1
    twice = sum(found.values()) - len(found)
    print(f"{len(found)} lines, {twice} came again")
    assert twice <= 4 * (5000 + 2 * 2000), "more came again than the rewinding and what was being sent"


def test_full_queue_makes_reading_wait(tmp_path: Path, program: Path, tls: Path) -> None:
    made = prepared(tmp_path, program, tls, otel_collector_logs_queue_mib=1)
    with made.receiver.listening():
        made.receiver.open = False
        made.start()
        ids = set()
        for number in range(2000):
            made.journal(json.dumps({"level": "info", "request_id": f"full-{number}", "error": "x" * 1000}))
            ids.add(f"full-{number}")
        made.wait(lambda: made.receiver.refused >= 5, 40, lambda: "the collector has not tried")
        size = sum(path.stat().st_size for path in (tmp_path / "state/queue").iterdir())
        assert size <= 3 * 1048576, "the queue has outgrown its bound"
        made.receiver.open = True
        assert set(arrived(made, ids)) == ids
        made.end()


def test_own_errors_make_no_lines_to_send(collector: Collector) -> None:
    """Its own lines come back to it by the journal, as on a host; during an outage they must not breed."""
    collector.receiver.open = False
    collector.start()
    collector.journal("a line of somebody else")
    sent = 0
    for _ in range(3):
        before = collector.receiver.refused
        collector.wait(lambda before=before: collector.receiver.refused > before, 40, lambda: "it has stopped trying")
        lines = collector.own().splitlines()
        for line in lines[sent:]:
            collector.journal(line, unit="otel_collector.service", pid=99)
        sent = len(lines)
    assert sent < 200, f"{sent} lines about one outage"
    collector.receiver.open = True
    collector.await_records(lambda record: "somebody else" in record.body, 1)
    assert [record.body for record in collector.receiver.records] == ["a line of somebody else"]
