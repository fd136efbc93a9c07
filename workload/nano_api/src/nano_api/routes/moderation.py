"""The queue between a draft and what everyone finds."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ..models import Decision, ModerationItem, Nano
from ..problems import Problem, not_found
from ..schemas import ModerationView, Reason
from ..services import Caller, Moderator, Needs, Services, now
from .nanos import EDITABLE

router = APIRouter(prefix="/v1", tags=["moderation"])


@router.post("/nanos/{nano_id}/publish", status_code=202, response_model=ModerationView)
async def submit(nano_id: uuid.UUID, caller: Caller, needs: Needs) -> ModerationItem:
    """Hand a nano to the moderators; it is published when they approve. Again while it waits changes nothing."""

    async def work(session: AsyncSession) -> ModerationItem:
        nano = await session.get(Nano, nano_id, with_for_update=True)
        if nano is None or nano.seller_id != caller:
            raise not_found("nano")
        if nano.status == "pending":
            waiting = select(ModerationItem).where(
                ModerationItem.nano_id == nano_id, ModerationItem.status == "pending"
            )
            return (await session.scalars(waiting)).one()
        if nano.status not in EDITABLE:
            raise Problem(409, "already-published", "this nano is published")
        if nano.file_key is None:
            raise Problem(409, "no-file", "a nano needs its file first: PUT /v1/nanos/{nano_id}/file")
        nano.status = "pending"
        item = ModerationItem(id=uuid.uuid4(), nano_id=nano_id)
        session.add(item)
        await session.flush()
        await session.refresh(item)
        return item

    return await needs.database.write(work)


@router.get("/moderation/items", response_model=list[ModerationView])
async def queue(
    caller: Moderator, needs: Needs, status: Decision = "pending", limit: Annotated[int, Query(ge=1, le=100)] = 20
) -> list[ModerationItem]:
    """Return the queue, oldest first."""
    query = select(ModerationItem).where(ModerationItem.status == status)

    async def work(session: AsyncSession) -> list[ModerationItem]:
        order = query.order_by(ModerationItem.submitted_at, ModerationItem.id)
        return list(await session.scalars(order.limit(limit)))

    return await needs.database.read(work)


@router.post("/moderation/items/{item_id}/approve", response_model=ModerationView)
async def approve(item_id: uuid.UUID, caller: Moderator, needs: Needs) -> ModerationItem:
    """Publish the nano."""
    item = await _decide(needs, item_id, caller, "approved", None)
    await needs.cache.next_generation()
    return item


@router.post("/moderation/items/{item_id}/reject", response_model=ModerationView)
async def reject(item_id: uuid.UUID, given: Reason, caller: Moderator, needs: Needs) -> ModerationItem:
    """Give the nano back to its seller, with the reason."""
    return await _decide(needs, item_id, caller, "rejected", given.reason)


async def _decide(
    needs: Services, item_id: uuid.UUID, caller: uuid.UUID, decision: Decision, reason: str | None
) -> ModerationItem:
    async def work(session: AsyncSession) -> ModerationItem:
        item = await session.get(ModerationItem, item_id, with_for_update=True)
        if item is None:
            raise not_found("item")
        if item.status != "pending":
            raise Problem(409, "already-decided", f"this item is {item.status}")
        nano = await session.get_one(Nano, item.nano_id, with_for_update=True)
        if nano.seller_id == caller:
            raise Problem(403, "own-nano", "moderators do not decide about what they sell")
        item.status, item.decided_at, item.decided_by, item.reason = decision, now(), caller, reason
        if decision == "approved":
            nano.status, nano.published_at = "published", item.decided_at
        else:
            nano.status = "rejected"
        return item

    return await needs.database.write(work)
