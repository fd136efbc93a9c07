"""The application and its telemetry package: an environment of their own, their types and their tests."""

from __future__ import annotations

import contextlib
import hashlib
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from lab import debs
from lab.common import ROOT, LabError, cache_dir, lock, progress

WORKLOAD = ROOT / "workload"
VENV = ROOT / ".venv-workload"
PACKAGES = ("nano_telemetry", "nano_api")
REQUIREMENTS = (WORKLOAD / "requirements.txt", WORKLOAD / "requirements-test.txt")
# Where Debian and its like keep PostgreSQL's programs.
POSTGRESQL = Path("/usr/lib/postgresql")
OS_RELEASE = Path("/etc/os-release")
# Debian's own, the one that python3-psycopg2 is for.
PYTHON = Path("/usr/bin/python3")
# Read by workload/nano_api/tests/programs.py.
UNPACKED, MINIO = "NANO_TEST_PROGRAMS", "NANO_TEST_MINIO"


def ensure() -> Path:
    """Make the environment unless the right one is there; return its folder of programs.

    Raises:
        LabError: pip failed; half an environment does not stay.
    """
    wanted = hashlib.sha256(b"".join(path.read_bytes() for path in REQUIREMENTS)).hexdigest()
    note = VENV / ".requirements"
    if note.exists() and note.read_text(encoding="utf-8") == wanted:
        return VENV / "bin"
    shutil.rmtree(VENV, ignore_errors=True)
    with progress("install the application's packages into .venv-workload"):
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
        files = [word for path in REQUIREMENTS for word in ("--requirement", str(path))]
        own = [str(VENV / "bin/pip"), "install", "--quiet", "--no-deps"]
        for name in PACKAGES:
            own += ["--editable", str(WORKLOAD / name)]
        for argv in ([str(VENV / "bin/pip"), "install", "--quiet", *files], own):
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
            if done.returncode:
                shutil.rmtree(VENV, ignore_errors=True)
                raise LabError(f"pip cannot install the application; is there a network?\n{done.stderr.strip()[-800:]}")
    note.write_text(wanted, encoding="utf-8")
    return VENV / "bin"


def missing() -> dict[str, str]:
    """Return the packages of the servers that the tests need and the machine lacks, with the servers' names."""
    lacks = {}
    if not shutil.which("initdb") and not any(POSTGRESQL.glob("*/bin/initdb")):
        lacks["postgresql"] = "PostgreSQL"
    if not shutil.which("redis-server"):
        lacks["redis-server"] = "Redis"
    return lacks


def missing_for_backups() -> dict[str, str]:
    """Return the same for the tests of the backups (tests/unit/backup_site.py)."""
    lacks = {name: text for name, text in missing().items() if name == "postgresql"}
    lacks |= {
        name: text for name, text in (("pgbackrest", "pgBackRest"), ("rclone", "rclone")) if not shutil.which(name)
    }
    known = (
        subprocess.run([PYTHON, "-c", "import psycopg2"], capture_output=True, check=False) if PYTHON.exists() else None
    )
    if known is None or known.returncode:
        lacks["python3-psycopg2"] = "psycopg2"
    return lacks


def programs(mirror: Path, needed: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment variables that lead the tests to the servers that the machine lacks.

    What can't be had is told in a line each, and the tests that need it are skipped.

    Args:
        mirror: the mirror's folder; MinIO is taken from there where it lies there.
        needed: packages to names of what the machine lacks; the application's tests need what `missing` returns.
    """
    found = {}
    if lacks := missing() if needed is None else dict(needed):
        try:
            found[UNPACKED] = str(_unpacked(sorted(lacks)))
        except LabError as error:
            print(f"  - {' and '.join(lacks.values())} not there, their tests are skipped: {error}", flush=True)
    archives = sorted(mirror.glob("minio/*/minio-*.tar.gz"))
    if archives:
        found[MINIO] = str(_minio(archives[-1]))
    elif not shutil.which("minio"):
        instead = "moto stands in for the object store" if needed is None else "tests that need it are skipped"
        print(f"  - no MinIO in the mirror (make up brings it): {instead}", flush=True)
    return found


def _unpacked(packages: list[str]) -> Path:
    """Return the folder with the packages' files. Raises LabError."""
    system = OS_RELEASE.read_bytes() if OS_RELEASE.exists() else b""
    key = hashlib.sha256(" ".join([*packages, platform.machine()]).encode() + system).hexdigest()[:16]

    def fill(folder: Path) -> None:
        with progress(f"fetch {' and '.join(packages)} for the tests, without installing"):
            debs.unpack(packages, folder)

    return _whole(key, fill)


def _minio(archive: Path) -> Path:
    """Return the program out of an archive of the mirror."""

    def fill(folder: Path) -> None:
        with tarfile.open(archive) as bundle:
            bundle.extractall(folder, filter="data")

    size = archive.stat()
    key = hashlib.sha256(f"{archive.name} {size.st_size} {size.st_mtime_ns}".encode()).hexdigest()[:16]
    return next(_whole(f"minio-{key}", fill).glob("*/minio"))


def _whole(name: str, fill: Callable[[Path], None]) -> Path:
    """Return a folder of the cache, which `fill` fills at its first use; it is there whole or not at all."""
    base = cache_dir() / "application"
    place = base / name
    with lock(cache_dir() / "application.lock"):
        if place.exists():
            return place
        base.mkdir(exist_ok=True)
        # We hold the lock: what lies here was left by a run that was killed.
        for left in (*base.glob(".new-*"), *base.glob(".apt-*")):
            shutil.rmtree(left, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=".new-", dir=base))
        with contextlib.ExitStack() as stack:
            stack.callback(shutil.rmtree, work, ignore_errors=True)
            fill(work)
            work.chmod(0o755)
            work.replace(place)
    return place
