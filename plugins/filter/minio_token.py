"""The token that Prometheus shows to MinIO."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

from ansible.errors import AnsibleFilterError

DOCUMENTATION = r"""
name: minio_token
short_description: The bearer token that opens the metrics of MinIO, and nothing else
version_added: 0.1.0
author: nano.ops contributors
description:
  - A JSON web token, signed with the secret of a user of MinIO who may read metrics. The same secret gives the same
    token on every run. It ends when that secret is changed; a date in it would end the metrics one day instead.
positional: _input, secret
options:
  _input:
    description: Access key of the user.
    type: str
    required: true
  secret:
    description: Secret of the user.
    type: str
    required: true
"""

EXAMPLES = r"""
# {{ 'prometheus' | nano.ops.minio_token(minio_metrics_secret) }}
"""

RETURN = r"""
_value:
  description: The token.
  type: str
"""

# MinIO wants a date: the first second of the year 2100.
END = 4102444800


def encode(part: bytes) -> str:
    """Return a part of a token as it is written."""
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def minio_token(access_key: str, secret: str) -> str:
    """Return the token.

    Raises:
        AnsibleFilterError: there is no user or no secret to sign with.
    """
    if not access_key or not secret:
        raise AnsibleFilterError("minio_token: needs the access key and the secret of the user who reads the metrics")
    parts = ({"alg": "HS512", "typ": "JWT"}, {"exp": END, "iss": "prometheus", "sub": access_key})
    text = ".".join(encode(json.dumps(part, sort_keys=True).encode()) for part in parts)
    return f"{text}.{encode(hmac.new(secret.encode(), text.encode(), hashlib.sha512).digest())}"


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return name to function."""
        return {"minio_token": minio_token}
