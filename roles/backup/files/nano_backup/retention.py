"""What may go: what is too old, never the last good copy of a database."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from . import database, files, manifest
from .config import Config
from .copies import whole
from .errors import BackupError
from .manifest import DUMP, GLOBALS, NAME, Dump
from .remote import DUMPS, PLATFORM, Remote
from .state import Outcome


def expired(dumps: Sequence[Dump], now: float, days: float, is_good: Callable[[Dump], bool]) -> list[Dump]:
    """Return the dumps of one database that may go.

    Args:
        dumps: all of them.
        now: seconds since 1970.
        days: the age that they are kept for.
        is_good: looks whether one is what its manifest says; asked from new to old until one is.

    Returns:
        Those that are older, if a newer good one stays. Without any good one nothing goes.
    """
    ordered = sorted(dumps, key=lambda dump: dump.name, reverse=True)
    good = next((dump for dump in ordered if is_good(dump)), None)
    if good is None:
        return []
    limit = now - days * 86400
    return [dump for dump in ordered if dump.time < limit and dump.name < good.name]


def is_good(config: Config, dump: Dump) -> bool:
    """Return whether a local dump is what its manifest says."""
    try:
        manifest.verify(config.directory / dump.path)
    except BackupError:
        return False
    return True


def is_good_copy(remote: Remote, listing: dict[str, int], dump: Dump) -> bool:
    """Return whether a copy's manifest can be read and its files have the sizes that it says."""
    try:
        made = manifest.parse(remote.text(DUMPS, f"{dump.path}/{NAME}"), dump.path)
    except BackupError:
        return False
    return all(listing.get(f"{dump.path}/{name}") == each["bytes"] for name, each in made.files.items())


def expire_local(config: Config) -> Outcome:
    """Delete local dumps that are too old. Raises OSError, BackupError when the clock can't be right."""
    database.demand_clock(config)
    dumps = manifest.local(config.directory)
    gone = []
    for name in sorted({dump.database for dump in dumps}):
        own = [dump for dump in dumps if dump.database == name]
        for dump in expired(own, time.time(), config.retention_days, lambda each: is_good(config, each)):
            folder = config.directory / dump.path
            # Under this name it is no dump any more, should the deletion be cut off.
            going = folder.with_name(f"{manifest.PARTIAL}{dump.name}")
            folder.rename(going)
            files.remove(going)
            gone.append(dump)
    return Outcome(_told(len(gone)) + _archives(config))


def _archives(config: Config) -> str:
    """Delete the platform's archives that are too old, never the newest."""
    folder = config.directory / manifest.PLATFORM
    names = sorted((path for path in folder.glob("*") if path.is_file()), key=lambda path: path.stat().st_mtime)
    old = [path for path in names[:-1] if time.time() - path.stat().st_mtime > config.retention_days * 86400]
    for path in old:
        path.unlink()
    return f", {len(old)} archives of the platform" if old else ""


def expire_remote(config: Config, remote: Remote) -> Outcome:
    """Delete copies in S3 that are too old, whatever is on the disk. Raises RemoteError, BackupError as above."""
    database.demand_clock(config)
    listing = remote.listing(DUMPS)
    dumps = whole(listing)
    gone = 0
    for name in sorted({dump.database for dump in dumps}):
        own = [dump for dump in dumps if dump.database == name]
        old = expired(own, time.time(), config.s3_retention_days, lambda each: is_good_copy(remote, listing, each))
        for dump in old:
            # The manifest first: without it the rest is no dump any more.
            for each in (NAME, DUMP, GLOBALS):
                if f"{dump.path}/{each}" in listing:
                    remote.delete(DUMPS, f"{dump.path}/{each}")
            gone += 1
    return Outcome(_told(gone) + _remote_archives(config, remote))


def _remote_archives(config: Config, remote: Remote) -> str:
    """Delete the platform's archives in S3 whose name tells that they are too old, never the newest."""
    names = sorted(name for name in remote.listing(PLATFORM) if manifest.is_name(name.split("-")[0]))
    limit = time.time() - config.s3_retention_days * 86400
    old = [name for name in names[:-1] if Dump("", name.split("-")[0], 0).time < limit]
    for name in old:
        remote.delete(PLATFORM, name)
    return f", {len(old)} archives of the platform" if old else ""


def _told(count: int) -> str:
    return f"{count} dumps deleted" if count else "nothing to delete"
