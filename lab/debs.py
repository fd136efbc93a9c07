"""Programs out of Debian's packages without installing them: nothing is registered, configured or started."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lab.common import LabError

STATUS = Path("/var/lib/dpkg/status")
# The longest that fetching may take, in seconds; a mirror that is silent is given up after 20 s and two more tries.
PATIENCE_S = 600.0
TRANSFER = ("Acquire::http::Timeout=20", "Acquire::https::Timeout=20", "Acquire::Retries=2")


def unpack(packages: Sequence[str], into: Path, options: Sequence[str] = ()) -> None:
    """Fetch packages, and what the machine lacks for them, and unpack them into a folder.

    Neither root nor the machine's package lists are needed: apt gets lists and a cache of its own for the moment, and
    reads from the machine only what is installed and where packages come from.

    Args:
        packages: names of packages.
        into: an existing folder.
        options: more of apt's options, NAME=VALUE.

    Raises:
        LabError: there is no apt, or it can't fetch them; the text says why.
    """
    for tool in ("apt-get", "dpkg-deb"):
        if not shutil.which(tool):
            raise LabError(f"there is no {tool} here")
    with tempfile.TemporaryDirectory(prefix=".apt-", dir=into.parent) as name:
        own = Path(name)
        for folder in ("state/lists/partial", "cache/archives/partial"):
            (own / folder).mkdir(parents=True)
        # Without a lock: nothing that others lock is written, and an apt at work is not waited for.
        private = (f"Dir::State={own}/state", f"Dir::Cache={own}/cache", f"Dir::State::status={STATUS}")
        words = [word for each in (*private, "Debug::NoLocking=1", *TRANSFER, *options) for word in ("-o", each)]
        # One source of several that doesn't answer is no reason to give up; what is missing then shows below.
        lists = _run(["apt-get", "-q", *words, "update"])
        fetch = ["apt-get", "-q", *words, "install", "--download-only", "--yes", "--no-install-recommends", *packages]
        done = _run(fetch)
        if done.returncode:
            raise LabError(f"apt-get can't fetch {' and '.join(packages)}: {_reason(done) or _reason(lists)}")
        for package in sorted((own / "cache/archives").glob("*.deb")):
            done = _run(["dpkg-deb", "--extract", str(package), str(into)])
            if done.returncode:
                raise LabError(f"{package.name} can't be unpacked: {_reason(done)}")


def _run(argv: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command for its output, in English. Raises LabError when it takes too long."""
    env = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        return subprocess.run(
            argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=PATIENCE_S
        )
    except subprocess.TimeoutExpired:
        raise LabError(f"{argv[0]} took longer than {PATIENCE_S:.0f} s") from None


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """Return apt's errors, or the last line that was said."""
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return "; ".join(line for line in lines if line.startswith("E: "))[:600] or "".join(lines[-1:])
