from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from collector import Collector
from running import Service


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    running = Service(NANO_SERVICE="nano_test", NANO_SITE="site_a", NANO_ENV="test")
    yield running
    running.stop()


@pytest.fixture
def start() -> Iterator[Callable[..., Service]]:
    started: list[Service] = []

    def begin(**options: Any) -> Service:
        started.append(Service(**options))
        return started[-1]

    yield begin
    for each in started:
        each.process.kill()
        each.stop()


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    running = Collector()
    yield running
    running.shutdown()
    running.server_close()


@pytest.fixture(scope="module")
def traced(collector: Collector) -> Iterator[Service]:
    running = Service(OTEL_SDK_DISABLED="false", OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint, NANO_SITE="site_a")
    yield running
    running.stop()
