"""What a restore is asked for is checked word by word, before anything is looked at."""

from __future__ import annotations

import pytest
from ansible_collections.nano.ops.plugins.module_utils import restore_options as options

NOW = 1_772_373_900.0  # 2026-03-01 14:05:00 UTC


def ask(**given: object) -> options.Wanted:
    return options.wanted(given, NOW)


def test_nothing_said_means_latest() -> None:
    assert ask() == options.Wanted()


@pytest.mark.parametrize(
    ("text", "postgresql"),
    [
        ("2026-03-01T14:00:00+00:00", "2026-03-01 14:00:00.000000+00"),
        ("2026-03-01T15:00:00+01:00", "2026-03-01 14:00:00.000000+00"),
        ("2026-03-01 15:00:00+01", "2026-03-01 14:00:00.000000+00"),
        ("2026-03-01 09:00:00 -0500", "2026-03-01 14:00:00.000000+00"),
        ("2026-03-01 14:00:00 UTC", "2026-03-01 14:00:00.000000+00"),
        ("2026-03-01T14:00Z", "2026-03-01 14:00:00.000000+00"),
        ("2026-03-01T14:00:00.25Z", "2026-03-01 14:00:00.250000+00"),
    ],
)
def test_time_is_read_with_its_zone_and_told_in_utc(text: str, postgresql: str) -> None:
    assert ask(type="time", target=text).target == postgresql


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"type": "time", "target": "2026-03-01 14:00:00"}, "has no time zone, so that it could mean another hour"),
        ({"type": "time", "target": "2026-03-01"}, "has no time of day; a value with spaces is quoted twice"),
        ({"type": "time", "target": "yesterday"}, "is no time; write it like 2026-03-01T14:05:00+00:00"),
        ({"type": "time", "target": "2026-02-30T14:00:00Z"}, "is no time"),
        ({"type": "time", "target": "2026-03-01T25:00:00Z"}, "is no time"),
        ({"type": "time", "target": "2026-03-01T14:05:01Z"}, "is in the future, it is 2026-03-01 14:05:00 UTC now"),
        ({"type": "time"}, "restore_target: missing, type time needs it"),
        ({"type": "latest", "target": "0/1"}, "type latest has none"),
        ({"type": "immediate", "target": "0/1"}, "type immediate has none"),
        ({"type": "lsn", "target": "3000148"}, "is no LSN; write it like 0/3000148"),
        ({"type": "name", "target": "x' y"}, "is no name of a restore point"),
        ({"type": "name", "target": "x" * 64}, "is no name of a restore point"),
        ({"type": "yesterday"}, "restore_type: 'yesterday' is none of latest, time, lsn, name, immediate, dump"),
        ({"set": "latest; rm"}, "restore_set: 'latest; rm' is no label of a backup"),
        ({"repository": "two"}, "restore_repository: 'two' is no number from 1 to 256"),
        ({"repository": -1}, "restore_repository"),
        ({"timeline": "x"}, "restore_timeline"),
        ({"exclusive": True}, "restore_exclusive: type latest has no moment"),
    ],
)
def test_what_is_wrong_is_named_with_the_variable(given: dict[str, object], words: str) -> None:
    with pytest.raises(options.RestoreError) as error:
        ask(**given)
    assert words in str(error.value)


def test_position_is_written_as_postgresql_does() -> None:
    assert ask(type="lsn", target="a/3000148").target == "A/3000148"
    assert options.lsn_text(options.lsn_number("A/3000148")) == "A/3000148"


def test_labels_of_all_kinds_of_backups_are_taken() -> None:
    for label in ("20260301-020000F", "20260301-020000F_20260302-020000D", "20260301-020000F_20260302-020000I"):
        assert ask(set=label).backup == label


def test_same_options_are_told_from_others() -> None:
    wanted = ask(type="name", target="release")
    assert wanted.same(vars(wanted))
    assert not wanted.same(vars(ask())) and not wanted.same(None)
