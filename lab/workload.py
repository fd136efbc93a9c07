"""The application and its telemetry package: an environment of their own, their types and their tests."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from lab.common import ROOT, LabError, progress

WORKLOAD = ROOT / "workload"
VENV = ROOT / ".venv-workload"
PACKAGES = ("nano_telemetry", "nano_api")
REQUIREMENTS = (WORKLOAD / "requirements.txt", WORKLOAD / "requirements-test.txt")


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
