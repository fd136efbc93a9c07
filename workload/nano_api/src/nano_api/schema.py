"""Which state of the tables this code knows, and how a database gets there."""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncSession

from .database import Database

# Any number will do, as long as nobody else locks it. These are the letters "nano".
LOCK = 0x6E616E6F
# Longest wait for another run of the migrations, and for tables that are in use.
LOCK_TIMEOUT = "60s"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "nano_api:migrations")
    return config


class Schema:
    """The revisions that this code carries."""

    def __init__(self) -> None:
        """Read the revisions of the package."""
        scripts = ScriptDirectory.from_config(_config())
        self.head = scripts.get_current_head()
        self.known = frozenset(script.revision for script in scripts.walk_revisions())

    def fits(self, revision: str | None) -> bool:
        """Tell whether this code can work on tables of a revision.

        One that it doesn't know is newer: while an update goes from host to host the tables are ahead of the old code,
        which migrations must leave working.
        """
        return revision == self.head or (revision is not None and revision not in self.known)


async def revision_of(session: AsyncSession) -> str | None:
    """Return the tables' revision, or None for an empty database."""
    if await session.scalar(text("SELECT to_regclass('alembic_version')")) is None:
        return None
    revision: str | None = await session.scalar(text("SELECT version_num FROM alembic_version"))
    return revision


async def migrate(database: Database) -> None:
    """Bring the tables to the newest revision, in one transaction: all of it or nothing.

    A lock that ends with the transaction makes a second run wait, and then find nothing to do.
    """
    async with database.engine.begin() as connection:
        await connection.execute(text("SET LOCAL statement_timeout = 0"))
        await connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
        await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        await connection.run_sync(_upgrade)


def _upgrade(connection: Connection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
