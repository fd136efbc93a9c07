"""What role otel_collector starts in place of journalctl: which entries the collector is shown again."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ROOT

PROGRAM = ROOT / "roles/otel_collector/files/journal_rewound.py"
GIVEN = ["--utc", "--output=json", "--follow", "--no-tail", "--priority", "info"]
NOW = 1_795_489_262_000_000
# Answers a question about earlier entries from a file, else tells what it was started with.
JOURNALCTL = r"""#!/usr/bin/env python3
import json, pathlib, sys
if "--reverse" in sys.argv:
    sys.stdout.write(pathlib.Path("{answer}").read_text())
else:
    print(json.dumps(sys.argv[1:]))
"""


def cursor(number: int, microseconds: int) -> str:
    return f"s=5e;i={number:x};b=b1;m=1;t={microseconds:x};x=9"


class Journal:
    """A journalctl of our own, first in the path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.answer([])
        program = folder / "journalctl"
        program.write_text(JOURNALCTL.replace("{answer}", str(folder / "answer")))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    def answer(self, cursors: list[str]) -> None:
        """Have these entries, the newest first."""
        lines = [json.dumps({"__CURSOR": each}) + "\n" for each in cursors]
        (self.folder / "answer").write_text("".join(lines))

    def started_with(self, *arguments: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, str(PROGRAM), *arguments],
            env=os.environ | {"PATH": f"{self.folder}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        )
        return list(json.loads(done.stdout))


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path)


def test_first_start_shows_the_last_hour(journal: Journal) -> None:
    assert journal.started_with(*GIVEN) == [*GIVEN, "--since=-1h"]


def test_busy_host_is_shown_the_last_minute(journal: Journal) -> None:
    """The oldest of the last entries is younger than a minute."""
    journal.answer([cursor(9, NOW), cursor(8, NOW - 1_000_000)])
    found = journal.started_with(*GIVEN, "--after-cursor", cursor(9, NOW))
    assert found == [*GIVEN, f"--since=@{NOW // 1_000_000 - 60}"]


def test_quiet_host_is_shown_the_last_entries(journal: Journal) -> None:
    journal.answer([cursor(9, NOW), cursor(4, NOW - 3_600_000_000)])
    found = journal.started_with(*GIVEN, "--after-cursor", cursor(9, NOW))
    assert found == [*GIVEN, f"--cursor={cursor(4, NOW - 3_600_000_000)}"]


def test_position_that_the_journal_has_dropped_is_still_used(journal: Journal) -> None:
    """journalctl begins at the oldest entry then."""
    found = journal.started_with(*GIVEN, "--after-cursor", cursor(9, NOW))
    assert found in ([*GIVEN, f"--cursor={cursor(9, NOW)}"], [*GIVEN, f"--since=@{NOW // 1_000_000 - 60}"])


@pytest.mark.parametrize("position", ["", "nonsense", "t=zz"])
def test_position_that_means_nothing_is_handed_on(journal: Journal, position: str) -> None:
    assert journal.started_with(*GIVEN, "--after-cursor", position) == [*GIVEN, f"--cursor={position}"]
