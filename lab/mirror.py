"""The mirror: a folder laid out like the upstreams' releases, filled by download or by building pinned Go modules.

    <mirror>/<program>/<version>/<archive as upstream names it>
                                 <checksum file as upstream names it>
                                 built.json, only where the archive was built here

A version's folder appears complete or not at all. Its content key (the catalogue's entry and what
lies in lab/build/<program>) decides whether it is still right; the folder may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import platform
import shutil
import tarfile
import tempfile
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

from lab.common import ROOT, LabError, cache_dir, check_disk, collection, lock, progress
from lab.go import compile_packages, toolchain

# What the roles of a run install from releases; the others come from Debian's packages.
NEEDED = ("node_exporter", "prometheus", "alertmanager", "loki", "jaeger", "otelcol_contrib", "minio", "nginx_exporter")
# What the tests run beside the platform.
FOR_TESTS = ("pebble",)
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
DOWNLOAD_TIMEOUT_S = 10
BUILD_DISK_GB = 6.0


def catalogue() -> dict[str, Any]:
    """Return the catalogue's programs."""
    import yaml

    programs: dict[str, Any] = yaml.safe_load((ROOT / "catalogue.yml").read_text(encoding="utf-8"))["programs"]
    return programs


def expand(text: str, entry: dict[str, Any], arch: str) -> str:
    """Fill the catalogue's placeholders."""
    version = str(entry["version"])
    return text.format(version=version, arch=arch, build=entry.get("builds", {}).get(version, ""))


def content_key(name: str, entry: dict[str, Any], arch: str) -> str:
    """Return what a mirrored version depends on, as a hash."""
    digest = hashlib.sha256(json.dumps([entry, arch], sort_keys=True, default=str).encode())
    source = ROOT / "lab/build" / name
    for path in sorted(source.iterdir()) if source.is_dir() else ():
        digest.update(path.read_bytes())
    return digest.hexdigest()


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def download(entry: dict[str, Any], arch: str, into: Path) -> bool:
    """Fetch a release and its checksum file; tell whether it could be reached.

    Raises:
        LabError: it was reached and its content is not what the catalogue pins, or its checksum file lists.
    """
    base = expand(entry["url"], entry, arch)
    names = [expand(entry[key], entry, arch) for key in ("file", "checksum_file")]
    for name in names:
        try:
            with urllib.request.urlopen(f"{base}/{name}", timeout=DOWNLOAD_TIMEOUT_S) as answer:
                with (into / name).open("wb") as output:
                    shutil.copyfileobj(answer, output)
        except (OSError, http.client.HTTPException):
            for left in names:
                (into / left).unlink(missing_ok=True)
            return False
    pin = entry.get("checksums", {}).get(str(entry["version"]), {}).get(arch)
    found = sha256(into / names[0])
    if pin and pin != found:
        raise LabError(f"{base}/{names[0]} has SHA-256 {found}, the catalogue pins {pin}: do not use it")
    text = (into / names[1]).read_text(encoding="utf-8", errors="replace")
    sums = collection("release").read_sums(text, entry["checksum_format"] == "bare", names[0])
    listed = sums.get(names[0], "")
    # A file that lists what is inside the archive says nothing here; hosts check that after unpacking.
    if entry.get("checksum_covers", "archive") == "archive" and not pin and listed != found:
        raise LabError(
            f"{base}/{names[0]} has SHA-256 {found}, {names[1]} says {listed or 'nothing of it'}: do not use it; run "
            "this again in case the download was cut off"
        )
    return True


def pack(entry: dict[str, Any], arch: str, binaries: Path, archive: Path) -> None:
    """Put built binaries into an archive of the upstream's shape."""
    folders = entry["layout"]["folders"]
    top = f"{expand(folders[0], entry, arch)}/" if folders else ""
    inside = {expand(path, entry, arch): name for path, name in entry["layout"]["files"].items()}
    if entry["layout"]["type"] == "zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as bundle:
            for path, name in inside.items():
                bundle.write(binaries / name, f"{top}{path}")
        return
    # Level 1: it is unpacked on the same machine a minute later.
    with tarfile.open(archive, "w:gz", compresslevel=1) as bundle:
        for path, name in inside.items():
            bundle.add(binaries / name, f"{top}{path}")


def build(name: str, entry: dict[str, Any], arch: str, into: Path) -> None:
    """Build a release from its pinned Go module.

    Raises:
        LabError: the catalogue has no module for it, or the build failed.
    """
    source = ROOT / "lab/build" / name
    if "go" not in entry or not (source / "go.sum").exists():
        url = expand(entry.get("url", "no release"), entry, arch)
        raise LabError(
            f"{name} {entry['version']} can be neither downloaded ({url}) nor built here "
            f"(no {source.relative_to(ROOT)}/go.sum); put its archive into the mirror by hand"
        )
    check_disk(cache_dir(), BUILD_DISK_GB)
    binaries = into / "bin"
    with progress(f"build {name} {entry['version']}"):
        compile_packages(
            source,
            entry["go"]["packages"],
            binaries,
            tags=entry["go"]["tags"],
            ldflags=expand(entry["go"]["ldflags"], entry, arch),
            arch=arch,
            log=cache_dir() / f"build-{name}.log",
        )
    archive = into / expand(entry["file"], entry, arch)
    pack(entry, arch, binaries, archive)
    shutil.rmtree(binaries)
    names = [archive.name]
    sums = "".join(f"{sha256(into / each)}  {each}\n" for each in names)
    if entry["checksum_format"] == "bare":
        sums = sha256(archive)
    (into / expand(entry["checksum_file"], entry, arch)).write_text(sums, encoding="utf-8")
    about = {"module": entry["go"]["module"], "version": entry["go"]["version"], "toolchain": toolchain()[1]}
    (into / "built.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def fill_one(name: str, entry: dict[str, Any], arch: str, mirror: Path, always_build: bool) -> None:
    """Make one program's folder in the mirror unless the right one is there."""
    place = mirror / name / str(entry["version"])
    key = content_key(name, entry, arch)
    note = place / ".key"
    with lock(cache_dir() / f"mirror-{name}.lock"):
        if note.exists() and note.read_text(encoding="utf-8") == key:
            print(f"  {name} {entry['version']} is there", flush=True)
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        # We hold the lock: what lies here was left by a run that was killed.
        for left in place.parent.glob(".new-*"):
            shutil.rmtree(left)
        work = Path(tempfile.mkdtemp(prefix=".new-", dir=place.parent))
        try:
            if always_build or entry["method"] == "build" or not download(entry, arch, work):
                build(name, entry, arch, work)
            (work / ".key").write_text(key, encoding="utf-8")
            work.chmod(0o755)
            if place.exists():
                old = Path(tempfile.mkdtemp(prefix=".new-", dir=place.parent))
                place.replace(old / "old")
            work.replace(place)
        finally:
            for left in place.parent.glob(".new-*"):
                shutil.rmtree(left, ignore_errors=True)


def fill(programs: list[str] | None, mirror: Path, always_build: bool = False) -> None:
    """Fill the mirror.

    Args:
        programs: names from the catalogue; None for what a run needs.
        mirror: the mirror's folder, created if missing.
        always_build: build even what could be downloaded.

    Raises:
        LabError: an unknown program, a wrong checksum, or neither a download nor a build worked.
    """
    known = catalogue()
    machine = platform.machine()
    if machine not in ARCHITECTURES:
        raise LabError(f"architecture {machine} has no releases; use one of {', '.join(ARCHITECTURES)}")
    for name in programs or (*NEEDED, *FOR_TESTS):
        if name not in known:
            raise LabError(f"the catalogue has no program {name}; it has {', '.join(sorted(known))}")
        if known[name]["method"] == "package":
            raise LabError(f"{name} comes from Debian's package {known[name]['package']}: there is nothing to mirror")
        fill_one(name, known[name], ARCHITECTURES[machine], mirror, always_build)
