#!/usr/bin/env python3
"""Stand in for journalctl: begin a little before the position that the collector has stored.

The collector stores the position of an entry before it has passed the entry on (receiver journald, 0.160). Killed in
between, it would skip what was under way: lines that wait for the rest of a stack trace, and what its queue had no room
for. So it is shown the last entries and the last minute again. Loki keeps a line that comes twice once.

Without a position, at the very first start, it is shown the last hour instead of everything there is.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

PROGRAM = "journalctl"
# More than can be under way: the collector holds at most 256 lines of each writer, for 3.6 s.
ENTRIES = 5000
SECONDS = 60
FIRST = "--since=-1h"
# The field of a position that is the entry's time, in microseconds since 1970, hexadecimal: sd_journal_get_cursor(3).
TIME = re.compile(r"(?:^|;)t=([0-9a-f]+)(?:;|$)")


def moment(cursor: str) -> float:
    """Return the time of a position in seconds since 1970, 0 when it has none."""
    found = TIME.search(cursor)
    return int(found.group(1), 16) / 1e6 if found else 0.0


def before(cursor: str) -> str:
    """Return the position some entries earlier; the same one when the journal does not tell."""
    command = [PROGRAM, "--quiet", "--reverse", f"--cursor={cursor}", f"--lines={ENTRIES}"]
    command += ["--output=json", "--output-fields=PRIORITY"]
    last = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace") as process:
        assert process.stdout
        for line in process.stdout:
            last = line
    try:
        return str(json.loads(last)["__CURSOR"])
    except (ValueError, KeyError):
        return cursor


def rewound(arguments: list[str]) -> list[str]:
    """Return the arguments of journalctl in place of the collector's."""
    if "--after-cursor" not in arguments:
        return [*arguments, FIRST]
    place = arguments.index("--after-cursor")
    cursor = arguments[place + 1]
    others = arguments[:place] + arguments[place + 2 :]
    earlier = before(cursor)
    since = moment(cursor) - SECONDS
    if since > 0 and since < moment(earlier):
        return [*others, f"--since=@{since:.0f}"]
    return [*others, f"--cursor={earlier}"]


if __name__ == "__main__":
    os.execvp(PROGRAM, [PROGRAM, *rewound(sys.argv[1:])])
