"""Logs, metrics and traces of a FastAPI service in two lines."""

from nano_telemetry.business import Business
from nano_telemetry.context import log_context, outgoing_headers, request_id
from nano_telemetry.output import log_config
from nano_telemetry.settings import Settings, SettingsError
from nano_telemetry.telemetry import Telemetry

__all__ = [
    "Business",
    "Settings",
    "SettingsError",
    "Telemetry",
    "log_config",
    "log_context",
    "outgoing_headers",
    "request_id",
]
