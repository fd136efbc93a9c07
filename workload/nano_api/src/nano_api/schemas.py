"""What goes in and out, as in the OpenAPI document."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from .models import Decision, NanoStatus


def _no_nul(text: str) -> str:
    """Refuse the one character that PostgreSQL can't store."""
    if "\0" in text:
        raise ValueError("must not contain NUL")
    return text


Email = Annotated[
    str, StringConstraints(strip_whitespace=True, to_lower=True, max_length=254, pattern=r"^[^@\s\x00]+@[^@\s\x00]+$")
]
Password = Annotated[str, Field(min_length=10, max_length=200, repr=False), AfterValidator(_no_nul)]
Category = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,39}$")]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80), AfterValidator(_no_nul)]
Title = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120), AfterValidator(_no_nul)]
Body = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000), AfterValidator(_no_nul)]
Price = Annotated[int, Field(ge=0, le=100_000_00)]


class In(BaseModel):
    """What people send: nothing unknown, and never shown again in an error."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class Out(BaseModel):
    """What people get."""

    model_config = ConfigDict(from_attributes=True)


class Credentials(In):
    """Who logs in."""

    email: Email
    password: Password


class Registration(Credentials):
    """A new account."""

    display_name: Name


class ProfileChange(In):
    """What can be changed of an account."""

    display_name: Name


class Session(Out):
    """A session; the token goes into `Authorization: Bearer`."""

    token: str
    expires_in: int
    user_id: uuid.UUID


class Profile(Out):
    """What everyone may know of a user."""

    id: uuid.UUID
    display_name: str
    created_at: dt.datetime


class Account(Profile):
    """What users know of themselves."""

    email: str
    moderator: bool


class NanoDraft(In):
    """A nano before anyone has seen it."""

    title: Title
    description: Body
    category: Category
    price_cents: Price


class NanoChange(In):
    """What can be changed of a draft."""

    title: Title | None = None
    description: Body | None = None
    category: Category | None = None
    price_cents: Price | None = None


class NanoView(Out):
    """A nano."""

    id: uuid.UUID
    seller_id: uuid.UUID
    title: str
    description: str
    category: str
    price_cents: int
    status: NanoStatus
    file_bytes: int | None
    file_type: str | None
    rating: float
    rating_count: int
    created_at: dt.datetime
    published_at: dt.datetime | None


class NanoPage(Out):
    """Some nanos; `next` is the cursor of the following page, null on the last."""

    items: list[NanoView]
    next: str | None


class Stars(In):
    """A rating."""

    stars: Annotated[int, Field(ge=1, le=5)]


class RatingView(Out):
    """A nano's ratings together."""

    rating: float
    rating_count: int


class File(Out):
    """An uploaded file."""

    file_bytes: int
    file_type: str
    file_sha256: str


class Text(In):
    """A message."""

    body: Body


class MessageView(Out):
    """A message of a chat."""

    id: int
    chat_id: uuid.UUID
    sender_id: uuid.UUID
    body: str
    created_at: dt.datetime


class ChatView(Out):
    """A chat; `waiting_since` is the time of the buyer's oldest message without an answer."""

    id: uuid.UUID
    nano_id: uuid.UUID
    buyer_id: uuid.UUID
    seller_id: uuid.UUID
    updated_at: dt.datetime
    waiting_since: dt.datetime | None


class ModerationView(Out):
    """An item of the moderation queue."""

    id: uuid.UUID
    nano_id: uuid.UUID
    status: Decision
    submitted_at: dt.datetime
    decided_at: dt.datetime | None
    reason: str | None


class Reason(In):
    """Why a nano is rejected."""

    reason: Body


class Readiness(Out):
    """What the service needs, and whether it is there."""

    status: Literal["ready", "not ready", "draining"]
    database: str
    storage: str
    cache: str
