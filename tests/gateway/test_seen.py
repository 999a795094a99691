"""A head that was seen before: the short way past the parser does what the parser's way does, whatever came before."""

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.gateway.running import KEY, chat, endpoint, key_digest, request_bytes, table
from weighbridge.exchanges.writer import LogWriter
from weighbridge.gateway.client import Client
from weighbridge.gateway.gateway import Gateway
from weighbridge.gateway.lanes import Lanes
from weighbridge.gateway.seen import SeenHead
from weighbridge.records.frames import Frame, Held
from weighbridge.records.table import Capture, Key, Limits, Route, RouteTable

OTHER = "sk-other-key"
KEYS = (
    Key(name="a", digest=key_digest(KEY), team="red", routes=("assistant",)),
    Key(name="b", digest=key_digest(OTHER), team="blue", routes=("*",)),
)
BODY = chat()


def a_table(number: int, keys: tuple[Key, ...] = KEYS) -> RouteTable:
    routes = [Route(name=name, incumbent="closed", slice_by=("tag:task",)) for name in ("assistant", "secret")]
    return table(
        "",
        number=number,
        routes=routes,
        keys=keys,
        endpoints=[endpoint("http://127.0.0.1:1/v1", api_key="env:GONE")],
        capture=Capture(bodies=True, purpose="test", approved_by="test", redact=()),
        limits=Limits(body_bytes_max=2000, head_bytes_max=600),
    )


def no_secret(reference: str) -> str:
    """No endpoint can be used: an exchange is admitted, recorded, and ends at once."""
    raise LookupError(reference)


class Log:
    """What was recorded, in order; what waits for the disk waits until `settle`."""

    state, reason = "ok", ""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.bodies: list[tuple[str | None, bytes]] = []
        self.waiting: list[Callable[[], object]] = []

    def append(self, frame: Frame) -> None:
        self.frames.append(frame)

    def capture(self, frame: Frame, team: str | None, body: bytes, redact: tuple[str, ...]) -> None:
        self.frames.append(frame)
        self.bodies.append((team, body))

    def when_durable(self, done: Callable[[], object]) -> None:
        self.waiting.append(done)


class Line(asyncio.Transport):
    def __init__(self) -> None:
        self.written = b""
        self.ended = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def can_write_eof(self) -> bool:
        return False

    def is_closing(self) -> bool:
        return self.ended

    def close(self) -> None:
        self.ended = True

    abort = close


class LongWay(Client):
    """Every request goes through the parser."""

    __slots__ = ()

    def _known_again(self, seen: SeenHead, data: bytes) -> bool:
        return False


class ShortWay(Client):
    __slots__ = ()
    taken = 0

    def _known_again(self, seen: SeenHead, data: bytes) -> bool:
        known = super()._known_again(seen, data)
        ShortWay.taken += known
        return known


class Side:
    """A gateway with one connection, which is opened again when it has ended."""

    def __init__(self, kind: type[Client]) -> None:
        self.log = Log()
        loop = cast(asyncio.AbstractEventLoop, None)  # nothing is dialled
        self.gateway = Gateway(Lanes(a_table(1), no_secret), "w", loop=loop, wall_ns=lambda: 0, mono_ns=lambda: 0)
        self.gateway.log = cast(LogWriter, self.log)
        self.kind = kind
        self.open()

    def open(self) -> None:
        self.line, self.client = Line(), self.kind(self.gateway)
        self.client.connection_made(self.line)

    def send(self, pieces: list[bytes]) -> bytes:
        for piece in pieces:
            if not self.line.ended:
                self.client.data_received(piece)
            waiting, self.log.waiting = self.log.waiting, []
            for done in waiting:
                done()
        written, ended = self.line.written, self.line.ended
        self.line.written = b""
        if ended:
            self.client.connection_lost(None)
            self.open()
        return written + (b"(end)" if ended else b"")

    def who(self) -> list[tuple[str, str]]:
        return [(row.key, row.route) for row in self.log.frames if isinstance(row, Held)]


def get(path: str, method: str = "GET", key: str | None = OTHER) -> bytes:
    return request_bytes(method=method, path=path, key=key)


A, B = request_bytes(BODY), request_bytes(BODY, key=OTHER)
CHUNKED = B.replace(b"Content-Length: %d" % len(BODY), b"Transfer-Encoding: chunked").replace(
    b"\r\n\r\n" + BODY, b"\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
)
MESSAGES = [
    A,
    B,
    A.replace(b"Content-Length", b"content-length"),
    A.replace(b"Host: gateway", b"Host: other"),
    request_bytes(chat("secret")),
    request_bytes(chat("secret"), key=OTHER),
    request_bytes(chat(text="x" * 300)),
    request_bytes(chat(text="x" * 1300)),
    request_bytes(chat(text="x" * 3000)),
    request_bytes(b"{"),
    request_bytes(b""),
    request_bytes(BODY, key="wrong"),
    request_bytes(BODY, headers=[("x-weighbridge-tag", "task=refund")]),
    request_bytes(BODY, key=OTHER, headers=[("Expect", "100-continue")]),
    request_bytes(BODY, headers=[("Connection", "close")]),
    request_bytes(BODY, headers=[("pad", "p" * 430)]),
    A.replace(b"HTTP/1.1", b"HTTP/1.0"),
    A.replace(b"Content-Length: ", b"Content-Length:  "),
    A.replace(b"Content-Length: ", b"Content-Length: 0"),
    A.replace(b"Content-Length: ", b"Content-Length: +"),
    A + A,
    A + b"\r\n",
    A + b"POS",
    A + get("/healthz", "HEAD"),
    CHUNKED,
    get("/v1/models"),
    get("/healthz", "HEAD", None),
    get("/nothing", "HEAD", None),
    b"\r\n" + A,
    A[1:],
]
TABLES = [KEYS, KEYS[1:], ()]
"""Of which the number tells which keys are still good."""


@st.composite
def steps(draw: st.DrawFn) -> list[bytes] | int:
    """A message in pieces, or the place in `TABLES` of a new table."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.integers(0, len(TABLES) - 1))
    data = draw(st.sampled_from([A, B, *MESSAGES]))
    head = data.find(b"\r\n\r\n") + 4
    near = st.integers(-6, 3).map(lambda by: head + by)
    cuts = draw(st.one_of(st.just([]), st.lists(st.one_of(near, st.integers(1, len(data))), max_size=2)))
    places = sorted({0, len(data), *(min(max(cut, 0), len(data)) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(places)]


def at_head_end(data: bytes) -> list[bytes]:
    cut = data.index(b"\r\n\r\n") + 4
    return [data[:cut], data[cut:]]


@settings(max_examples=400)
@given(st.lists(steps(), max_size=8))
@example([[A], [get("/v1/models")], [A], [request_bytes(chat("secret"))]])
@example([[A], at_head_end(B), [request_bytes(chat("secret"))]])
@example([[A], [get("/healthz", "HEAD", None)], [request_bytes(b"{")]])
@example([[A], 1, [A], [A]])
@example([[A + b"POS"], [A], [A]])
def test_the_short_way_and_the_parser_answer_and_record_the_same(done: list[list[bytes] | int]) -> None:
    short, long = Side(ShortWay), Side(LongWay)
    for number, step in enumerate(done, 2):
        if isinstance(step, int):
            for side in (short, long):
                side.gateway.use(Lanes(a_table(number, TABLES[step]), no_secret))
        else:
            assert long.send(step) == short.send(step)
    assert long.log.frames == short.log.frames
    assert long.log.bodies == short.log.bodies


@pytest.mark.parametrize("size", [1, 1300], ids=["small", "larger than a head may be"])
def test_a_repeated_head_takes_the_short_way(size: int) -> None:
    side, before = Side(ShortWay), ShortWay.taken
    bodies = [chat(text=letter * size + end) for letter, end in (("a", ""), ("b", ""), ("c", "longer"))]
    for body in bodies:
        side.send([request_bytes(body)])
    assert 2 == ShortWay.taken - before
    assert bodies == [body for _, body in side.log.bodies]


@pytest.mark.parametrize(
    "between",
    [[get("/v1/models")], at_head_end(B), [CHUNKED], [request_bytes(BODY, key=OTHER, headers=[("pad", "p")])]],
    ids=["models", "in two pieces", "chunked", "another head"],
)
def test_a_request_runs_under_its_own_key_whatever_came_between(between: list[bytes]) -> None:
    side = Side(ShortWay)
    side.send([A])
    side.send(between)
    assert b"model_not_found" in side.send([request_bytes(chat("secret"))])
    assert ("b", "secret") not in side.who()
    side.send([A])
    assert ("a", "assistant") == side.who()[-1]


def test_a_body_is_never_taken_for_the_end_of_a_head_that_came_in_two_pieces() -> None:
    """A length that the rest of the bytes happen to match once made two requests of one."""
    side = Side(ShortWay)
    side.send([A])
    head = A.partition(b"\r\n\r\n")[0].replace(b"Content-Length: %d" % len(BODY), b"Content-Length: 100")
    length = len(head) + 1 - 3  # what was counted when the search for the empty line came back with -1
    assert 100 <= length <= 999
    inner = get("/v1/models")
    first = head.replace(b": 100", b": %d" % length) + b"\r"
    answer = side.send([first, b"\n\r\n" + inner + b" " * (length - len(inner))])
    assert 1 == answer.count(b"HTTP/1.1 ")
    assert b'"object":"list"' not in answer


def test_a_refusal_has_its_body_though_a_head_request_came_before_or_behind() -> None:
    side = Side(ShortWay)
    side.send([A])
    assert side.send([get("/healthz", "HEAD", None)]).endswith(b"\r\n\r\n")
    assert b'"error"' in side.send([request_bytes(b"{")])
    assert b"endpoint_not_usable" in side.send([A + get("/healthz", "HEAD", None)])
