"""A head that was seen before: the short way past the parser does what the parser's way does, whatever came before."""

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.gateway.running import chat, request_bytes
from tests.gateway.side import KEYS, OTHER, Side, a_table, no_secret
from weighbridge.gateway.client import Client
from weighbridge.gateway.lanes import Lanes
from weighbridge.gateway.seen import SeenHead

BODY = chat()


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
