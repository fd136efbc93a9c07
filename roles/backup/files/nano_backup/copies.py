"""Copies of dumps in S3: the manifest goes last, so that a copy with a manifest is whole and was read back."""

from __future__ import annotations

import time
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

from . import command, files, manifest, units
from .config import Config
from .errors import DamagedError
from .manifest import DUMP, GLOBALS, NAME, Dump
from .remote import DUMPS, PLATFORM, Remote, RemoteError
from .state import Outcome


def whole(listing: dict[str, int]) -> list[Dump]:
    """Return the dumps of a listing that have a manifest, new ones first."""
    found = []
    for path in listing:
        parts = path.split("/")
        if len(parts) == 3 and parts[2] == NAME and manifest.is_name(parts[1]):
            size = sum(listing.get(f"{parts[0]}/{parts[1]}/{each}", 0) for each in (DUMP, GLOBALS, NAME))
            found.append(Dump(urllib.parse.unquote(parts[0]), parts[1], size))
    return sorted(found, key=lambda dump: (dump.name, dump.database), reverse=True)


def missing(config: Config, database: str, there: Sequence[Dump], now: float) -> list[Dump]:
    """Return the local dumps of a database that S3 lacks, the newest first, and none that would go there at once."""
    own = [dump for dump in manifest.local(config.directory) if dump.database == database]
    known = {dump.name for dump in there if dump.database == database}
    since = now - config.s3_retention_days * 86400
    return [dump for number, dump in enumerate(own) if dump.name not in known and (dump.time >= since or not number)]


def copy(config: Config, remote: Remote, database: str) -> Outcome:
    """Copy what S3 lacks of a database's dumps, read it back and compare.

    Raises:
        RemoteError: S3 refused, or what came back differs.
        DamagedError: a local dump is damaged; the others were copied.
    """
    damaged: list[str] = []
    copied = 0
    lacks = missing(config, database, whole(remote.listing(DUMPS)), time.time())
    for dump in lacks:
        folder = config.directory / dump.path
        try:
            made = manifest.verify(folder)
        except DamagedError as error:
            damaged.append(str(error))
            continue
        for name in made.files:
            put(remote, folder / name, DUMPS, f"{dump.path}/{name}", made.files[name]["sha256"])
        put(remote, folder / NAME, DUMPS, f"{dump.path}/{NAME}", command.sha256(folder / NAME))
        copied += made.bytes
    if damaged:
        raise DamagedError("; ".join(damaged))
    text = f"{len(lacks)} dump{'s' if len(lacks) != 1 else ''} copied and read back" if lacks else "nothing to copy"
    return Outcome(f"{text}: {', '.join(dump.name for dump in lacks)}" if lacks else text, copied)


def put(remote: Remote, source: Path, folder: str, path: str, sha256: str) -> None:
    """Copy a file and read it back. Raises RemoteError when what came back is not what went."""
    remote.put(source, folder, path)
    if remote.sha256(folder, path) != sha256:
        raise RemoteError(f"{path} came back from S3 changed (SHA-256 differs); the next run copies it again")


def copy_platform(config: Config, remote: Remote) -> Outcome:
    """Copy the platform's archives as they are: they are encrypted, and must open with the vault's password alone."""
    there = remote.listing(PLATFORM)
    folder = config.directory / manifest.PLATFORM
    copied = size = 0
    for path in sorted(each for each in folder.glob("*") if each.is_file() and not each.name.startswith(".")):
        if there.get(path.name) != path.stat().st_size:
            put(remote, path, PLATFORM, path.name, command.sha256(path))
            copied, size = copied + 1, size + path.stat().st_size
    text = f"{copied} archive{'s' if copied != 1 else ''} copied and read back" if copied else "nothing to copy"
    return Outcome(text, size)


def fetch(remote: Remote, dump: Dump, into: Path) -> manifest.Manifest:
    """Fetch a dump from S3 and compare it with its manifest.

    Args:
        remote: where it is.
        dump: which one.
        into: an existing, empty folder.

    Raises:
        RemoteError: S3 refused.
        DamagedError: it is not what its manifest says.
    """
    text = remote.text(DUMPS, f"{dump.path}/{NAME}")
    made = manifest.parse(text, f"{dump.path}/{NAME} in S3")
    files.write(into / NAME, text)
    files.demand_room(into, made.bytes, f"the dump {dump.path} from S3", "make room there")
    for name in made.files:
        remote.get(DUMPS, f"{dump.path}/{name}", into / name)
    return manifest.verify(into)


def describe(dump: Dump) -> str:
    """Return a dump in words."""
    return f"dump of {dump.database} of {units.clock(dump.time)}"
