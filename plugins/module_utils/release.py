"""Where a release lies, and which sums it must have."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.nano.ops.plugins.module_utils.download import (
    MissingError,
    ReleaseError,
    check_scheme,
    fetch,
)

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Release:
    """One version of a program for one architecture.

    Attributes:
        name: of the program.
        version: of the program.
        arch: in Go's words.
        entry: the program's entry in the catalogue, placeholders unfilled.
        folder: URL of the folder that holds archive and checksum file.
        mirrored: whether that folder is a mirror's.
    """

    name: str
    version: str
    arch: str
    entry: Mapping[str, Any]
    folder: str
    mirrored: bool

    def fill(self, text: str) -> str:
        """Fill the catalogue's placeholders."""
        build = self.entry.get("builds", {}).get(self.version, "")
        if "{build}" in text and not build:
            raise ReleaseError(
                f"{self.name} {self.version}: its upstream puts a build number into the name; add it to `builds` in "
                "catalogue.yml"
            )
        return text.format(version=self.version, arch=self.arch, build=build)

    @property
    def archive(self) -> str:
        """URL of the archive."""
        return f"{self.folder}/{self.fill(self.entry['file'])}"

    @property
    def layout(self) -> dict[str, Any]:
        """The archive's layout, placeholders filled."""
        layout = self.entry["layout"]
        return {
            "type": layout["type"],
            "folders": [self.fill(folder) for folder in layout["folders"]],
            "files": {self.fill(path): name for path, name in layout["files"].items()},
            "trees": layout.get("trees", []),
        }


def locate(name: str, version: str, machine: str, entry: Mapping[str, Any], mirror: str) -> Release:
    """Find out where a release lies.

    Args:
        name: of the program.
        version: of the program.
        machine: the kernel's name of the architecture.
        entry: the program's entry in the catalogue.
        mirror: base URL of a mirror, or empty for the upstream.

    Raises:
        ReleaseError: no release for this architecture, no release at all, or a URL that can't be trusted.
    """
    arch = ARCHITECTURES.get(machine, machine)
    if arch not in entry["archs"]:
        raise ReleaseError(f"{name} has no release for {machine}, only for {', '.join(entry['archs'])}")
    if mirror:
        check_scheme(mirror)
        return Release(name, version, arch, entry, f"{mirror.rstrip('/')}/{name}/{version}", True)
    if entry["method"] != "release":
        raise ReleaseError(f"{name}: its upstream ships source only; build it into a mirror and set host_mirror_url")
    found = Release(name, version, arch, entry, "", False)
    return Release(name, version, arch, entry, found.fill(entry["url"]), False)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def read_sums(text: str, bare: bool, name: str) -> dict[str, str]:
    """Parse a checksum file into file name to SHA-256; the sum alone stands for the one name given."""
    if bare:
        words = text.split()
        return {name: words[0].lower()} if words and re.fullmatch("[0-9A-Fa-f]{64}", words[0]) else {}
    found = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 2 and len(words[0]) == 64:
            # coreutils marks binary mode with a star, some upstreams write ./name
            found[words[1].lstrip("*").removeprefix("./")] = words[0].lower()
    return found


def compare(what: str, wanted: str, found: str, source: str) -> None:
    """Compare two sums.

    Raises:
        ReleaseError: they differ; both are in the text.
    """
    if wanted.lower() != found:
        raise ReleaseError(
            f"checksum mismatch, nothing was changed: {what} has SHA-256 {found}, {source} says {wanted.lower()}"
        )


def expected(release: Release, work: Path, pin: str) -> tuple[dict[str, str], str]:
    """Find the sums that a release must have.

    Args:
        release: the release.
        work: folder for the checksum file.
        pin: a sum that the user gave, or "".

    Returns:
        File name to SHA-256 (the archive's name, or those of the binaries inside), and who says so.

    Raises:
        ReleaseError: there is no sum for it.
    """
    archive = release.archive.rsplit("/", 1)[1]
    if pin:
        return {archive: pin}, "the option checksum"
    pinned = release.entry.get("checksums", {}).get(release.version, {}).get(release.arch)
    built = False
    if release.mirrored:
        # A server that merely fails stays an error: a built archive must not pass for the upstream's.
        with contextlib.suppress(MissingError, ValueError):
            fetch(f"{release.folder}/built.json", work / "built.json")
            built = bool(json.loads((work / "built.json").read_text(encoding="utf-8")))
    if pinned and not built:
        return {archive: str(pinned)}, "catalogue.yml"
    name = release.fill(release.entry["checksum_file"])
    fetch(f"{release.folder}/{name}", work / "sums")
    text = (work / "sums").read_text(encoding="utf-8", errors="replace")
    sums = read_sums(text, release.entry["checksum_format"] == "bare", archive)
    # A mirror's own archive is listed itself; the upstream's file may list what is inside.
    if archive not in sums and release.entry["checksum_covers"] == "binaries":
        inside = {path.rsplit("/", 1)[-1]: target for path, target in release.layout["files"].items()}
        listed = {key.rsplit("/", 1)[-1]: value for key, value in sums.items()}
        if not set(inside) <= set(listed):
            raise ReleaseError(f"{release.folder}/{name} has no sum for {', '.join(sorted(set(inside) - set(listed)))}")
        return {inside[key]: listed[key] for key in inside}, name
    if archive not in sums:
        raise ReleaseError(f"{release.folder}/{name} has no SHA-256 for {archive}")
    return {archive: sums[archive]}, name
