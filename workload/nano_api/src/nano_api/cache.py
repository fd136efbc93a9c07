"""Redis: sessions, and answers that may be a little old. Without it the service is slower, not broken."""

from __future__ import annotations

import hashlib
import logging
import secrets
import time
import uuid

from prometheus_client import CollectorRegistry, Counter
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from .problems import Unavailable
from .settings import Settings

log = logging.getLogger(__name__)

# After a failure the cache is left alone for so long: a server that is away costs one wait, and not one a request.
REST_SECONDS = 2.0


class Cache:
    """What is kept in Redis. Reads and writes of answers never raise; those of sessions raise Unavailable."""

    def __init__(self, settings: Settings, registry: CollectorRegistry) -> None:
        """Make the client; nothing is connected yet."""
        timeout = settings.redis_timeout_seconds
        password = settings.redis_password.get_secret_value() if settings.redis_password else None
        tls: dict[str, object] = {}
        if settings.redis_tls_ca:
            tls = {"ssl": True, "ssl_ca_certs": str(settings.redis_tls_ca), "ssl_check_hostname": True}
            if settings.redis_tls_certificate:
                tls["ssl_certfile"] = str(settings.redis_tls_certificate)
                tls["ssl_keyfile"] = str(settings.redis_tls_key)
        self.client: Redis = Redis(
            host=settings.redis_host,
            port=settings.redis_port,
            username=settings.redis_user,
            password=password,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            max_connections=100,
            # Once and at once: after a restart of Redis the connections that we keep are dead.
            retry=Retry(NoBackoff(), 1),
            **tls,  # type: ignore[arg-type]
        )
        self._settings = settings
        self._reads = Counter(
            "nano_cache_reads_total", "Reads of the cache by kind and result.", ["kind", "result"], registry=registry
        )
        self._errors = Counter(
            "nano_cache_errors_total", "Uses of Redis that failed.", ["operation"], registry=registry
        )
        for operation in ("read", "keep", "forget", "session"):
            self._errors.labels(operation)
        self._rest_until = 0.0

    async def read(self, kind: str, key: str) -> bytes | None:
        """Return an answer, or None where there is none or no Redis."""
        if time.monotonic() < self._rest_until:
            self._reads.labels(kind, "skipped").inc()
            return None
        try:
            value = await self.client.get(f"{kind}:{key}")
        except RedisError as error:
            self._failed("read", error)
            return None
        self._reads.labels(kind, "miss" if value is None else "hit").inc()
        return _bytes(value)

    async def keep(self, kind: str, key: str, value: bytes, seconds: int) -> None:
        """Keep an answer for some time; nothing happens where there is no Redis."""
        if time.monotonic() < self._rest_until:
            return
        try:
            await self.client.set(f"{kind}:{key}", value, ex=seconds)
        except RedisError as error:
            self._failed("keep", error)

    async def forget(self, kind: str, key: str) -> None:
        """Drop an answer. Where there is no Redis, what it holds may come back old, for its life at most."""
        try:
            await self.client.delete(f"{kind}:{key}")
        except RedisError as error:
            self._failed("forget", error)

    async def generation(self) -> str:
        """Return the number of the catalogue's state, which is part of every search's key."""
        return (await self.read("catalogue", "generation") or b"0").decode()

    async def next_generation(self) -> None:
        """Make every kept search result unreachable, because the catalogue changed."""
        try:
            await self.client.incr("catalogue:generation")
        except RedisError as error:
            self._failed("forget", error)

    async def begin_session(self, user_id: uuid.UUID) -> str:
        """Return a new session's token. Redis holds its hash only. Raises Unavailable."""
        token = secrets.token_urlsafe(32)
        try:
            await self.client.set(_session(token), user_id.hex, ex=self._settings.session_seconds)
        except RedisError as error:
            raise self._lost(error) from error
        return token

    async def session(self, token: str) -> uuid.UUID | None:
        """Return the user of a session and begin its time anew. Raises Unavailable."""
        try:
            value = await self.client.getex(_session(token), ex=self._settings.session_seconds)
        except RedisError as error:
            raise self._lost(error) from error
        known = _bytes(value)
        return uuid.UUID(known.decode()) if known else None

    async def end_session(self, token: str) -> None:
        """End a session. Raises Unavailable: a session that lives on must not look ended."""
        try:
            await self.client.delete(_session(token))
        except RedisError as error:
            raise self._lost(error) from error

    async def reachable(self) -> bool:
        """Tell whether Redis answers."""
        try:
            return bool(await self.client.ping())
        except RedisError:
            return False

    async def close(self) -> None:
        """Close every connection."""
        await self.client.aclose()

    def _lost(self, error: RedisError) -> Unavailable:
        self._failed("session", error)
        return Unavailable("the sessions")

    def _failed(self, operation: str, error: RedisError) -> None:
        self._errors.labels(operation).inc()
        now = time.monotonic()
        if now >= self._rest_until:
            log.warning("cache unavailable: %s", type(error).__name__, extra={"action": "cache_unavailable"})
        self._rest_until = now + REST_SECONDS


def _session(token: str) -> str:
    return "session:" + hashlib.sha256(token.encode()).hexdigest()


def _bytes(value: bytes | str | None) -> bytes | None:
    """Return an answer of Redis; the client's types say that it may have been decoded, which is not asked for."""
    return value.encode() if isinstance(value, str) else value
