"""What became of each step, kept in a file: the metrics and the lists are made of it.

A step that began and never ended was killed: whoever looks next, and holds the lock, turns it into a failure.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from . import files, units
from .errors import BackupError
from .log import Log

KILLED = "was killed before it ended; the next run does it again"


@dataclass
class Step:
    """The last end of a step. Times in seconds since 1970, 0 for never; `backup` is when what was verified was made."""

    kind: str
    labels: dict[str, str]
    last_run: float = 0.0
    last_success: float = 0.0
    success: bool = False
    seconds: float = 0.0
    bytes: int = 0
    error: str = ""
    backup: float = 0.0
    measured: dict[str, float] = field(default_factory=dict)


@dataclass
class Outcome:
    """What a step made: a sentence for people, bytes, and what else it measured."""

    message: str
    bytes: int = 0
    kind: str = ""
    backup: float = 0.0
    measured: dict[str, float] = field(default_factory=dict)


def key(kind: str, labels: dict[str, str]) -> str:
    """Return the name of a step in the file."""
    return " ".join([kind, *(f"{name}={value}" for name, value in sorted(labels.items()))])


class State:
    """The file, and the steps of this run."""

    def __init__(self, path: Path, log: Log) -> None:
        """Read it; one that is damaged is begun anew, as it holds nothing that a run needs."""
        self.path, self.log = path, log
        self.failures: list[str] = []
        self.running: str = ""
        self.steps: dict[str, Step] = {}
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            self.running = data["running"]
            self.steps = {name: Step(**step) for name, step in data["steps"].items()}
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.tell("state", f"{path} can't be read and is begun anew: {error}", "warning")

    def save(self) -> None:
        """Write it."""
        data = {"running": self.running, "steps": {name: asdict(step) for name, step in self.steps.items()}}
        files.write(self.path, json.dumps(data, indent=1), 0o640)

    def settle(self) -> None:
        """Note the step that was killed, if any. The caller holds the lock."""
        if self.running:
            step = self.steps.get(self.running)
            if step:
                self.cut_off(step)
                self.log.tell("settle", f"{self.running} {KILLED}", "warning")
            self.running = ""
            self.save()

    def cut_off(self, step: Step) -> None:
        """Note that a step was killed. One that never ended before gets a duration too, which tells that it did end."""
        step.success, step.error = False, KILLED
        step.seconds = step.seconds or max(0.001, time.time() - step.last_run)

    def step(self, kind: str, labels: dict[str, str], what: str, function: Callable[[], Outcome]) -> bool:
        """Run a step and note how it ended; a failure doesn't stop the others.

        Args:
            kind: the metrics' label; the outcome may say another one.
            labels: the metrics' other label.
            what: the step in words.
            function: does it; raises BackupError or OSError.
        """
        name = key(kind, labels)
        step = self.steps.setdefault(name, Step(kind, labels))
        step.last_run = time.time()
        self.running = name
        self.save()
        self.log.tell(kind, f"{what} ...")
        began = time.monotonic()
        try:
            outcome = function()
        except (BackupError, OSError) as error:
            step.seconds = time.monotonic() - began
            step.success, step.error = False, str(error)
            self.failures.append(f"{what}: {error}")
            self.log.tell(
                kind, f"{what}: {error}", "error", error=str(error), duration_ms=round(step.seconds * 1000), **labels
            )
        except BaseException:
            step.seconds = time.monotonic() - began
            step.success, step.error = False, "was stopped before it ended"
            raise
        else:
            self._succeeded(step, outcome, time.monotonic() - began)
            took = f"{units.size(outcome.bytes)} in {units.span(step.seconds)}" if outcome.bytes else ""
            text = ", ".join(part for part in (took, outcome.message) if part)
            self.log.tell(outcome.kind or kind, f"{what}: {text}", duration_ms=round(step.seconds * 1000), **labels)
        finally:
            self.running = ""
            self.save()
        return step.success

    def _succeeded(self, step: Step, outcome: Outcome, seconds: float) -> None:
        if outcome.kind and outcome.kind != step.kind:
            # What was to be a difference became a full backup, for want of one.
            self.steps.pop(key(step.kind, step.labels))
            step.kind = outcome.kind
            before = self.steps.get(key(step.kind, step.labels))
            step.last_success = before.last_success if before else 0.0
            self.steps[key(step.kind, step.labels)] = step
        if step.kind == "full":
            # It stands in for the difference that failed before it.
            other = self.steps.get(key("diff", step.labels))
            if other and not other.success:
                self.steps.pop(key("diff", step.labels))
        step.success, step.error, step.last_success = True, "", time.time()
        step.seconds, step.bytes, step.backup = seconds, outcome.bytes, outcome.backup
        step.measured = outcome.measured

    def of_kind(self, *kinds: str) -> Iterator[Step]:
        """Yield the steps of some kinds, by name."""
        for _, step in sorted(self.steps.items()):
            if step.kind in kinds:
                yield step


def hostname() -> str:
    """Return this host's name."""
    return os.uname().nodename
