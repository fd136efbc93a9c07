"""Run a module of the collection by its options and read its result, as Ansible does."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from ansible.module_utils.testing import patch_module_args

from .conftest import ROOT

# A module that hangs is a failure, not a suite that never ends.
MOST_SECONDS = 60


@dataclass
class Result:
    """What a module answered."""

    data: dict[str, Any]

    @property
    def failed(self) -> bool:
        return bool(self.data.get("failed"))

    @property
    def changed(self) -> bool:
        return bool(self.data.get("changed"))

    @property
    def message(self) -> str:
        return str(self.data.get("msg", ""))

    def __getitem__(self, name: str) -> Any:
        return self.data[name]


def call(name: str, args: dict[str, Any]) -> None:
    """Run a module in this process; it prints its result and exits."""
    with patch_module_args(args):
        importlib.import_module(f"ansible_collections.nano.ops.plugins.modules.{name}").main()


def run_module(name: str, args: dict[str, Any], *, check: bool = False, path: Path | None = None) -> Result:
    """Run a module.

    Args:
        name: its file's name.
        args: its options.
        check: run it in check mode.
        path: folder of programs that stand in for the machine's.
    """
    search = f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"]
    output = io.StringIO()
    with (
        mock.patch.dict(os.environ, PATH=search),
        contextlib.redirect_stdout(output),
        contextlib.suppress(SystemExit),
    ):
        call(name, {**args, "_ansible_check_mode": check})
    return read(output.getvalue(), "")


def run_module_below(prefix: list[str], name: str, args: dict[str, Any], *, check: bool = False) -> Result:
    """Run a module in a process of its own, started by another command."""
    done = subprocess.run(
        [*prefix, sys.executable, "-m", "tests.unit.modules", name],
        input=json.dumps({**args, "_ansible_check_mode": check}),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'collections'}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=MOST_SECONDS,
    )
    return read(done.stdout, done.stderr)


def read(output: str, errors: str) -> Result:
    """Read a module's result from the last line that it printed."""
    lines = output.strip().splitlines()
    assert lines, f"the module gave no result: {errors}"
    return Result(json.loads(lines[-1]))


def program(folder: Path, name: str, text: str) -> Path:
    """Write an executable that stands in for a program of the machine."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text)
    path.chmod(0o755)
    return path


if __name__ == "__main__":
    call(sys.argv[1], json.load(sys.stdin))
