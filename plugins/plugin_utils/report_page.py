"""A report as one HTML page: nothing from elsewhere, readable when printed, its timeline drawn as SVG."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from html import escape
from typing import Any

from ansible_collections.nano.ops.plugins.plugin_utils.report import said, verdicts
from ansible_collections.nano.ops.plugins.plugin_utils.report_text import (
    EARLIER,
    MEASURES,
    PHASE_HEAD,
    clock,
    earlier_rows,
    phase_rows,
    title,
)

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2330; max-width: 56rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 1.8rem 0 .4rem; }
.badge { display: inline-block; padding: .1rem .6rem; border: 2px solid; border-radius: .3rem; font-weight: 600; }
.succeeded, .met { color: #16653a; } .failed, .missed { color: #a3211c; } .running { color: #7a5200; }
table { border-collapse: collapse; width: 100%; } th { text-align: left; font-weight: 600; }
td, th { padding: .25rem .8rem .25rem 0; border-bottom: 1px solid #d8dde6; vertical-align: top; }
td { overflow-wrap: anywhere; }
pre { background: #f3f5f8; padding: .7rem; white-space: pre-wrap; border-left: 3px solid #8793a8; }
.figures { display: flex; flex-wrap: wrap; gap: 1rem; margin: 1rem 0; }
.figure { border: 1px solid #d8dde6; border-radius: .4rem; padding: .6rem 1rem; min-width: 12rem; }
.figure b { display: block; font-size: 1.5rem; } .small { color: #5a6577; }
svg { width: 100%; height: auto; display: block; } svg text { font: 12px system-ui, sans-serif; fill: #1c2330; }
.bar { fill: #4a7ab5; } .bar.failed { fill: #c23b34; } .bar.running { fill: #d09a2c; } .grid { stroke: #d8dde6; }
.span { fill: #e8edf5; }
@media print { body { margin: 0; max-width: none; font-size: 11pt; } table, svg, .figure { break-inside: avoid; }
  .bar, .span { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""
# The drawing's own units: names to the left, durations to the right of the bars.
WIDTH, LEFT, RIGHT, ROW, HEAD = 860, 250, 80, 26, 24
TICKS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)


def rows(head: Iterable[str], body: Iterable[Iterable[Any]]) -> str:
    """Return a table."""
    names = "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = ["".join(f"<td>{escape(str(value))}</td>" for value in row) for row in body]
    top = f"<thead><tr>{names}</tr></thead>" if names.replace("<th></th>", "") else ""
    return f"<table>{top}<tbody>{''.join(f'<tr>{line}</tr>' for line in lines)}</tbody></table>"


def timeline(report: Mapping[str, Any]) -> str:
    """Return the phases as bars over time."""
    begun = [each for each in report["phases"] if each["began"]]
    if not begun:
        return ""
    origin = datetime.fromisoformat(report["began"])

    def at(moment: str | None) -> float:
        return (datetime.fromisoformat(moment) - origin).total_seconds() if moment else 0.0

    total = max(1.0, *(at(each["ended"] or each["began"]) for each in begun))
    scale = (WIDTH - LEFT - RIGHT) / total
    height = HEAD + ROW * len(begun) + 6
    parts = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="Phases over time">']
    first, last = ({each["name"]: each for each in begun}.get(name) for name in report["clock"])
    if first and last and last["ended"]:
        start, stop = at(first["began"]), at(last["ended"])
        parts.append(
            f'<rect class="span" x="{LEFT + start * scale:.1f}" y="{HEAD}" width="{(stop - start) * scale:.1f}" '
            f'height="{ROW * len(begun)}"><title>Time to recover</title></rect>'
        )
    step = next((tick for tick in TICKS if total / tick <= 8), TICKS[-1])
    for number in range(int(total // step) + 1):
        x = LEFT + number * step * scale
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{HEAD - 4}" y2="{height}"/>')
        parts.append(
            f'<text x="{x:.1f}" y="14" text-anchor="middle">{escape(said(number * step).replace(".0 ", " "))}</text>'
        )
    for number, each in enumerate(begun):
        y, x = HEAD + ROW * number, LEFT + at(each["began"]) * scale
        width = max(2.0, ((at(each["ended"]) or total) - at(each["began"])) * scale)
        took = said(each["seconds"]) if each["seconds"] is not None else "not ended"
        parts.append(f'<text x="{LEFT - 8}" y="{y + 17}" text-anchor="end">{escape(shortened(each["name"]))}</text>')
        parts.append(
            f'<rect class="bar {escape(each["outcome"])}" x="{x:.1f}" y="{y + 5}" width="{width:.1f}" '
            f'height="{ROW - 10}" rx="2">'
            f"<title>{escape(each['name'])}: {escape(took)}</title></rect>"
        )
        parts.append(f'<text x="{x + width + 6:.1f}" y="{y + 17}">{escape(took)}</text>')
    return "".join([*parts, "</svg>"])


def shortened(name: str) -> str:
    """Return a name that fits beside the bars."""
    return name if len(name) <= 38 else f"{name[:37]}…"


def figures(report: Mapping[str, Any]) -> str:
    """Return the measures, large."""
    boxes = []
    for each in verdicts(report):
        against = f"objective {each['objective']}: " if each["objective"] else ""
        boxes.append(
            f'<div class="figure">{escape(each["label"])}<b>{escape(each["value"])}</b>'
            f'<span class="{escape(each["verdict"].split()[0])}">{escape(against + each["verdict"])}</span></div>'
        )
    return f'<div class="figures">{"".join(boxes)}</div>' if boxes else ""


def page(report: Mapping[str, Any], earlier: Iterable[Mapping[str, Any]] = ()) -> str:
    """Return the report as a page."""
    outcome = report["outcome"]
    span = f"{clock(report['began'])} to {clock(report['ended'])}, {report['id']}"
    parts = [
        f"<h1>{escape(title(report))}</h1>",
        f'<p class="small">{escape(span)}</p>',
        f'<p><span class="badge {escape(outcome)}">{escape({"running": "not ended"}.get(outcome, outcome))}</span></p>',
        figures(report),
    ]
    if report["error"]:
        parts.append(f"<h2>What went wrong</h2><pre>{escape(report['error'])}</pre>")
    if report["next"]:
        parts.append(f"<h2>What to type next</h2><pre>{escape(chr(10).join(report['next']))}</pre>")
    parts.append(f"<h2>Timeline</h2>{timeline(report)}")
    parts.append(f"<h2>Phases</h2>{rows(PHASE_HEAD, phase_rows(report))}")
    if found := verdicts(report):
        values = [(each["label"], each["value"], each["objective"], each["verdict"]) for each in found]
        parts.append(f"<h2>Measured</h2>{rows(MEASURES, values)}")
    if report["facts"]:
        parts.append(f"<h2>Facts</h2>{rows(('', ''), report['facts'].items())}")
    if report["notes"]:
        parts.append(f"<h2>Notes</h2><ul>{''.join(f'<li>{escape(text)}</li>' for text in report['notes'])}</ul>")
    for each in report["tables"]:
        parts.append(f"<h2>{escape(each['title'])}</h2>{rows(each['head'], each['rows'])}")
    if before := earlier_rows(earlier):
        parts.append(f"<h2>Earlier runs</h2>{rows(EARLIER, before)}")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title(report))}</title><style>{STYLE}</style></head>\n<body>{''.join(parts)}</body></html>\n"
    )
