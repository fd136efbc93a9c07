"""An archive of folders that is the same, bit by bit, as long as their content is."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

# Names that come and go without meaning anything.
LEFT_OUT = {".git", "__pycache__", ".lock", ".DS_Store"}
# An inventory is text. What is larger is something that does not belong there, in bytes.
MOST_BYTES = 64 << 20


class ArchiveError(Exception):
    """Why folders can't be archived, and what to do."""


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if not LEFT_OUT & set(path.relative_to(folder).parts) and not path.name.endswith((".retry", ".swp", "~")):
            yield path


def pack(folders: Mapping[str, Path]) -> bytes:
    """Return a tar of folders.

    Args:
        folders: name in the archive to the folder.

    Raises:
        ArchiveError: a folder is missing or far too large, or a file can't be read.
    """
    buffer = io.BytesIO()
    total = 0
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, folder in sorted(folders.items()):
            if not folder.is_dir():
                raise ArchiveError(f"{folder} is not there: backup_platform_directories names it as {name}")
            for path in _files(folder):
                if not path.is_file():
                    continue
                try:
                    content = path.read_bytes()
                except OSError as error:
                    raise ArchiveError(f"{path} can't be read: {error.strerror}") from None
                total += len(content)
                if total > MOST_BYTES:
                    raise ArchiveError(
                        f"{folder} holds more than {MOST_BYTES >> 20} MiB with {path}: move what is no inventory away"
                    )
                entry = tarfile.TarInfo(f"{name}/{path.relative_to(folder)}")
                # No time, no owner: only content counts.
                entry.size, entry.mode = len(content), 0o600
                archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def compress(content: bytes) -> bytes:
    """Return an archive as it is kept."""
    return gzip.compress(content)


def digest(content: bytes) -> str:
    """Return the part of an archive's name that tells its content; compressing may differ with a library's version."""
    return hashlib.sha256(content).hexdigest()[:16]
