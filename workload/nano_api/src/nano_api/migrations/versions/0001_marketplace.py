"""The marketplace's first tables.

In SQL, because that is what an operator reads in the slow query log and in EXPLAIN. Every index serves a filter of the
API: those on what is published or waiting are partial, and run in the direction in which pages are read.
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = [
    """
    CREATE TABLE users (
        id uuid PRIMARY KEY,
        email text NOT NULL,
        display_name text NOT NULL,
        password_hash text NOT NULL,
        moderator boolean NOT NULL DEFAULT false,
        created_at timestamptz NOT NULL DEFAULT now()
    )""",
    """
    CREATE TABLE user_activity (
        user_id uuid PRIMARY KEY REFERENCES users (id),
        seen_at timestamptz NOT NULL
    )""",
    """
    CREATE TABLE nanos (
        id uuid PRIMARY KEY,
        seller_id uuid NOT NULL REFERENCES users (id),
        title text NOT NULL,
        description text NOT NULL,
        category varchar(40) NOT NULL,
        price_cents integer NOT NULL CONSTRAINT ck_nanos_price CHECK (price_cents >= 0),
        status varchar(10) NOT NULL DEFAULT 'draft'
            CONSTRAINT ck_nanos_status CHECK (status IN ('draft', 'pending', 'published', 'rejected')),
        file_key text,
        file_bytes bigint,
        file_type text,
        file_sha256 text,
        rating_sum integer NOT NULL DEFAULT 0,
        rating_count integer NOT NULL DEFAULT 0,
        rating numeric(3, 2) NOT NULL
            GENERATED ALWAYS AS (round(rating_sum::numeric / greatest(rating_count, 1), 2)) STORED,
        created_at timestamptz NOT NULL DEFAULT now(),
        published_at timestamptz,
        words tsvector NOT NULL GENERATED ALWAYS AS (to_tsvector('simple', title || ' ' || description)) STORED
    )""",
    """
    CREATE TABLE ratings (
        nano_id uuid NOT NULL REFERENCES nanos (id),
        user_id uuid NOT NULL REFERENCES users (id),
        stars smallint NOT NULL CONSTRAINT ck_ratings_stars CHECK (stars BETWEEN 1 AND 5),
        created_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (nano_id, user_id)
    )""",
    """
    CREATE TABLE chats (
        id uuid PRIMARY KEY,
        nano_id uuid NOT NULL REFERENCES nanos (id),
        buyer_id uuid NOT NULL REFERENCES users (id),
        seller_id uuid NOT NULL REFERENCES users (id),
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now(),
        waiting_since timestamptz
    )""",
    """
    CREATE TABLE messages (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        chat_id uuid NOT NULL REFERENCES chats (id),
        sender_id uuid NOT NULL REFERENCES users (id),
        body text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now()
    )""",
    """
    CREATE TABLE moderation_items (
        id uuid PRIMARY KEY,
        nano_id uuid NOT NULL REFERENCES nanos (id),
        status varchar(10) NOT NULL DEFAULT 'pending'
            CONSTRAINT ck_moderation_items_status CHECK (status IN ('pending', 'approved', 'rejected')),
        submitted_at timestamptz NOT NULL DEFAULT now(),
        decided_at timestamptz,
        decided_by uuid REFERENCES users (id),
        reason text
    )""",
]
INDEXES = [
    "CREATE UNIQUE INDEX ix_users_email ON users (email)",
    "CREATE INDEX ix_user_activity_seen_at ON user_activity (seen_at DESC)",
    "CREATE INDEX ix_nanos_published_at ON nanos (published_at DESC, id DESC) WHERE status = 'published'",
    "CREATE INDEX ix_nanos_category_published_at ON nanos (category, published_at DESC, id DESC)"
    " WHERE status = 'published'",
    "CREATE INDEX ix_nanos_price ON nanos (price_cents, id) WHERE status = 'published'",
    "CREATE INDEX ix_nanos_rating ON nanos (rating DESC, id DESC) WHERE status = 'published'",
    "CREATE INDEX ix_nanos_words ON nanos USING gin (words) WHERE status = 'published'",
    "CREATE INDEX ix_nanos_seller_created_at ON nanos (seller_id, created_at DESC, id DESC)",
    "CREATE UNIQUE INDEX ix_chats_nano_buyer ON chats (nano_id, buyer_id)",
    "CREATE INDEX ix_chats_buyer_updated_at ON chats (buyer_id, updated_at DESC)",
    "CREATE INDEX ix_chats_seller_updated_at ON chats (seller_id, updated_at DESC)",
    "CREATE INDEX ix_messages_chat_id ON messages (chat_id, id DESC)",
    "CREATE INDEX ix_moderation_items_pending ON moderation_items (submitted_at, id) WHERE status = 'pending'",
    "CREATE UNIQUE INDEX ix_moderation_items_open ON moderation_items (nano_id) WHERE status = 'pending'",
]


def upgrade() -> None:
    """Make the tables, then their indexes."""
    for statement in TABLES + INDEXES:
        op.execute(statement)
