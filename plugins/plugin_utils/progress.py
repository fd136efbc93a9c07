"""How long something still takes, judged by how it got on."""

from __future__ import annotations

import time
from collections.abc import Callable


def duration(seconds: float) -> str:
    """Return a duration as people say it: two units at most."""
    whole = max(0, round(seconds))
    for unit, size, below, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit} {rest} {below}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


class Pace:
    """Samples of a share that grows."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin without a sample."""
        self._clock = clock
        self._first: tuple[float, float] | None = None

    def left(self, percent: float) -> str:
        """Note a share in percent; return `, about 3 min left`, or nothing when that cannot be said yet."""
        now = self._clock()
        if self._first is None or percent < self._first[1]:
            self._first = (now, percent)
            return ""
        began, from_ = self._first
        if percent - from_ < 1 or percent >= 100:
            return ""
        return f", about {duration((100 - percent) * (now - began) / (percent - from_))} left"
