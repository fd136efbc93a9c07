"""A report as Markdown, and in a few lines for the run's output."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.nano.ops.plugins.plugin_utils.report import said, verdicts

WORDS = {"running": "is not ended", "succeeded": "succeeded", "failed": "failed"}
PHASES = {"waiting": "not done", "running": "begun, not ended", "succeeded": "done", "failed": "failed"}


def cell(value: Any) -> str:
    """Return text that Markdown shows as it is, in a table too."""
    text = str(value).replace("\\", "\\\\").replace("\n", " ")
    for character in "`*_[]<>|#":
        text = text.replace(character, f"\\{character}")
    return text


def table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> list[str]:
    """Return a table."""
    names = list(head)
    lines = [f"| {' | '.join(map(cell, names))} |", f"|{'---|' * len(names)}"]
    return [*lines, *(f"| {' | '.join(map(cell, row))} |" for row in rows), ""]


def title(report: Mapping[str, Any]) -> str:
    """Return what the report is about."""
    return f"{report['procedure'].capitalize()} of {report['subject']} {WORDS[report['outcome']]}"


def clock(moment: str | None) -> str:
    """Return a moment for people."""
    return f"{moment[:10]} {moment[11:19]} UTC" if moment else "-"


def phase_rows(report: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return name, beginning, duration and outcome of each phase."""
    return [
        (
            each["name"],
            each["began"][11:19] if each["began"] else "-",
            said(each["seconds"]) if each["seconds"] is not None else "-",
            PHASES[each["outcome"]],
        )
        for each in report["phases"]
    ]


def earlier_rows(earlier: Iterable[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Return beginning, subject, outcome, RTO and RPO of earlier runs."""
    rows = []
    for each in earlier:
        measures = [each["measures"].get(name) for name in ("rto_seconds", "rpo_seconds")]
        figures = ("-" if value is None else said(float(value)) for value in measures)
        rows.append((clock(each["began"]), each["subject"], WORDS[each["outcome"]], *figures))
    return rows


EARLIER = ("Began", "Of", "Outcome", "RTO", "RPO")
MEASURES = ("Measure", "Value", "Objective", "Verdict")
PHASE_HEAD = ("Phase", "Began (UTC)", "Took", "")


def markdown(report: Mapping[str, Any], earlier: Iterable[Mapping[str, Any]] = ()) -> str:
    """Return the report as Markdown."""
    lines = [f"# {cell(title(report))}", "", f"Began {clock(report['began'])}, ended {clock(report['ended'])}.", ""]
    if report["error"]:
        lines += ["## What went wrong", "", *(f"    {line}" for line in report["error"].splitlines()), ""]
    if report["next"]:
        lines += ["## What to type next", "", *(f"    {line}" for line in report["next"]), ""]
    if found := verdicts(report):
        rows = [(each["label"], each["value"], each["objective"], each["verdict"]) for each in found]
        lines += ["## Measured", "", *table(MEASURES, rows)]
    lines += ["## Phases", "", *table(PHASE_HEAD, phase_rows(report))]
    if report["facts"]:
        lines += ["## Facts", "", *table(("", ""), report["facts"].items())]
    if report["notes"]:
        lines += ["## Notes", "", *(f"- {cell(text)}" for text in report["notes"]), ""]
    for each in report["tables"]:
        lines += [f"## {cell(each['title'])}", "", *table(each["head"], each["rows"])]
    if before := earlier_rows(earlier):
        lines += ["## Earlier runs", "", *table(EARLIER, before)]
    return "\n".join(lines).rstrip() + "\n"


def summary(report: Mapping[str, Any]) -> list[str]:
    """Return the report in a few lines."""
    lines = [f"{title(report)}: {clock(report['began'])} to {clock(report['ended'])}"]
    for each in verdicts(report):
        against = f" (objective {each['objective']}: {each['verdict']})" if each["objective"] else ""
        lines.append(f"{each['label']}: {each['value']}{against}")
    open_phases = [each["name"] for each in report["phases"] if each["outcome"] != "succeeded"]
    if report["outcome"] != "succeeded":
        done = [each["name"] for each in report["phases"] if each["outcome"] == "succeeded"]
        lines += [f"done: {', '.join(done) or 'nothing'}", f"not done: {', '.join(open_phases) or 'nothing'}"]
        lines += [f"error: {line}" for line in report["error"].splitlines()]
    lines += [f"next: {line}" for line in report["next"]]
    return lines + [f"note: {text}" for text in report["notes"]]
