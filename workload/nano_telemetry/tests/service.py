"""The service under test: what a user of the package writes, run by a real uvicorn."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import warnings
from typing import Any

from fastapi import APIRouter, BackgroundTasks, FastAPI, HTTPException, Request
from fastapi.responses import StreamingResponse

from nano_telemetry import Telemetry, log_context, outgoing_headers

telemetry = Telemetry.from_env()
app = FastAPI()
telemetry.instrument(app)

log = logging.getLogger("nano_api")
router = APIRouter(prefix="/nanos")
inner = FastAPI()


@router.get("/{nano_id}")
async def nano(nano_id: str) -> dict[str, str]:
    with log_context(user_id="u-1", nano_id=nano_id, action="nano.read"):
        log.info("nano read")
    return {"nano_id": nano_id}


@router.post("")
def create() -> dict[str, str]:
    with log_context(user_id="u-2", action="nano.create"):
        log.info("made in a thread")
    return outgoing_headers()


@inner.get("/deep/{name}")
async def deep(name: str) -> str:
    return name


@app.get("/fail")
async def fail(secret: str = "") -> None:
    try:
        raise KeyError("first cause")
    except KeyError as error:
        raise RuntimeError(f"login failed, password={secret}\nsecond line") from error


@app.get("/refuse")
async def refuse() -> None:
    raise HTTPException(503, "not now")


@app.get("/background")
async def background(tasks: BackgroundTasks) -> str:
    async def later() -> None:
        await asyncio.sleep(0.5)

    tasks.add_task(later)
    return "now"


@app.get("/stream")
async def stream() -> StreamingResponse:
    async def parts() -> Any:
        for _ in range(4):
            await asyncio.sleep(0.1)
            yield b"x"

    return StreamingResponse(parts())


@app.get("/slow/{seconds}")
async def slow(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "slept"


@app.post("/log")
async def write(request: Request) -> str:
    body = await request.json()
    log.warning(body["message"], *body.get("args", []), extra=body.get("extra") or None)
    return "written"


@app.get("/warn")
async def warn() -> str:
    warnings.warn("old thing, token=hunter2", RuntimeWarning, stacklevel=1)
    threading.Thread(target=lambda: 1 / 0).start()
    return "warned"


@app.get("/flood/{count}")
async def flood(count: int) -> int:
    for number in range(count):
        log.info("line %d of a flood %s", number, "x" * 200)
    return count


@app.get("/healthz")
async def healthz() -> str:
    return "well"


app.include_router(router, prefix="/api")
app.mount("/inner", inner)

if os.environ.get("TEST_CLIENTS"):
    import clients_app

    clients_app.add(app, telemetry)
