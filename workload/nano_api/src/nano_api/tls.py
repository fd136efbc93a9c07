"""TLS towards what the service uses: verified by name, with a certificate of its own."""

from __future__ import annotations

import ssl
from pathlib import Path


def client_context(ca: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """Return the context of a client, or None where there is no CA and so no TLS.

    Raises OSError or ssl.SSLError for files that can't be read.
    """
    if ca is None:
        return None
    context = ssl.create_default_context(cafile=str(ca))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate is not None and key is not None:
        context.load_cert_chain(str(certificate), str(key))
    return context
