"""The restored server: started, followed until its recovery has ended, opened again."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible_collections.nano.ops.plugins.module_utils.restore_choice import (
    SEGMENT_BYTES,
    segment_number,
)
from ansible_collections.nano.ops.plugins.module_utils.restore_options import RestoreError, lsn_text, utc
from ansible_collections.nano.ops.plugins.module_utils.restore_place import Place, Record, write_record
from ansible_collections.nano.ops.plugins.module_utils.restore_repository import as_postgres, history_of

SOCKET = "/run/postgresql"
# What pgBackRest writes into postgresql.auto.conf. A copy of this server, a standby, would obey it too and stop there.
RECOVERY_SETTINGS = (
    "restore_command",
    "recovery_target",
    "recovery_target_time",
    "recovery_target_lsn",
    "recovery_target_name",
    "recovery_target_xid",
    "recovery_target_inclusive",
    "recovery_target_timeline",
    "recovery_target_action",
)
REPLAYING = re.compile(rb"startup (?:recovering|waiting for) ([0-9A-F]{24})")
REPLAY = """SELECT pg_is_in_recovery(), coalesce(pg_last_wal_replay_lsn()::text, ''),
    coalesce(extract(epoch FROM pg_last_xact_replay_timestamp())::text, '')"""


class NotYetError(Exception):
    """The server does not answer now."""


def query(sql: str, database: str = "postgres", seconds: float = 60) -> list[list[str]]:
    """Ask the server over its socket as its administrator; return rows of texts.

    Raises:
        NotYetError: it does not answer.
        RestoreError: it answers with an error.
    """
    argv = ["psql", "-XAtq", "-F", "\x1f", "-v", "ON_ERROR_STOP=1", "-h", SOCKET, "-U", "postgres", "-d", database]
    try:
        done = subprocess.run(
            [*argv, "-c", sql], capture_output=True, text=True, check=False, timeout=seconds, **as_postgres()
        )
    except subprocess.TimeoutExpired as error:
        raise NotYetError(f"no answer for {seconds:.0f} s") from error
    if done.returncode == 2:
        raise NotYetError(done.stderr.strip())
    if done.returncode:
        raise RestoreError(f"PostgreSQL: {done.stderr.strip()[:500]}")
    return [line.split("\x1f") for line in done.stdout.splitlines()]


def unit_of(place: Place) -> str:
    """Return the unit of a cluster."""
    return f"postgresql@{place.version}-{place.name}.service"


def systemctl(*argv: str) -> str:
    """Run systemctl and return what it prints."""
    return subprocess.run(["systemctl", *argv], capture_output=True, text=True, check=False).stdout


def unit_state(unit: str) -> tuple[str, str, int]:
    """Return active state, sub-state and how often systemd has started a unit again."""
    shown = systemctl("show", unit, "--property=ActiveState,SubState,NRestarts")
    fields = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    return fields.get("ActiveState", ""), fields.get("SubState", ""), int(fields.get("NRestarts") or 0)


def start(place: Place, record: Record, unit: str) -> None:
    """Start the server without waiting: until its data are consistent it answers nobody."""
    state, sub, _ = unit_state(unit)
    if state in ("active", "activating", "reloading") and sub != "auto-restart" and "restarts" in record.facts:
        return
    systemctl("daemon-reload")
    systemctl("reset-failed", unit)
    record.facts |= {"started": time.time(), "restarts": unit_state(unit)[2]}
    write_record(place, record)
    systemctl("start", "--no-block", unit)


def replaying() -> str:
    """Return the segment that the server replays, from the title of its process; "" if there is none."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if found := REPLAYING.search(path.read_bytes()):
                return found.group(1).decode()
        except OSError:
            continue
    return ""


def journal(unit: str, since: float) -> list[str]:
    """Return the unit's lines since a moment."""
    argv = ["journalctl", "--unit", unit, "--since", f"@{since:.0f}", "--no-pager", "--output", "cat"]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.splitlines()


def failure(record: Record, unit: str) -> str:
    """Stop a server that does not get through its recovery; return how far it came and what to do."""
    systemctl("stop", unit)
    lines = journal(unit, record.facts.get("started", time.time() - 60) - 1)
    # Whoever knocks too early is told so by a FATAL as well.
    fatal = [line for line in lines if re.search(r"\b(FATAL|PANIC):(?!\s*the database system is )", line)]
    reason = (
        re.split(r"\b(?:FATAL|PANIC):\s*", fatal[0])[-1]
        if fatal
        else "it ended at its start: " + " / ".join(lines[-4:])
    )
    done = [
        found.group(1)
        for line in lines
        if (found := re.search(r"last completed transaction was at log time (\S+ \S+)", line))
    ]
    came = (
        f" The last transaction that could be replayed is of {done[-1]}." if done else " No transaction was replayed."
    )
    if "before configured recovery target was reached" in reason:
        reason = f"the archive ends before the target {record.options['target']}."
        cure = "Take what there is with -e restore_type=latest, or choose an earlier target" + (
            "; for an older restore point name an older backup with restore_set"
            if record.options["type"] == "name"
            else ""
        )
    else:
        cure = f"Look at `journalctl -u {unit}`; restore_set names another backup, restore_repository a repository"
    return (
        f"recovery did not end: {reason}{came} PostgreSQL was stopped, the old data are kept. {cure}. A new attempt "
        "takes over "
        "what was copied."
    )


def percent(record: Record, segment: str, moment: float) -> float:
    """Return how much of the way to the target was replayed, in percent, 0 if that cannot be told."""
    options, choice = record.options, record.choice
    if options["type"] == "time" and moment:
        begin, end, at = float(choice["stopped"]), float(options["moment"]), moment
    elif options["type"] in ("latest", "lsn") and segment:
        names = (choice["first_wal"], choice["last_wal"], segment)
        begin, end, at = (float(segment_number(name)) for name in names)
        end += 1
    else:
        return 0.0
    return max(0.0, min(99.0, 100 * (at - begin) / max(1.0, end - begin)))


def look(record: Record) -> dict[str, Any]:
    """Return how far recovery is: is_done, lsn, segment, time (of the last transaction), percent."""
    segment = replaying()
    try:
        recovery, lsn, moment = query(REPLAY, seconds=10)[0]
    except NotYetError:
        return {"is_done": False, "lsn": "", "segment": segment, "time": "", "percent": percent(record, segment, 0)}
    at = float(moment or 0)
    return {
        "is_done": recovery == "f",
        "lsn": lsn,
        "segment": segment,
        "time": utc(at) if at else "",
        "moment": at,
        "percent": percent(record, segment, at),
    }


def follow(place: Place, record: Record, unit: str, seconds: float) -> dict[str, Any]:
    """Start the server if it does not run and watch its recovery for some seconds.

    Raises:
        RestoreError: recovery failed, or ended before it should have.
    """
    start(place, record, unit)
    deadline = time.monotonic() + seconds
    while True:
        seen = look(record)
        if seen["is_done"]:
            return {**seen, **ended(place, record, seen)}
        state, sub, restarts = unit_state(unit)
        if state in ("failed", "inactive") or sub == "auto-restart" or restarts > record.facts.get("restarts", 0):
            raise RestoreError(failure(record, unit))
        if time.monotonic() > deadline:
            return seen
        time.sleep(0.3)


def ended(
    place: Place, record: Record, seen: dict[str, Any], ask: Callable[..., list[list[str]]] = query
) -> dict[str, Any]:
    """Note how recovery ended, and take its settings away.

    Raises:
        RestoreError: it ended before the last WAL of the archive.
    """
    timeline = int(ask("SELECT timeline_id FROM pg_control_checkpoint()")[0][0])
    name = ask("SELECT pg_walfile_name(pg_current_wal_lsn())")[0][0]
    timeline = max(timeline, int(name[:8], 16))
    switched = history_of((place.data / f"pg_wal/{timeline:08X}.history").read_text())[-1][1] if timeline > 1 else 0
    facts = {"timeline": timeline, "end_lsn": lsn_text(switched), "end_moment": seen.get("moment", 0.0)}
    record.facts |= facts
    last = segment_number(record.choice["last_wal"]) * SEGMENT_BYTES
    if record.options["type"] == "latest" and switched < last:
        # PostgreSQL takes an archive that cannot be read for one that has ended.
        write_record(place, record)
        raise RestoreError(
            f"recovery ended at {lsn_text(switched)}, but the archive has WAL until segment "
            f"{record.choice['last_wal']}: a "
            "repository could not be read meanwhile, or a segment is damaged. Nobody was let in; the old data are "
            "kept. Run "
            "again with -e restore_anew=true, or accept this end by restore_type=lsn"
        )
    for setting in RECOVERY_SETTINGS:
        ask(f"ALTER SYSTEM RESET {setting}")
    record.stage = "recovered"
    write_record(place, record)
    return facts


def is_closed() -> bool:
    """Whether the server is reached from its own host alone, by what the restore has set."""
    sql = "SELECT 1 FROM pg_file_settings WHERE name = 'listen_addresses' AND sourcefile LIKE '%/postgresql.auto.conf'"
    return bool(query(sql))


def open_again() -> None:
    """Let everybody in at the next start of the server."""
    query("ALTER SYSTEM RESET listen_addresses")
