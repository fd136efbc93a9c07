"""The mirror: what a stand-in for Go builds lies there as the upstreams lay it out, complete or not at all."""

from __future__ import annotations

import json
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.nano.ops.plugins.module_utils.program import Program
from ansible_collections.nano.ops.plugins.module_utils.release import locate

from lab import mirror
from lab.common import LabError

from .conftest import ROOT
from .golang import builds, names, stand_in
from .upstream import Handler, serve, sha256

CATALOGUE = mirror.catalogue()
BUILT = sorted(path.parent.name for path in (ROOT / "lab/build").glob("*/go.sum"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with stand_in(tmp_path, monkeypatch):
        yield tmp_path


def members(archive: Path) -> list[str]:
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as bundle:
            return bundle.namelist()
    with tarfile.open(archive) as bundle:
        return bundle.getnames()


@pytest.mark.parametrize("name", BUILT)
def test_layout_is_the_catalogues_and_a_host_can_install_it(
    here: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ansible_collections.nano.ops.plugins.module_utils.program.LEAST_FREE", 0)
    entry = CATALOGUE[name]
    version = str(entry["version"])
    mirror.fill([name], here / "mirror", always_build=True)
    folder = here / "mirror" / name / version
    archive, sums = (mirror.expand(entry[key], entry, "amd64") for key in ("file", "checksum_file"))
    assert names(folder) == sorted([".key", archive, "built.json", sums])
    assert f"{sha256((folder / archive).read_bytes())}  {archive}\n" in (folder / sums).read_text()
    top = "".join(mirror.expand(name, entry, "amd64") + "/" for name in entry["layout"]["folders"][:1])
    inside = [top + mirror.expand(path, entry, "amd64") for path in entry["layout"]["files"]]
    assert sorted(members(folder / archive)) == sorted(inside)
    assert json.loads((folder / "built.json").read_text()) == {
        "module": entry["go"]["module"],
        "version": entry["go"]["version"],
        "toolchain": "go1.99.1",
    }
    host = Program(here / "opt" / name)
    host.install(locate(name, version, "x86_64", entry, (here / "mirror").as_uri()), "", 1)
    for binary in entry["layout"]["files"].values():
        assert (host.place / "current" / binary).read_text().startswith("binary of ")
    assert (folder.stat().st_mode & 0o777) == 0o755, "a web server's user must be able to read it"


def test_build_is_pinned_and_for_the_hosts(here: Path) -> None:
    mirror.fill(["node_exporter"], here / "mirror", always_build=True)
    line = (here / "builds").read_text()
    assert "-mod=readonly" in line, "go.sum would not be held to"
    assert "-trimpath" in line
    assert f"version.Version={CATALOGUE['node_exporter']['version']}" in line


def tool(**changes: Any) -> dict[str, Any]:
    return {
        "version": "1.0.0",
        "method": "release",
        "url": "http://127.0.0.1:1",
        "file": "tool-{version}.linux-{arch}.tar.gz",
        "checksum_file": "sha256sums.txt",
        "checksum_format": "sums",
        "checksums": {},
        "layout": {"type": "tar.gz", "folders": ["tool"], "files": {"tool": "tool"}},
        "go": {"module": "example.com/tool", "version": "v1.0.0", "packages": {"example.com/tool": "tool"}}
        | {"tags": [], "ldflags": ""},
        **changes,
    }


@pytest.fixture
def catalogue(here: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return a catalogue of one tool, whose pins lie in a tree of the test's own."""
    source = here / "lab/build/tool"
    source.mkdir(parents=True)
    (source / "go.mod").write_text("module example.com/pins\n")
    (source / "go.sum").write_text("example.com/tool v1.0.0 h1:abc=\n")
    programs = {"tool": tool()}
    monkeypatch.setattr(mirror, "ROOT", here)
    monkeypatch.setattr(mirror, "catalogue", lambda: programs)
    return programs


def fill(here: Path, always_build: bool = False) -> Path:
    mirror.fill(["tool"], here / "mirror", always_build)
    return here / "mirror/tool/1.0.0"


def test_second_run_builds_nothing(here: Path, catalogue: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    fill(here)
    fill(here)
    assert builds(here) == 1
    assert "tool 1.0.0 is there" in capsys.readouterr().out


@pytest.mark.parametrize("what", ["go.sum", "go.mod", "entry"])
def test_other_pins_build_anew(here: Path, catalogue: dict[str, Any], what: str) -> None:
    folder = fill(here)
    if what == "entry":
        catalogue["tool"] = tool(layout={"type": "tar.gz", "folders": ["other"], "files": {"tool": "tool"}})
    else:
        (here / "lab/build/tool" / what).write_text("changed\n")
    fill(here)
    assert builds(here) == 2
    assert names(folder.parent) == ["1.0.0"]
    with tarfile.open(folder / "tool-1.0.0.linux-amd64.tar.gz") as bundle:
        assert bundle.getnames() == ["other/tool" if what == "entry" else "tool/tool"]


def test_folder_that_was_deleted_is_made_again(here: Path, catalogue: dict[str, Any]) -> None:
    folder = fill(here)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    fill(here)
    assert "built.json" in names(folder)


def test_failed_build_keeps_what_was_there(here: Path, catalogue: dict[str, Any]) -> None:
    folder = fill(here)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (here / "lab/build/tool/go.sum").write_text("changed\n")
    (here / "broken").touch()
    with pytest.raises(LabError, match=r"(?s)go build example\.com/tool failed with code 1.*undefined: x"):
        fill(here)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert names(folder.parent) == ["1.0.0"]


@pytest.mark.parametrize("content", ["bare", "zip"])
def test_other_shapes(here: Path, catalogue: dict[str, Any], content: str) -> None:
    if content == "bare":
        catalogue["tool"] = tool(checksum_format="bare", checksum_file="tool.sha256")
        folder = fill(here)
        assert (folder / "tool.sha256").read_text() == sha256((folder / "tool-1.0.0.linux-amd64.tar.gz").read_bytes())
        return
    catalogue["tool"] = tool(file="tool.zip", layout={"type": "zip", "folders": [], "files": {"tool": "tool"}})
    assert (fill(here) / "tool.zip").read_bytes()[:2] == b"PK"


def served(archive: bytes) -> dict[str, bytes]:
    name = "tool-1.0.0.linux-amd64.tar.gz"
    return {name: archive, "sha256sums.txt": f"{sha256(archive)}  {name}\n".encode()}


@pytest.fixture
def upstream(catalogue: dict[str, Any]) -> Iterator[type[Handler]]:
    with serve(served(b"upstream's archive" * 1000)) as (url, handler):
        catalogue["tool"]["url"] = url
        yield handler


def test_release_that_can_be_reached_is_downloaded(here: Path, upstream: type[Handler]) -> None:
    folder = fill(here)
    assert names(folder) == [".key", "sha256sums.txt", "tool-1.0.0.linux-amd64.tar.gz"]
    assert (folder / "tool-1.0.0.linux-amd64.tar.gz").read_bytes().startswith(b"upstream's archive")
    assert builds(here) == 0


@pytest.mark.parametrize("gone", ["sha256sums.txt", "tool-1.0.0.linux-amd64.tar.gz"])
def test_release_that_is_not_all_there_is_built(here: Path, upstream: type[Handler], gone: str) -> None:
    del upstream.files[gone]
    assert "built.json" in names(fill(here))
    assert builds(here) == 1


@pytest.mark.parametrize("fault", ["503", "drop"])
def test_release_that_breaks_off_is_built(here: Path, upstream: type[Handler], fault: str) -> None:
    upstream.faults.append((".tar.gz", fault))
    assert "built.json" in names(fill(here))


def test_release_behind_something_that_speaks_no_http_is_built(here: Path, upstream: type[Handler]) -> None:
    upstream.do_GET = lambda handler: handler.wfile.write(b"please sign in\r\n\r\n")
    assert "built.json" in names(fill(here))


def test_build_on_demand_asks_nobody(here: Path, upstream: type[Handler]) -> None:
    assert "built.json" in names(fill(here, always_build=True))
    assert upstream.asked == []


def test_download_that_is_not_the_pinned_one(here: Path, catalogue: dict[str, Any], upstream: type[Handler]) -> None:
    catalogue["tool"]["checksums"] = {"1.0.0": {"amd64": "a" * 64}}
    with pytest.raises(LabError, match=r"has SHA-256 [0-9a-f]{64}, the catalogue pins a{64}: do not use it"):
        fill(here)
    assert names(here / "mirror/tool") == []
    assert builds(here) == 0, "a wrong archive is a matter for a person, not to be worked round"


@pytest.mark.parametrize("harm", ["cut", "other"])
def test_download_without_a_pin_is_held_to_its_checksum_file(here: Path, upstream: type[Handler], harm: str) -> None:
    name = "tool-1.0.0.linux-amd64.tar.gz"
    archive = upstream.files[name]
    if harm == "cut":
        upstream.faults.append((".tar.gz", "cut"))
    else:
        upstream.files[name] = b"something else"
    try:
        folder = fill(here)
    except LabError:
        assert names(here / "mirror/tool") == []
    else:
        assert "built.json" in names(folder) or (folder / name).read_bytes() == archive


@pytest.mark.parametrize(
    ("name", "message"),
    [("promtheus", "has no program promtheus; it has .*prometheus"), ("rclone", "comes from Debian's package rclone")],
)
def test_program_that_cannot_be_mirrored(here: Path, name: str, message: str) -> None:
    with pytest.raises(LabError, match=message):
        mirror.fill([name], here / "mirror")
    assert names(here / "mirror") == []


def test_neither_download_nor_build(here: Path, catalogue: dict[str, Any]) -> None:
    (here / "lab/build/tool/go.sum").unlink()
    with pytest.raises(LabError, match=r"tool 1\.0\.0 can be neither downloaded .* nor built here .*by hand"):
        fill(here)
    assert names(here / "mirror/tool") == []


def test_unknown_architecture(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror.platform, "machine", lambda: "riscv64")
    with pytest.raises(LabError, match="riscv64 has no releases"):
        mirror.fill(None, here / "mirror")
