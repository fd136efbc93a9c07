"""Spans of what the service calls: PostgreSQL, Redis and S3 by OpenTelemetry's own instrumentations."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import weakref
from typing import Any

from opentelemetry.metrics import NoOpMeter
from opentelemetry.sdk.trace import TracerProvider

from nano_telemetry.context import PROPAGATOR

log = logging.getLogger("nano_telemetry")
_MISSING = "no spans of %s: the package %s is not installed"
_engines: weakref.WeakSet[Any] = weakref.WeakSet()


def instrument(name: str, library: str, class_name: str, provider: TracerProvider, **options: Any) -> bool:
    """Switch one instrumentation on; tell whether it is. Never raises: a service without spans still serves.

    Args:
        name: module under opentelemetry.instrumentation.
        library: package that it instruments.
        class_name: the instrumentor's class.
        provider: where the spans go.
        options: passed on.
    """
    try:
        importlib.import_module(library)
        module = importlib.import_module(f"opentelemetry.instrumentation.{name}")
    except ImportError as error:
        log.warning(_MISSING, library, error.name, extra={"action": "telemetry.instrument"})
        return False
    try:
        instrumentor = getattr(module, class_name)()
        if not instrumentor.is_instrumented_by_opentelemetry:
            # The range of versions that the instrumentation declares trails the libraries by months; what it does
            # is tested here with the versions of requirements.txt.
            instrumentor.instrument(tracer_provider=provider, skip_dep_check=True, **options)
        return True
    except Exception:
        log.exception("no spans of %s", library, extra={"action": "telemetry.instrument"})
        return False


def instrument_engine(engine: Any, provider: TracerProvider, comment: bool = False) -> bool:
    """Make a span of each statement of one SQLAlchemy engine, asynchronous or not.

    Args:
        engine: AsyncEngine or Engine.
        provider: where the spans go.
        comment: append the trace context to each statement, as a comment that PostgreSQL's slow log repeats. Each
            statement is then a new text, so the driver prepares it anew.
    """
    try:
        from opentelemetry.instrumentation.sqlalchemy.engine import EngineTracer
    except ImportError as error:
        log.warning(_MISSING, "sqlalchemy", error.name, extra={"action": "telemetry.instrument"})
        return False
    target = getattr(engine, "sync_engine", engine)
    if target in _engines:
        return True
    try:
        # The listeners alone: the instrumentor's patch of Engine.connect adds a span each time a pooled connection is
        # taken, which says nothing, and its patch of create_engine would trace engines that nobody named.
        EngineTracer(  # type: ignore[no-untyped-call]
            provider.get_tracer("opentelemetry.instrumentation.sqlalchemy"),
            target,
            NoOpMeter("nano_telemetry").create_up_down_counter("db.client.connections.usage"),
            enable_commenter=comment,
            commenter_options={"db_driver": False, "db_framework": False, "opentelemetry_values": True},
        )
        _engines.add(target)
        return True
    except Exception:
        log.exception("no spans of sqlalchemy", extra={"action": "telemetry.instrument"})
        return False


def instrument_s3(provider: TracerProvider) -> bool:
    """Make a span of each call through botocore, and through aiobotocore where it is installed."""
    options = {"propagator": PROPAGATOR}
    done = instrument("botocore", "botocore", "BotocoreInstrumentor", provider, **options)
    if done and importlib.util.find_spec("aiobotocore") is not None:
        instrument("botocore", "aiobotocore", "AiobotocoreInstrumentor", provider, **options)
    return done


def quiet_elasticsearch() -> None:
    """Let the Elasticsearch client (8.13 and later makes its own spans) leave the search query out of them."""
    os.environ["OTEL_PYTHON_INSTRUMENTATION_ELASTICSEARCH_CAPTURE_SEARCH_QUERY"] = "omit"
