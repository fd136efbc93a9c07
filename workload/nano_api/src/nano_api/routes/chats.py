"""Talks between buyers and sellers, and how long buyers wait."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy import or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from ..models import Chat, Message, Nano
from ..problems import Problem, not_found
from ..schemas import ChatView, MessageView, Text
from ..services import Caller, Needs, Services, now

router = APIRouter(prefix="/v1", tags=["chats"])
Limit = Annotated[int, Query(ge=1, le=100)]


async def _say(session: AsyncSession, chat: Chat, sender: uuid.UUID, body: str) -> tuple[Message, float | None]:
    """Add a message to a locked chat; return it with the seconds that the buyer waited for it, if they did."""
    message = Message(chat_id=chat.id, sender_id=sender, body=body, created_at=now())
    session.add(message)
    chat.updated_at = message.created_at
    waited = None
    if sender == chat.buyer_id:
        chat.waiting_since = chat.waiting_since or message.created_at
    elif chat.waiting_since is not None:
        waited = (message.created_at - chat.waiting_since).total_seconds()
        chat.waiting_since = None
    await session.flush()
    return message, waited


@router.post("/nanos/{nano_id}/chats", status_code=201, response_model=MessageView)
async def ask(nano_id: uuid.UUID, text: Text, caller: Caller, needs: Needs) -> Message:
    """Write to a nano's seller; the first message begins the chat."""

    async def work(session: AsyncSession) -> Message:
        nano = await session.get(Nano, nano_id)
        if nano is None or nano.status != "published":
            raise not_found("nano")
        if nano.seller_id == caller:
            raise Problem(403, "own-nano", "sellers do not ask themselves")
        row = insert(Chat).values(id=uuid.uuid4(), nano_id=nano_id, buyer_id=caller, seller_id=nano.seller_id)
        await session.execute(row.on_conflict_do_nothing(index_elements=["nano_id", "buyer_id"]))
        mine = select(Chat).where(Chat.nano_id == nano_id, Chat.buyer_id == caller).with_for_update()
        return (await _say(session, (await session.scalars(mine)).one(), caller, text.body))[0]

    return await needs.database.write(work)


@router.get("/chats", response_model=list[ChatView])
async def chats(caller: Caller, needs: Needs, limit: Limit = 20) -> list[Chat]:
    """Return the caller's chats, as buyer and as seller, latest first."""
    mine = or_(Chat.buyer_id == caller, Chat.seller_id == caller)

    async def work(session: AsyncSession) -> list[Chat]:
        return list(await session.scalars(select(Chat).where(mine).order_by(Chat.updated_at.desc()).limit(limit)))

    return await needs.database.read(work)


@router.get("/chats/{chat_id}/messages", response_model=list[MessageView])
async def messages(
    chat_id: uuid.UUID, caller: Caller, needs: Needs, limit: Limit = 50, before: Annotated[int, Query(ge=1)] = 2**62
) -> list[Message]:
    """Return messages of a chat, latest first; `before` is an id to go on from."""

    async def work(session: AsyncSession) -> list[Message]:
        await _chat(session, chat_id, caller)
        query = select(Message).where(Message.chat_id == chat_id, Message.id < before)
        return list(await session.scalars(query.order_by(Message.id.desc()).limit(limit)))

    return await needs.database.read(work)


@router.post("/chats/{chat_id}/messages", status_code=201, response_model=MessageView)
async def reply(chat_id: uuid.UUID, text: Text, caller: Caller, needs: Needs) -> Message:
    """Add a message to a chat."""

    async def work(session: AsyncSession) -> tuple[Message, float | None]:
        return await _say(session, await _chat(session, chat_id, caller, lock=True), caller, text.body)

    message, waited = await needs.database.write(work)
    _record(needs, waited)
    return message


async def _chat(session: AsyncSession, chat_id: uuid.UUID, caller: uuid.UUID, *, lock: bool = False) -> Chat:
    """Return a chat of the caller's. Raises Problem 404 for others'."""
    chat = await session.get(Chat, chat_id, with_for_update=lock)
    if chat is None or caller not in (chat.buyer_id, chat.seller_id):
        raise not_found("chat")
    return chat


def _record(needs: Services, waited: float | None) -> None:
    # After the commit, so that a repeated transaction counts once.
    if waited is not None:
        needs.telemetry.business.chat_response(waited)
