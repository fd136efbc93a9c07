"""The business figures that are states and not events, counted in the database from time to time."""

from __future__ import annotations

import asyncio
import logging

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from .problems import Problem
from .services import Services

log = logging.getLogger(__name__)

# Each has an index of its own.
QUEUE = text(
    "SELECT count(*), coalesce(extract(epoch FROM now() - min(submitted_at)), 0)::float8"
    " FROM moderation_items WHERE status = 'pending'"
)
ACTIVE = text("SELECT count(*) FROM user_activity WHERE seen_at > now() - interval '24 hours'")


async def count(services: Services) -> None:
    """Count once. Raises what the database raises."""

    async def work(session: AsyncSession) -> tuple[int, float, int]:
        size, oldest = (await session.execute(QUEUE)).one()
        return size, oldest, (await session.execute(ACTIVE)).scalar_one()

    size, oldest, active = await services.probe.read(work)
    services.telemetry.business.moderation_queue(size, oldest)
    services.telemetry.business.active_users(active)


async def keep_counting(services: Services) -> None:
    """Count until cancelled. A failed count leaves the figures as they were; the next one comes."""
    while True:
        try:
            await count(services)
        except (Problem, SQLAlchemyError, OSError, TimeoutError) as error:
            log.warning("gauges not counted: %s", type(error).__name__, extra={"action": "gauges_failed"})
        await asyncio.sleep(services.settings.gauges_interval_seconds)
