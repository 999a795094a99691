"""The exact bytes of a stored record.

Records are hashed over these bytes as stored; nothing ever re-serialises to verify.
"""

from hashlib import sha256
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_encode = msgspec.json.Encoder(order="deterministic").encode


def canonical(record: msgspec.Struct) -> bytes:
    """Deterministic JSON of a record: keys in a fixed order, no spaces, UTF-8."""
    return _encode(record)


def digest(stored: bytes) -> str:
    """SHA-256 of stored bytes, 64 hex digits."""
    return sha256(stored).hexdigest()


def parse(stored: bytes, kind: type[T]) -> T:
    """Read a stored record. Raises `ValueError` naming the type and the field that does not fit."""
    try:
        return msgspec.json.decode(stored, type=kind)
    except msgspec.MsgspecError as error:
        name: Any = getattr(kind, "__name__", kind)
        raise ValueError(f"stored bytes are not a {name}: {error}") from error
