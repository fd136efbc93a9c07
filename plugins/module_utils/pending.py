"""Which units run with something older than what was written for them.

A run that is cut off between writing a file and the handler that loads it leaves nothing for the next run to change,
and so nothing that would call the handler. A mark in /run, which a start of the machine clears as it clears the need.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

PLACE = Path("/run/nano/pending")


def mark(unit: str) -> None:
    """Note, before something of a unit is changed, that it has to be restarted or reloaded."""
    PLACE.mkdir(parents=True, exist_ok=True, mode=0o755)
    # Microseconds of the clock that systemd gives the start of a process in.
    (PLACE / unit).write_text(f"{time.monotonic_ns() // 1000}\n", encoding="ascii")


def clear(unit: str) -> None:
    """Note that a unit has been restarted or reloaded."""
    (PLACE / unit).unlink(missing_ok=True)


def waits(unit: str) -> bool:
    """Tell whether a unit has run since before it was marked."""
    try:
        marked = int((PLACE / unit).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return False
    argv = ["systemctl", "show", unit, "--property=ActiveState,ExecMainStartTimestampMonotonic"]
    shown = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    fields = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    started = fields.get("ExecMainStartTimestampMonotonic", "0")
    # What does not run reads everything when it is started.
    return fields.get("ActiveState") == "active" and int(started or 0) < marked
