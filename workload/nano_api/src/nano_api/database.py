"""PostgreSQL: a pool that follows the writable server, and retries of what is safe to repeat."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import asyncpg
from asyncpg.exceptions import TargetServerAttributeNotMatched as NotWritable
from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from .problems import FateUnknown, Problem, Unavailable
from .settings import Host, Settings
from .tls import client_context

T = TypeVar("T")
Work = Callable[[AsyncSession], Awaitable[T]]

log = logging.getLogger(__name__)

# https://www.postgresql.org/docs/current/errcodes-appendix.html
READ_ONLY = "25006"  # a primary that became a standby under our connection
GONE = frozenset({READ_ONLY, "57P01", "57P02", "57P03", "08000", "08003", "08006"})
CONFLICT = frozenset({"40001", "40P01"})  # serialization failure, deadlock: rolled back for certain


class Unreachable(OSError):
    """No server that takes writes could be connected to."""


class Database:
    """The pool and the two ways to use it: `read` and `write`."""

    def __init__(self, settings: Settings, pool_size: int | None = None) -> None:
        """Make the pool; nothing is connected yet. Raises OSError for TLS files that can't be read."""
        self._settings = settings
        self._hosts = list(settings.database_hosts)
        self._tls = client_context(
            settings.database_tls_ca, settings.database_tls_certificate, settings.database_tls_key
        )
        self.engine: AsyncEngine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self.connect,
            pool_size=pool_size or settings.database_pool_size,
            max_overflow=0,
            pool_recycle=settings.database_pool_recycle_seconds,
            pool_timeout=settings.database_pool_timeout_seconds,
            pool_pre_ping=True,
            hide_parameters=True,
        )
        event.listen(self.engine.sync_engine, "handle_error", _drop_connections)
        self._sessions = async_sessionmaker(self.engine, expire_on_commit=False)

    async def connect(self) -> Any:
        """Return a connection to the server that takes writes.

        asyncpg could go through the names itself, but its time limit is one for all of them: a server that doesn't
        answer at all, as a fenced one does, would use up the time of the next. So each gets its own, and the one that
        answered last goes first. Raises Unreachable.
        """
        reasons = []
        for host in list(self._hosts):
            try:
                connection = await self._connect(host)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, NotWritable) as error:
                if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
                    raise
                reasons.append(f"{host[0]}:{host[1]}: {error or type(error).__name__}")
                continue
            if self._hosts[0] != host:
                log.warning("database server changed", extra={"action": "database_moved", "server": host[0]})
                self._hosts.sort(key=lambda other: other != host)
            return connection
        raise Unreachable("; ".join(reasons))

    async def _connect(self, host: Host) -> Any:
        settings = self._settings
        statement = settings.database_statement_timeout_seconds
        return await asyncpg.connect(
            host=host[0],
            port=host[1],
            user=settings.database_user,
            password=settings.database_password.get_secret_value(),
            database=settings.database_name,
            ssl=self._tls or False,
            timeout=settings.database_connect_timeout_seconds,
            # A second more than the server's own limit: only a server that is cut off runs into it.
            command_timeout=statement + 1,
            target_session_attrs="read-write",
            server_settings={
                "application_name": "nano_api",
                "timezone": "UTC",
                "statement_timeout": str(int(statement * 1000)),
                "idle_in_transaction_session_timeout": "30000",
            },
        )

    async def read(self, work: Work[T]) -> T:
        """Run what only reads; it is repeated when the server goes away. Raises Unavailable after the time limit."""

        async def once() -> T:
            async with self._sessions() as session:
                return await _within(session, work)

        return await self._repeat(once)

    async def write(self, work: Work[T]) -> T:
        """Run one transaction.

        Until COMMIT is sent nothing has happened, so that the whole of it is repeated when the server goes away; `work`
        must do nothing outside the session. Raises FateUnknown when the server goes away during COMMIT, which is never
        repeated, and Unavailable after the time limit.
        """

        async def once() -> T:
            async with self._sessions() as session:
                result = await _within(session, work)
                await _within(session, AsyncSession.flush)
                try:
                    await session.commit()
                except (DBAPIError, OSError, TimeoutError) as error:
                    if _code(error) in CONFLICT | {READ_ONLY} or not _is_passing(error):
                        raise
                    await session.invalidate()
                    log.error("a commit's fate is unknown", extra={"action": "commit_lost"})
                    raise FateUnknown from error
                return result

        return await self._repeat(once)

    async def _repeat(self, once: Callable[[], Awaitable[T]]) -> T:
        deadline = time.monotonic() + self._settings.database_retry_seconds
        pause = 0.05
        while True:
            try:
                return await once()
            except Problem:
                raise
            except PoolTimeout as error:
                raise Problem(503, "busy", "too many requests at once; try again", {"Retry-After": "1"}) from error
            except (DBAPIError, OSError, TimeoutError) as error:
                if not _is_passing(error):
                    raise
                if time.monotonic() + pause > deadline:
                    log.error("database unavailable: %s", _reason(error), extra={"action": "database_unavailable"})
                    raise Unavailable("the database") from error
                log.warning("database retry: %s", _reason(error), extra={"action": "database_retry"})
            # Spread out, so that all who wait don't come back at the same moment.
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, 1.0)

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()


async def _within(session: AsyncSession, work: Work[T]) -> T:
    """Run work; a server that is silent past all limits has its connection dropped and not asked to roll back."""
    try:
        return await work(session)
    except TimeoutError:
        await session.invalidate()
        raise


def _drop_connections(context: ExceptionContext) -> None:
    """Have the pool renew all its connections after an error that says that the server isn't the one any more."""
    if getattr(context.original_exception, "sqlstate", None) in GONE:
        context.is_disconnect = True


def _code(error: BaseException) -> str | None:
    return getattr(getattr(error, "orig", None), "sqlstate", None)


def _is_passing(error: BaseException) -> bool:
    """Tell whether the same may succeed a moment later."""
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or _code(error) in GONE | CONFLICT
    return isinstance(error, OSError | TimeoutError)


def _reason(error: BaseException) -> str:
    """Return a short text without statements or parameters."""
    if isinstance(error, DBAPIError):
        return _code(error) or type(error.orig).__name__
    return str(error) or type(error).__name__
