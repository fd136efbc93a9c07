"""The record of who is the primary, as an operator asks and changes it on a host."""

from __future__ import annotations

import json
from typing import Any

from tests.verify.lab import Lab

PROGRAM = "/usr/local/sbin/nano-primary-record"
UNIT = "postgresql@17-main"
DATA = "/var/lib/postgresql/17/main"
OVERRIDE = ("override", "--i-know-that-no-other-primary-runs")


def ask(lab: Lab, host: str, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Run the program on a host and return its exit code and its JSON."""
    done = lab.command(host, [PROGRAM, *arguments])
    return done["rc"], json.loads(done["stdout"])


def record(lab: Lab, host: str = "store1") -> dict[str, Any]:
    """Return the record."""
    rc, shown = ask(lab, host, "show")
    assert rc == 0, shown
    found: dict[str, Any] = shown["record"]
    return found


def claim(lab: Lab, host: str) -> dict[str, Any]:
    """Make a host the primary of the record; its data have to be there."""
    own = ask(lab, host, "check")[1]["data"]
    epoch = record(lab)["epoch"]
    argv = ["--host", host, "--expect-epoch", str(epoch), "--timeline", str(own["timeline"])]
    rc, won = ask(lab, host, "claim", *argv, "--system-identifier", own["system_identifier"])
    assert rc == 0 and won["record"]["epoch"] == epoch + 1, won
    found: dict[str, Any] = won["record"]
    return found


def state(lab: Lab, host: str) -> str:
    """Return what systemd says of PostgreSQL on a host."""
    return str(lab.host(host).run("systemctl show --property=ActiveState --value %s", UNIT).stdout.strip())


def serves(lab: Lab, host: str) -> bool:
    """Whether PostgreSQL answers on a host."""
    return bool(lab.command(host, ["psql", "-XAtqU", "postgres"], input="SELECT 1")["rc"] == 0)
