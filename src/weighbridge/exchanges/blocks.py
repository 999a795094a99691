"""Blocks: how captured bodies lie in a segment, and how they are read. `exchanges.bodies` writes them.

A block is AES-256-GCM, under the data key of its day and team, over the bodies of one loop turn, each with the random
key of its commitment. The commitment, SHA-256 of that key and the body, also stands in the clear, in the block's head
and in the exchange's frame: it says nothing about the body, and once key and body are erased nobody can test a guess
against it.
"""

from collections.abc import Iterator
from hashlib import sha256
from struct import Struct

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from weighbridge.exchanges.keys import KEY_BYTES

COMMITMENT_BYTES = 32
BLOCK_START = 0x95
"""First byte of a block's payload: never zero, so that a torn write can be told from damage. So is the last, 1."""

_SIZE_UNPACK = Struct("<I").unpack_from
_START_UNPACK, _START_BYTES = Struct("<BI").unpack_from, 5


class BlockHead(msgspec.Struct, frozen=True, array_like=True):
    """In the clear, and authenticated with the block: whose bodies these are, without what they say."""

    day: str
    team: str
    nonce: bytes
    commitments: bytes
    """32 bytes per body, in the order of the bodies."""


encode_head = msgspec.msgpack.Encoder().encode
_decode_head = msgspec.msgpack.Decoder(BlockHead).decode


class StoredBody(msgspec.Struct, frozen=True, gc=False):
    commitment: bytes
    key: bytes
    """The random key of the commitment."""
    body: bytes


def commitment_of(body: bytes, key: bytes) -> bytes:
    """The key is random, as long as the digest and used once, so it needs no HMAC: nobody can extend what is hidden."""
    return sha256(key + body).digest()


def block_head(payload: memoryview) -> tuple[BlockHead, int]:
    """The head of a block and the offset of what is encrypted. Raises `ValueError`."""
    first, length = _START_UNPACK(payload, 0)
    if first != BLOCK_START:
        raise ValueError(f"a block begins with {BLOCK_START:#x}, not {first:#x}")
    at = _START_BYTES + length
    return _decode_head(payload[_START_BYTES:at]), at


def open_block(payload: memoryview, cipher: AESGCM) -> Iterator[StoredBody]:
    """The bodies of a block. Raises `ValueError` when it was changed or `cipher` is not its key."""
    head, at = block_head(payload)
    try:
        plain = memoryview(cipher.decrypt(head.nonce, payload[at:-1], payload[_START_BYTES:at]))
    except InvalidTag:
        raise ValueError("the block cannot be decrypted: it was changed, or the key is another one") from None
    place = 0
    for start in range(0, len(head.commitments), COMMITMENT_BYTES):
        (size,) = _SIZE_UNPACK(plain, place)
        place += 4
        key = bytes(plain[place : place + KEY_BYTES])
        place += KEY_BYTES
        yield StoredBody(head.commitments[start : start + COMMITMENT_BYTES], key, bytes(plain[place : place + size]))
        place += size
