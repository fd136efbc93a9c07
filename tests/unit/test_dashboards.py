"""What Grafana shows is what the sources say, and every query names what there is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lab import dashboards

BOARDS = {path.name: json.loads(path.read_text()) for path in dashboards.INTO.glob("*.json")}


def test_files_are_those_of_the_sources() -> None:
    assert dashboards.rendered() == {path.name: path.read_text() for path in dashboards.INTO.glob("*.json")}, (
        "python -m lab.dashboards writes them"
    )


@pytest.mark.parametrize("name", BOARDS)
def test_panels_say_what_they_show_and_where_from(name: str) -> None:
    panels: list[dict[str, Any]] = BOARDS[name]["panels"]
    assert len(panels) > 5
    for panel in panels:
        assert panel["title"] and panel["description"], panel["id"]
        assert panel["datasource"]["uid"] in {"prometheus", "loki", "jaeger"}, panel["title"]
        assert all(target["expr"] for target in panel["targets"]), panel["title"]
