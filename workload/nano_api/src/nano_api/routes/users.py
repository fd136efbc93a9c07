"""Users and their sessions."""

from __future__ import annotations

import uuid

from fastapi import APIRouter, Request, Response
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from ..http import public
from ..models import User
from ..problems import Problem, not_found
from ..schemas import Account, Credentials, Profile, ProfileChange, Registration, Session
from ..services import Caller, Needs, Token

router = APIRouter(prefix="/v1", tags=["users"])


@router.post("/users", status_code=201, response_model=Account)
async def register(new: Registration, needs: Needs) -> User:
    """Open an account."""
    hashed = await needs.passwords.hash(new.password)

    async def work(session: AsyncSession) -> User | None:
        row = insert(User).values(id=uuid.uuid4(), email=new.email, display_name=new.display_name, password_hash=hashed)
        added = await session.scalars(row.on_conflict_do_nothing(index_elements=["email"]).returning(User))
        return added.one_or_none()

    user = await needs.database.write(work)
    if user is None:
        raise Problem(409, "email-taken", "there is an account with this address")
    return user


@router.post("/sessions", status_code=201)
async def log_in(given: Credentials, needs: Needs) -> Session:
    """Log in. The answer takes as long, and says the same, whether or not there is such an account."""

    async def work(session: AsyncSession) -> User | None:
        return (await session.scalars(select(User).where(User.email == given.email))).one_or_none()

    user = await needs.database.read(work)
    if not await needs.passwords.matches(given.password, user.password_hash if user else None) or user is None:
        raise Problem(401, "wrong-credentials", "address or password is wrong", {"WWW-Authenticate": "Bearer"})
    token = await needs.cache.begin_session(user.id)
    return Session(token=token, expires_in=needs.settings.session_seconds, user_id=user.id)


@router.delete("/sessions", status_code=204)
async def log_out(token: Token, needs: Needs) -> Response:
    """Log out."""
    await needs.cache.end_session(token)
    return Response(status_code=204)


@router.get("/users/me", response_model=Account)
async def me(caller: Caller, needs: Needs) -> User:
    """Return the caller's own account."""

    async def work(session: AsyncSession) -> User | None:
        return await session.get(User, caller)

    user = await needs.database.read(work)
    if user is None:
        raise not_found("user")
    return user


@router.patch("/users/me", response_model=Account)
async def change_me(change: ProfileChange, caller: Caller, needs: Needs) -> User:
    """Change the caller's own account."""

    async def work(session: AsyncSession) -> User:
        user = await session.get(User, caller, with_for_update=True)
        if user is None:
            raise not_found("user")
        user.display_name = change.display_name
        return user

    user = await needs.database.write(work)
    await needs.cache.forget("profile", caller.hex)
    return user


@router.get("/users/{user_id}", response_model=Profile)
async def profile(user_id: uuid.UUID, request: Request, needs: Needs) -> Response:
    """Return what everyone may know of a user."""
    content = await needs.cache.read("profile", user_id.hex)
    if content is None:

        async def work(session: AsyncSession) -> User | None:
            return await session.get(User, user_id)

        user = await needs.database.read(work)
        if user is None:
            raise not_found("user")
        content = Profile.model_validate(user).model_dump_json().encode()
        await needs.cache.keep("profile", user_id.hex, content, needs.settings.profile_cache_seconds)
    return public(request, content, needs.settings.public_max_age_seconds)
