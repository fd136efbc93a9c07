"""Nanos: from a draft to what everyone finds."""

from __future__ import annotations

import hashlib
import uuid
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Select, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from ..http import public
from ..models import Nano, Rating
from ..paging import after, cursor
from ..problems import Problem, not_found
from ..schemas import Category, NanoChange, NanoDraft, NanoPage, NanoView, RatingView, Stars
from ..services import Caller, Needs, may_see

router = APIRouter(prefix="/v1", tags=["nanos"])

Order = Literal["newest", "price", "rating"]
# Column and direction of each order; each has an index of its own.
ORDERS: dict[Order, tuple[InstrumentedAttribute[object], bool]] = {
    "newest": (Nano.published_at, True),
    "price": (Nano.price_cents, False),
    "rating": (Nano.rating, True),
}
# States in which a seller may still change a nano.
EDITABLE = ("draft", "rejected")


class Search(BaseModel):
    """What to look for among published nanos."""

    model_config = ConfigDict(extra="forbid")

    q: str = Field("", max_length=100, pattern=r"^[^\x00]*$", description="Words in title or description, all of them.")
    category: Category | None = None
    min_price_cents: int | None = Field(None, ge=0, le=2**31 - 1)
    max_price_cents: int | None = Field(None, ge=0, le=2**31 - 1)
    min_rating: float | None = Field(None, ge=0, le=5)
    order: Order = "newest"
    limit: int = Field(20, ge=1, le=100)
    cursor: str | None = Field(None, max_length=200, description="`next` of the page before.")


def statement(search: Search) -> Select[tuple[Nano]]:
    """Return the query of a page, with one row more that tells whether there is another."""
    column, descending = ORDERS[search.order]
    query = select(Nano).where(Nano.status == literal_column("'published'"))
    if words := search.q.strip():
        query = query.where(Nano.words.op("@@")(func.plainto_tsquery(literal_column("'simple'::regconfig"), words)))
    if search.category is not None:
        query = query.where(Nano.category == search.category)
    if search.min_price_cents is not None:
        query = query.where(Nano.price_cents >= search.min_price_cents)
    if search.max_price_cents is not None:
        query = query.where(Nano.price_cents <= search.max_price_cents)
    if search.min_rating is not None:
        query = query.where(Nano.rating >= search.min_rating)
    query = after(query, search.cursor, search.order, column, Nano.id, descending=descending)
    return query.limit(search.limit + 1)


@router.get("/nanos", response_model=NanoPage)
async def search(search: Annotated[Search, Query()], request: Request, needs: Needs) -> Response:
    """Find published nanos."""
    generation = await needs.cache.generation()
    key = hashlib.sha256(f"{generation} {search.model_dump_json()}".encode()).hexdigest()
    content = await needs.cache.read("search", key)
    if content is None:

        async def work(session: AsyncSession) -> list[Nano]:
            return list(await session.scalars(statement(search)))

        rows = await needs.database.read(work)
        page, more = rows[: search.limit], len(rows) > search.limit
        column = ORDERS[search.order][0].key
        last = cursor(search.order, getattr(page[-1], column), page[-1].id) if more else None
        content = NanoPage(items=[NanoView.model_validate(row) for row in page], next=last).model_dump_json().encode()
        await needs.cache.keep("search", key, content, needs.settings.search_cache_seconds)
    return public(request, content, needs.settings.public_max_age_seconds)


@router.post("/nanos", status_code=201, response_model=NanoView)
async def create(draft: NanoDraft, caller: Caller, needs: Needs) -> Nano:
    """Begin a nano, as a draft that only its seller sees."""

    async def work(session: AsyncSession) -> Nano:
        nano = Nano(id=uuid.uuid4(), seller_id=caller, **draft.model_dump())
        session.add(nano)
        await session.flush()
        await session.refresh(nano)
        return nano

    nano = await needs.database.write(work)
    needs.telemetry.business.nano_created()
    return nano


@router.get("/users/me/nanos", response_model=NanoPage)
async def mine(
    caller: Caller,
    needs: Needs,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    given: Annotated[str | None, Query(alias="cursor", max_length=200)] = None,
) -> NanoPage:
    """Return the caller's own nanos, newest first."""
    query = select(Nano).where(Nano.seller_id == caller)
    query = after(query, given, "mine", Nano.created_at, Nano.id, descending=True).limit(limit + 1)

    async def work(session: AsyncSession) -> list[Nano]:
        return list(await session.scalars(query))

    rows = await needs.database.read(work)
    page = rows[:limit]
    last = cursor("mine", page[-1].created_at, page[-1].id) if len(rows) > limit else None
    return NanoPage(items=[NanoView.model_validate(row) for row in page], next=last)


@router.get("/nanos/{nano_id}", response_model=NanoView)
async def one(nano_id: uuid.UUID, request: Request, needs: Needs) -> Response:
    """Return a nano; one that isn't published only to its seller and to moderators."""

    async def work(session: AsyncSession) -> Nano | None:
        return await session.get(Nano, nano_id)

    nano = await needs.database.read(work)
    if nano is None or (nano.status != "published" and not await may_see(request, needs, nano)):
        raise not_found("nano")
    content = NanoView.model_validate(nano).model_dump_json().encode()
    if nano.status == "published":
        return public(request, content, needs.settings.public_max_age_seconds)
    return Response(content, media_type="application/json")


@router.patch("/nanos/{nano_id}", response_model=NanoView)
async def change(nano_id: uuid.UUID, change: NanoChange, caller: Caller, needs: Needs) -> Nano:
    """Change a draft, or a nano that was rejected."""

    async def work(session: AsyncSession) -> Nano:
        nano = await own(session, nano_id, caller)
        for name, value in change.model_dump(exclude_none=True).items():
            setattr(nano, name, value)
        await session.flush()
        await session.refresh(nano)
        return nano

    return await needs.database.write(work)


async def own(session: AsyncSession, nano_id: uuid.UUID, caller: uuid.UUID) -> Nano:
    """Return the caller's own nano, locked. Raises Problem when it's another's, or what moderators saw would change."""
    nano = await session.get(Nano, nano_id, with_for_update=True)
    if nano is None or nano.seller_id != caller:
        raise not_found("nano")
    if nano.status not in EDITABLE:
        raise Problem(409, "not-editable", f"a nano that is {nano.status} cannot be changed")
    return nano


@router.put("/nanos/{nano_id}/rating")
async def rate(nano_id: uuid.UUID, given: Stars, caller: Caller, needs: Needs) -> RatingView:
    """Rate a nano; again replaces the caller's earlier rating."""

    async def work(session: AsyncSession) -> RatingView:
        nano = await session.get(Nano, nano_id, with_for_update=True)
        if nano is None or nano.status != "published":
            raise not_found("nano")
        if nano.seller_id == caller:
            raise Problem(403, "own-nano", "sellers do not rate what they sell")
        rating = await session.get(Rating, (nano_id, caller))
        if rating is None:
            session.add(Rating(nano_id=nano_id, user_id=caller, stars=given.stars))
            nano.rating_count += 1
            nano.rating_sum += given.stars
        else:
            nano.rating_sum += given.stars - rating.stars
            rating.stars = given.stars
        await session.flush()
        await session.refresh(nano)
        return RatingView(rating=nano.rating, rating_count=nano.rating_count)

    return await needs.database.write(work)
