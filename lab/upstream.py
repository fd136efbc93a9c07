"""`make check-upstream`: fetch every release of the catalogue, verify and unpack it as a host would."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from lab.common import LabError, check_disk, collection

# Kernel's name of each architecture that a release may be for.
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
# One release at a time: the largest is unpacked to about 700 MB.
DISK_GB = 2.0


def install(name: str, entry: dict[str, Any], arch: str, folder: Path) -> str:
    """Install a release into a folder, by the modules that hosts install with; return its archive's SHA-256.

    Raises:
        LabError: it is not what the catalogue says.
    """
    archive, download, program, release = map(collection, ("archive", "download", "program", "release"))
    try:
        wanted = release.locate(name, str(entry["version"]), MACHINES[arch], entry, "")
        return str(program.Program(folder / name).install(wanted, "", 1))
    except (download.ReleaseError, archive.ArchiveError, OSError) as error:
        raise LabError(str(error)) from error


def check(catalogue: dict[str, Any]) -> None:
    """Check every release that has an upstream, and say for each that is not pinned what its sum is.

    Raises:
        LabError: at least one is not what the catalogue says.
    """
    broken = []
    for name, entry in catalogue.items():
        if entry["method"] != "release":
            print(f"  {name}: nothing to check, its method is {entry['method']}", flush=True)
            continue
        for arch in entry["archs"]:
            title = f"{name} {entry['version']} {arch}"
            started = time.monotonic()
            with tempfile.TemporaryDirectory() as folder:
                check_disk(Path(folder), DISK_GB)
                try:
                    found = install(name, entry, arch, Path(folder))
                except LabError as error:
                    broken.append(title)
                    print(f"  {title}: {error}", flush=True)
                    continue
            pinned = entry.get("checksums", {}).get(str(entry["version"]), {}).get(arch)
            advice = "as pinned" if pinned else f"not pinned, SHA-256 {found}"
            print(f"  {title}: good, {advice} ({time.monotonic() - started:.0f} s)", flush=True)
    if broken:
        raise LabError(f"{len(broken)} releases are not what catalogue.yml says: {', '.join(broken)}")
