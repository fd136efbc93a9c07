"""Faults of the install module that were found by review, each shown once."""

from __future__ import annotations

import json
import os
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from ansible_collections.nano.ops.plugins.module_utils import archive, download, release
from ansible_collections.nano.ops.plugins.module_utils.program import Program

from .upstream import zipped

DATA = bytes(range(256)) * 2  # smaller than Python's write buffer
LAYOUT = {"type": "zip", "folders": [], "files": {"tool": "tool"}}
ENTRY = {
    "archs": ["amd64"],
    "method": "release",
    "file": "tool.tar.gz",
    "checksum_file": "sums",
    "checksum_format": "sums",
    "checksum_covers": "archive",
    "checksums": {"1": {"amd64": "f" * 64}},
}


class Stubborn(BaseHTTPRequestHandler):
    """Knows no ranges, cuts its first answer, and misbehaves by path."""

    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        if self.path == "/garbage":
            self.wfile.write(b"garbage\r\n\r\n")
        elif self.path == "/away":
            self.send_response(302)
            self.send_header("Location", "http://example.com/file")
            self.end_headers()
        elif self.path.endswith("built.json"):
            self.send_error(503)
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(DATA)))
            self.end_headers()
            self.wfile.write(DATA[:100] if self.asked == 1 else DATA)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handling", (Stubborn,), {}))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_small_file_from_a_server_without_ranges(url: str, tmp_path: Path) -> None:
    download.fetch(f"{url}/file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == DATA


def test_answer_that_is_not_http(url: str, tmp_path: Path) -> None:
    with pytest.raises(download.ReleaseError, match="connection broke"):
        download.fetch(f"{url}/garbage", tmp_path / "file")


def test_redirect_to_plain_http_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(download.ReleaseError, match=r"example\.com.*use https"):
        download.fetch(f"{url}/away", tmp_path / "file")


def test_other_schemes_are_refused_on_loopback_too() -> None:
    with pytest.raises(download.ReleaseError, match="use https"):
        release.locate("tool", "1", "x86_64", ENTRY, "ftp://localhost/mirror")


def test_failing_mirror_is_not_taken_for_an_upstream_archive(url: str, tmp_path: Path) -> None:
    with pytest.raises(download.ReleaseError, match=r"built\.json.*503"):
        release.expected(release.locate("tool", "1", "x86_64", ENTRY, url), tmp_path, "")


def test_folder_without_built_json_has_the_upstreams_archive(tmp_path: Path) -> None:
    wanted = release.locate("tool", "1", "x86_64", ENTRY, tmp_path.as_uri())
    assert release.expected(wanted, tmp_path, "") == ({"tool.tar.gz": "f" * 64}, "catalogue.yml")


def test_bare_checksum_file_that_is_a_web_page() -> None:
    assert release.read_sums("<html>not found</html>", True, "tool.tar.gz") == {}


def unpack(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "tool.zip").write_bytes(data)
    (tmp_path / "out").mkdir()
    archive.unpack(tmp_path / "tool.zip", LAYOUT, tmp_path / "out")


def test_damaged_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "raw.zip", "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("tool", bytes(number * 7 % 251 for number in range(200_000)))
    data = bytearray((tmp_path / "raw.zip").read_bytes())
    data[60:100] = b"\xff" * 40
    with pytest.raises(archive.ArchiveError, match="damaged"):
        unpack(bytes(data), tmp_path)


def test_encrypted_zip(tmp_path: Path) -> None:
    data = bytearray(zipped({"tool": b"x"}))
    data[6] |= 1
    data[data.find(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(archive.ArchiveError, match="encrypted"):
        unpack(bytes(data), tmp_path)


def test_device_in_a_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "raw.zip", "w") as bundle:
        info = zipfile.ZipInfo("tool")
        info.external_attr = 0o020666 << 16
        bundle.writestr(info, b"x")
    with pytest.raises(archive.ArchiveError, match="device"):
        unpack((tmp_path / "raw.zip").read_bytes(), tmp_path)


@pytest.fixture
def installed(tmp_path: Path) -> Program:
    binary = tmp_path / "1/tool"
    binary.parent.mkdir()
    binary.write_bytes(b"AAAA")
    binary.chmod(0o755)
    files = {"tool": [4, binary.stat().st_mtime_ns]}
    (tmp_path / "1/.nano.json").write_text(json.dumps({"version": "1", "sha256": "ab", "files": files}))
    (tmp_path / "current").symlink_to("1")
    return Program(tmp_path)


def test_binary_replaced_by_one_of_the_same_size(installed: Program) -> None:
    assert installed.is_installed("1", "")
    binary = installed.place / "1/tool"
    binary.write_bytes(b"BBBB")
    os.utime(binary, (1, 1))
    assert not installed.is_installed("1", "")


@pytest.mark.parametrize("note", ["[]", "{}", '{"files": {}}', '{"sha256": "ab", "files": {}}', "nonsense"])
def test_unusable_note_means_not_installed(installed: Program, note: str) -> None:
    (installed.place / "1/.nano.json").write_text(note)
    assert not installed.is_installed("1", "ab")


def test_way_back_is_checked_before_the_change(installed: Program) -> None:
    with pytest.raises(download.ReleaseError, match="no previous version"):
        installed.way_back()
