"""A provider that answers with any bytes: the client gets one whole HTTP answer, and the log says once how it ended."""

import asyncio
import re
from collections.abc import Callable
from itertools import product
from typing import Final, NamedTuple, cast

from tests.exchanges.loop import HandLoop
from tests.fuzz.cutting import pieces
from tests.gateway.running import KEY, key_digest, request_bytes
from tests.gateway.side import Line, Log
from weighbridge.exchanges.writer import LogWriter
from weighbridge.gateway.client import Client
from weighbridge.gateway.exchange import Exchange
from weighbridge.gateway.gateway import Gateway
from weighbridge.gateway.lanes import Lanes
from weighbridge.gateway.relay import Relay
from weighbridge.records.frames import Attempted, Finished, Held, Posted
from weighbridge.records.table import SCHEMA, Arm, Capture, Endpoint, Key, Limits, Route, RouteTable
from weighbridge.upstream import Pool, Unreachable
from weighbridge.wire.conversation import Dialect
from weighbridge.wire.dialects import DIALECTS

PATHS: Final[dict[Dialect, str]] = {
    "openai": "/v1/chat/completions", "anthropic": "/v1/messages", "openai-responses": "/v1/responses",
}  # fmt: skip
ENDS: Final[dict[Dialect, bytes]] = {
    "openai": b"data: [DONE]\n\n", "anthropic": b'"message_stop"', "openai-responses": b'"response.completed"',
}  # fmt: skip


class Case(NamedTuple):
    client: Dialect
    upstream: Dialect
    stream: bool
    reset: bool
    """The provider's connection breaks off; else it is closed."""


CASES: Final = tuple(Case(*row) for row in product(DIALECTS, DIALECTS, (False, True), (False, True)))


class _Log(Log):
    def when_written(self, done: Callable[[], object], failed: Callable[[], object]) -> None:
        self.waiting.append(done)


class _Theirs(Line):
    """The line to the provider, in the clear."""

    def get_extra_info(self, name: str, default: object = None) -> object:
        return default

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class _NobodyElse(Gateway):
    """The provider has this one connection, and takes no other."""

    def dial(self, exchange: Exchange, pool: Pool[Relay]) -> None:
        exchange.unreachable(Unreachable("connect", "it takes no more connections"))


def _body(dialect: Dialect, *, stream: bool, model: str) -> bytes:
    said = b'"input":"Hi"' if dialect == "openai-responses" else b'"messages":[{"role":"user","content":"Hi"}]'
    limit = b'"max_output_tokens":9' if dialect == "openai-responses" else b'"max_tokens":9'
    return b'{"model":"%b",%b,%b,"stream":%b}' % (model.encode(), said, limit, b"true" if stream else b"false")


def _table() -> Lanes:
    url = "http://127.0.0.1:1/v1"
    made = RouteTable(
        schema=SCHEMA,
        number=1,
        created_ns=0,
        config_digest="0" * 64,
        trial_key="",
        durability="process",
        capture=Capture(bodies=True, purpose="test", approved_by="test"),
        limits=Limits(response_bytes_max=2000, head_bytes_max=600, stream_buffer_bytes_max=4000),
        endpoints=tuple(
            Endpoint(name=name, dialect=name, base_url=url, loopback=True, address_is_own=True) for name in DIALECTS
        ),
        arms=tuple(Arm(name=f"at-{name}", endpoint=name, model="m") for name in DIALECTS),
        routes=tuple(Route(name=f"to-{name}", incumbent=f"at-{name}") for name in DIALECTS),
        keys=(Key(name="tests", digest=key_digest(KEY), routes=("*",)),),
    )
    return Lanes(made, lambda _: "upstream-secret")


_LANES: Final = _table()


def provider(data: bytes) -> None:
    """Any connection of a provider: its client gets one whole answer of HTTP, and the log says once how it ended.

    The first byte chooses dialects, stream and how the connection ends; four more how the answer is cut.
    """
    case = CASES[(data[0] if data else 0) % len(CASES)]
    loop = cast(asyncio.AbstractEventLoop, HandLoop())
    gateway = _NobodyElse(_LANES, "w", loop=loop, wall_ns=lambda: 0, mono_ns=lambda: 0)
    log = _Log()
    gateway.log = cast(LogWriter, log)
    target = _LANES.ways[f"to-{case.upstream}"].incumbent.target
    assert target is not None
    pool = gateway.pool(target)
    theirs, line = _Theirs(), Line()
    relay = Relay(gateway, pool)
    relay.connection_made(theirs)
    pool.put(relay, 0)
    client = Client(gateway)
    client.connection_made(line)

    def settle() -> None:
        while log.waiting:
            waiting, log.waiting = log.waiting, []
            for done in waiting:
                done()

    request = _body(case.client, stream=case.stream, model=f"to-{case.upstream}")
    client.data_received(request_bytes(request, path=PATHS[case.client]))
    settle()
    assert theirs.written.startswith(b"POST "), "the request reached its provider"
    for piece in pieces(data[1:]):
        if piece and not theirs.ended:
            relay.data_received(piece)
            settle()
    if not case.reset and not theirs.ended:
        relay.eof_received()
    relay.connection_lost(ConnectionResetError() if case.reset else None)
    settle()
    _look(case, gateway, log, line)


def _look(case: Case, gateway: Gateway, log: Log, line: Line) -> None:
    counts = {kind: sum(isinstance(row, kind) for row in log.frames) for kind in (Held, Attempted, Posted, Finished)}
    assert (1, 1) == (counts[Held], counts[Finished]), counts
    assert counts[Attempted] == counts[Posted] >= 1, counts
    assert not gateway.active, "nothing runs on"
    status, body = answer(line)
    [finished] = [row for row in log.frames if isinstance(row, Finished)]
    assert status == finished.status
    if finished.outcome != "ok" and case.client != case.upstream:
        assert ENDS[case.client] not in body, "an answer that broke off has no clean end"


_HEAD = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n((?:[^\r\n]+\r\n)*)\r\n")
_FIELD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*")


def answer(line: Line) -> tuple[int, bytes]:
    """Status and body of the one answer on a line, by a reader that takes nothing but HTTP/1.1 as it is written."""
    written = line.written
    head = _HEAD.match(written)
    assert head is not None, written[:200]
    fields: dict[bytes, bytes] = {}
    for row in head[2].split(b"\r\n")[:-1]:
        assert _FIELD.fullmatch(row), row
        name, _, value = row.partition(b":")
        if name.lower() in (b"content-length", b"transfer-encoding"):
            assert name.lower() not in fields, "framing is said once"
        fields[name.lower()] = value.strip()
    status, rest = int(head[1]), written[head.end() :]
    assert 200 <= status <= 599
    if b"content-length" in fields:
        assert b"transfer-encoding" not in fields
        assert int(fields[b"content-length"]) == len(rest)
        return status, rest
    if status == 204:
        assert not rest
        return status, b""
    assert b"chunked" == fields[b"transfer-encoding"]
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        count = int(size, 16)
        assert rest[count : count + 2] == b"\r\n"
        if not count:
            assert rest == b"\r\n", "nothing follows the answer"
            return status, body
        body, rest = body + rest[:count], rest[count + 2 :]
    assert line.ended, "an answer without its end is followed by the end of the connection"
    return status, body
