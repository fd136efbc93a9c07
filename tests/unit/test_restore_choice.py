"""Which backup is taken, how far the archive leads from it, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.nano.ops.plugins.module_utils import restore_choice as choices
from ansible_collections.nano.ops.plugins.module_utils import restore_repository as repositories
from ansible_collections.nano.ops.plugins.module_utils.restore_options import RestoreError, Wanted, lsn_text

Backup, Repository = repositories.Backup, repositories.Repository
SEGMENT = choices.SEGMENT_BYTES


def backup(label: str, first: int, *, repository: int = 1, timeline: int = 1, **more: Any) -> Backup:
    """Return a backup of one segment that ended a thousand seconds times its number."""
    name = choices.segment_name(timeline, first)
    fields = {"kind": "full", "started": first * 1000 - 5, "stopped": first * 1000, "size": 1 << 20, "version": "17"}
    positions = {"start_lsn": first * SEGMENT + 40, "stop_lsn": first * SEGMENT + 400}
    rest = {"first_wal": name, "last_wal": name, "system_id": 7, "has_errors": False}
    return Backup(repository=repository, label=label, **{**fields, **positions, **rest, **more})  # type: ignore[arg-type]


def repository(key: int, *backups: Backup, wal: range = range(1, 20), timeline: int = 1, **more: Any) -> Repository:
    names = {choices.segment_name(timeline, number): number * 1000 + 60 for number in wal}
    return Repository(key=key, backups=list(backups), wal=names, **more)


def choose(*found: Repository, version: int = 17, grows: bool = False, accept_gap: bool = False, **wanted: Any) -> Any:
    return choices.choose(list(found), Wanted(**wanted), version, grows=grows, accept_gap=accept_gap)


def refused(*found: Repository, **more: Any) -> str:
    with pytest.raises(RestoreError) as error:
        choose(*found, **more)
    return str(error.value)


ONE = repository(1, backup("old", 2), backup("new", 10))


def test_newest_backup_of_the_first_repository() -> None:
    chosen = choose(ONE, repository(2, backup("newer", 15, repository=2)))
    assert (chosen.backup.label, chosen.last_wal, chosen.missing) == ("new", choices.segment_name(1, 19), "")


def test_repository_that_is_named_is_taken() -> None:
    two = repository(2, backup("other", 5, repository=2))
    assert choose(ONE, two, repository=2).backup.label == "other"
    assert "there is no repository 3, only 1, 2" in refused(ONE, two, repository=3)


def test_repository_that_cannot_be_read_is_passed_over_and_told() -> None:
    broken = Repository(key=1, problem="cannot be deciphered: a reason")
    chosen = choose(broken, repository(2, backup("other", 5, repository=2)))
    assert chosen.backup.label == "other"
    assert chosen.notes == ["repository 1 cannot be deciphered: a reason"]
    assert "repository 1 cannot be deciphered" in refused(broken)


@pytest.mark.parametrize(("moment", "label"), [(10_001.0, "new"), (10_000.0, "old"), (2_001.0, "old")])
def test_backup_is_older_than_the_time(moment: float, label: str) -> None:
    assert choose(ONE, type="time", moment=moment).backup.label == label


def test_time_before_all_backups() -> None:
    assert "no backup is from before 1970-01-01 00:33:20 UTC" in refused(ONE, type="time", moment=2_000.0)


def test_time_after_the_archive() -> None:
    assert "the archive ends before the target" in refused(ONE, type="time", moment=19_061.0)
    assert choose(ONE, type="time", moment=19_061.0, grows=True).backup.label == "new"


def test_backup_is_older_than_the_position() -> None:
    assert choose(ONE, type="lsn", target=lsn_text(9 * SEGMENT)).backup.label == "old"
    assert choose(ONE, type="lsn", target=lsn_text(12 * SEGMENT)).last_wal == choices.segment_name(1, 12)
    assert "the archive ends before the target" in refused(ONE, type="lsn", target=lsn_text(20 * SEGMENT))


def test_backup_as_it_is_needs_its_own_wal_alone() -> None:
    found = repository(1, backup("new", 10), wal=range(10, 11))
    assert choose(found, type="immediate").last_wal == choices.segment_name(1, 10)


def test_gap_is_found_over_all_repositories() -> None:
    holes = repository(1, backup("new", 10))
    del holes.wal[choices.segment_name(1, 15)]
    assert choose(holes, repository(2)).missing == ""
    text = refused(holes)
    assert "WAL segment 00000001000000000000000F is missing in every repository" in text
    assert "stored at 1970-01-01 03:54:20 UTC" in text
    accepted = choose(holes, accept_gap=True)
    assert accepted.last_wal == choices.segment_name(1, 14)
    assert choose(holes, type="time", moment=14_000.0).last_wal == choices.segment_name(1, 14)
    assert "behind a gap" in refused(holes, type="time", moment=14_061.0)
    # Stored within the second that the repository tells, which cuts off what comes after the point.
    assert choose(holes, type="time", moment=14_060.9).missing
    assert "behind a gap" in refused(holes, type="lsn", target=lsn_text(16 * SEGMENT))


def test_backup_without_its_own_wal_is_passed_over() -> None:
    found = repository(1, backup("old", 2), backup("new", 10))
    del found.wal[choices.segment_name(1, 10)]
    assert choose(found, accept_gap=True).backup.label == "old"
    assert "its own WAL segment 00000001000000000000000A is missing" in refused(found, backup="new", accept_gap=True)


def test_backup_with_damaged_pages_or_of_another_version_is_passed_over() -> None:
    found = repository(1, backup("old", 2), backup("new", 10, has_errors=True))
    assert choose(found).backup.label == "old"
    assert "it is of PostgreSQL 17, postgresql_version here is 15" in refused(found, version=15)


def test_label_that_is_not_there() -> None:
    assert "there is no backup lost, there are: new, old" in refused(ONE, backup="lost")


def forked() -> Repository:
    """Return an archive whose second timeline leaves the first in segment 12."""
    found = repository(1, backup("old", 2), backup("later", 14), backup("second", 15, timeline=2))
    found.wal |= {choices.segment_name(2, number): number * 1000 + 90 for number in range(12, 18)}
    found.histories = {2: [(1, 12 * SEGMENT + 900)]}
    return found


def test_newest_timeline_is_followed_from_a_backup_that_leads_there() -> None:
    chosen = choose(forked())
    assert (chosen.backup.label, chosen.timeline, chosen.last_wal) == ("second", 2, choices.segment_name(2, 17))
    older = choose(forked(), type="time", moment=14_500.0)
    assert older.backup.label == "old", "`later` was made after the first timeline was left"
    assert older.last_wal == choices.segment_name(2, 17)


def test_older_timeline_is_followed_when_it_is_named() -> None:
    chosen = choose(forked(), timeline=1)
    assert (chosen.backup.label, chosen.last_wal) == ("later", choices.segment_name(1, 19))
    assert "no repository knows how timeline 3 began; there are 1, 2" in refused(forked(), timeline=3)


def test_gap_across_a_change_of_timelines() -> None:
    found = forked()
    del found.wal[choices.segment_name(2, 12)]
    assert "00000002000000000000000C is missing" in refused(found, type="time", moment=14_500.0)
    found = forked()
    del found.wal[choices.segment_name(1, 12)]
    assert choose(found, type="time", moment=14_500.0).missing == "", "the new timeline has a copy of it"


def test_names_of_segments_count_on_over_a_log() -> None:
    assert choices.segment_name(1, 255) == "0000000100000000000000FF"
    assert choices.segment_name(1, 256) == "000000010000000100000000"
    assert choices.segment_number("0000000A0000000100000002") == 258


INFO = {
    "name": "nano",
    "archive": [
        {"database": {"id": 2, "repo-key": 1}, "id": "17-2", "min": "", "max": ""},
        {"database": {"id": 1, "repo-key": 1}, "id": "15-1", "min": "", "max": ""},
    ],
    "backup": [],
    "db": [{"id": 2, "repo-key": 1, "system-id": 7, "version": "17"}],
    "repo": [{"cipher": "aes-256-cbc", "key": 1, "status": {"code": 0, "message": "ok"}}],
}


def test_info_is_read_and_the_newest_wal_is_found() -> None:
    found, archives = repositories.parse_info(json.dumps([INFO]), "nano")
    assert (found[0].problem, archives) == ("", {1: "17-2"})
    with pytest.raises(RestoreError, match="printed something else"):
        repositories.parse_info("[]", "nano")


@pytest.mark.parametrize(
    ("code", "message", "words"),
    [
        (99, "[CryptoError] cipher header invalid", "cannot be deciphered: pgbackrest_cipher_passphrase"),
        (99, "[FormatError] key/value found outside of section at line 1: \ufffd\ufffd", "cannot be deciphered"),
        (99, "[HostConnectError] unable to connect to 'store1:8432'", "unable to connect to 'store1:8432'"),
        (1, "missing stanza path", "holds no stanza nano"),
        (2, "no valid backups", "holds no backup"),
    ],
)
def test_state_of_a_repository_in_words(code: int, message: str, words: str) -> None:
    text = repositories.problem_of({"code": code, "message": message}, "aes-256-cbc")
    assert words in text and "\ufffd" not in text


def test_history_of_a_timeline() -> None:
    text = "1\t0/7000028\tno recovery target specified\n\n2\t0/A0001C8\tbefore 2026\n"
    assert repositories.history_of(text) == [(1, 0x7000028), (2, 0xA0001C8)]
