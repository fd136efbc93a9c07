"""How a file is fetched: over https alone, taken up where a connection broke, with an error that says why."""

from __future__ import annotations

import http.client
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

TRIES = 4
TIMEOUT_S = 30
PAUSE_S = 1.0
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class ReleaseError(Exception):
    """What is wrong with a release, where, and what to do next."""


class FetchError(ReleaseError):
    """A file did not arrive, whatever the reason; what arrived and is wrong is another matter."""


class MissingError(FetchError):
    """A file isn't there, as opposed to a server that doesn't answer."""


def check_scheme(url: str) -> None:
    """Refuse a URL whose answer anybody on the way could change.

    Raises:
        ReleaseError: neither https nor file, nor http on the machine itself.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("https", "file") and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise ReleaseError(f"{url}: use https or file; over {parts.scheme or 'no scheme'} anybody could change it")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but not from https to http, which urllib does without a word."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        check_scheme(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(url: str, offset: int = 0) -> Any:
    request = urllib.request.Request(url, headers={"Range": f"bytes={offset}-"} if offset else {})
    return urllib.request.build_opener(_Redirects).open(request, timeout=TIMEOUT_S)


def fetch(url: str, into: Path, pause_s: float = PAUSE_S) -> None:
    """Fetch a URL into a file; a connection that breaks is taken up where it broke.

    Raises:
        MissingError: it isn't there.
        FetchError: it didn't arrive whole in TRIES tries.
    """
    into.unlink(missing_ok=True)
    reason = ""
    kind: type[FetchError] = FetchError
    for attempt in range(TRIES):
        if attempt:
            time.sleep(pause_s * 2**attempt)  # gives a server that is overloaded the time to recover
        have = into.stat().st_size if into.exists() else 0
        try:
            with _open(url, have) as answer:
                if getattr(answer, "status", None) != 206:
                    have = 0  # the server starts from the beginning, and so do we
                length = answer.headers.get("Content-Length")
                with into.open("ab" if have else "wb") as output:
                    shutil.copyfileobj(answer, output, 1 << 20)
                got = into.stat().st_size - have
            if length is None or got == int(length):
                return
            reason = f"{got} of {length} bytes arrived"
        except urllib.error.HTTPError as error:
            reason = f"the server answers {error.code} {error.reason}"
            if error.code in (400, 401, 403, 404, 410):
                kind = MissingError if error.code in (403, 404, 410) else FetchError  # 403 is S3's 404
                break
            if error.code == 416:
                into.unlink(missing_ok=True)
        except http.client.HTTPException as error:
            reason = f"the connection broke: {error!r}"
        except urllib.error.URLError as error:
            reason = str(error.reason)
            if url.startswith("file:"):
                there = Path(urllib.request.url2pathname(urllib.parse.urlsplit(url).path)).exists()
                kind = FetchError if there else MissingError
                break
        except OSError as error:
            reason = str(error)
    into.unlink(missing_ok=True)
    raise kind(f"cannot fetch {url}: {reason}")


def size(url: str) -> int:
    """Return the size of a file in bytes, 0 if the server doesn't tell or doesn't answer."""
    try:
        with _open(url) as answer:
            return int(answer.headers.get("Content-Length") or 0)
    except (OSError, http.client.HTTPException):
        return 0
