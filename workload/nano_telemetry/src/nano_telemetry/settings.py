"""What the environment decides, checked once at the start."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

LEVELS = ("debug", "info", "warning", "error", "critical")
QUIET_PATHS = "/health,/healthz,/health/live,/health/ready,/live,/livez,/ready,/readyz,/metrics"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,62}")


class SettingsError(ValueError):
    """One or more environment variables are wrong; the text names each of them and what it takes."""


@dataclass(frozen=True)
class Settings:
    """Settings of one process; every time is in seconds."""

    service: str = "nano_api"
    env: str = "production"
    site: str = ""
    version: str = ""
    log_level: str = "info"
    log_queue: int = 10_000
    quiet_paths: frozenset[str] = frozenset(QUIET_PATHS.split(","))
    traces: bool = True
    traces_endpoint: str = "http://127.0.0.1:4318/v1/traces"
    trace_ratio: float = 1.0
    export_timeout: float = 3.0
    trace_queue: int = 4096
    sql_comment: bool = False
    metrics_path: str = "/metrics"
    metrics_host: str = ""
    metrics_port: int = 0
    metrics_cert: str = ""
    metrics_key: str = ""
    metrics_ca: str = ""

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read and check the environment.

        Raises:
            SettingsError: with every wrong variable in one message.
        """
        return _Reader(os.environ if environ is None else environ).settings()


class _Reader:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.faults: list[str] = []

    def settings(self) -> Settings:
        host, port = self.listen("NANO_METRICS_LISTEN")
        read = Settings(
            service=self.name("NANO_SERVICE", self.text("OTEL_SERVICE_NAME") or "nano_api"),
            env=self.name("NANO_ENV", "production"),
            site=self.name("NANO_SITE", ""),
            version=self.text("NANO_VERSION"),
            log_level=self.choice("NANO_LOG_LEVEL", "info", LEVELS),
            log_queue=int(self.number("NANO_LOG_QUEUE", 10_000, 100, 1_000_000)),
            quiet_paths=frozenset(p for p in self.text("NANO_QUIET_PATHS", QUIET_PATHS).split(",") if p),
            traces=not self.flag("OTEL_SDK_DISABLED", False),
            traces_endpoint=self.endpoint(),
            trace_ratio=self.number("NANO_TRACE_RATIO", 1.0, 0.0, 1.0),
            export_timeout=self.number("NANO_EXPORT_TIMEOUT", 3.0, 0.1, 30.0),
            trace_queue=int(self.number("NANO_TRACE_QUEUE", 4096, 64, 1_000_000)),
            sql_comment=self.flag("NANO_SQL_TRACE_COMMENT", False),
            metrics_path=self.path("NANO_METRICS_PATH", "/metrics"),
            metrics_host=host,
            metrics_port=port,
            metrics_cert=self.file("NANO_METRICS_TLS_CERT"),
            metrics_key=self.file("NANO_METRICS_TLS_KEY"),
            metrics_ca=self.file("NANO_METRICS_TLS_CA"),
        )
        self.check_tls(read)
        if self.faults:
            raise SettingsError("nano_telemetry cannot start, the environment is wrong: " + "; ".join(self.faults))
        return read

    def text(self, key: str, default: str = "") -> str:
        value = self.environ.get(key, "").strip()
        return value or default

    def fault(self, key: str, needs: str) -> None:
        # The value is not repeated: a misplaced password would end in the journal.
        self.faults.append(f"{key} {needs}")

    def name(self, key: str, default: str) -> str:
        value = self.text(key, default)
        if value and not _NAME.fullmatch(value):
            self.fault(key, "must be a letter and at most 62 more letters, digits, '_', '.' or '-'")
        return value

    def choice(self, key: str, default: str, allowed: tuple[str, ...]) -> str:
        value = self.text(key, default).lower()
        if value not in allowed:
            self.fault(key, f"must be one of {', '.join(allowed)}")
        return value

    def flag(self, key: str, default: bool) -> bool:
        value = self.text(key, str(default)).lower()
        if value not in ("true", "false", "1", "0"):
            self.fault(key, "must be true or false")
        return value in ("true", "1")

    def number(self, key: str, default: float, low: float, high: float) -> float:
        try:
            value = float(self.text(key, str(default)))
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            self.fault(key, f"must be a number from {low:g} to {high:g}")
            return default
        return value

    def path(self, key: str, default: str) -> str:
        value = self.text(key, default)
        if not re.fullmatch(r"/[A-Za-z0-9/_.-]*", value):
            self.fault(key, "must be a path such as /metrics")
        return value

    def file(self, key: str) -> str:
        value = self.text(key)
        if value and not os.access(value, os.R_OK):
            self.fault(key, "must name a file that this process can read")
        return value

    def endpoint(self) -> str:
        key = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
        value = self.text(key)
        if not value:
            key = "OTEL_EXPORTER_OTLP_ENDPOINT"
            value = self.text(key, "http://127.0.0.1:4318").rstrip("/") + "/v1/traces"
        try:
            parts = urlsplit(value)
            fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            fine = False
        if not fine:
            self.fault(key, "must be an http or https address such as http://127.0.0.1:4318")
        elif parts.username or parts.password:
            self.fault(key, "must not carry a login; use OTEL_EXPORTER_OTLP_HEADERS")
        return value

    def listen(self, key: str) -> tuple[str, int]:
        value = self.text(key)
        if not value:
            return "", 0
        host, _, port = value.rpartition(":")
        try:
            address = ipaddress.ip_address(host.strip("[]"))
            number = int(port)
        except ValueError:
            number = -1
        if not 0 <= number <= 65535:
            self.fault(key, "must be an IP address and a port such as 127.0.0.1:9464")
            return "", 0
        return str(address), number

    def check_tls(self, read: Settings) -> None:
        tls = {
            "NANO_METRICS_TLS_CERT": read.metrics_cert,
            "NANO_METRICS_TLS_KEY": read.metrics_key,
            "NANO_METRICS_TLS_CA": read.metrics_ca,
        }
        missing = [key for key, value in tls.items() if not value and not self.environ.get(key)]
        if 0 < len(missing) < 3:
            self.fault(" and ".join(missing), "must be set too: certificate, key and CA go together")
        if len(missing) == 3 and read.metrics_host and not ipaddress.ip_address(read.metrics_host).is_loopback:
            self.fault(
                "NANO_METRICS_LISTEN", "is reachable from other hosts and needs NANO_METRICS_TLS_CERT, _KEY, _CA"
            )
        if len(missing) == 0 and not read.metrics_host:
            self.fault("NANO_METRICS_LISTEN", "must be set where NANO_METRICS_TLS_* are")
