"""After all that the tests have done, the lab is as healthy as before."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import pytest

from tests.verify.lab import Lab
from tests.verify.test_sandbox import UNITS, members

pytestmark = pytest.mark.last


def test_all_targets_are_up_and_all_probes_succeed(lab: Lab, eventually: Callable[..., Any]) -> None:
    now = datetime.datetime.now(datetime.UTC)

    def healthy() -> bool:
        found = lab.targets_scraped_since(now)
        down = [(target["scrapeUrl"], target["lastError"]) for target in found if target["health"] != "up"]
        assert not down, down
        assert {target["labels"]["instance"] for target in found} == {*lab.names}
        unsuccessful = [item["metric"] for item in lab.promql("probe_success != 1")]
        assert not unsuccessful, unsuccessful
        return True

    eventually(healthy, 60, "not all targets are up")


def test_standby_streams_and_holds_what_the_primary_holds(lab: Lab, eventually: Callable[..., Any]) -> None:
    def level() -> bool:
        found = lab.admin(
            "db1", "SELECT state, replay_lsn >= pg_current_wal_lsn() - 1048576::numeric FROM pg_stat_replication"
        )
        return found == "streaming|t"

    eventually(level, 30, "the standby is not where the primary is")


def test_no_unit_has_failed(lab: Lab) -> None:
    for host in lab.names:
        units = [unit for unit in UNITS if host in members(lab, unit)]
        states = lab.host(host).run(f"systemctl is-active {' '.join(units)}").stdout.split()
        assert states == ["active"] * len(units), (host, dict(zip(units, states, strict=False)))
        assert lab.host(host).run("systemctl list-units --failed --no-legend --plain").stdout == "", host


def test_nothing_of_the_tests_is_left(lab: Lab) -> None:
    for host in lab.names:
        names = "-name 'nano[-_]verify*' -o -name '*.verify'"
        found = lab.host(host).run(f"find /etc /opt /var/lib/node_exporter {names}").stdout
        assert found == "", host
