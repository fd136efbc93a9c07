"""What a user sees of the lab's commands: help, one clear line for a mistake, and the Makefile's own checks."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab import cli, engine, mirror
from lab.common import LabError

from .conftest import ROOT
from .modules import program

# Runs the real Python, which then believes to be another version.
PYTHON = """\
#!/bin/sh
echo "$@" >> HERE/asked
[ "$1" = -c ] || exit 0
exec REAL -c 'import collections, sys
sys.version_info = collections.namedtuple("V", "major minor micro releaselevel serial")(VERSION, 0, "final", 0)
exec(sys.argv[1])' "$2"
"""


def lab(*argv: str, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the lab's command line without the virtual environment's packages, as `make` does at first."""
    return subprocess.run(
        [sys.executable, "-S", "-m", "lab", *argv],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1", **env},
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_needs_no_package_and_lists_the_commands() -> None:
    done = lab("--help")
    assert done.returncode == 0, done.stderr
    for command in ("engine", "image", "mirror", "up", "test", "down", "bench"):
        assert f"\n    {command} " in done.stdout


@pytest.mark.parametrize("argv", [[], ["upp"], ["image", "--suite", "sid"]])
def test_mistyped_command_is_explained(argv: list[str]) -> None:
    done = lab(*argv)
    assert done.returncode == 2
    assert "usage: python -m lab" in done.stderr
    assert "Traceback" not in done.stderr


def test_error_is_one_clear_line(tmp_path: Path) -> None:
    """From the real program: an engine elsewhere that doesn't answer."""
    program(tmp_path / "bin", "docker", "#!/bin/sh\necho 'no route to host' >&2\nexit 1\n")
    done = lab(
        "engine",
        PATH=f"{tmp_path / 'bin'}:/usr/bin:/bin",
        NANO_CACHE=str(tmp_path / "cache"),
        DOCKER_HOST="tcp://engine.example.com:2376",
    )
    assert done.returncode == 1
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr


def test_mistake_ends_with_1_and_the_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise LabError("no engine answers; start Docker Engine first")

    monkeypatch.setattr(engine, "ensure", fail)
    assert cli.main(["engine"]) == 1
    assert capsys.readouterr().err == "\nerror: no engine answers; start Docker Engine first\n"


def test_interrupt_ends_with_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "ensure", interrupt)
    assert cli.main(["engine"]) == 130
    assert capsys.readouterr().err == "\nstopped\n"


def test_mirror_takes_programs_and_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []
    monkeypatch.setenv("NANO_CACHE", str(tmp_path))
    monkeypatch.setattr(mirror, "fill", lambda *args: asked.append(args))
    cli.main(["mirror"])
    cli.main(["mirror", "--program", "a", "--program", "b", "--into", str(tmp_path / "x"), "--build"])
    assert asked == [(None, tmp_path.resolve() / "mirror", False), (["a", "b"], tmp_path.resolve() / "x", True)]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a tree with the Makefile, that has no virtual environment yet."""
    for name in ("Makefile", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def make(tree: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *argv], cwd=tree, capture_output=True, text=True, check=False)


def python(tree: Path, version: str) -> str:
    text = PYTHON.replace("HERE", str(tree)).replace("REAL", sys.executable)
    return str(program(tree / "bin", "python", text.replace("VERSION", version.replace(".", ", "))))


def test_make_alone_lists_the_commands(tree: Path) -> None:
    done = make(tree)
    assert done.returncode == 0, done.stderr
    for command in ("up", "test", "unit", "down", "lint"):
        assert f"  make {command} " in done.stdout


@pytest.mark.parametrize("version", ["3.10", "3.9", "3.14"])
def test_wrong_python_is_refused_before_anything_is_made(tree: Path, version: str) -> None:
    fake = python(tree, version)
    done = make(tree, "unit", f"PYTHON={fake}")
    assert done.returncode != 0
    assert f"error: Python 3.11 to 3.13 is needed, {fake} is {version}" in done.stderr
    assert "make PYTHON=python3" in done.stderr, "the way out is not named"
    assert "Traceback" not in done.stderr
    assert not (tree / ".venv").exists()


@pytest.mark.parametrize("target", ["up", "test"])
def test_python_is_looked_at_before_the_machine_is_changed(tree: Path, target: str) -> None:
    """The engine's step may install packages as root."""
    done = make(tree, target, f"PYTHON={python(tree, '3.10')}")
    assert "Python 3.11 to 3.13 is needed" in done.stderr
    assert "-m lab engine" not in (tree / "asked").read_text()


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_right_python_gets_a_virtual_environment(tree: Path, version: str) -> None:
    """The stand-in makes none, so `make` stops there, and says so."""
    done = make(tree, "venv", f"PYTHON={python(tree, version)}")
    assert "-m venv .venv" in (tree / "asked").read_text()
    assert "is needed" not in done.stderr
    assert done.returncode != 0
    assert not list((tree / ".venv").glob(".requirements-*")), "half an environment counts as a whole one"
