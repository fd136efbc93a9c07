"""The commands: serve, migrate, check, moderator, settings."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable

import asyncpg
from nano_telemetry import SettingsError as TelemetryError
from nano_telemetry import Telemetry
from sqlalchemy import update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from .app import make_app, make_services
from .check import check
from .database import Database
from .models import User
from .problems import Problem
from .schema import migrate
from .server import serve
from .settings import Settings, SettingsError, load, table

# As in sysexits.h: the configuration is wrong.
EX_CONFIG = 78


async def _with_database(settings: Settings, work: Callable[[Database], Awaitable[None]]) -> None:
    database = Database(settings, pool_size=1)
    try:
        await work(database)
    finally:
        await database.close()


async def _check(settings: Settings, telemetry: Telemetry) -> bool:
    services = make_services(settings, telemetry)
    found = await check(services)
    for what, error in found:
        print(f"{'error' if error else 'ok   '}  {what}{f': {error}' if error else ''}")
    await services.probe.close()
    await services.cache.close()
    services.storage.close()
    return all(error is None for _, error in found)


async def _set_moderator(database: Database, email: str, moderator: bool) -> None:
    async def work(session: AsyncSession) -> object:
        changed = update(User).where(User.email == email.strip().lower()).values(moderator=moderator)
        return (await session.execute(changed.returning(User.id))).scalar_one_or_none()

    if await database.write(work) is None:
        raise LookupError(f"there is no user {email}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nano_api", description="A marketplace for small digital goods.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="serve until SIGTERM")
    commands.add_parser("migrate", help="bring the tables to the newest revision")
    commands.add_parser("check", help="look whether everything is there that the service needs")
    moderator = commands.add_parser("moderator", help="let a user moderate")
    moderator.add_argument("email")
    moderator.add_argument("--revoke", action="store_true", help="take it away again")
    commands.add_parser("settings", help="print the settings as a table")
    return parser


def _run(options: argparse.Namespace) -> int:
    if options.command == "settings":
        print(table())
        return 0
    settings = load()
    if options.command == "migrate":
        asyncio.run(_with_database(settings, migrate))
        print("the tables are at the newest revision")
    elif options.command == "moderator":
        change = not options.revoke
        asyncio.run(_with_database(settings, lambda database: _set_moderator(database, options.email, change)))
    elif options.command == "check":
        return 0 if asyncio.run(_check(settings, Telemetry.from_env())) else 1
    else:
        serve(make_app(settings, Telemetry.from_env()), settings)
    return 0


def main() -> int:
    """Run a command; an error of the user's or of the surroundings is one line on stderr."""
    try:
        return _run(_parser().parse_args())
    except (SettingsError, TelemetryError) as error:
        print(f"nano_api: {error}", file=sys.stderr)
        return EX_CONFIG
    except Problem as error:
        print(f"nano_api: {error.detail}", file=sys.stderr)
    except (OSError, LookupError, SQLAlchemyError, asyncpg.PostgresError) as error:
        print(f"nano_api: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
