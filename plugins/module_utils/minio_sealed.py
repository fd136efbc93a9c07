"""What MinIO's administration takes encrypted with the administrator's own secret, beside TLS."""

from __future__ import annotations

import hashlib
import os
import struct

from ansible_collections.nano.ops.plugins.module_utils.s3 import StoreError

# A byte says which of the ways it knows was taken. This one needs the least: the others derive the key with Argon2,
# which Python has not.
PBKDF2_AES_256_GCM = 2
PBKDF2_ROUNDS = 8192
SALT_BYTES, NONCE_BYTES, KEY_BYTES = 32, 8, 32
# A longer text would be cut into pieces of this size.
MOST_BYTES = 16384
LAST_PIECE = b"\x80"


def seal(secret: str, text: bytes) -> bytes:
    """Return a text as the holder of a secret can read it: salt, way, nonce, and the only piece of the stream.

    Args:
        secret: secret of the one who sends it.
        text: what is sent, 16 KiB at most.

    Raises:
        StoreError: the host's Python lacks the cipher.
    """
    try:
        # Not in the standard library; asked for only here, so that all else works without it.
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise StoreError(f"the package python3-cryptography is missing: {error}") from error
    if len(text) > MOST_BYTES:
        raise ValueError(f"{len(text)} bytes are more than a piece takes")
    salt, nonce = os.urandom(SALT_BYTES), os.urandom(NONCE_BYTES)
    cipher = AESGCM(hashlib.pbkdf2_hmac("sha256", secret.encode(), salt, PBKDF2_ROUNDS, KEY_BYTES))

    def numbered(number: int) -> bytes:
        return nonce + struct.pack("<I", number)

    # Piece 0 is empty and only its tag is kept, which every other piece is bound to.
    tag = cipher.encrypt(numbered(0), b"", b"")
    return salt + bytes([PBKDF2_AES_256_GCM]) + nonce + cipher.encrypt(numbered(1), text, LAST_PIECE + tag)
