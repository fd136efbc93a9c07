"""Errors as people get them: application/problem+json (RFC 9457), one shape for all."""

from __future__ import annotations

import http
import json
import logging
from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

log = logging.getLogger(__name__)


class Problem(HTTPException):
    """An error that the caller is told of. `kind` is the last part of its type, and doesn't change."""

    def __init__(self, status: int, kind: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        """Make a problem; `detail` says what to do next."""
        super().__init__(status, detail, dict(headers or {}))
        self.kind = kind


class Unavailable(Problem):
    """Something that the service needs is away; nothing was changed, and trying again is safe."""

    def __init__(self, what: str) -> None:
        """Name what is away."""
        super().__init__(503, "unavailable", f"{what} cannot be reached; try again", {"Retry-After": "5"})


class FateUnknown(Problem):
    """The connection was lost while a change was being committed: it may or may not have been made."""

    def __init__(self) -> None:
        """Make the problem."""
        detail = "the change may or may not have been made; look before trying again"
        super().__init__(503, "fate-unknown", detail)


def not_found(what: str) -> Problem:
    """Return the 404 of one thing."""
    return Problem(404, "not-found", f"there is no such {what}")


def answer(status: int, kind: str, detail: str, headers: Mapping[str, str] | None = None, **more: object) -> Response:
    """Return a problem as a response."""
    title = http.HTTPStatus(status).phrase
    body = {"type": f"/problems/{kind}", "title": title, "status": status, "detail": detail, **more}
    return Response(
        json.dumps(body), status, {"Cache-Control": "no-store", **(headers or {})}, "application/problem+json"
    )


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = error.kind if isinstance(error, Problem) else http.HTTPStatus(error.status_code).phrase.lower()
    return answer(error.status_code, kind.replace(" ", "-"), str(error.detail), error.headers)


async def _invalid(request: Request, error: Exception) -> Response:
    """Name what is wrong and where, but never repeat what was sent: it may be a password."""
    assert isinstance(error, RequestValidationError)
    errors = [{"where": ".".join(map(str, one["loc"])), "what": one["msg"]} for one in error.errors()]
    return answer(422, "invalid", "the request is not valid", errors=errors)


async def _unexpected(request: Request, error: Exception) -> Response:
    # The traceback is logged by the server, which gets the exception too.
    return answer(500, "internal", "an error of ours; it was logged")


def install(app: FastAPI) -> None:
    """Answer every error of the application as a problem."""
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _unexpected)
