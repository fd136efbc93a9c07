"""A wheelhouse: everything that a Python application needs, for hosts that install it without a network.

It is built once on the controller, for each Python and architecture that the hosts have, and kept in the cache under a
name that its content decides. It may be deleted at any time.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path

# Debian 12 has glibc 2.36, and what runs there runs on later ones.
GLIBC_MINORS = range(36, 4, -1)
OLD_NAMES = ("manylinux2014", "manylinux2010", "manylinux1")
# It installs the wheels on the host, from its own wheel: hosts need no package of Debian's but Python itself.
PIP = "pip==26.3"
IGNORED = shutil.ignore_patterns("tests", "build", "*.egg-info", "__pycache__", ".*_cache")


class WheelhouseError(Exception):
    """It cannot be built; the text says why and what to do."""


def cache() -> Path:
    """Return the folder of all wheelhouses."""
    base = (
        os.environ.get("NANO_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "nano.ops"
    )
    return Path(base) / "wheels"


def files(source: Path) -> list[Path]:
    """Return what a package is made of, without its tests and leftovers."""
    found = [source / "pyproject.toml", source / "README.md", *(source / "src").rglob("*")]
    return sorted(
        path for path in found if path.is_file() and "__pycache__" not in path.parts and "egg-info" not in str(path)
    )


def version(sources: list[Path], requirements: Path) -> str:
    """Return the version of the last package with a hash of all that goes into it.

    Raises:
        WheelhouseError: a folder is no package, or the list of requirements is missing.
    """
    digest = hashlib.sha256(PIP.encode())
    try:
        digest.update(requirements.read_bytes())
        for source in sources:
            for path in files(source):
                digest.update(str(path.relative_to(source)).encode() + b"\0" + path.read_bytes())
        about = tomllib.loads((sources[-1] / "pyproject.toml").read_text(encoding="utf-8"))
        return f"{about['project']['version']}-{digest.hexdigest()[:10]}"
    except (OSError, KeyError, IndexError, tomllib.TOMLDecodeError) as error:
        raise WheelhouseError(f"{sources[-1] if sources else 'sources'} is no Python package: {error}") from error


def platforms(machine: str) -> list[str]:
    """Return the platforms whose wheels run on a host."""
    modern = [f"manylinux_2_{minor}_{machine}" for minor in GLIBC_MINORS]
    return [*modern, *(f"{name}_{machine}" for name in OLD_NAMES), f"linux_{machine}"]


def pip(*argv: str) -> None:
    """Run pip.

    Raises:
        WheelhouseError: it failed.
    """
    done = subprocess.run(
        [sys.executable, "-m", "pip", *argv, "--quiet", "--disable-pip-version-check"],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        raise WheelhouseError(
            f"pip {argv[0]} failed on this machine: {done.stderr.strip()[-600:]}\nWithout a network, copy the folder "
            f"{cache()} from a machine that has built it."
        )


def fill(folder: Path, sources: list[Path], requirements: Path, python: str, machine: str) -> None:
    """Put all wheels into a folder."""
    short = python.replace(".", "")
    target = ["--only-binary=:all:", "--implementation=cp", f"--python-version={python}"]
    target += [f"--abi={abi}" for abi in (f"cp{short}", "abi3", "none")]
    target += [f"--platform={name}" for name in platforms(machine)]
    pip("download", "--no-deps", f"--dest={folder}", *target, f"--requirement={requirements}", PIP)
    for source in sources:
        # In a copy: setuptools leaves its own things beside what it builds.
        copy = folder / "source" / source.name
        shutil.copytree(source, copy, ignore=IGNORED)
        pip("wheel", "--no-deps", f"--wheel-dir={folder}", str(copy))
    shutil.rmtree(folder / "source")


def ensure(place: Path, name: str, sources: list[Path], requirements: Path, python: str, machine: str) -> Path:
    """Return the archive of a wheelhouse; build it unless it is there.

    Args:
        place: folder of all wheelhouses.
        name: name of the application with its version.
        sources: folders of our own packages.
        requirements: file with the exact versions of all others.
        python: the hosts' Python, such as "3.13".
        machine: the hosts' architecture in the kernel's word, such as "x86_64".

    Raises:
        WheelhouseError: pip failed.
    """
    place.mkdir(parents=True, exist_ok=True)
    archive = place / f"{name}-cp{python.replace('.', '')}-{machine}.tar"
    # Hosts of one kind ask at once; the kernel frees the lock of a run that dies.
    with (place / f".{archive.name}.lock").open("a", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if not archive.exists():
            with tempfile.TemporaryDirectory(dir=place, prefix=".new-") as work:
                folder = Path(work) / "wheels"
                folder.mkdir()
                fill(folder, sources, requirements, python, machine)
                fresh = Path(work) / archive.name
                with tarfile.open(fresh, "w") as bundle:
                    for wheel in sorted(folder.glob("*.whl")):
                        bundle.add(wheel, wheel.name)
                fresh.replace(archive)
    return archive
