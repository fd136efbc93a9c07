"""The primary waits for its standbys, and a standby gets as far as it."""

from __future__ import annotations

import time
from typing import Any

from ansible_collections.nano.ops.plugins.module_utils import failover, member, rejoin_wal
from ansible_collections.nano.ops.plugins.module_utils.failover import FailoverError, number, psql
from ansible_collections.nano.ops.plugins.module_utils.restore_choice import SEGMENT_BYTES, segment_name
from ansible_collections.nano.ops.plugins.module_utils.restore_place import Place
from ansible_collections.nano.ops.plugins.module_utils.restore_server import unit_of, unit_state

POSITION = "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END"
SLOTS = "SELECT slot_name FROM pg_replication_slots WHERE slot_type = 'physical' AND NOT active AND NOT temporary"


def store_fork(seconds: float) -> None:
    """Have the segment archived in which the primary's timeline began: a restore elsewhere would miss the turn."""
    row = psql("SELECT pg_is_in_recovery() OR current_setting('archive_mode') = 'off'", "postgres", 10)
    timeline = 1 if row[0][0] == "t" else member.writes_on()
    if timeline == 1:
        return
    text = psql(f"SELECT pg_read_file('pg_wal/{timeline:08X}.history')", "postgres", 10)
    before = rejoin_wal.History.read(timeline, "\n".join(line[0] for line in text)).timelines[-2]
    name = segment_name(timeline, before[1] // SEGMENT_BYTES)
    if psql(f"SELECT pg_walfile_name(pg_current_wal_lsn()) = '{name}'", "postgres", 10)[0][0] == "t":
        psql("SELECT pg_switch_wal()", "postgres", 10)
    waiting = f"SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name = '{name}.ready'"
    deadline = time.monotonic() + seconds
    while psql(waiting, "postgres", 10)[0][0] != "0" and time.monotonic() < deadline:
        time.sleep(0.2)


def expect(hosts: list[str], seconds: float, check: bool) -> dict[str, Any]:
    """Keep WAL for standbys that come, here or once this host is the primary, and make a checkpoint.

    After a promotion pg_rewind reads in the control file which timeline the primary is on; a later one is short by it.
    What is not archived after some seconds is not waited for: a restore looks for itself.

    Returns:
        `changed`, `position` (how far this host is).
    """
    known = {row[0] for row in psql("SELECT slot_name FROM pg_replication_slots", "postgres", 10)}
    missing = [name for name in (host.replace("-", "_") for host in hosts) if name not in known]
    if not check:
        for name in missing:
            psql(f"SELECT pg_create_physical_replication_slot('{name}', true)", "postgres", 10)
        psql("CHECKPOINT", "postgres", 600)
        store_fork(seconds)
    return {"changed": bool(missing), "position": psql(POSITION, "postgres", 10)[0][0]}


def follow(place: Place, database: str, position: str, seconds: float) -> dict[str, Any]:
    """Wait until the standby streams and has replayed up to a position; drop slots that only a primary needs.

    Raises:
        FailoverError: it does not get there, or ended.
    """
    deadline, since = time.monotonic() + seconds, time.time()
    while True:
        reason = ""
        try:
            now = failover.state(database)
            if not now["is_standby"]:
                raise FailoverError("it runs as a primary: two primaries; look at both")
            if now["is_streaming"] and number(now["replayed"]) >= number(position):
                break
            reason = (
                f"replayed {now['replayed']} of {position}, {'streams' if now['is_streaming'] else 'does not stream'}"
            )
        except FailoverError as error:
            reason = str(error)
            if "two primaries" in reason:
                raise
        if unit_state(unit_of(place))[0] == "failed" or time.monotonic() > deadline:
            words = member.last_words(place, since - 30)
            raise FailoverError(f"it does not follow the primary ({reason}): {words}")
        time.sleep(0.2)
    # Of the time when it was a primary: nobody reads from them any more, and they would keep WAL for good.
    slots = [row[0] for row in psql(SLOTS, "postgres", 10)]
    for name in slots:
        psql(f"SELECT pg_drop_replication_slot('{name}')", "postgres", 10)
    return {"changed": bool(slots), "server": now, "dropped": slots}
