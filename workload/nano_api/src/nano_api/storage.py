"""Files in an S3 store, through a client that any such store understands."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import IO, Any, TypeVar

import botocore.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    ConnectTimeoutError,
    HTTPClientError,
    ReadTimeoutError,
)

from .problems import Unavailable
from .settings import Settings

T = TypeVar("T")
log = logging.getLogger(__name__)

CHUNK_BYTES = 256 * 1024
# Calls that run at once; more wait. Each is a thread, which does little but wait for the network.
THREADS = 32
# Life of what is known about the store's reachability, in seconds.
REACHABLE_SECONDS = 5.0


class Storage:
    """One bucket. Errors of the store are Unavailable, and the log has the reason."""

    def __init__(self, settings: Settings, count_upload_error: Callable[[str], None]) -> None:
        """Make the client; nothing is connected yet. `count_upload_error` gets the reason of each failed upload."""
        self._bucket = settings.s3_bucket
        self._count_upload_error = count_upload_error
        self._threads = ThreadPoolExecutor(THREADS, "s3")
        self._looked = (-REACHABLE_SECONDS, False)
        self._looking = asyncio.Lock()
        self._client: Any = botocore.session.Session().create_client(
            "s3",
            region_name=settings.s3_region,
            endpoint_url=settings.s3_endpoint,
            aws_access_key_id=settings.s3_access_key.get_secret_value(),
            aws_secret_access_key=settings.s3_secret_key.get_secret_value(),
            verify=str(settings.s3_ca) if settings.s3_ca else None,
            config=Config(
                connect_timeout=2,
                read_timeout=15,
                max_pool_connections=THREADS,
                retries={"mode": "standard", "total_max_attempts": 3},
                s3={"addressing_style": "path" if settings.s3_path_style else "virtual"},
                # Not every store knows the newer checksums that are otherwise sent unasked.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    async def _run(self, call: Callable[..., T], **options: Any) -> T:
        """Run a call in a thread, in the trace and with the log fields of the request."""
        context = copy_context()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: context.run(call, **options))

    async def put(self, key: str, body: IO[bytes], media_type: str) -> None:
        """Store a file. Raises Unavailable."""
        try:
            await self._run(self._client.put_object, Bucket=self._bucket, Key=key, Body=body, ContentType=media_type)
        except (BotoCoreError, ClientError) as error:
            self._count_upload_error(_kind(error))
            raise _unavailable("put", error) from error

    async def get(self, key: str, first: int, last: int) -> AsyncIterator[bytes]:
        """Return the bytes first to last of a file, both included, piece by piece. Raises Unavailable."""
        try:
            answer = await self._run(
                self._client.get_object, Bucket=self._bucket, Key=key, Range=f"bytes={first}-{last}"
            )
        except (BotoCoreError, ClientError) as error:
            raise _unavailable("get", error) from error
        return self._pieces(answer["Body"])

    async def _pieces(self, body: Any) -> AsyncIterator[bytes]:
        try:
            while piece := await self._run(body.read, amt=CHUNK_BYTES):
                yield piece
        finally:
            # Also when the caller has gone: the rest of the file is not fetched.
            body.close()

    async def reachable(self) -> bool:
        """Tell whether the bucket answers; one look serves all who ask for a few seconds."""
        async with self._looking:
            if time.monotonic() - self._looked[0] >= REACHABLE_SECONDS:
                try:
                    await asyncio.wait_for(self._run(self._client.head_bucket, Bucket=self._bucket), 3)
                    good = True
                except (BotoCoreError, ClientError, TimeoutError) as error:
                    _unavailable("look", error)
                    good = False
                self._looked = (time.monotonic(), good)
            return self._looked[1]

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()


def _kind(error: Exception) -> str:
    """Return the reason of an error in the words of the metric."""
    if isinstance(error, ConnectTimeoutError | ReadTimeoutError):
        return "timeout"
    if isinstance(error, ConnectionError | HTTPClientError):
        return "connection"
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return "denied" if status in (401, 403) else "server" if status >= 500 else "other"
    return "other"


def _unavailable(operation: str, error: Exception) -> Unavailable:
    reason = type(error).__name__
    if isinstance(error, ClientError):
        reason = str(error.response.get("Error", {}).get("Code", reason))
    log.error("object store failed: %s", reason, extra={"action": f"s3_{operation}"})
    return Unavailable("the object store")
