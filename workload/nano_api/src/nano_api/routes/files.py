"""The file of a nano: uploaded to the object store, and downloaded from it in whole or in part."""

from __future__ import annotations

import hashlib
import re
import tempfile
import uuid
from collections.abc import AsyncIterator
from typing import IO

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy.ext.asyncio import AsyncSession

from ..http import unchanged, wanted_part
from ..models import Nano
from ..problems import Problem, not_found
from ..schemas import File
from ..services import Caller, Needs, may_see
from .nanos import own

router = APIRouter(prefix="/v1/nanos/{nano_id}/file", tags=["files"])

MEDIA_TYPE = re.compile(r"[a-z0-9.+-]{1,60}/[a-z0-9.+-]{1,60}")
# Uploads up to this size don't touch the disk.
MEMORY_BYTES = 512 * 1024
BINARY = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}


@router.put("", response_model=File, openapi_extra={"requestBody": {"required": True, **BINARY}})
async def upload(nano_id: uuid.UUID, request: Request, caller: Caller, needs: Needs) -> File:
    """Give a draft its file: the body as it is, its type in Content-Type.

    Each upload is an object of its own, so that a nano always names one that is whole.
    """

    async def allowed(session: AsyncSession) -> None:
        await own(session, nano_id, caller)

    # Before the body is read, so that nobody sends much for nothing.
    await needs.database.write(allowed)
    media_type = request.headers.get("content-type", "application/octet-stream").split(";")[0].strip().lower()
    if not MEDIA_TYPE.fullmatch(media_type):
        raise Problem(415, "bad-media-type", "Content-Type is not a media type")
    key = f"nanos/{nano_id}/{uuid.uuid4()}"
    with tempfile.SpooledTemporaryFile(MEMORY_BYTES) as body:
        size, digest = await _receive(request.stream(), body)
        if not size:
            raise Problem(400, "empty", "the body is empty")
        body.seek(0)
        await needs.storage.put(key, body, media_type)

    async def work(session: AsyncSession) -> None:
        nano = await own(session, nano_id, caller)
        nano.file_key, nano.file_bytes, nano.file_type, nano.file_sha256 = key, size, media_type, digest

    await needs.database.write(work)
    needs.telemetry.business.upload()
    return File(file_bytes=size, file_type=media_type, file_sha256=digest)


async def _receive(stream: AsyncIterator[bytes], body: IO[bytes]) -> tuple[int, str]:
    """Write a stream to a file; return its size in bytes and its SHA-256."""
    digest, size = hashlib.sha256(), 0
    async for piece in stream:
        digest.update(piece)
        size += body.write(piece)
    return size, digest.hexdigest()


@router.get("", responses={200: BINARY, 206: {"description": "A part", **BINARY}}, response_class=Response)
async def download(nano_id: uuid.UUID, request: Request, caller: Caller, needs: Needs) -> Response:
    """Return the file of a published nano, or with Range a part of it. Unpublished ones go to who may see them."""

    async def work(session: AsyncSession) -> Nano | None:
        return await session.get(Nano, nano_id)

    nano = await needs.database.read(work)
    if nano is None or (nano.status != "published" and not await may_see(request, needs, nano)):
        raise not_found("nano")
    if nano.file_key is None or nano.file_bytes is None:
        raise not_found("file")
    etag = f'"{nano.file_sha256}"'
    headers = {"ETag": etag, "Accept-Ranges": "bytes", "Content-Disposition": f'attachment; filename="{nano_id}"'}
    if unchanged(request, etag):
        return Response(status_code=304, headers=headers)
    part = wanted_part(request, nano.file_bytes, etag)
    first, last = (part.first, part.last) if part else (0, nano.file_bytes - 1)
    headers["Content-Length"] = str(last - first + 1)
    if part:
        headers["Content-Range"] = part.content_range
    pieces = await needs.storage.get(nano.file_key, first, last)
    return StreamingResponse(pieces, 206 if part else 200, headers, nano.file_type)
