"""One line per step: for people on a terminal, as JSON in the journal."""

from __future__ import annotations

import datetime
import json
import os
import sys
from typing import Any


class Log:
    """Tells what happens. Under systemd each line is an object with the platform's fields."""

    def __init__(self, service: str = "nano-backup") -> None:
        """Write to standard output."""
        self.service = service
        self.is_journal = "JOURNAL_STREAM" in os.environ

    def tell(self, action: str, message: str, level: str = "info", **fields: Any) -> None:
        """Write a line; fields without a value are left out.

        Args:
            action: a word that log queries use.
            message: a sentence with sizes and durations.
            level: info, warning or error.
            fields: more of the platform's fields, such as duration_ms and error.
        """
        if self.is_journal:
            line = {
                "timestamp": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
                "level": level,
                "service": self.service,
                "action": action,
                "message": message,
                **{name: value for name, value in fields.items() if value not in (None, "")},
            }
            print(json.dumps(line), flush=True)
        else:
            mark = {"error": "FAILED ", "warning": "note: "}.get(level, "")
            print(f"{datetime.datetime.now(datetime.UTC):%H:%M:%S}  {mark}{message}", flush=True)


def complain(text: str) -> None:
    """Write an error to standard error."""
    print(f"error: {text}", file=sys.stderr, flush=True)
