"""A server that lays releases out as the upstreams do, and can be told to misbehave."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def tar(files: dict[str, bytes], links: tuple[tarfile.TarInfo, ...] = ()) -> bytes:
    """Make a tar.gz of regular files and of whatever else is given."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as bundle:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            bundle.addfile(info, io.BytesIO(data))
        for link in links:
            bundle.addfile(link)
    return buffer.getvalue()


def member(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    """Return a member that is no regular file."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        for name, data in files.items():
            bundle.writestr(name, data)
    return buffer.getvalue()


class Handler(BaseHTTPRequestHandler):
    """Serves `files`; each entry of `faults` spoils one answer to a path that ends with its key."""

    files: dict[str, bytes]
    faults: list[tuple[str, str]]
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        data = self.files.get(self.path.lstrip("/"))
        fault = ""
        for index, (suffix, kind) in enumerate(self.faults):
            if self.path.endswith(suffix):
                fault = kind
                del self.faults[index]
                break
        if fault == "drop":
            self.connection.close()
            return
        if data is None or fault == "503":
            self.send_error(503 if fault else 404)
            return
        offset = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if offset else 200)
        self.send_header("Content-Length", str(len(data) - offset))
        self.end_headers()
        body = data[offset:]
        self.wfile.write(body[: len(body) // 2] if fault == "cut" else body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serve(files: dict[str, bytes]) -> Iterator[tuple[str, type[Handler]]]:
    """Serve files on loopback; yield the base URL and the handler to spoil."""
    handler = type("Handling", (Handler,), {"files": files, "faults": [], "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", handler
    finally:
        server.shutdown()
        server.server_close()


def folder(place: Path, files: dict[str, bytes]) -> str:
    """Write files below a folder and return its file: URL."""
    for name, data in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return place.as_uri()
