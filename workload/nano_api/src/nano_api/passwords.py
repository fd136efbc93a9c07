"""Passwords: Argon2id, off the event loop, few at a time."""

from __future__ import annotations

import asyncio
import secrets

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

# Of the choices in OWASP's password storage cheat sheet, the one of 19 MiB and two passes.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
# Compared with when there is no such user, so that the answer takes as long.
_NOBODY = _HASHER.hash(secrets.token_urlsafe(32))


class Passwords:
    """Makes and compares hashes; at most `at_once` of them run, because each takes memory and a whole core."""

    def __init__(self, at_once: int = 2) -> None:
        """Start with nothing running."""
        self._turn = asyncio.Semaphore(at_once)

    async def hash(self, password: str) -> str:
        """Return the hash to keep."""
        async with self._turn:
            return await asyncio.to_thread(_HASHER.hash, password)

    async def matches(self, password: str, kept: str | None) -> bool:
        """Compare a password with a kept hash; None, for nobody, never matches and takes as long."""
        async with self._turn:
            return await asyncio.to_thread(_compare, password, kept)


def _compare(password: str, kept: str | None) -> bool:
    try:
        return _HASHER.verify(kept or _NOBODY, password) and kept is not None
    except (VerificationError, InvalidHashError):
        return False
