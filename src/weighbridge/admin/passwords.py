"""Passwords: argon2id, with the parameters of RFC 9106 for machines with little memory to spare."""

import asyncio

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from weighbridge.errors import UsageError

CHARS_MIN, CHARS_MAX = 15, 200
"""The only thing that they sign in with, so at least 15 (NIST SP 800-63B-4, 3.1.1.2); no rules of composition."""
AT_ONCE = 2
"""Each takes 64 MiB for a tenth of a second; more wait in line."""

_HASHER = PasswordHasher()
_NOBODYS = _HASHER.hash("nobody has this password")
"""What a password is held against where there is none, so that unknown names take as long as known ones."""


def hashed(password: str) -> str:
    """Raises `UsageError` for one that is too short or too long."""
    if not CHARS_MIN <= len(password) <= CHARS_MAX:
        raise UsageError(
            f"a password has {CHARS_MIN} to {CHARS_MAX} characters, this one {len(password)}; a few words with spaces "
            "are easy to remember"
        )
    return _HASHER.hash(password)


def right(password: str, known: str | None) -> bool:
    try:
        _HASHER.verify(known or _NOBODYS, password[: CHARS_MAX + 1])
    except (VerificationError, InvalidHashError):
        return False
    return known is not None


class Hashing:
    """Passwords in threads, so many at once."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(AT_ONCE)

    async def right(self, password: str, known: str | None) -> bool:
        async with self._places:
            return await asyncio.to_thread(right, password, known)

    async def hashed(self, password: str) -> str:
        async with self._places:
            return await asyncio.to_thread(hashed, password)
