"""Is everything there that the service needs? Each line names what was tried, and what came of it."""

from __future__ import annotations

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from .problems import Problem
from .schema import Schema, revision_of
from .services import Services

Found = tuple[str, str | None]


async def check(services: Services) -> list[Found]:
    """Return what was tried, with the error where there is one."""
    settings = services.settings
    hosts = ", ".join(f"{name}:{port}" for name, port in settings.database_hosts)
    cache = None if await services.cache.reachable() else "no answer (the service runs without, but nobody can log in)"
    storage = None if await services.storage.reachable() else "the bucket does not answer, or not to these keys"
    return [
        (f"database {settings.database_name} on {hosts}", await _database(services)),
        (f"redis {settings.redis_host}:{settings.redis_port}", cache),
        (f"bucket {settings.s3_bucket} at {settings.s3_endpoint}", storage),
    ]


async def _database(services: Services) -> str | None:
    schema = Schema()

    async def work(session: AsyncSession) -> str | None:
        return await revision_of(session)

    try:
        await (await services.probe.connect()).close()
        revision = await services.probe.read(work)
    except Problem as error:
        return str(error.detail)
    except (OSError, SQLAlchemyError) as error:
        return f"no server takes writes: {error}"
    except Exception as error:  # asyncpg's own refusals: a wrong password, an unknown database
        return f"refused: {error}"
    if not schema.fits(revision):
        return f"tables are at {revision or 'nothing'}, not at {schema.head}: run `python -m nano_api migrate`"
    return None
