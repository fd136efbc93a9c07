"""What watches may be away: the marketplace does not feel it, and no line is lost."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import traffic
from tests.verify.lab import Lab
from tests.verify.shop import Crowd, percentile
from tests.verify.test_collector import lines

pytestmark = pytest.mark.disturbs
Wait = Callable[[Callable[[], Any], float, str], Any]
# "Minutes" of an outage that a run of CI can afford.
LOKI_AWAY_S = 120
QUIET_S = 15


@pytest.fixture
def away(lab: Lab) -> Iterator[Callable[[str, str], None]]:
    """Stop a unit on a host; it is started again whatever happens."""
    stopped: list[tuple[str, str]] = []

    def stop(host: str, unit: str) -> None:
        stopped.append((host, unit))
        lab.host(host).run_expect([0], "systemctl stop %s", unit)

    yield stop
    for host, unit in stopped:
        lab.host(host).run_expect([0], "systemctl start %s", unit)


def test_loki_is_away_for_minutes_and_every_line_arrives(
    lab: Lab, away: Callable[[str, str], None], tmp_path: Path, eventually: Wait
) -> None:
    """Meanwhile the collector is killed: it goes on where it was. Lines that arrive twice are counted."""
    host, loki = traffic.entrance()[0], lab.group("loki")[0]
    crowd = Crowd(tmp_path, rate=10, seconds=LOKI_AWAY_S + 2 * QUIET_S, seed=2)
    away(loki, "loki.service")
    end = time.monotonic() + LOKI_AWAY_S
    time.sleep(LOKI_AWAY_S / 2)
    lab.host(host).run_expect([0], "systemctl kill --signal=KILL otel_collector.service")
    time.sleep(max(0.0, end - time.monotonic()))
    lab.host(loki).run_expect([0], "systemctl start loki.service")
    answers = crowd.end()
    assert [answer for answer in answers if answer["status"] >= 500] == []
    sent = {answer["request_id"] for answer in answers}
    mark = next(iter(sent)).rsplit("-", 1)[0]

    for service in ("nano_api", "nginx"):
        query = f'{{service_name="{service}", host="{host}"}} | request_id=~"{mark}-.*" | action!="log"'

        def seen(query: str = query) -> Counter[str]:
            return Counter(str(json.loads(line)["request_id"]) for _, line in lines(lab, query))

        eventually(lambda: sent <= set(seen()), 120, f"not every line of {service} has arrived")
        counts = seen()
        twice = sum(count > 1 for count in counts.values())
        print(f"{service}: {len(sent)} requests, all there, {twice} lines twice")
        # What was read since the position was last written down is read again after a kill, and no more often.
        assert max(counts.values()) <= 2, counts.most_common(3)


def test_jaeger_is_away_and_no_request_is_slower(lab: Lab, away: Callable[[str, str], None], tmp_path: Path) -> None:
    before = Crowd(tmp_path, rate=15, seconds=QUIET_S, seed=3).end()
    away(lab.group("jaeger")[0], "jaeger.service")
    during = Crowd(tmp_path, rate=15, seconds=QUIET_S, seed=4).end()
    assert [answer for answer in during if answer["status"] >= 500] == []
    quiet, loud = percentile(before, 0.99), percentile(during, 0.99)
    print(f"p99 {quiet * 1000:.0f} ms with Jaeger, {loud * 1000:.0f} ms without")
    # Two runs of some hundred requests on a machine that is shared: noise, and far below any timeout of an exporter.
    assert loud < max(3 * quiet, quiet + 0.25)


def test_all_that_watches_is_away_and_the_shop_stays_open(
    lab: Lab, away: Callable[[str, str], None], tmp_path: Path
) -> None:
    host = traffic.entrance()[0]
    for unit in ("loki", "jaeger", "prometheus"):
        away(lab.group(unit)[0], f"{unit}.service")
    away(host, "otel_collector.service")
    answers = Crowd(tmp_path, rate=15, seconds=5, seed=5).end()
    assert [answer for answer in answers if answer["status"] >= 500] == []
