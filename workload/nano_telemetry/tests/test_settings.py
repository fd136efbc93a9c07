"""What the environment may say, and what is said about it when it is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nano_telemetry import Settings, SettingsError

HERE = Path(__file__).parent


def test_an_empty_environment_serves() -> None:
    settings = Settings.from_env({})
    assert settings.traces_endpoint == "http://127.0.0.1:4318/v1/traces"
    assert (settings.log_level, settings.metrics_path, settings.metrics_host) == ("info", "/metrics", "")


@pytest.mark.parametrize(
    ("environ", "field", "value"),
    [
        ({"NANO_SERVICE": "shop"}, "service", "shop"),
        ({"OTEL_SERVICE_NAME": "shop"}, "service", "shop"),
        ({"NANO_LOG_LEVEL": "WARNING"}, "log_level", "warning"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://[::1]:4318/"}, "traces_endpoint", "http://[::1]:4318/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://c/x"}, "traces_endpoint", "https://c/x"),
        ({"OTEL_SDK_DISABLED": "true"}, "traces", False),
        ({"NANO_TRACE_RATIO": "0.25"}, "trace_ratio", 0.25),
        ({"NANO_METRICS_LISTEN": "127.0.0.1:9464"}, "metrics_port", 9464),
        ({"NANO_METRICS_LISTEN": "[::1]:9464"}, "metrics_host", "::1"),
        ({"NANO_SQL_TRACE_COMMENT": "true"}, "sql_comment", True),
    ],
)
def test_a_variable_is_taken(environ: dict[str, str], field: str, value: object) -> None:
    assert getattr(Settings.from_env(environ), field) == value


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"NANO_LOG_LEVEL": "loud"}, "NANO_LOG_LEVEL must be one of debug, info"),
        ({"NANO_SERVICE": "two words"}, "NANO_SERVICE must be a letter"),
        ({"NANO_TRACE_RATIO": "2"}, "NANO_TRACE_RATIO must be a number from 0 to 1"),
        ({"NANO_TRACE_RATIO": "nan"}, "NANO_TRACE_RATIO"),
        ({"NANO_LOG_QUEUE": "many"}, "NANO_LOG_QUEUE must be a number"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT must be an http"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:port"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"OTEL_SDK_DISABLED": "perhaps"}, "OTEL_SDK_DISABLED must be true or false"),
        ({"NANO_METRICS_LISTEN": "9464"}, "NANO_METRICS_LISTEN must be an IP address and a port"),
        ({"NANO_METRICS_LISTEN": "10.0.0.1:9464"}, "needs NANO_METRICS_TLS_CERT"),
        ({"NANO_METRICS_LISTEN": "10.0.0.1:9464", "NANO_METRICS_TLS_CERT": __file__}, "NANO_METRICS_TLS_KEY and"),
        ({"NANO_METRICS_TLS_CERT": "/nowhere"}, "NANO_METRICS_TLS_CERT must name a file"),
    ],
)
def test_a_wrong_variable_is_named(environ: dict[str, str], says: str) -> None:
    with pytest.raises(SettingsError) as raised:
        Settings.from_env(environ)
    assert says in str(raised.value)


def test_all_that_is_wrong_is_told_at_once_without_the_values() -> None:
    with pytest.raises(SettingsError) as raised:
        Settings.from_env({"NANO_LOG_LEVEL": "hunter2", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://u:hunter2@h"})
    text = str(raised.value)
    assert "NANO_LOG_LEVEL" in text and "OTEL_EXPORTER_OTLP_ENDPOINT" in text and "hunter2" not in text


def test_the_service_does_not_start_with_a_wrong_variable() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import service"],
        cwd=HERE,
        env={**os.environ, "NANO_LOG_LEVEL": "loud"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert (
        done.stderr.strip()
        .splitlines()[-1]
        .endswith("NANO_LOG_LEVEL must be one of debug, info, warning, error, critical")
    )
