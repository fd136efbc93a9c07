"""A client of an S3 store: signed requests over TLS, repeated while the store is starting."""

from __future__ import annotations

import datetime
import http.client
import json
import re
import ssl
import time
import urllib.parse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.nano.ops.plugins.module_utils.sigv4 import Keys, Request, headers

TIMEOUT_S = 15.0
PAUSE_S = 0.5
# Options of a module that name the files with the administrator's keys.
PLACES = ("access_key_file", "secret_file")


class StoreError(Exception):
    """What a store has answered, or that it has not."""


class UnreachableError(StoreError):
    """Nobody answers at the store's address."""


@dataclass(frozen=True)
class Answer:
    """Status and body of an answer."""

    status: int
    body: bytes

    def code(self) -> str:
        """Return the store's word for an error."""
        found = re.search(rb"<Code>([^<]+)</Code>|\"Code\":\s*\"([^\"]+)\"", self.body)
        return next((word.decode(errors="replace") for word in found.groups() if word), "") if found else ""


class Store:
    """An S3 store, as one of its users."""

    def __init__(self, url: str, keys: Keys, ca_file: str, region: str, seconds: float) -> None:
        """Take the store's address; `seconds` is how long a store that is still starting is waited for."""
        parts = urllib.parse.urlsplit(url)
        self.host, self.port, self.netloc = str(parts.hostname), parts.port or 443, parts.netloc
        self.keys, self.region, self.seconds = keys, region, seconds
        self.context = ssl.create_default_context(cafile=ca_file)

    def once(self, request: Request, extra: Mapping[str, str]) -> Answer:
        """Send a request.

        Raises:
            UnreachableError: nobody answers.
            StoreError: somebody else does.
        """
        connection = http.client.HTTPSConnection(self.host, self.port, context=self.context, timeout=TIMEOUT_S)
        signed = headers(request, self.keys, self.region, datetime.datetime.now(datetime.UTC))
        query = f"?{request.query_text()}" if request.query else ""
        try:
            connection.request(request.method, request.path_text() + query, request.body or None, {**extra, **signed})
            answer = connection.getresponse()
            return Answer(answer.status, answer.read())
        except ssl.SSLCertVerificationError as error:
            raise StoreError(f"https://{self.netloc} cannot prove who it is: {error.verify_message}") from error
        except (OSError, http.client.HTTPException) as error:
            raise UnreachableError(f"https://{self.netloc} does not answer: {error!r}") from error
        finally:
            connection.close()

    def ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        body: bytes = b"",
        extra: Mapping[str, str] | None = None,
        also: Iterable[int] = (),
    ) -> Answer:
        """Send a request, again while the store is starting.

        Args:
            method: the method.
            path: the path, not quoted.
            query: names and values, not quoted.
            body: the body.
            extra: headers that the signature does not cover.
            also: codes beside 2xx that are no error.

        Raises:
            StoreError: it has refused, or does not answer.
        """
        request = Request(method, self.netloc, path, query or {}, body)
        deadline = time.monotonic() + self.seconds
        while True:
            late = time.monotonic() >= deadline
            try:
                answer = self.once(request, extra or {})
            except UnreachableError:
                if late:
                    raise
            else:
                if answer.status < 300 or answer.status in also:
                    return answer
                if answer.status != 503 or late:
                    what = f"{method} {path}{'?' if query else ''}{'&'.join(query or {})}"
                    raise StoreError(f"{what} is refused with {answer.status} {answer.code()}".rstrip())
            time.sleep(PAUSE_S)


def read_json(answer: Answer) -> Any:
    """Return the JSON of an answer.

    Raises:
        StoreError: it is none.
    """
    try:
        return json.loads(answer.body)
    except ValueError as error:
        raise StoreError(f"an answer that is not JSON: {error}") from error


def connect(params: dict[str, Any], check: bool) -> Store | None:
    """Return the store, or None for one that a run in check mode would only install.

    Raises:
        StoreError: the administrator's keys or the CA are missing.
    """
    try:
        access, secret = (Path(params[name]).read_text(encoding="utf-8").strip() for name in PLACES)
        # Check mode starts nothing, so that there is nothing to wait for.
        return Store(
            params["url"], Keys(access, secret), params["ca_file"], params["region"], 0 if check else params["seconds"]
        )
    except OSError as error:
        if check:
            return None
        raise StoreError(str(error)) from error
