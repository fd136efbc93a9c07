"""A Python application on a host: an environment per version, and the switch between them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from ansible_collections.nano.ops.plugins.module_utils.download import ReleaseError
from ansible_collections.nano.ops.plugins.module_utils.program import NOTE, Program

# Wheels and what they unpack to.
DISK_FACTOR = 5


def run(*argv: str) -> None:
    """Run a command.

    Raises:
        ReleaseError: it failed.
    """
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ReleaseError(
            f"{' '.join(argv[:4])} ended with code {done.returncode}: {(done.stderr + done.stdout).strip()[-600:]}"
        )


def install(program: Program, version: str, script: str, archive: Path) -> None:
    """Make the environment of a version from a wheelhouse, without a network. What runs stays as it is.

    Args:
        program: the application's folder.
        version: name of the new folder.
        script: a program of the application, which has to be there afterwards.
        archive: the wheelhouse.

    Raises:
        ReleaseError: no room, a damaged archive, or a wheel that does not fit this Python.
    """
    need = archive.stat().st_size * DISK_FACTOR
    existing = next(parent for parent in (program.place, *program.place.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < need:
        raise ReleaseError(f"{existing} has {free >> 20} MiB free, {version} needs {need >> 20}: make room")
    with program.lock():
        if program.note(version):
            return
        # Environments hold their own path, so it is made where it stays; without the note it counts for nothing.
        folder = program.place / version
        if folder.exists():
            shutil.rmtree(folder)
        wheels = folder / "wheels"
        wheels.mkdir(parents=True, mode=0o755)
        try:
            with tarfile.open(archive) as bundle:
                # By hand: Debian 12's Python has no extraction filters yet. Wheels lie flat, all else is none of ours.
                for member in bundle:
                    handle = bundle.extractfile(member) if member.isfile() and "/" not in member.name else None
                    if handle is not None:
                        with handle, (wheels / member.name).open("wb") as output:
                            shutil.copyfileobj(handle, output, 1 << 20)
        except (tarfile.TarError, OSError) as error:
            raise ReleaseError(f"the wheelhouse is damaged: {error}") from error
        run(sys.executable, "-m", "venv", "--without-pip", str(folder))
        python = str(folder / "bin/python")
        pip = next(wheels.glob("pip-*.whl"), None)
        if pip is None:
            raise ReleaseError("the wheelhouse holds no pip: it was not built by this collection")
        others = [str(wheel) for wheel in sorted(wheels.glob("*.whl")) if wheel != pip]
        run(
            python,
            f"{pip}/pip",
            "install",
            "--quiet",
            "--no-index",
            "--no-deps",
            "--disable-pip-version-check",
            *others,
        )
        run(python, f"{pip}/pip", "check", "--disable-pip-version-check")
        shutil.rmtree(wheels)
        about = (folder / "bin" / script).stat()
        files = {f"bin/{script}": [about.st_size, about.st_mtime_ns]}
        note = {"version": version, "source": archive.name, "sha256": version, "files": files}
        (folder / NOTE).write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")


def switch(program: Program, version: str, keep: int) -> None:
    """Make a version the current one.

    Raises:
        ReleaseError: it is not installed.
    """
    with program.lock():
        if not program.note(version):
            raise ReleaseError(f"{program.place / version} is not whole: run again")
        program.switch(version)
        program.prune(keep)
