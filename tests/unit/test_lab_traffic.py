"""`make traffic` and `make follow` find the lab, and say so when there is none."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from lab import follow, traffic
from lab.common import LabError

ROOT = Path(__file__).resolve().parents[2]


def tree(**nano_api: Any) -> dict[str, Any]:
    """Return an inventory of two sites with nginx on all hosts."""
    return {
        "site_a": {"hosts": {"app1": {"ansible_host": "192.0.2.1"}}},
        "site_b": {"hosts": {"app2": {"ansible_host": "192.0.2.2"}}},
        "nginx": {"hosts": {"app1": None, "app2": None}},
        "nano_api": {"hosts": nano_api},
    }


@pytest.mark.parametrize(
    ("hosts", "entrance"),
    [
        ({"app1": None, "app2": {"nano_api_role": "cold"}}, ("app1", "192.0.2.1")),
        ({"app1": {"nano_api_role": "cold"}, "app2": None}, ("app2", "192.0.2.2")),
    ],
)
def test_customers_come_in_where_somebody_serves(
    monkeypatch: pytest.MonkeyPatch, hosts: dict[str, Any], entrance: tuple[str, str]
) -> None:
    monkeypatch.setattr(traffic.hosts, "inventory", lambda: tree(**hosts))
    assert traffic.entrance() == entrance


def test_nobody_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic.hosts, "inventory", lambda: tree(app1={"nano_api_role": "cold"}))
    with pytest.raises(LabError, match="no host of the lab"):
        traffic.entrance()


def test_lab_that_is_not_up_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(traffic.hosts, "STATE", tmp_path)
    with pytest.raises(LabError, match="the lab is not up: make up"):
        traffic.traffic(1, 1, 1)


def test_result_is_found_among_what_other_callbacks_print() -> None:
    told = '{\n "plays": [{"tasks": [{"hosts": {"ops1": {"tree": "Request x"}}}]}]\n}\nROLES RECAP ***'
    assert follow.outcome(f"some warning\n{told}")["tree"] == "Request x"
    with pytest.raises(LabError, match="no vault password"):
        follow.outcome("[ERROR]: no vault password")


def test_make_follow_asks_which_one() -> None:
    done = subprocess.run(["make", "follow"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "make follow ID=" in done.stdout
