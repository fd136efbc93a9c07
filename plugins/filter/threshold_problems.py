"""What is wrong with the thresholds of alerts, by their names alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DOCUMENTATION = r"""
name: threshold_problems
short_description: What is wrong with the thresholds of alerts
version_added: 0.1.0
author: nano.ops contributors
description:
  - A threshold is called C(prometheus_alert_<subject>_<figure>_<severity>_<unit>). It is more than 0, in percent of a
    whole at most 100, and a critical one is worse than the warning of the same figure. Worse is more, or less where the
    figure is what is free or left (C(_free), C(_left)).
positional: _input
options:
  _input:
    description: Dict of name to value; what is not called like a threshold is left out.
    type: dict
    required: true
"""

EXAMPLES = r"""
# {{ {'prometheus_alert_disk_free_warning_percent': 120} | nano.ops.threshold_problems }}
"""

RETURN = r"""
_value:
  description: A sentence for each.
  type: list
  elements: str
"""

SEVERITIES = ("info", "warning", "critical")
UNITS = ("seconds", "minutes", "hours", "days", "percent", "bytes", "count", "files", "times")


def parts(name: str) -> tuple[str, str, str] | None:
    """Return figure, severity and unit of a threshold's name; None for another name."""
    words = name.split("_")
    if not name.startswith("prometheus_alert_") or len(words) < 6 or words[-2] not in SEVERITIES:
        return None
    return "_".join(words[:-2]), words[-2], words[-1]


def number(value: Any) -> float | None:
    """Return a value as a number, None if it is none; the check of types tells of that."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def threshold_problems(variables: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each thing that is wrong."""
    values = {name: number(value) for name, value in sorted(variables.items()) if parts(name)}
    found = []
    for name, value in values.items():
        figure, severity, unit = parts(name) or ("", "", "")
        if value is None:
            continue
        if value <= 0:
            found.append(f"{name} is {value:g}, but has to be more than 0.")
        elif unit == "percent" and value > 100:
            found.append(f"{name} is {value:g}, but there are no more than 100 percent.")
        milder = f"{figure}_warning_{unit}"
        other = values.get(milder)
        if severity != "critical" or other is None:
            continue
        falling = figure.endswith(("_free", "_left"))
        if value >= other if falling else value <= other:
            side = "less" if falling else "more"
            found.append(f"{name} is {value:g}, but has to be {side} than {milder}, which is {other:g}.")
    return found


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return name to function."""
        return {"threshold_problems": threshold_problems}
