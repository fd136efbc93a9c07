"""The report of a procedure: what was done when, what was measured, and what that means against the objectives.

It is kept as JSON from the first moment on and written anew at each step, so that a controller that dies in between
leaves one that says how far things came.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible_collections.nano.ops.plugins.plugin_utils.progress import duration

OUTCOMES = ("running", "succeeded", "failed")
# Measures that an objective may be set for, with what people call them.
NAMES = {"rto_seconds": "Time to recover (RTO)", "rpo_seconds": "Loss of data (RPO)"}


class ReportError(Exception):
    """Why a report cannot be kept, and what to do."""


def text_of(moment: datetime) -> str:
    """Return a moment as the report has it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")


def seconds_between(began: str, ended: str) -> float:
    """Return the seconds between two moments of a report."""
    return round((datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds(), 1)


def begin(
    procedure: str,
    subject: str,
    phases: list[str],
    now: datetime,
    *,
    clock: tuple[str, str] = ("", ""),
    again: str = "",
) -> dict[str, Any]:
    """Return a new report.

    Args:
        procedure: name of the playbook.
        subject: what it is done to.
        phases: names of what will be done, in order.
        now: the beginning.
        clock: the phases that the time to recover begins and ends with.
        again: command that goes on after a failure.

    Raises:
        ReportError: a name that cannot be part of a file's.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,40}", procedure):
        raise ReportError(f"procedure {procedure!r} is no name for a file: letters, digits, - and _")
    return {
        "format": 1,
        "procedure": procedure,
        "subject": subject,
        "id": f"{procedure}-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}",
        "began": text_of(now),
        "ended": None,
        "outcome": "running",
        "phases": [
            {"name": name, "began": None, "ended": None, "seconds": None, "outcome": "waiting"} for name in phases
        ],
        "clock": list(clock),
        "facts": {},
        "tables": [],
        "measures": {},
        "objectives": {},
        "notes": [],
        "error": "",
        "next": [again] if again else [],
    }


def phase(report: dict[str, Any], name: str, now: datetime) -> None:
    """Begin a phase; the one before has succeeded. A phase that goes on is left alone."""
    found = next((each for each in report["phases"] if each["name"] == name), None)
    if found is None:
        found = {"name": name, "began": None, "ended": None, "seconds": None, "outcome": "waiting"}
        report["phases"].append(found)
    if found["outcome"] == "running":
        return
    close(report, "succeeded", now)
    found |= {"began": text_of(now), "ended": None, "outcome": "running"}


def close(report: dict[str, Any], outcome: str, now: datetime) -> None:
    """End the phase that is under way, and take the time to recover when it is the last that counts."""
    for each in report["phases"]:
        if each["outcome"] == "running":
            seconds = seconds_between(each["began"], text_of(now))
            each |= {"ended": text_of(now), "seconds": seconds, "outcome": outcome}
    first, last = ({each["name"]: each for each in report["phases"]}.get(name) for name in report["clock"])
    if first and last and first["began"] and last["outcome"] == "succeeded":
        report["measures"]["rto_seconds"] = seconds_between(first["began"], last["ended"])


def note(report: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Add facts, measures, objectives, notes and tables; of a name that is there the new value counts."""
    for kind in ("facts", "measures", "objectives"):
        report[kind] |= dict(given.get(kind) or {})
    report["notes"] += [text for text in given.get("notes") or [] if text not in report["notes"]]
    for table in given.get("tables") or []:
        report["tables"] = [each for each in report["tables"] if each["title"] != table["title"]] + [dict(table)]


def end(
    report: dict[str, Any], outcome: str, now: datetime, *, error: str = "", following: list[str] | None = None
) -> None:
    """End the report. One that has failed keeps what to type next."""
    if report["outcome"] != "running":
        return
    close(report, outcome, now)
    if following is not None or outcome == "succeeded":
        report["next"] = following or []
    report |= {"outcome": outcome, "ended": text_of(now), "error": error}


def verdicts(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return each measure with its objective and whether that was met."""
    found = []
    known = [*NAMES, *(name for name in report["measures"] if name not in NAMES)]
    for name in known:
        value = report["measures"].get(name)
        if value is None:
            continue
        objective = report["objectives"].get(name)
        verdict = "no objective" if objective is None else "met" if float(value) <= float(objective) else "missed"
        label = NAMES.get(name, name.removesuffix("_seconds").replace("_", " "))
        is_time = name.endswith("_seconds")
        found.append(
            {
                "name": name,
                "label": label,
                "value": said(float(value)) if is_time else str(value),
                "objective": "" if objective is None else said(float(objective)) if is_time else str(objective),
                "verdict": verdict,
            }
        )
    return found


def said(seconds: float) -> str:
    """Return a duration for people, short ones to a tenth of a second."""
    return f"{seconds:.1f} s" if abs(seconds) < 60 else duration(seconds)


def metrics(report: Mapping[str, Any]) -> str:
    """Return the report's figures for Prometheus."""
    labels = f'procedure="{report["procedure"]}",host="{escaped(report["subject"])}"'
    at = datetime.fromisoformat(report["ended"] or report["began"]).timestamp()
    lines = [
        "# HELP nano_recovery_last_run_timestamp_seconds When a recovery procedure last ended.",
        "# TYPE nano_recovery_last_run_timestamp_seconds gauge",
        f"nano_recovery_last_run_timestamp_seconds{{{labels}}} {at:.3f}",
        "# HELP nano_recovery_last_run_success Whether it succeeded.",
        "# TYPE nano_recovery_last_run_success gauge",
        f"nano_recovery_last_run_success{{{labels}}} {int(report['outcome'] == 'succeeded')}",
        "# HELP nano_recovery_rto_seconds How long its phases took; total is the time to recover.",
        "# TYPE nano_recovery_rto_seconds gauge",
    ]
    times = {each["name"]: each["seconds"] for each in report["phases"] if each["seconds"] is not None}
    if report["measures"].get("rto_seconds") is not None:
        times["total"] = report["measures"]["rto_seconds"]
    lines += [f'nano_recovery_rto_seconds{{{labels},phase="{escaped(name)}"}} {value}' for name, value in times.items()]
    if report["measures"].get("rpo_seconds") is not None:
        lines += [
            "# HELP nano_recovery_rpo_seconds How much was lost, in seconds of writing.",
            "# TYPE nano_recovery_rpo_seconds gauge",
            f"nano_recovery_rpo_seconds{{{labels}}} {report['measures']['rpo_seconds']}",
        ]
    return "\n".join(lines) + "\n"


def escaped(value: str) -> str:
    """Return the value of a label as Prometheus reads it."""
    return str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def load(path: Path) -> dict[str, Any]:
    """Read a report.

    Raises:
        ReportError: it is none.
    """
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if found["format"] != 1:
            raise ReportError(f"{path} is a report of format {found['format']}, not 1")
        return found
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReportError(f"{path} is no report ({error!r}): begin one with state begun") from error


def save(path: Path, text: str) -> None:
    """Write a file so that it is whole or as before."""
    fresh = path.with_name(f".{path.name}.fresh")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640), "w", encoding="utf-8") as file:
        file.write(text)
    fresh.replace(path)


def earlier(path: Path, made: Mapping[str, Any], most: int = 10) -> list[dict[str, Any]]:
    """Return the ended reports of the same procedure beside one that began before it, the newest first."""
    found = []
    for each in path.parent.glob(f"{made['procedure']}-*.json"):
        try:
            report = load(each)
        except ReportError:
            continue
        if each != path and report["procedure"] == made["procedure"] and report["ended"]:
            found.append(report)
    before = [report for report in found if report["began"] < made["began"]]
    return sorted(before, key=lambda report: report["began"], reverse=True)[:most]
