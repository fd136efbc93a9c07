"""The install module against every layout of the catalogue, hostile archives and a server that misbehaves."""

from __future__ import annotations

import shutil
import tarfile
import threading
from collections import namedtuple
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible_collections.nano.ops.plugins.action.program import CATALOGUE, look_up
from ansible_collections.nano.ops.plugins.module_utils import archive, download
from ansible_collections.nano.ops.plugins.module_utils.download import ReleaseError
from ansible_collections.nano.ops.plugins.module_utils.program import Program
from ansible_collections.nano.ops.plugins.module_utils.release import Release, locate

from .upstream import folder, member, serve, sha256, tar, zipped

PROGRAMS = yaml.safe_load(CATALOGUE.read_text())["programs"]
BINARY = b"#!/bin/sh\necho tool\n" * 500


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    monkeypatch.setattr("ansible_collections.nano.ops.plugins.module_utils.program.LEAST_FREE", 0)


def entry(**changes: object) -> dict:
    return {
        "method": "release",
        "archs": ["amd64", "arm64"],
        "url": "https://example.com/v{version}",
        "file": "tool-{version}.linux-{arch}.tar.gz",
        "checksum_file": "sha256sums.txt",
        "checksum_format": "sums",
        "checksum_covers": "archive",
        "checksums": {},
        "layout": {"type": "tar.gz", "folders": ["tool-{version}.linux-{arch}"], "files": {"tool": "tool"}},
        **changes,
    }


def package(version: str, data: bytes | None = None) -> dict[str, bytes]:
    """Return a mirror's files for a version of the tool."""
    name = f"tool-{version}.linux-amd64"
    bundle = data if data is not None else tar({f"{name}/tool": BINARY + version.encode(), f"{name}/LICENSE": b"x"})
    sums = f"{sha256(bundle)}  {name}.tar.gz\n{'0' * 64}  other.tar.gz\n".encode()
    return {f"tool/{version}/{name}.tar.gz": bundle, f"tool/{version}/sha256sums.txt": sums}


def tool(mirror: str, version: str = "1.0.0", **changes: object) -> Release:
    return locate("tool", version, "x86_64", entry(**changes), mirror)


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path / "opt/tool")


def leftovers(program: Program) -> list[str]:
    return [path.name for path in program.place.glob(".*") if path.name != ".lock"]


def test_it_installs_and_switches(program: Program, tmp_path: Path) -> None:
    mirror = folder(tmp_path / "mirror", package("1.0.0"))
    program.install(tool(mirror), "", 1)
    assert (program.place / "current/tool").read_bytes() == BINARY + b"1.0.0"
    assert (program.place / "current/tool").stat().st_mode & 0o777 == 0o755
    assert not (program.place / "current/LICENSE").exists()
    assert leftovers(program) == []


def test_what_is_installed_needs_no_network(program: Program) -> None:
    with serve(package("1.0.0")) as (url, handler):
        program.install(tool(url), "", 1)
        handler.asked.clear()
        assert program.is_installed("1.0.0", "")
        assert handler.asked == []


@pytest.mark.parametrize("damage", ["delete", "truncate", "not executable"])
def test_damaged_version_is_installed_again(program: Program, tmp_path: Path, damage: str) -> None:
    mirror = folder(tmp_path / "mirror", package("1.0.0"))
    program.install(tool(mirror), "", 1)
    binary = program.place / "current/tool"
    {
        "delete": binary.unlink,
        "truncate": lambda: binary.write_bytes(b""),
        "not executable": lambda: binary.chmod(0o000),
    }[damage]()
    if damage != "not executable" or not binary.exists():
        assert not program.is_installed("1.0.0", "")
    program.install(tool(mirror), "", 1)
    assert program.is_installed("1.0.0", "")


def test_previous_version_is_kept_and_older_ones_go(program: Program, tmp_path: Path) -> None:
    for version in ("1.0.0", "2.0.0", "3.0.0"):
        program.install(tool(folder(tmp_path / "mirror", package(version)), version), "", 1)
    assert (program.version(), program.version("previous")) == ("3.0.0", "2.0.0")
    assert sorted(path.name for path in program.place.glob("[0-9]*")) == ["2.0.0", "3.0.0"]


def test_folder_that_somebody_else_made_is_never_removed(program: Program, tmp_path: Path) -> None:
    (program.place / "0.9-by-hand").mkdir(parents=True)
    for version in ("1.0.0", "2.0.0", "3.0.0"):
        program.install(tool(folder(tmp_path / "mirror", package(version)), version), "", 1)
    assert (program.place / "0.9-by-hand").is_dir()


def test_roll_back(program: Program, tmp_path: Path) -> None:
    for version in ("1.0.0", "2.0.0"):
        program.install(tool(folder(tmp_path / "mirror", package(version)), version), "", 1)
    assert program.roll_back() == "1.0.0"
    assert (program.place / "current/tool").read_bytes().endswith(b"1.0.0")


def test_roll_back_without_a_previous_version_says_so(program: Program, tmp_path: Path) -> None:
    program.install(tool(folder(tmp_path / "mirror", package("1.0.0"))), "", 1)
    with pytest.raises(ReleaseError, match="no previous version"):
        program.roll_back()


@pytest.mark.parametrize("fault", ["drop", "503", "cut"])
def test_flaky_server(program: Program, fault: str) -> None:
    with serve(package("1.0.0")) as (url, handler):
        handler.faults += [(".tar.gz", fault)] * 3  # the first is for the question how large it is
        program.install(tool(url), "", 1)
    assert program.is_installed("1.0.0", "")


def test_broken_download_is_taken_up_where_it_broke(tmp_path: Path) -> None:
    with serve({"big": b"x" * 100_000}) as (url, handler):
        handler.faults.append(("big", "cut"))
        download.fetch(f"{url}/big", tmp_path / "big")
        assert (tmp_path / "big").stat().st_size == 100_000
        assert len(handler.asked) == 2


def test_server_that_never_recovers(program: Program) -> None:
    with serve(package("1.0.0")) as (url, handler):
        handler.faults += [(".tar.gz", "503")] * 20
        with pytest.raises(ReleaseError, match="answers 503"):
            program.install(tool(url), "", 1)
    assert program.version() == ""
    assert leftovers(program) == []


def test_missing_version_is_not_tried_again(program: Program) -> None:
    with serve({}) as (url, handler):
        with pytest.raises(ReleaseError, match="404"):
            program.install(tool(url, "9.9.9"), "", 1)
        assert len([path for path in handler.asked if path.endswith("sha256sums.txt")]) == 1


def test_mismatch_names_both_sums_and_changes_nothing(program: Program, tmp_path: Path) -> None:
    program.install(tool(folder(tmp_path / "mirror", package("1.0.0"))), "", 1)
    files = package("2.0.0")
    files["tool/2.0.0/sha256sums.txt"] = f"{'a' * 64}  tool-2.0.0.linux-amd64.tar.gz\n".encode()
    found = sha256(files["tool/2.0.0/tool-2.0.0.linux-amd64.tar.gz"])
    with pytest.raises(ReleaseError, match="mismatch") as error:
        program.install(tool(folder(tmp_path / "mirror", files), "2.0.0"), "", 1)
    assert "a" * 64 in str(error.value)
    assert found in str(error.value)
    assert program.version() == "1.0.0"
    assert not (program.place / "2.0.0").exists()


def test_pin_wins_over_the_checksum_file(program: Program, tmp_path: Path) -> None:
    mirror = folder(tmp_path / "mirror", package("1.0.0"))
    with pytest.raises(ReleaseError, match=r"catalogue.yml says b{64}"):
        program.install(tool(mirror, checksums={"1.0.0": {"amd64": "b" * 64}}), "", 1)


def test_option_wins_over_the_pin(program: Program, tmp_path: Path) -> None:
    files = package("1.0.0")
    right = sha256(files["tool/1.0.0/tool-1.0.0.linux-amd64.tar.gz"])
    program.install(tool(folder(tmp_path / "m", files), checksums={"1.0.0": {"amd64": "b" * 64}}), right, 1)
    assert program.is_installed("1.0.0", right)


def test_archive_built_for_a_mirror_has_its_own_sum(program: Program, tmp_path: Path) -> None:
    files = {**package("1.0.0"), "tool/1.0.0/built.json": b'{"module": "example.com/tool"}'}
    program.install(tool(folder(tmp_path / "m", files), checksums={"1.0.0": {"amd64": "b" * 64}}), "", 1)
    assert program.is_installed("1.0.0", "")


def test_checksum_file_without_the_archive(program: Program, tmp_path: Path) -> None:
    files = {**package("1.0.0"), "tool/1.0.0/sha256sums.txt": b"nothing here\n"}
    with pytest.raises(ReleaseError, match=r"has no SHA-256 for tool-1\.0\.0"):
        program.install(tool(folder(tmp_path / "m", files)), "", 1)


TOP = "tool-1.0.0.linux-amd64"
HOSTILE = {
    "absolute path": (tar({f"{TOP}/tool": BINARY, "/etc/evil": b"x"}), "leads out"),
    "parent path": (tar({f"{TOP}/tool": BINARY, f"{TOP}/../../evil": b"x"}), "leads out"),
    "link out": (tar({f"{TOP}/x": b""}, (member(f"{TOP}/tool", tarfile.SYMTYPE, "../../etc/passwd"),)), "leads out"),
    "absolute link": (tar({}, (member(f"{TOP}/tool", tarfile.SYMTYPE, "/etc/passwd"),)), "leads out"),
    "hard link out": (tar({}, (member(f"{TOP}/tool", tarfile.LNKTYPE, "../etc/passwd"),)), "leads out"),
    "link in place of a program": (tar({}, (member(f"{TOP}/tool", tarfile.SYMTYPE, "other"),)), "lacks"),
    "device": (tar({f"{TOP}/tool": BINARY}, (member("null", tarfile.CHRTYPE),)), "device or pipe"),
    "pipe": (tar({f"{TOP}/tool": BINARY}, (member("pipe", tarfile.FIFOTYPE),)), "device or pipe"),
    "not an archive": (b"<html>sign in</html>", "damaged"),
    "truncated": (tar({f"{TOP}/tool": BINARY * 200})[:-200], "damaged"),
    "other layout": (tar({"elsewhere/tool": BINARY}), "layout is not the one"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_archive(program: Program, tmp_path: Path, kind: str) -> None:
    data, message = HOSTILE[kind]
    with pytest.raises(archive.ArchiveError, match=message):
        program.install(tool(folder(tmp_path / "m", package("1.0.0", data))), "", 1)
    assert program.version() == ""
    assert leftovers(program) == []
    assert not (tmp_path / "evil").exists()


def test_hostile_zip(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(zipped({"../evil": b"x"}))
    with pytest.raises(archive.ArchiveError, match="leads out"):
        archive.unpack(tmp_path / "x.zip", {"type": "zip", "folders": [], "files": {"x": "x"}}, tmp_path)


def test_bomb(program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MOST_BYTES", 1000)
    with pytest.raises(archive.ArchiveError, match="unpacks to more than"):
        program.install(tool(folder(tmp_path / "m", package("1.0.0"))), "", 1)


def test_low_disk_is_found_out_first(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 9, 1))
    with serve(package("1.0.0")) as (url, _), pytest.raises(ReleaseError, match=r"MiB free.*make room"):
        program.install(tool(url), "", 1)
    assert not program.place.exists()


def test_what_a_killed_run_left_is_cleared(program: Program, tmp_path: Path) -> None:
    (program.place / ".new-dead").mkdir(parents=True)
    program.install(tool(folder(tmp_path / "m", package("1.0.0"))), "", 1)
    assert leftovers(program) == []


def test_parallel_runs(program: Program, tmp_path: Path) -> None:
    mirror = folder(tmp_path / "m", package("1.0.0"))
    errors: list[Exception] = []

    def one() -> None:
        try:
            program.install(tool(mirror), "", 1)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert program.is_installed("1.0.0", "")


def test_plain_http_is_refused_except_on_loopback() -> None:
    with pytest.raises(ReleaseError, match="use https or file"):
        tool("http://mirror.example.com")


def test_wrong_architecture() -> None:
    with pytest.raises(ReleaseError, match="no release for riscv64, only for amd64, arm64"):
        locate("tool", "1.0.0", "riscv64", entry(), "")


def test_source_only_upstream_asks_for_a_mirror() -> None:
    with pytest.raises(ReleaseError, match="ships source only"):
        locate("minio", "1", "x86_64", PROGRAMS["minio"], "")


RELEASES = sorted(name for name, item in PROGRAMS.items() if item["method"] != "package")


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("name", RELEASES)
def test_every_layout_of_the_catalogue(tmp_path: Path, name: str, machine: str) -> None:
    """A server that has the names, folders and checksum formats of each upstream exactly."""
    item = {**PROGRAMS[name], "checksums": {}}
    version = str(item["version"])
    place = locate(name, version, machine, item, "http://127.0.0.1")
    base = f"{name}/{version}"
    for top in place.layout["folders"] or [""]:
        files = {f"{top}/{path}" if top else path: BINARY + path.encode() for path in place.layout["files"]}
        data = zipped(files) if item["layout"]["type"] == "zip" else tar(files)
        file = place.archive.rsplit("/", 1)[1]
        if item["checksum_format"] == "bare":
            sums = sha256(data)
        elif item["checksum_covers"] == "binaries":
            sums = "".join(f"{sha256(body)}  {path}\n" for path, body in files.items())
        else:
            sums = f"{sha256(data)} *{file}\n"
        served = {f"{base}/{file}": data, f"{base}/{place.fill(item['checksum_file'])}": sums.encode()}
        program = Program(tmp_path / (top or "flat") / name)
        with serve(served) as (url, _):
            program.install(locate(name, version, machine, item, url), "", 1)
        for target in place.layout["files"].values():
            assert (program.place / "current" / target).is_file()


def test_jaeger_whose_binary_was_tampered_with(tmp_path: Path) -> None:
    item = {**PROGRAMS["jaeger"], "checksums": {}}
    place = locate("jaeger", "2.13.0", "x86_64", item, "http://127.0.0.1")
    top = place.layout["folders"][0]
    files = {
        f"jaeger/2.13.0/{place.archive.rsplit('/', 1)[1]}": tar({f"{top}/jaeger": b"evil"}),
        f"jaeger/2.13.0/{place.fill(item['checksum_file'])}": f"{sha256(b'good')}  {top}/jaeger\n".encode(),
    }
    program = Program(tmp_path / "jaeger")
    with pytest.raises(ReleaseError, match=r"jaeger in .* has SHA-256"):
        program.install(locate("jaeger", "2.13.0", "x86_64", item, folder(tmp_path / "m", files)), "", 1)
    assert program.version() == ""


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"name": "promtheus"}, "did you mean prometheus"),
        ({"name": "rclone"}, "use Debian's rclone"),
        ({"name": "prometheus", "version": "../../etc"}, "is not a version"),
        ({"name": "prometheus", "version": "latest"}, "is not a version"),
    ],
)
def test_catalogue_refuses(args: dict, message: str) -> None:
    with pytest.raises(AnsibleActionFail, match=message):
        look_up(args, PROGRAMS)


def test_catalogue_fills_in_the_tested_version() -> None:
    assert look_up({"name": "prometheus"}, PROGRAMS)["version"] == PROGRAMS["prometheus"]["version"]


def test_folders_of_a_layout_are_kept_whole(program: Program, tmp_path: Path) -> None:
    top = "tool-1.0.0.linux-amd64"
    files = {f"{top}/tool": BINARY, f"{top}/public/a/b.js": b"b", f"{top}/publicity": b"x", f"{top}/other/c": b"c"}
    mirror = folder(tmp_path / "mirror", package("1.0.0", tar(files)))
    layout = {**entry()["layout"], "trees": ["public"]}
    program.install(tool(mirror, layout=layout), "", 1)
    current = program.place / "current"
    kept = sorted(str(path.relative_to(current)) for path in current.rglob("*") if path.name != ".nano.json")
    assert kept == ["public", "public/a", "public/a/b.js", "tool"]
    assert (current / "public/a/b.js").stat().st_mode & 0o777 == 0o644
    assert (current / "public").stat().st_mode & 0o777 == 0o755
    assert program.is_installed("1.0.0", "")
