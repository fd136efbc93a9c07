"""Take a few named files out of an archive that nobody trusts yet."""

from __future__ import annotations

import gzip
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

# The largest program of the catalogue unpacks to 700 MB; an archive that claims more is a bomb.
MOST_BYTES = 2 * 1024**3


class ArchiveError(Exception):
    """Why an archive is refused."""


def _check_name(name: str, archive: str) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise ArchiveError(f"{archive} holds the path {name!r}, which leads out of its folder: do not use it")


def _check_link(member: tarfile.TarInfo, archive: str) -> None:
    """Refuse a link that leads out; hard links count from the archive's root, symbolic ones from their own place."""
    base = PurePosixPath() if member.islnk() else PurePosixPath(member.name).parent
    depth = 0
    for part in (base / member.linkname).parts:
        depth += {"..": -1, ".": 0}.get(part, 1)
        if depth < 0 or PurePosixPath(member.linkname).is_absolute():
            raise ArchiveError(f"{archive} holds a link {member.name!r} that leads out of its folder: do not use it")


def _tar(path: Path) -> Iterator[tuple[str, int, IO[bytes] | None]]:
    with tarfile.open(path, "r:gz") as bundle:
        for member in bundle:
            _check_name(member.name, path.name)
            if member.issym() or member.islnk():
                _check_link(member, path.name)
            elif not (member.isfile() or member.isdir()):
                raise ArchiveError(f"{path.name} holds {member.name!r}, a device or pipe: do not use it")
            # A link is never followed: what is wanted must be a file.
            yield member.name, member.size, bundle.extractfile(member) if member.isfile() else None


def _zip(path: Path) -> Iterator[tuple[str, int, IO[bytes] | None]]:
    with zipfile.ZipFile(path) as bundle:
        for info in bundle.infolist():
            _check_name(info.filename, path.name)
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
                raise ArchiveError(f"{path.name} holds {info.filename!r}, a device or pipe: do not use it")
            handle = None if info.is_dir() or kind == stat.S_IFLNK else bundle.open(info)
            yield info.filename, info.file_size, handle


def _below(name: str, tops: list[str], trees: list[str]) -> str:
    """Return the path below the top folder of a file in one of the trees, "" for any other file."""
    for top in tops:
        inside = name.removeprefix(top)
        if name.startswith(top) and inside.split("/", 1)[0] in trees and "/" in inside:
            return inside
    return ""


def _write(handle: IO[bytes], target: Path, mode: int) -> None:
    """Write a file that everybody may read."""
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with handle, target.open("wb") as output:
        shutil.copyfileobj(handle, output, 1 << 20)
    target.chmod(mode)


def unpack(path: Path, layout: dict[str, Any], into: Path) -> None:
    """Write the files that a layout names into a folder, executable for all, writable for root.

    Args:
        path: the archive.
        layout: C(type) tar.gz or zip, C(folders) (names that its one top folder may have, none if the files lie at the
            top), C(files) (path below that folder to the name it gets) and C(trees) (folders below it that are kept
            whole, not executable), as in the catalogue.
        into: an existing folder.

    Raises:
        ArchiveError: a path or link that leads out, a device, too much data, damage, or a file that is missing.
    """
    tops = [f"{folder}/" for folder in layout["folders"]] or [""]
    wanted = {f"{top}{inside}": name for top in tops for inside, name in layout["files"].items()}
    found: set[str] = set()
    total = 0
    try:
        for name, size, handle in (_zip if layout["type"] == "zip" else _tar)(path):
            total += size
            if total > MOST_BYTES:
                raise ArchiveError(f"{path.name} unpacks to more than {MOST_BYTES >> 30} GiB: do not use it")
            target = wanted.get(name.removeprefix("./"))
            if target and handle:
                _write(handle, into / target, 0o755)
                found.add(target)
            elif handle and (kept := _below(name.removeprefix("./"), tops, layout.get("trees", []))):
                _write(handle, into / kept, 0o644)
    except (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError, RuntimeError) as error:
        # RuntimeError: zipfile's word for an encrypted member or an unknown compression. A full disk is none of these.
        raise ArchiveError(f"{path.name} cannot be unpacked, it is damaged: {error}") from error
    missing = set(layout["files"].values()) - found
    if missing:
        looked = ", ".join(sorted(name for name, target in wanted.items() if target in missing))
        raise ArchiveError(f"{path.name} lacks {looked}: its layout is not the one in catalogue.yml")
