"""What a failover sees of the lost site, and how the standby that is left becomes the primary."""

from __future__ import annotations

import concurrent.futures
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

SOCKET = "/run/postgresql"
USER = "postgres"
STATE = """
SELECT pg_is_in_recovery(), (SELECT system_identifier FROM pg_control_system()),
  CASE WHEN pg_is_in_recovery() THEN coalesce((SELECT max(received_tli) FROM pg_stat_wal_receiver),
    (SELECT timeline_id FROM pg_control_checkpoint()))
    ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END,
  coalesce(pg_last_wal_receive_lsn()::text, ''), coalesce(pg_last_wal_replay_lsn()::text, ''),
  (SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'),
  CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused() ELSE false END
"""
BEAT = "SELECT extract(epoch FROM written_at) FROM nano_ops.heartbeat"
# Units of the platform's PostgreSQL, whatever version the host has.
UNIT_FOLDER = Path("/etc/systemd/system")
UNITS = ("nano-heartbeat.service", "postgresql@*.service")
STOP_S, KILL_S = 8.0, 5.0
# As the heartbeat itself writes it: a real, durable write of a real row.
WRITE = """
UPDATE nano_ops.heartbeat SET written_at = clock_timestamp(), host = '%s'
RETURNING extract(epoch FROM written_at)
"""


class FailoverError(Exception):
    """What stands in the way, where, and what to do next."""


def psql(sql: str, database: str, seconds: float) -> list[list[str]]:
    """Ask the server of this host as its administrator; return rows of texts.

    Raises:
        FailoverError: it does not answer in time, or with an error.
    """
    argv = ["psql", "-XAtq", "-F", "\x1f", "-v", "ON_ERROR_STOP=1", "-h", SOCKET, "-U", USER, "-d", database]
    try:
        done = subprocess.run(
            [*argv, "-c", sql], capture_output=True, text=True, check=False, timeout=seconds, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        raise FailoverError(f"PostgreSQL has not answered for {seconds:.0f} s") from error
    except FileNotFoundError as error:
        raise FailoverError("there is no psql here: the host was not set up by site.yml") from error
    if done.returncode:
        raise FailoverError(f"PostgreSQL: {done.stderr.strip()[:500]}")
    return [line.split("\x1f") for line in done.stdout.splitlines()]


def number(lsn: str) -> int:
    """Return a position in the WAL as a number of bytes; 0 for none."""
    high, _, low = lsn.partition("/")
    return (int(high, 16) << 32) + int(low, 16) if low else 0


def opened(address: str, port: int, seconds: float) -> bool:
    """Whether somebody takes a connection."""
    try:
        with socket.create_connection((address, port), timeout=seconds):
            return True
    except OSError:
        return False


def reach(targets: Mapping[str, str], ports: Sequence[int], seconds: float) -> dict[str, list[int]]:
    """Return the ports that open on each host, all asked at once.

    Args:
        targets: name to address.
        ports: what to knock at.
        seconds: how long at most.
    """
    knocks = [(host, address, port) for host, address in targets.items() for port in ports]
    with concurrent.futures.ThreadPoolExecutor(max(1, len(knocks))) as pool:
        answers = pool.map(lambda knock: opened(knock[1], knock[2], seconds), knocks)
        found: dict[str, list[int]] = {host: [] for host in targets}
        for (host, _, port), is_open in zip(knocks, answers, strict=True):
            if is_open:
                found[host].append(port)
    return found


def state(database: str, seconds: float = 5.0, ask: Callable[..., list[list[str]]] = psql) -> dict[str, Any]:
    """Return what the server of this host is and how far it has come.

    Returns:
        `is_standby`, `system_identifier`, `timeline`, `received` and `replayed` (positions), `is_streaming`,
        `is_paused`, `heartbeat` (seconds since 1970, 0 if there is none) and `age` (seconds since then).

    Raises:
        FailoverError: it does not answer.
    """
    recovery, system, timeline, received, replayed, streaming, paused = ask(STATE, "postgres", seconds)[0]
    try:
        beats = ask(BEAT, database, seconds)
    except FailoverError:
        beats = []
    beat = float(beats[0][0]) if beats else 0.0
    return {
        "is_standby": recovery == "t",
        "system_identifier": system,
        "timeline": int(timeline),
        "received": received,
        "replayed": replayed,
        "is_streaming": int(streaming) > 0,
        "is_paused": paused == "t",
        "heartbeat": beat,
        "age": round(time.time() - beat, 1) if beat else 0.0,
    }


def gate(database: str, seconds: float, look: Callable[[str], dict[str, Any]] = state) -> dict[str, Any]:
    """Wait until the standby has replayed all that it has received; return its state.

    Raises:
        FailoverError: it is no standby, still gets WAL from a primary that lives, or does not get through in time.
    """
    deadline = time.monotonic() + seconds
    while True:
        seen = look(database)
        if not seen["is_standby"]:
            return seen
        if seen["is_paused"]:
            raise FailoverError("replay is paused here: SELECT pg_wal_replay_resume() on this host, then again")
        if not seen["is_streaming"] and number(seen["replayed"]) >= number(seen["received"]):
            return seen
        if time.monotonic() > deadline:
            if seen["is_streaming"]:
                raise FailoverError(
                    "the old primary still sends WAL here, so it lives: stop it, or fence it by "
                    "failover_fence_command. For planned work take playbooks/switchover.yml"
                )
            raise FailoverError(
                f"{seconds:.0f} s were not enough to replay what was received ({seen['replayed']} of "
                f"{seen['received']}): look at its journal, then run this again"
            )
        time.sleep(0.1)


def units(folder: Path = UNIT_FOLDER) -> list[str]:
    """Return the units to stop, in their order."""
    return [path.name for pattern in UNITS for path in sorted(folder.glob(pattern)) if "@." not in path.name]


def systemctl(*argv: str, seconds: float) -> bool:
    """Run systemctl; return whether it ended well in time."""
    try:
        done = subprocess.run(
            ["systemctl", *argv], capture_output=True, check=False, timeout=seconds, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def fence(names: Sequence[str], call: Callable[..., bool] = systemctl) -> dict[str, Any]:
    """Stop units, at once if they do not let themselves be stopped, and keep them from starting with the host.

    A process that is paused (SIGSTOP) or hangs on its disk takes no other signal than the last one.

    Returns:
        `changed`, and `killed`: the units that had to be.

    Raises:
        FailoverError: one of them lives on.
    """
    changed, killed = False, []
    for name in names:
        changed |= call("is-active", "--quiet", name, seconds=KILL_S)
        changed |= call("is-enabled", "--quiet", name, seconds=KILL_S)
        call("disable", name, seconds=KILL_S)
        if not call("stop", name, seconds=STOP_S):
            call("kill", "--signal=KILL", name, seconds=KILL_S)
            killed.append(name)
            call("stop", name, seconds=KILL_S)
        if call("is-active", "--quiet", name, seconds=KILL_S):
            raise FailoverError(f"{name} lives on although it was killed: cut its host off the network or its power")
    return {"changed": changed, "killed": killed}


def promote(database: str, host: str, seconds: float, ask: Callable[..., list[list[str]]] = psql) -> dict[str, Any]:
    """Make the standby the primary and write to it; what is done already is left.

    Returns:
        `changed`, `timeline`, `last_heartbeat` (the newest write of the old primary that is here, seconds since 1970)
        and `written` (when the first write was acknowledged, likewise).

    Raises:
        FailoverError: it does not become one, or takes no write.
    """
    before = state(database, ask=ask)
    if before["is_standby"]:
        if ask(f"SELECT pg_promote(true, {int(seconds)})", "postgres", seconds + 5)[0][0] != "t":
            raise FailoverError(f"the standby has not become the primary in {seconds:.0f} s: look at its journal")
    written = float(ask(WRITE % host, database, seconds)[0][0])
    # The checkpoint's timeline is of before until the first checkpoint has ended.
    name = ask("SELECT pg_walfile_name(pg_current_wal_lsn())", "postgres", seconds)[0][0]
    timeline = int(name[:8], 16)
    if before["is_standby"] and timeline <= before["timeline"]:
        raise FailoverError(f"it writes on timeline {timeline}, which is not newer than {before['timeline']}")
    return {
        "changed": before["is_standby"],
        "timeline": timeline,
        "last_heartbeat": before["heartbeat"],
        "written": written,
    }
