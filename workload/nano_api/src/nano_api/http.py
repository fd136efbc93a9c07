"""What HTTP asks for: entity tags, cache headers, ranges and bounded bodies."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from fastapi import Request
from fastapi.responses import Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .problems import Problem, answer

UPLOAD = re.compile(r"/v1/nanos/[^/]+/file")
RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def tag(content: bytes) -> str:
    """Return a strong entity tag."""
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def unchanged(request: Request, etag: str) -> bool:
    """Tell whether the caller has this already (If-None-Match)."""
    given = request.headers.get("if-none-match", "")
    return etag in [word.strip().removeprefix("W/") for word in given.split(",")] or given.strip() == "*"


def public(request: Request, content: bytes, max_age: int) -> Response:
    """Return JSON that everyone may keep for max_age seconds."""
    headers = {"Cache-Control": f"public, max-age={max_age}", "ETag": tag(content)}
    if unchanged(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type="application/json")


@dataclass(frozen=True)
class Part:
    """The bytes first to last of a file, both included."""

    first: int
    last: int
    size: int

    @property
    def content_range(self) -> str:
        """The header's value."""
        return f"bytes {self.first}-{self.last}/{self.size}"


def wanted_part(request: Request, size: int, etag: str) -> Part | None:
    """Return the part asked for, or None for the whole file. Raises Problem 416 for a part that isn't there.

    As RFC 9110 allows, what isn't one plain range of bytes is ignored, and so is a range of another version (If-Range).
    """
    match = RANGE.fullmatch(request.headers.get("range", "").strip())
    if not match or not any(match.groups()) or request.headers.get("if-range", etag) != etag:
        return None
    first, last = match.groups()
    if first and last and int(first) > int(last):
        return None
    start = int(first) if first else max(size - int(last), 0)
    end = min(int(last), size - 1) if first and last else size - 1
    if start >= size or (not first and not int(last)):
        raise Problem(416, "no-such-range", f"the file has {size} bytes", {"Content-Range": f"bytes */{size}"})
    return Part(start, end, size)


class Bounds:
    """Refuses bodies over the limit, also those that don't say their length, and forbids keeping unmarked answers."""

    def __init__(self, app: ASGIApp, request_max_bytes: int, upload_max_bytes: int) -> None:
        """Wrap an application; the larger limit is that of uploads."""
        self._app = app
        self._request_max_bytes = request_max_bytes
        self._upload_max_bytes = upload_max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        upload = scope["method"] == "PUT" and UPLOAD.fullmatch(scope["path"])
        limit = self._upload_max_bytes if upload else self._request_max_bytes
        received = 0

        async def bounded() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise _too_large(limit)
            return message

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("Cache-Control", "no-store")
                headers.setdefault("X-Content-Type-Options", "nosniff")
            await send(message)

        length = Headers(scope=scope).get("content-length", "0")
        if length.isdigit() and int(length) > limit:
            # The connection ends with this answer: nobody reads what the caller is still sending.
            problem = _too_large(limit)
            response = answer(413, problem.kind, problem.detail, {"Connection": "close"})
            await response(scope, receive, marked)
            return
        await self._app(scope, bounded, marked)


def _too_large(limit: int) -> Problem:
    return Problem(413, "too-large", f"the body is larger than {limit} bytes", {"Connection": "close"})
