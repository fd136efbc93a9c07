"""Versioned folders of a program, and the switch between them."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.nano.ops.plugins.module_utils import archive, download, release
from ansible_collections.nano.ops.plugins.module_utils.download import ReleaseError
from ansible_collections.nano.ops.plugins.module_utils.release import Release

NOTE = ".nano.json"
# An archive and what it unpacks to: Go's programs shrink to a third.
DISK_FACTOR = 4
LEAST_FREE = 200 * 1024**2


@dataclass(frozen=True)
class Program:
    """A program's folder on a host: <root>/<name>/{<version>,current,previous}."""

    place: Path

    def version(self, link: str = "current") -> str:
        """Return the version that a link points to, or "" if there is none."""
        path = self.place / link
        return os.readlink(path) if path.is_symlink() else ""

    def note(self, version: str) -> dict[str, Any]:
        """Return what was written down when a version was installed; empty if it isn't whole."""
        folder = self.place / version
        try:
            note: dict[str, Any] = json.loads((folder / NOTE).read_text(encoding="utf-8"))
            whole = bool(note["sha256"] and note["files"])
            for name, size_and_time in note["files"].items():
                path = folder / name
                about = path.stat()
                # Size and time, as hashing 150 MB on each run would cost more than the rest of it.
                same = [about.st_size, about.st_mtime_ns] == size_and_time
                whole = whole and same and path.is_file() and os.access(path, os.X_OK)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}
        return note if whole else {}

    def is_installed(self, version: str, checksum: str) -> bool:
        """Tell whether a version is the current one and whole. Needs no network."""
        note = self.note(version) if self.version() == version else {}
        return bool(note) and (not checksum or checksum.lower() in (note["sha256"], ""))

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep two runs apart; the kernel frees the lock of one that dies."""
        self.place.mkdir(parents=True, exist_ok=True, mode=0o755)
        with (self.place / ".lock").open("a", encoding="utf-8") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            # We hold the lock: what lies here was left by a run that was killed.
            for left in self.place.glob(".new-*"):
                shutil.rmtree(left)
            yield

    def point(self, link: str, version: str) -> None:
        """Point a link to a version, in one step."""
        fresh = self.place / f".{link}.new"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(version)
        fresh.replace(self.place / link)

    def switch(self, version: str) -> str:
        """Make a version the current one; return the one it takes the place of."""
        old = self.version()
        if old and old != version:
            self.point("previous", old)
        self.point("current", version)
        return old

    def prune(self, keep: int) -> None:
        """Remove versions that this module made, all but the current, the previous and the newest ones to keep."""
        kept = {self.version(), self.version("previous")}
        others = [note.parent for note in self.place.glob(f"*/{NOTE}") if note.parent.name not in kept]
        others = [path for path in others if not path.is_symlink()]
        others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for old in others[max(keep - 1, 0) :]:
            shutil.rmtree(old)

    def install(self, wanted: Release, checksum: str, keep: int) -> str:
        """Fetch, verify, unpack and switch to a release; return the archive's SHA-256.

        Raises:
            ReleaseError: no room, no archive, a wrong sum.
            archive.ArchiveError: a hostile or damaged archive.
        """
        self._check_disk(wanted)
        with self.lock():
            if self.is_installed(wanted.version, checksum):
                return str(self.note(wanted.version)["sha256"])
            work = Path(tempfile.mkdtemp(prefix=".new-", dir=self.place))
            try:
                found: str = self._prepare(wanted, checksum, work)
                old = self.place / wanted.version
                if old.exists():
                    # Half of it is missing, or it was another archive: set aside until the new one is in its place.
                    old.replace(work / "old")
                (work / "new").replace(old)
                self.switch(wanted.version)
            finally:
                shutil.rmtree(work, ignore_errors=True)
            self.prune(keep)
        return found

    def _check_disk(self, wanted: Release) -> None:
        existing = next(parent for parent in (self.place, *self.place.parents) if parent.exists())
        free = shutil.disk_usage(existing).free
        need = max(download.size(wanted.archive) * DISK_FACTOR, LEAST_FREE)
        if free < need:
            raise ReleaseError(
                f"{existing} has {free >> 20} MiB free, {wanted.name} {wanted.version} needs {need >> 20}: make room"
            )

    def _prepare(self, wanted: Release, checksum: str, work: Path) -> str:
        """Fill <work>/new with a verified version; return the archive's SHA-256."""
        sums, source = release.expected(wanted, work, checksum)
        file = work / wanted.archive.rsplit("/", 1)[1]
        download.fetch(wanted.archive, file)
        found = str(release.sha256(file))
        if file.name in sums:
            release.compare(wanted.archive, sums[file.name], found, source)
        new = work / "new"
        new.mkdir(mode=0o755)
        new.chmod(0o755)
        archive.unpack(file, wanted.layout, new)
        for name, wanted_sum in sums.items():
            if name != file.name:
                release.compare(f"{name} in {wanted.archive}", wanted_sum, release.sha256(new / name), source)
        about = {name: (new / name).stat() for name in wanted.layout["files"].values()}
        files = {name: [stat.st_size, stat.st_mtime_ns] for name, stat in about.items()}
        note = {"version": wanted.version, "source": wanted.archive, "sha256": found, "files": files}
        (new / NOTE).write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")
        for path in new.rglob("*"):
            if path.is_file():
                with path.open("rb") as handle:
                    os.fsync(handle.fileno())
        return found

    def way_back(self) -> str:
        """Return the version that a roll back would go to.

        Raises:
            ReleaseError: there is none.
        """
        previous = self.version("previous")
        if not previous or not self.note(previous):
            raise ReleaseError(f"{self.place} holds no previous version to go back to")
        return previous

    def roll_back(self) -> str:
        """Make the previous version the current one again and return it.

        Raises:
            ReleaseError: there is none.
        """
        with self.lock():
            previous = self.way_back()
            self.switch(previous)
        return previous
