"""Where two histories part, which backup leads to the primary, and when a standby has everything: without a server."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.nano.ops.plugins.module_utils import rejoin_ways, switchover
from ansible_collections.nano.ops.plugins.module_utils.failover import FailoverError
from ansible_collections.nano.ops.plugins.module_utils.rejoin_wal import OPEN, History
from ansible_collections.nano.ops.plugins.module_utils.restore_repository import Backup, Repository

MIB = 1 << 20
FORK = "1\t0/5000148\tno recovery target specified\n"
SECOND = f"{FORK}2\t0/7000100\tno recovery target specified\n"


@pytest.mark.parametrize(
    ("own", "primary", "expected"),
    [
        ((1, ""), (1, ""), (1, OPEN)),
        ((1, ""), (2, FORK), (1, 0x5000148)),
        ((2, FORK), (2, FORK), (2, OPEN)),
        ((2, FORK), (3, SECOND), (2, 0x7000100)),
        # Both were promoted, at different places: one number, two histories.
        ((2, FORK), (2, FORK.replace("5000148", "4000028")), (1, 0x4000028)),
        ((3, FORK.replace("5000148", "6000000")), (2, FORK), (1, 0x5000148)),
    ],
)
def test_histories_part(own: tuple[int, str], primary: tuple[int, str], expected: tuple[int, int]) -> None:
    assert History.read(*own).parts_from(History.read(*primary)) == expected


def test_histories_of_nothing_in_common_are_refused() -> None:
    with pytest.raises(FailoverError, match="no timeline in common"):
        History.read(4, "3\t0/5000148\tx\n").parts_from(History.read(2, FORK))


def backup(label: str, timeline: int, stop: int, **more: Any) -> Backup:
    values: dict[str, Any] = {"repository": 1, "kind": "full", "started": 0, "stopped": 0, "first_wal": "", "size": 0}
    values |= {"version": "17", "system_id": 7, "has_errors": False, "start_lsn": stop - 100, "stop_lsn": stop}
    return Backup(label=label, last_wal=f"{timeline:08X}{0:016X}", **{**values, **more})


def test_backup_of_the_primarys_own_history_is_taken() -> None:
    history = History.read(2, FORK)
    backups = [
        backup("old", 1, 3 * MIB),
        backup("newest before", 1, 0x5000100),
        # Made of the old primary after the histories parted: it leads somewhere else.
        backup("diverged", 1, 0x5000200),
        backup("broken", 1, 0x5000120, has_errors=True),
        backup("another cluster", 1, 0x5000130, system_id=8),
    ]
    assert rejoin_ways.usable(backups, history, "7").label == "newest before"
    after = [*backups, backup("of the new timeline", 2, 0x6000000)]
    assert rejoin_ways.usable(after, history, "7").label == "of the new timeline"
    with pytest.raises(FailoverError, match="no repository has a backup"):
        rejoin_ways.usable(backups[2:], history, "7")


def test_archive_has_to_have_the_segment_in_which_a_timeline_began() -> None:
    history, before = History.read(2, FORK), backup("before", 1, 0x5000100)
    with pytest.raises(FailoverError, match="lacks WAL segment 000000020000000000000005, in which timeline 2 began"):
        rejoin_ways.check_forks(Repository(1, wal={"000000010000000000000005": 1}), before, history)
    rejoin_ways.check_forks(Repository(1, wal={"000000020000000000000005": 1}), before, history)
    rejoin_ways.check_forks(Repository(1), backup("after", 2, 0x6000000), history)


WANTED = {"position": "0/5000028", "timeline": 1, "system_identifier": "7"}


def standby(**more: Any) -> dict[str, Any]:
    base = {"is_standby": True, "system_identifier": "7", "timeline": 1, "is_paused": False, "is_streaming": False}
    return {**base, "replayed": "0/50000A0", **more}


def test_gate_opens_behind_the_begin_of_the_last_record_alone() -> None:
    assert switchover.gate("nano", WANTED, 0, look=lambda _: standby())["replayed"] == "0/50000A0"
    for more in ({"replayed": "0/5000028"}, {"replayed": "0/4FFFFFF"}, {"is_streaming": True}):
        with pytest.raises(FailoverError, match="0 s were not enough"):
            switchover.gate("nano", WANTED, 0, look=lambda _, more=more: standby(**more))


def test_gate_waits_for_what_is_on_its_way() -> None:
    seen = iter([standby(replayed="0/5000000", is_streaming=True), standby(replayed="0/5000028"), standby()])
    assert switchover.gate("nano", WANTED, 5, look=lambda _: next(seen))["replayed"] == "0/50000A0"
