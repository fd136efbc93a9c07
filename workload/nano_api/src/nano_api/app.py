"""The application: routes, and what lives as long as the process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import Depends, FastAPI
from nano_telemetry import Telemetry

from . import __version__, gauges, problems
from .cache import Cache
from .database import Database
from .http import Bounds
from .routes import chats, files, health, moderation, nanos, users
from .services import Services, log_ids
from .settings import Settings
from .storage import Storage


def make_services(settings: Settings, telemetry: Telemetry) -> Services:
    """Return what the routes work with; nothing is connected yet. Raises OSError for TLS files that can't be read."""
    impatient = settings.model_copy(update={"database_retry_seconds": 0.0})
    return Services(
        settings=settings,
        telemetry=telemetry,
        database=Database(settings),
        probe=Database(impatient, pool_size=1),
        cache=Cache(settings, telemetry.metrics.registry),
        storage=Storage(settings, telemetry.business.s3_upload_error),
    )


def make_app(settings: Settings, telemetry: Telemetry) -> FastAPI:
    """Return the application."""
    services = make_services(settings, telemetry)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        counting = asyncio.create_task(gauges.keep_counting(services))
        try:
            yield
        finally:
            counting.cancel()
            await asyncio.gather(counting, return_exceptions=True)
            await services.database.close()
            await services.probe.close()
            await services.cache.close()
            services.storage.close()
            telemetry.shutdown()

    app = FastAPI(title="nano_api", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.services = services
    problems.install(app)
    # users/me/nanos before users/{user_id}: the first match answers.
    for module in (nanos, users, files, chats, moderation, health):
        app.include_router(module.router, dependencies=[Depends(log_ids)])
    app.add_middleware(Bounds, request_max_bytes=settings.request_max_bytes, upload_max_bytes=settings.upload_max_bytes)
    telemetry.instrument(app)
    telemetry.instrument_sqlalchemy(services.database.engine)
    telemetry.instrument_redis()
    telemetry.instrument_botocore()
    return app
