"""The front door: everything that a service calls."""

from __future__ import annotations

import atexit
import logging
import sys
import threading
import time
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, TraceIdRatioBased

from nano_telemetry import clients, context
from nano_telemetry.business import Business
from nano_telemetry.metrics import ASGIApp, Metrics
from nano_telemetry.middleware import TelemetryMiddleware
from nano_telemetry.output import StdoutHandler, adopt_uvicorn, install
from nano_telemetry.server import MetricsServer
from nano_telemetry.settings import Settings
from nano_telemetry.spans import QueueProcessor

log = logging.getLogger("nano_telemetry")
_VERSION = "0.1.0"
_SWITCH_INTERVAL = 0.0002


class _Resource(Resource):
    """A resource that computes its hash once: the exporter asks for it per span, and the SDK's makes JSON each time."""

    def __init__(self, attributes: dict[str, str]) -> None:
        made = Resource.create(attributes)
        super().__init__(made.attributes, made.schema_url)
        self._hash_once = super().__hash__()

    def __hash__(self) -> int:
        return self._hash_once


class Telemetry:
    """Logs, metrics and traces of one process."""

    def __init__(self, settings: Settings) -> None:
        """Take over logging and start the threads that write and send; most callers want from_env."""
        self.settings = settings
        # Python's 5 ms (its default) is what the event loop would wait each time the threads below are at work.
        sys.setswitchinterval(min(sys.getswitchinterval(), _SWITCH_INTERVAL))
        self.metrics = Metrics()
        self.business = Business(self.metrics.registry)
        named = {"service": settings.service, "env": settings.env, "site": settings.site}
        self.handler = StdoutHandler(
            {key: value for key, value in named.items() if value}, settings.log_queue, self.metrics.lines_dropped.inc
        )
        install(self.handler, settings.log_level)
        self.processor: QueueProcessor | None = None
        self.provider = self._traces()
        self.server: MetricsServer | None = None
        self._stopped = False
        self._lock = threading.Lock()
        clients.quiet_elasticsearch()
        atexit.register(self.shutdown)

    @classmethod
    def from_env(cls) -> Telemetry:
        """Read the environment and start.

        Raises:
            SettingsError: a variable is wrong; the text names all that are.
        """
        return cls(Settings.from_env())

    def _traces(self) -> TracerProvider:
        settings = self.settings
        resource = {
            "service.name": settings.service,
            "service.version": settings.version,
            "deployment.environment.name": settings.env,
            "site": settings.site,
        }
        sampler = ParentBased(TraceIdRatioBased(settings.trace_ratio)) if settings.traces else ALWAYS_OFF
        provider = TracerProvider(
            resource=_Resource({key: value for key, value in resource.items() if value}),
            sampler=sampler,
            shutdown_on_exit=False,
        )
        if settings.traces:
            exporter = OTLPSpanExporter(endpoint=settings.traces_endpoint, timeout=settings.export_timeout)
            self.processor = QueueProcessor(exporter, settings.trace_queue, self.metrics)
            provider.add_span_processor(self.processor)
        propagate.set_global_textmap(context.PROPAGATOR)
        # The Elasticsearch client asks for the process's provider. There can be only one: the first stays.
        if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            trace.set_tracer_provider(provider)
        return provider

    def instrument(self, app: Any) -> None:
        """Observe every request of a FastAPI (or Starlette) application; call it before the first request.

        Raises:
            RuntimeError: the application already serves.
            OSError, ssl.SSLError: the metrics port can't be opened.
        """
        if getattr(app, "_nano_telemetry", None) is not None:
            return
        if app.middleware_stack is not None:
            raise RuntimeError("telemetry.instrument(app) comes too late: the application already serves requests")
        settings = self.settings
        build = app.build_middleware_stack
        tracer = self.provider.get_tracer("nano_telemetry", _VERSION)

        def wrapped() -> ASGIApp:
            return TelemetryMiddleware(
                build(),
                tracer=tracer,
                metrics=self.metrics,
                write=self.handler.put,
                quiet=settings.quiet_paths,
                debug=settings.log_level == "debug",
                metrics_path="" if settings.metrics_host else settings.metrics_path,
                on_end=self._stopping,
            )

        app.build_middleware_stack = wrapped
        app._nano_telemetry = self
        # FastAPI (seen in 0.165) makes a server span of its own as soon as the process has a tracer provider, with the
        # query string as people typed it. One span per request, and that one is ours.
        native = getattr(app, "_telemetry", None)
        if isinstance(native, dict):
            native.update(tracing=False, metrics=False, logs=False)
        adopt_uvicorn()
        if settings.metrics_host and self.server is None:
            self.server = MetricsServer(settings, self.metrics)
            where = self.server.server_address
            log.info("metrics are served on %s port %s", where[0], where[1], extra={"action": "telemetry.start"})

    def instrument_sqlalchemy(self, engine: Any) -> None:
        """Make a span of each statement of this engine (AsyncEngine or Engine), without its parameters."""
        clients.instrument_engine(engine, self.provider, self.settings.sql_comment)

    def instrument_redis(self) -> None:
        """Make a span of each Redis command, without its arguments."""
        clients.instrument("redis", "redis", "RedisInstrumentor", self.provider)

    def instrument_botocore(self) -> None:
        """Make a span of each S3 call through botocore, boto3 or, where it is installed, aiobotocore."""
        clients.instrument_s3(self.provider)

    def metrics_app(self) -> ASGIApp:
        """Return an ASGI application that serves the metrics, for a server of your own."""
        return self.metrics.app()

    def _stopping(self) -> None:
        self.flush()
        self.handler.closing = True

    def flush(self, seconds: float = 2.0) -> None:
        """Send and write what is queued, for at most these seconds; never raises."""
        end = time.monotonic() + seconds
        try:
            if self.processor is not None:
                self.processor.force_flush(int(seconds * 500))
            self.handler.flush_within(max(0.1, end - time.monotonic()))
        except Exception:
            log.exception("telemetry could not be flushed", extra={"action": "telemetry.flush"})

    def shutdown(self, seconds: float = 3.0) -> None:
        """Send and write what is queued, for at most these seconds, and stop; never raises, a second call is free."""
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
        end = time.monotonic() + seconds
        try:
            if self.processor is not None:
                self.processor.finish(seconds * 0.7)
            if self.server is not None:
                threading.Thread(target=self.server.shutdown, daemon=True).start()
                self.server.server_close()
        except Exception:
            log.exception("telemetry did not stop cleanly", extra={"action": "telemetry.stop"})
        self.handler.flush_within(max(0.1, end - time.monotonic()))
