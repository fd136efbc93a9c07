"""The tables. The database is made by the migrations; a test compares the two."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Literal

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Computed,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Numeric,
    SmallInteger,
    String,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NanoStatus = Literal["draft", "pending", "published", "rejected"]
Decision = Literal["pending", "approved", "rejected"]

PUBLISHED = text("status = 'published'")
PENDING = text("status = 'pending'")


class Base(DeclarativeBase):
    """Every table: times carry their zone, and texts have no length of the database's own."""

    type_annotation_map = {dt.datetime: DateTime(timezone=True), str: Text, uuid.UUID: Uuid}  # noqa: RUF012


def _now() -> Mapped[dt.datetime]:
    return mapped_column(server_default=func.now())


class User(Base):
    """Someone who sells, buys or moderates."""

    __tablename__ = "users"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    # Lower case, so that one address is one account.
    email: Mapped[str]
    display_name: Mapped[str]
    password_hash: Mapped[str]
    moderator: Mapped[bool] = mapped_column(server_default=text("false"))
    created_at: Mapped[dt.datetime] = _now()

    __table_args__ = (Index("ix_users_email", "email", unique=True),)


class UserActivity(Base):
    """When a user was last here, to some minutes: what active users are counted from."""

    __tablename__ = "user_activity"
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    seen_at: Mapped[dt.datetime]

    __table_args__ = (Index("ix_user_activity_seen_at", text("seen_at DESC")),)


class Nano(Base):
    """A small digital good."""

    __tablename__ = "nanos"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    seller_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"))
    title: Mapped[str]
    description: Mapped[str]
    category: Mapped[str] = mapped_column(String(40))
    price_cents: Mapped[int] = mapped_column(Integer)
    status: Mapped[str] = mapped_column(String(10), server_default="draft")
    file_key: Mapped[str | None]
    file_bytes: Mapped[int | None] = mapped_column(BigInteger)
    file_type: Mapped[str | None]
    file_sha256: Mapped[str | None]
    rating_sum: Mapped[int] = mapped_column(server_default=text("0"))
    rating_count: Mapped[int] = mapped_column(server_default=text("0"))
    rating: Mapped[float] = mapped_column(
        Numeric(3, 2, asdecimal=False), Computed("round(rating_sum::numeric / greatest(rating_count, 1), 2)")
    )
    created_at: Mapped[dt.datetime] = _now()
    published_at: Mapped[dt.datetime | None]
    words: Mapped[str] = mapped_column(
        TSVECTOR, Computed("to_tsvector('simple', title || ' ' || description)"), deferred=True
    )

    __table_args__ = (
        CheckConstraint("status IN ('draft', 'pending', 'published', 'rejected')", name="ck_nanos_status"),
        CheckConstraint("price_cents >= 0", name="ck_nanos_price"),
        Index("ix_nanos_published_at", text("published_at DESC"), text("id DESC"), postgresql_where=PUBLISHED),
        Index(
            "ix_nanos_category_published_at",
            "category",
            text("published_at DESC"),
            text("id DESC"),
            postgresql_where=PUBLISHED,
        ),
        Index("ix_nanos_price", "price_cents", "id", postgresql_where=PUBLISHED),
        Index("ix_nanos_rating", text("rating DESC"), text("id DESC"), postgresql_where=PUBLISHED),
        Index("ix_nanos_words", "words", postgresql_using="gin", postgresql_where=PUBLISHED),
        Index("ix_nanos_seller_created_at", "seller_id", text("created_at DESC"), text("id DESC")),
    )


class Rating(Base):
    """What a user thinks of a nano; one each."""

    __tablename__ = "ratings"
    nano_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("nanos.id"), primary_key=True)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    stars: Mapped[int] = mapped_column(SmallInteger)
    created_at: Mapped[dt.datetime] = _now()

    __table_args__ = (CheckConstraint("stars BETWEEN 1 AND 5", name="ck_ratings_stars"),)


class Chat(Base):
    """A talk between a buyer and a nano's seller. `waiting_since`: the buyer's oldest message without an answer."""

    __tablename__ = "chats"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    nano_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("nanos.id"))
    buyer_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"))
    seller_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[dt.datetime] = _now()
    updated_at: Mapped[dt.datetime] = _now()
    waiting_since: Mapped[dt.datetime | None]

    __table_args__ = (
        Index("ix_chats_nano_buyer", "nano_id", "buyer_id", unique=True),
        Index("ix_chats_buyer_updated_at", "buyer_id", text("updated_at DESC")),
        Index("ix_chats_seller_updated_at", "seller_id", text("updated_at DESC")),
    )


class Message(Base):
    """One message of a chat; ids grow."""

    __tablename__ = "messages"
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    chat_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("chats.id"))
    sender_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"))
    body: Mapped[str]
    created_at: Mapped[dt.datetime] = _now()

    __table_args__ = (Index("ix_messages_chat_id", "chat_id", text("id DESC")),)


class ModerationItem(Base):
    """A nano that waits for a moderator, or what was decided about it."""

    __tablename__ = "moderation_items"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    nano_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("nanos.id"))
    status: Mapped[str] = mapped_column(String(10), server_default="pending")
    submitted_at: Mapped[dt.datetime] = _now()
    decided_at: Mapped[dt.datetime | None]
    decided_by: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id"))
    reason: Mapped[str | None]

    __table_args__ = (
        CheckConstraint("status IN ('pending', 'approved', 'rejected')", name="ck_moderation_items_status"),
        Index("ix_moderation_items_pending", "submitted_at", "id", postgresql_where=PENDING),
        Index("ix_moderation_items_open", "nano_id", unique=True, postgresql_where=PENDING),
    )
