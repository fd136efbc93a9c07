"""Figures as Prometheus reads them from a file: written whole, a series that can't be known is left out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from . import files
from .state import State

HELP = {
    "last_success_timestamp_seconds": "When a step last succeeded.",
    "last_run_timestamp_seconds": "When a step was last begun.",
    "last_run_success": "Whether the last attempt of a step succeeded.",
    "duration_seconds": "How long the last attempt took.",
    "size_bytes": "What the last success stored.",
    "newest_timestamp_seconds": "When the newest backup that is there was made.",
    "verified_timestamp_seconds": "When a backup was last restored and found whole.",
    "verified_backup_timestamp_seconds": "When the backup that was last found whole was made.",
    "verify_success": "Whether the last verification succeeded.",
    "verify_last_run_timestamp_seconds": "When a verification was last begun.",
    "verify_duration_seconds": "How long the last verification took.",
    "restore_bytes_per_second": "How fast the last verification restored.",
    "verified_rpo_seconds": "Age of the newest heartbeat in the backup at the start of its restore.",
    "rpo_seconds": "Age of the newest heartbeat that a copy holds now.",
    "rpo_objective_seconds": "The most that it should be.",
    "wal_gap": "Whether a WAL segment is missing between the oldest backup and the newest segment.",
    "wal_queue_files": "WAL segments that wait to be archived.",
    "repository_free_bytes": "Room on the disk of a repository.",
    "repository_disk_bytes": "Size of that disk.",
    "repository_size_bytes": "What the backups of a repository take, without WAL.",
    "metrics_timestamp_seconds": "When these figures were taken.",
    "up": "Whether a part could be asked.",
}
Labels = Mapping[str, str]


class Page:
    """A page of figures."""

    def __init__(self) -> None:
        """Begin with none."""
        self.series: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}

    def put(self, name: str, value: float | None, **labels: str) -> None:
        """Add a figure; None is one that is not known."""
        if value is not None:
            self.series.setdefault(name, {})[tuple(sorted(labels.items()))] = float(value)

    def text(self) -> str:
        """Return the page."""
        lines = []
        for name, rows in sorted(self.series.items()):
            lines += [f"# HELP nano_backup_{name} {HELP[name]}", f"# TYPE nano_backup_{name} gauge"]
            for labels, value in sorted(rows.items()):
                inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
                number = f"{value:.0f}" if value == int(value) else f"{value:.3f}"
                lines.append(f"nano_backup_{name}{{{inner}}} {number}" if inner else f"nano_backup_{name} {number}")
        return "\n".join([*lines, ""])

    def write(self, path: Path) -> None:
        """Write the page for everybody to read. Raises OSError."""
        files.write(path, self.text(), 0o644)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def results(page: Page, state: State) -> None:
    """Add how the steps of `run` ended."""
    for step in state.of_kind("full", "diff", "dump", "copy", "retention"):
        labels = {"kind": step.kind, **step.labels}
        page.put("last_run_timestamp_seconds", step.last_run, **labels)
        # Of one that is at work the last end counts; the first of all has none yet.
        if step.seconds or not state.running:
            page.put("last_run_success", step.success, **labels)
        page.put("duration_seconds", step.seconds or None, **labels)
        page.put("last_success_timestamp_seconds", step.last_success or None, **labels)
        if step.success:
            page.put("size_bytes", step.bytes, **labels)


def verifications(page: Page, state: State) -> None:
    """Add how the steps of `verify` ended."""
    for step in state.of_kind("verify_physical", "verify_dump"):
        labels = {"kind": step.kind.removeprefix("verify_"), **step.labels}
        page.put("verify_last_run_timestamp_seconds", step.last_run, **labels)
        page.put("verify_success", step.success, **labels)
        page.put("verify_duration_seconds", step.seconds or None, **labels)
        page.put("verified_timestamp_seconds", step.last_success or None, **labels)
        page.put("verified_backup_timestamp_seconds", step.backup or None, **labels)
        page.put("restore_bytes_per_second", step.measured.get("restore_bytes_per_second"), **labels)
        page.put("verified_rpo_seconds", step.measured.get("rpo_seconds"), **labels)
