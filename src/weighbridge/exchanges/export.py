"""Exchanges for other programs, with their bodies: JSON lines and Parquet, one exchange in memory at a time."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from weighbridge.exchanges.bodystore import BodyReader
from weighbridge.exchanges.rows import ExportedExchange, row_of, write_parquet
from weighbridge.records.exchange import BodyState, Exchange
from weighbridge.records.frames import BodyRef
from weighbridge.wire.openai import assemble

_encode = msgspec.json.Encoder().encode
_NULL, _ERASED = msgspec.Raw(b"null"), msgspec.Raw(b'"erased"')


def exported(exchange: Exchange, bodies: BodyReader | None) -> ExportedExchange:
    """The documented object. Without `bodies` (no key was ever made here) both are `null`. Raises `Corrupt`."""
    row = row_of(exchange)
    return ExportedExchange(
        **msgspec.structs.asdict(row),
        request=_body(exchange.request, bodies),
        response=_body(exchange.response, bodies),
    )


def jsonl(exchanges: Iterable[Exchange], bodies: BodyReader | None) -> Iterator[bytes]:
    """One line of JSON per exchange, with its newline."""
    for exchange in exchanges:
        yield _encode(exported(exchange, bodies)) + b"\n"


def parquet(exchanges: Iterable[Exchange], bodies: BodyReader | None, path: Path) -> int:
    """Write one Parquet file; how many rows. `request` and `response` are columns of JSON text. Raises `OSError`."""
    return write_parquet(path, (exported(exchange, bodies) for exchange in exchanges), bodies=True)


def _body(ref: BodyRef | None, bodies: BodyReader | None) -> msgspec.Raw:
    state: BodyState = None if bodies is None else bodies.get(ref)
    if state is None:
        return _NULL
    if isinstance(state, str):
        return _ERASED
    return msgspec.Raw(body_json(state))


def body_json(body: bytes) -> bytes:
    """A captured body as JSON on one line.

    JSON keeps its numbers and the order of its keys. An event stream becomes the chat completion that it adds up to.
    What is neither is given as text, and so is what is nested more deeply than a parser goes.
    """
    try:
        body.decode()  # the JSON parser below lets bytes in strings pass that are not UTF-8
        if body.lstrip()[:1] in (b"d", b"e", b":", b"i") and b"\ndata:" in b"\n" + body:
            return _encode(assemble(body))
        return msgspec.json.format(body, indent=-1)
    except (UnicodeDecodeError, msgspec.MsgspecError, RecursionError):
        return _encode(body.decode(errors="replace"))
