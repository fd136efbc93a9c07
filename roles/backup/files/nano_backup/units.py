"""Sizes, durations and moments as people and file names have them."""

from __future__ import annotations

import datetime

STAMP = "%Y%m%dT%H%M%SZ"


def size(count: float) -> str:
    """Return bytes as a text, such as 3.4 GiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def span(seconds: float) -> str:
    """Return a duration in seconds as a text, such as 12 s, 3 min 4 s, 2 h 5 min or 3 d 4 h."""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    for unit, below, step, finer in (("min", 3600, 60, "s"), ("h", 86400, 3600, "min")):
        if whole < 60:
            return f"{whole} s"
        if whole < below:
            rest = whole % step // (1 if finer == "s" else 60)
            return f"{whole // step} {unit}" + (f" {rest} {finer}" if rest else "")
    return f"{whole // 86400} d" + (f" {whole % 86400 // 3600} h" if whole % 86400 >= 3600 else "")


def stamp(moment: float) -> str:
    """Return seconds since 1970 as the name of a backup, in UTC."""
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).strftime(STAMP)


def moment(name: str) -> float:
    """Return the seconds since 1970 of a backup's name. Raises ValueError when it is none."""
    return datetime.datetime.strptime(name, STAMP).replace(tzinfo=datetime.UTC).timestamp()


def clock(seconds: float) -> str:
    """Return seconds since 1970 as a text, in UTC."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")
