"""AWS Signature Version 4, the way in to every S3 store, by the standard library alone: hosts have nothing else."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field

# What the signature leaves as it is; all else becomes %XX, a space too.
UNRESERVED = "-_.~"


@dataclass(frozen=True)
class Keys:
    """An access key and its secret, which no text of this object shows."""

    access: str
    secret: str = field(repr=False)


@dataclass(frozen=True)
class Request:
    """A request as it goes over the wire. `host` has the port unless it is the protocol's own."""

    method: str
    host: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def query_text(self) -> str:
        """Return the query in the one form that is signed: sorted, and with a `=` even where there is no value."""
        words = ((self._quote(name), self._quote(value)) for name, value in self.query.items())
        return "&".join(f"{name}={value}" for name, value in sorted(words))

    def path_text(self) -> str:
        """Return the path, quoted once as S3 wants it."""
        return urllib.parse.quote(self.path, safe=f"/{UNRESERVED}")

    @staticmethod
    def _quote(text: str) -> str:
        return urllib.parse.quote(text, safe=UNRESERVED)


def _mac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def headers(request: Request, keys: Keys, region: str, moment: datetime.datetime) -> dict[str, str]:
    """Return the headers that sign a request.

    Args:
        request: the request; its body is covered by the signature.
        keys: who asks.
        region: region of the store.
        moment: the time in UTC; stores refuse what is off by more than 15 minutes.
    """
    stamp = f"{moment:%Y%m%dT%H%M%SZ}"
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    body = hashlib.sha256(request.body).hexdigest()
    signed = {"host": request.host, "x-amz-content-sha256": body, "x-amz-date": stamp}
    names = ";".join(sorted(signed))
    lines = [request.method, request.path_text(), request.query_text()]
    lines += [*(f"{name}:{signed[name]}" for name in sorted(signed)), "", names, body]
    summary = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    key = f"AWS4{keys.secret}".encode()
    for word in (stamp[:8], region, "s3", "aws4_request"):
        key = _mac(key, word)
    signature = _mac(key, "\n".join(["AWS4-HMAC-SHA256", stamp, scope, summary])).hex()
    credential = f"AWS4-HMAC-SHA256 Credential={keys.access}/{scope}"
    return {**signed, "authorization": f"{credential}, SignedHeaders={names}, Signature={signature}"}
