"""A wheelhouse is built once for each content, and what can't be built says why."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from ansible_collections.nano.ops.plugins.module_utils import python_application
from ansible_collections.nano.ops.plugins.module_utils.download import ReleaseError
from ansible_collections.nano.ops.plugins.module_utils.program import Program
from ansible_collections.nano.ops.plugins.plugin_utils import wheelhouse


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A package of our own."""
    package = tmp_path / "shop"
    (package / "src/shop").mkdir(parents=True)
    (package / "src/shop/__init__.py").write_text("x = 1\n")
    (package / "README.md").write_text("A shop.\n")
    (package / "pyproject.toml").write_text('[project]\nname = "shop"\nversion = "1.2.3"\n')
    return package


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    """Exact versions of other packages."""
    path = tmp_path / "requirements.txt"
    path.write_text("httpx==0.28.1\n")
    return path


def test_version_tells_of_all_that_goes_into_it(source: Path, requirements: Path) -> None:
    first = wheelhouse.version([source], requirements)
    assert first.startswith("1.2.3-")
    assert wheelhouse.version([source], requirements) == first
    (source / "tests").mkdir()
    (source / "tests/test_shop.py").write_text("")
    (source / "src/shop/__pycache__").mkdir()
    (source / "src/shop/__pycache__/x.pyc").write_bytes(b"x")
    assert wheelhouse.version([source], requirements) == first, "tests and leftovers make a new version"
    (source / "src/shop/__init__.py").write_text("x = 2\n")
    second = wheelhouse.version([source], requirements)
    assert second != first
    requirements.write_text("httpx==0.28.2\n")
    assert wheelhouse.version([source], requirements) not in (first, second)


def test_folder_that_is_no_package_is_named(tmp_path: Path, requirements: Path) -> None:
    with pytest.raises(wheelhouse.WheelhouseError, match="is no Python package"):
        wheelhouse.version([tmp_path], requirements)


def test_it_is_built_once_and_half_of_it_is_never_there(
    monkeypatch: pytest.MonkeyPatch, source: Path, requirements: Path, tmp_path: Path
) -> None:
    built: list[str] = []

    def fill(folder: Path, sources: list[Path], needs: Path, python: str, machine: str) -> None:
        built.append(python)
        (folder / "shop-1.2.3-py3-none-any.whl").write_bytes(b"wheel")
        if len(built) == 1:
            raise wheelhouse.WheelhouseError("cut off")

    monkeypatch.setattr(wheelhouse, "fill", fill)
    place = tmp_path / "wheels"
    with pytest.raises(wheelhouse.WheelhouseError, match="cut off"):
        wheelhouse.ensure(place, "shop-1", [source], requirements, "3.13", "x86_64")
    assert list(place.glob("*.tar")) == []
    archives = [wheelhouse.ensure(place, "shop-1", [source], requirements, "3.13", "x86_64") for _ in range(2)]
    assert built == ["3.13", "3.13"] and archives[0] == archives[1]
    with tarfile.open(archives[0]) as bundle:
        assert bundle.getnames() == ["shop-1.2.3-py3-none-any.whl"]


def test_without_a_network_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(wheelhouse.WheelhouseError, match="copy the folder"):
        wheelhouse.pip("download", "--no-deps", "a-package-that-nobody-has==1")


@pytest.mark.parametrize(("content", "words"), [(b"no archive", "is damaged"), (None, "holds no pip")])
def test_wheelhouse_that_is_none_changes_nothing(tmp_path: Path, content: bytes | None, words: str) -> None:
    archive = tmp_path / "shop.tar"
    if content is None:
        with tarfile.open(archive, "w"):
            pass
    else:
        archive.write_bytes(content)
    program = Program(tmp_path / "opt/shop")
    with pytest.raises(ReleaseError, match=words):
        python_application.install(program, "1.2.3-a", "shop", archive)
    assert program.version() == "" and program.note("1.2.3-a") == {}
