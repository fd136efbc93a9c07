"""The servers that the application's tests need are had without installing anything, or the reason is told."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from lab import debs, workload
from lab.common import LabError

CONTROL = "Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: a <a@example.org>\nDescription: a test\n"
with_apt = pytest.mark.skipif(not (shutil.which("apt-get") and shutil.which("dpkg-deb")), reason="needs Debian's apt")


class Archive:
    """A package archive in a folder, as apt reads it from a disk."""

    def __init__(self, here: Path) -> None:
        self.here = here
        self.entries: list[str] = []
        (here / "sources.list").write_text(f"deb [trusted=yes] copy:{here} ./\n")
        self.options = (f"Dir::Etc::SourceList={here}/sources.list", "Dir::Etc::SourceParts=/dev/null")

    def add(self, name: str, more: str = "") -> None:
        """Add a package with one program; its script, which an installation would run, leaves a mark."""
        tree = self.here / "trees" / name
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "usr/bin").mkdir(parents=True)
        (tree / f"usr/bin/{name}").write_text("#!/bin/sh\n")
        control = CONTROL.format(name=name) + more
        (tree / "DEBIAN/control").write_text(control)
        (tree / "DEBIAN/postinst").write_text(f"#!/bin/sh\ntouch {self.here}/installed\n")
        (tree / "DEBIAN/postinst").chmod(0o755)
        file = self.here / f"{name}_1_all.deb"
        subprocess.run(["dpkg-deb", "--build", str(tree), str(file)], check=True, capture_output=True)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        self.entries.append(f"{control}Filename: ./{file.name}\nSize: {file.stat().st_size}\nSHA256: {digest}\n")
        (self.here / "Packages").write_text("\n".join(self.entries))


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    (tmp_path / "archive").mkdir()
    return Archive(tmp_path / "archive")


@pytest.fixture
def into(tmp_path: Path) -> Path:
    made = tmp_path / "into"
    made.mkdir()
    return made


@with_apt
def test_a_package_and_what_it_needs_are_unpacked_and_not_installed(archive: Archive, into: Path) -> None:
    archive.add("nano-test-server", "Depends: nano-test-library\n")
    archive.add("nano-test-library")
    debs.unpack(["nano-test-server"], into, archive.options)
    assert sorted(path.name for path in (into / "usr/bin").iterdir()) == ["nano-test-library", "nano-test-server"]
    assert not (archive.here / "installed").exists()
    known = subprocess.run(["dpkg-query", "--show", "nano-test-server"], capture_output=True, check=False)
    assert known.returncode, "the package is registered on this machine"
    assert [path.name for path in into.parent.iterdir() if path.name.startswith(".apt-")] == []


@with_apt
def test_a_damaged_package_is_not_unpacked(archive: Archive, into: Path) -> None:
    archive.add("nano-test-server")
    deb = archive.here / "nano-test-server_1_all.deb"
    deb.write_bytes(deb.read_bytes()[:-10] + b"0123456789")
    with pytest.raises(LabError, match="can't fetch nano-test-server: E: "):
        debs.unpack(["nano-test-server"], into, archive.options)
    assert list(into.iterdir()) == []


@with_apt
def test_what_no_source_has_is_named(archive: Archive, into: Path) -> None:
    archive.add("nano-test-server")
    with pytest.raises(LabError, match="Unable to locate package nano-test-other"):
        debs.unpack(["nano-test-other"], into, archive.options)


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pretend a machine that has none of the programs, and a cache of its own; return the mirror's folder."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("NANO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(workload, "POSTGRESQL", tmp_path / "none")
    (tmp_path / "mirror").mkdir()
    return tmp_path / "mirror"


def test_a_machine_without_apt_is_told_what_is_skipped(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert workload.programs(bare) == {}
    told = capsys.readouterr().out
    assert "PostgreSQL and Redis not there, their tests are skipped: there is no apt-get here" in told
    assert "moto stands in for the object store" in told


def test_what_was_fetched_is_fetched_once_and_again_when_it_was_cut_off(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []

    def unpack(packages: list[str], into: Path) -> None:
        calls.append(packages)
        (into / "some").write_text("")
        if len(calls) == 1:
            raise LabError("cut off")

    monkeypatch.setattr(debs, "unpack", unpack)
    assert workload.UNPACKED not in workload.programs(bare)
    first = workload.programs(bare)[workload.UNPACKED]
    assert workload.programs(bare)[workload.UNPACKED] == first
    assert calls == [["postgresql", "redis-server"]] * 2
    assert [path.name for path in Path(first).parent.iterdir()] == [Path(first).name], "what was cut off stayed"


def test_only_what_the_machine_lacks_is_fetched(bare: Path) -> None:
    redis = bare.parent / "bin/redis-server"
    redis.write_text("#!/bin/sh\n")
    redis.chmod(0o755)
    assert workload.missing() == {"postgresql": "PostgreSQL"}


def test_minio_comes_out_of_the_mirror(bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workload, "missing", dict)
    (tmp_path / "minio").write_text("the program")
    (tmp_path / "minio").chmod(0o755)
    (bare / "minio/1").mkdir(parents=True)
    with tarfile.open(bare / "minio/1/minio-1.linux-amd64.tar.gz", "w:gz") as bundle:
        bundle.add(tmp_path / "minio", "minio-1.linux-amd64/minio")
    found = Path(workload.programs(bare)[workload.MINIO])
    assert (found.read_text(), os.access(found, os.X_OK)) == ("the program", True)


def test_the_tests_find_what_was_unpacked(tmp_path: Path) -> None:
    """The other end: where the application's tests look, with the variables that are given to them."""
    server = tmp_path / "usr/lib/postgresql/99/bin/nano-test-server"
    server.parent.mkdir(parents=True)
    server.write_text("")
    (tmp_path / "usr/lib/x86_64-linux-gnu").mkdir()
    tmp_path.chmod(0o755)
    env = {**os.environ, workload.UNPACKED: str(tmp_path), "PYTHONPATH": str(workload.WORKLOAD / "nano_api/tests")}
    script = "import programs; print(*programs.find('nano-test-server')); print(programs.find('nano-test-other'))"
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    words, none = done.stdout.splitlines()
    assert words.startswith("env LD_LIBRARY_PATH=/") and "/usr/lib/x86_64-linux-gnu " in words
    assert words.endswith("/usr/lib/postgresql/99/bin/nano-test-server")
    assert none == "[]"
