"""The plan in words: what is found on the members, what it means, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.nano.ops.plugins.action.postgresql_restore import words as progress_words
from ansible_collections.nano.ops.plugins.filter.restore_measured import FilterModule as Measured
from ansible_collections.nano.ops.plugins.filter.restore_plan import FilterModule as Plan
from ansible_collections.nano.ops.plugins.filter.restore_survey import FilterModule as Survey
from ansible_collections.nano.ops.plugins.plugin_utils.progress import Pace, duration

NOW = 1_772_373_900.0  # 2026-03-01 14:05:00 UTC
survey = Survey().filters()["restore_survey"]
measured = Measured().filters()["restore_measured"]


def data(**more: Any) -> dict[str, Any]:
    base = {"path": "/var/lib/postgresql/17/main", "is_empty": False, "system_id": "7", "is_running": True}
    rest = {"is_standby": False, "unarchived": 0, "last_sign": NOW, "kept": [], "bytes": 3 << 30}
    return {**base, **rest, **more}


PRIMARY, STANDBY = data(), data(is_standby=True)
DEAD = data(is_running=False, last_sign=NOW - 600)
EMPTY = data(is_empty=True, is_running=False, system_id="", last_sign=0.0, bytes=0)
CHOICE = {
    "repository": 1,
    "label": "20260301-020000F",
    "kind": "full",
    "stopped": NOW - 43_500,
    "bytes": 2 << 30,
    "last_time": NOW - 660,
    "notes": [],
}


def plan(own: dict[str, Any], other: dict[str, Any] | None = None, **wanted: Any) -> dict[str, Any]:
    hostvars = {"db1": {"restore_looked": {"data": own}}, "db2": {}}
    if other:
        hostvars["db2"]["restore_looked"] = {"data": other}
    accepted = wanted.pop("accepted", "")
    options = {"type": "latest", "target": "", "moment": 0.0, "exclusive": False, **wanted}
    planned = {"wanted": options, "choice": CHOICE, "data": own, "goes_on": "", "space": {"needed": 1, "free": 2}}
    return Plan().filters()["restore_plan"](planned, survey(["db1", "db2"], hostvars), "db1", accepted, NOW)


def test_survey_sorts_the_members() -> None:
    found = survey(
        ["db3", "db2", "db1", "db4"],
        {
            "db1": {"restore_looked": {"data": PRIMARY}},
            "db2": {"restore_looked": {"data": STANDBY}},
            "db3": {"restore_looked": {"unreachable": True}},
            "db4": {"postgresql_attach": True},
        },
    )
    assert (found["primaries"], found["standbys"], found["away"]) == (["db1"], ["db2"], ["db3"])


def test_running_primary_loses_nothing() -> None:
    made = plan(PRIMARY, STANDBY)
    assert made["loss"] == "none is expected: db1 stores the rest of its WAL when it is stopped"
    assert (made["loss_seconds"], made["problems"]) == (0.0, [])
    assert any("db2" in line and "(standby) is stopped" in line for line in made["lines"])
    assert any("made at 2026-03-01 02:00:00 UTC (12 h 5 min ago), 2.0 GiB" in line for line in made["lines"])


def test_queue_of_wal_is_told() -> None:
    assert "5 segments wait to be archived" in plan(data(unarchived=5), STANDBY)["loss"]


def test_crashed_primary_with_its_data() -> None:
    made = plan(DEAD, EMPTY)
    assert "can be read from its old data and is replayed too" in made["loss"]
    assert "the last 1 min before 2026-03-01 13:55:00 UTC" in made["loss"]
    assert made["loss_seconds"] == 60


def test_lost_primary_and_a_standby_that_lives() -> None:
    made = plan(EMPTY, STANDBY)
    assert made["loss"].startswith("everything after 2026-03-01 13:54:00 UTC (11 min ago)")
    assert "db2 is a living standby: promoting it takes seconds and loses less than this" in made["notes"]


def test_time_undoes_what_came_after() -> None:
    made = plan(PRIMARY, STANDBY, type="time", moment=NOW - 300)
    assert made["loss"] == "what was written in the last 5 min before 2026-03-01 14:05:00 UTC is undone, as you ask"
    assert made["loss_seconds"] == 300


def test_member_that_is_away_has_to_be_named() -> None:
    (problem,) = plan(PRIMARY)["problems"]
    assert "db2 cannot be reached" in problem and "-e restore_unreachable=db2" in problem
    assert plan(PRIMARY, accepted="db2")["problems"] == []
    assert plan(PRIMARY, accepted=["db2"])["problems"] == []


def test_two_primaries_are_refused() -> None:
    (problem,) = plan(PRIMARY, PRIMARY)["problems"]
    assert "db1 and db2 both run as primaries" in problem


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (3725, "1 h 2 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_duration_in_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_pace_says_how_long_it_takes() -> None:
    times = iter([0.0, 10.0, 20.0])
    pace = Pace(lambda: next(times))
    assert pace.left(0) == ""
    assert pace.left(10) == ", about 1 min 30 s left"
    assert pace.left(50) == ", about 20 s left"


def test_progress_in_words() -> None:
    assert progress_words("restored", {"percent": 12.4}, Pace()) == "copied 12 %"
    seen = {"lsn": "0/3000148", "time": "2026-03-01 14:00:00 UTC", "percent": 50.0}
    assert progress_words("recovered", seen, Pace()) == (
        "replayed 0/3000148, transactions until 2026-03-01 14:00:00 UTC, 50 %"
    )
    assert progress_words("recovered", {}, Pace()) == "replayed waiting for the first WAL"


def test_measures_become_facts() -> None:
    verified = {
        "end": {"timeline": 2, "end_lsn": "0/7000028", "unarchived_replayed": ["000000010000000000000007"]},
        "newest": NOW - 3,
        "reference": NOW,
        "rpo_seconds": 3.0,
        "undone_seconds": None,
        "aside": "main.before-restore-20260301T140500Z",
        "databases": ["nano", "postgres"],
        "amcheck": True,
        "counts": [{"table": "public.a", "then": 3, "now": None}, {"table": "public.b", "then": 3, "now": 4}],
        "odd": ["public.a is not there (a dump had 3 rows)"],
    }
    found = measured(verified)
    assert found["measures"] == {"rpo_seconds": 3.0}
    assert found["facts"]["Restored until"] == "2026-03-01 14:04:57 UTC"
    assert "1 segments that were not archived" in found["facts"]["Replayed from the old data"]
    assert found["tables"][0]["rows"] == [["public.a", 3, "gone"], ["public.b", 3, 4]]
    assert found["notes"] == ["look at table public.a is not there (a dump had 3 rows)"]
