"""What the routes work with, and who is asking."""

from __future__ import annotations

import datetime as dt
import logging
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from nano_telemetry import Telemetry, log_context
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from .cache import Cache
from .database import Database
from .models import Nano, User, UserActivity
from .passwords import Passwords
from .problems import Problem
from .settings import Settings
from .storage import Storage

log = logging.getLogger(__name__)

# How often a user's activity is written at most, in seconds.
ACTIVE_SECONDS = 600.0
# Ids of a path whose name in the logs is another: user_id is who asks.
IDS = {"user_id": "profile_id", "item_id": "moderation_item_id"}


@dataclass
class Services:
    """Everything that lives as long as the process. `probe` is a connection that a full pool can't take away."""

    settings: Settings
    telemetry: Telemetry
    database: Database
    probe: Database
    cache: Cache
    storage: Storage
    passwords: Passwords = field(default_factory=Passwords)
    draining: bool = False
    # Users that were noted as active since a time (monotonic), so that each is written once in a while only.
    active: set[uuid.UUID] = field(default_factory=set)
    active_since: float = 0.0


def services_of(request: Request) -> Services:
    """Return the services of the application that serves the request."""
    services: Services = request.app.state.services
    return services


Needs = Annotated[Services, Depends(services_of)]
_bearer = HTTPBearer(auto_error=False, description="The token of POST /v1/sessions.")


def _token(given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> str:
    if given is None or not given.credentials:
        raise _unauthorized("log in first: POST /v1/sessions")
    return given.credentials


Token = Annotated[str, Depends(_token)]


async def _user_of(token: str, needs: Services) -> uuid.UUID:
    """Return the user of a session. Raises Problem 401 for one that is over."""
    user_id = await needs.cache.session(token)
    if user_id is None:
        raise _unauthorized("the session is over: log in again")
    await _note_active(needs, user_id)
    return user_id


async def _caller(token: Token, needs: Needs) -> AsyncIterator[uuid.UUID]:
    user_id = await _user_of(token, needs)
    with log_context(user_id=str(user_id)):
        yield user_id


Caller = Annotated[uuid.UUID, Depends(_caller)]


async def _moderator(caller: Caller, needs: Needs) -> uuid.UUID:
    async def look(session: AsyncSession) -> User | None:
        return await session.get(User, caller)

    user = await needs.database.read(look)
    if user is None or not user.moderator:
        raise Problem(403, "not-a-moderator", "this is for moderators")
    return caller


Moderator = Annotated[uuid.UUID, Depends(_moderator)]


def now() -> dt.datetime:
    """Return the time, in UTC."""
    return dt.datetime.now(dt.UTC)


def _unauthorized(detail: str) -> Problem:
    return Problem(401, "unauthorized", detail, {"WWW-Authenticate": "Bearer"})


async def _note_active(needs: Services, user_id: uuid.UUID) -> None:
    """Note that a user is here. It is but a figure: the request goes on without it."""
    if time.monotonic() - needs.active_since > ACTIVE_SECONDS:
        needs.active_since = time.monotonic()
        needs.active = set()
    if user_id in needs.active:
        return

    async def note(session: AsyncSession) -> None:
        row = insert(UserActivity).values(user_id=user_id, seen_at=now())
        change = row.on_conflict_do_update(index_elements=["user_id"], set_={"seen_at": row.excluded.seen_at})
        await session.execute(change)

    try:
        await needs.database.write(note)
    except Problem:
        log.warning("activity not noted", extra={"action": "activity_failed"})
        return
    needs.active.add(user_id)


async def log_ids(request: Request) -> AsyncIterator[None]:
    """Put the ids of the path and the name of what is done into every log line of the request."""
    ids = {IDS.get(name, name): value for name, value in request.path_params.items()}
    route = request.scope["route"]
    with log_context(action=f"{route.tags[0]}.{route.name}", **ids):
        yield


async def may_see(request: Request, needs: Services, nano: Nano) -> bool:
    """Tell whether who asks, if they say so, is the nano's seller or a moderator."""
    given = await _bearer(request)
    if given is None:
        return False
    caller = await _user_of(given.credentials, needs)
    if caller == nano.seller_id:
        return True

    async def look(session: AsyncSession) -> User | None:
        return await session.get(User, caller)

    user = await needs.database.read(look)
    return user is not None and user.moderator
