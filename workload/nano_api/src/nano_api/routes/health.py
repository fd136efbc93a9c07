"""Is the process alive, and should it get requests?"""

from __future__ import annotations

import asyncio
import logging

from fastapi import APIRouter, Response
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from ..problems import Problem
from ..schema import Schema, revision_of
from ..schemas import Readiness
from ..services import Needs, Services

router = APIRouter(prefix="/health", tags=["health"])
log = logging.getLogger(__name__)
SCHEMA = Schema()
# A balancer that asks waits no longer than this, in seconds.
PATIENCE_SECONDS = 3.0


@router.get("/live")
async def live() -> dict[str, str]:
    """Answer, which is all there is to it: a restart would mend nothing that lies outside the process."""
    return {"status": "alive"}


@router.get("/ready", response_model=Readiness, responses={503: {"model": Readiness}})
async def ready(needs: Needs, response: Response) -> Readiness:
    """Tell the truth: writable database with the tables of this code, and object store. Without Redis it is ready."""
    if needs.draining:
        response.status_code = 503
        return Readiness(status="draining", database="not asked", storage="not asked", cache="not asked")
    database, storage, cache = await asyncio.gather(
        _database(needs), needs.storage.reachable(), needs.cache.reachable()
    )
    good = database == "ok" and storage
    if not good or needs.draining:
        response.status_code = 503
    return Readiness(
        status="draining" if needs.draining else "ready" if good else "not ready",
        database=database,
        storage="ok" if storage else "unreachable",
        cache="ok" if cache else "degraded",
    )


async def _database(needs: Services) -> str:
    async def work(session: AsyncSession) -> tuple[bool, str | None]:
        standby = await session.scalar(
            text("SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::bool")
        )
        return bool(standby), await revision_of(session)

    try:
        standby, revision = await asyncio.wait_for(needs.probe.read(work), PATIENCE_SECONDS)
    except (TimeoutError, Problem, SQLAlchemyError, OSError):
        return "unreachable"
    if standby:
        return "read-only"
    if not SCHEMA.fits(revision):
        return f"tables are at {revision or 'nothing'}, not at {SCHEMA.head}: run nano_api migrate"
    return "ok"
