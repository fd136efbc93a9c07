"""Whatever callers ask for, what is kept about it stays small: 10,000 addresses make no 10,000 series."""

from __future__ import annotations

import concurrent.futures
import secrets
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import requests

from tests.verify import shop
from tests.verify.lab import CURL, Lab

pytestmark = pytest.mark.disturbs
ADDRESSES, THREADS = 10_000, 8
# Less than nginx lets through from one address (inventories/lab/group_vars/nginx.yml): all reach the application.
PER_SECOND = 280
# A few new routes and statuses in all, whatever is asked.
FEW = 60
SERIES = {
    "of requests": "count(http_requests_total)",
    "of spans": "count(traces_span_metrics_calls_total)",
}


def streams(lab: Lab) -> int:
    """Return how many streams Loki has had in the last hour."""
    loki = lab.group("loki")[0]
    command = f"{CURL} --get https://{loki}:3100/loki/api/v1/series --data-urlencode %s --data-urlencode since=1h"
    found: list[Any] = requests.compat.json.loads(  # type: ignore[attr-defined]
        lab.host(loki).check_output(command, 'match[]={service_name=~".+"}')
    )["data"]
    return len(found)


def figures(lab: Lab) -> dict[str, float]:
    """Return how much is kept, of each kind."""
    counts = {name: sum(series["value"] for series in lab.promql(query)) for name, query in SERIES.items()}
    return {**counts, "of lines": float(streams(lab))}


def ask_all(paths: list[str]) -> dict[int, int]:
    """Ask for many addresses, no faster than nginx lets through; return status to count."""
    local, begin = threading.local(), time.monotonic()

    def ask(entry: tuple[int, str]) -> int:
        number, path = entry
        time.sleep(max(0.0, begin + number / PER_SECOND - time.monotonic()))
        if not hasattr(local, "session"):
            local.session = requests.Session()
        return int(local.session.get(f"{shop.url()}{path}", verify=shop.CA, timeout=30).status_code)

    counts: dict[int, int] = {}
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        for status in pool.map(ask, enumerate(paths)):
            counts[status] = counts.get(status, 0) + 1
    return counts


def test_ten_thousand_addresses_make_few_series_and_streams(lab: Lab, eventually: Callable[..., Any]) -> None:
    shop.join()
    before = figures(lab)
    served = sum(series["value"] for series in lab.promql("sum(http_requests_total)"))
    # Known routes with parts that vary, and routes that nobody has.
    paths = [
        f"/v1/nanos/{uuid.uuid4()}" if number % 2 else f"/{secrets.token_hex(6)}/{number}"
        for number in range(ADDRESSES)
    ]
    counts = ask_all(paths)
    assert sum(counts.values()) == ADDRESSES and counts.get(404, 0) > ADDRESSES * 0.9, counts

    def counted() -> bool:
        return sum(series["value"] for series in lab.promql("sum(http_requests_total)")) >= served + counts[404]

    eventually(counted, 60, "the requests are not counted in Prometheus")
    after = figures(lab)
    grown = {name: after[name] - before[name] for name in before}
    print(f"grown by {grown}, in all {after}")
    assert all(grown[name] <= FEW for name in grown), f"{before} before, {after} after"
