"""Every panel of the dashboards has something to show on a platform with traffic; Grafana is not needed for that."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Callable
from typing import Any

import pytest

from tests.verify.controller import ROOT
from tests.verify.lab import CURL, Lab
from tests.verify.shop import Crowd

BOARDS = [json.loads(path.read_text()) for path in (ROOT / "roles/grafana/files/dashboards").glob("*.json")]
QUERIES = {
    f"{panel['title']}, {number}": (panel["datasource"]["uid"], target["expr"])
    for board in BOARDS
    for panel in board["panels"]
    for number, target in enumerate(panel["targets"])
}
# What Grafana puts into a query.
FILLED = {"$__rate_interval": "1m", "$__auto": "5m"}
# A good platform has no errors to show.
MAY_BE_EMPTY = {"Errors by route, 0", "Errors, 0"}


@pytest.fixture(scope="module")
def busy(lab: Lab, tmp_path_factory: pytest.TempPathFactory, eventually: Callable[..., Any]) -> None:
    """A marketplace that has been busy for three scrapes."""
    Crowd(tmp_path_factory.mktemp("crowd"), rate=5, seconds=35, seed=7).end()


@pytest.mark.usefixtures("busy")
@pytest.mark.parametrize("panel", QUERIES)
def test_panel_has_something_to_show(lab: Lab, panel: str) -> None:
    source, expression = QUERIES[panel]
    for name, value in FILLED.items():
        expression = expression.replace(name, value)
    if source == "prometheus":
        found: list[Any] = lab.promql(expression)
    else:
        loki = lab.group("loki")[0]
        words = urllib.parse.urlencode({"query": expression, "since": "10m"})
        done = lab.host(loki).run(f"{CURL} --fail-with-body %s", f"https://{loki}:3100/loki/api/v1/query_range?{words}")
        assert done.rc == 0, done.stdout
        found = json.loads(done.stdout)["data"]["result"]
    assert found or panel in MAY_BE_EMPTY, expression
