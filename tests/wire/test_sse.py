"""Event streams in any pieces: whole events out, the same bytes, and our own usage event taken out again."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.provider import FakeProvider, Script, UsageStyle
from weighbridge.wire.sse import EventHold, data_of, events_of, last_events, without_usage

LIMIT = 64 << 10


def pieces_of(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    return [stream[a:b] for a, b in pairwise(places)]


def through(pieces: list[bytes], limit: int = LIMIT, *, strip: bool = False) -> tuple[bytes, list[bytes]]:
    """What comes out as a whole, and as separate writes."""
    hold = EventHold(limit)
    out = []
    for piece in pieces:
        passing, whole = hold.feed(piece)
        out.append(passing + (without_usage(whole) if strip else whole))
    left = hold.flush()
    out.append(without_usage(left) if strip else left)
    return b"".join(out), out


def stream_of(style: UsageStyle = "own_event", *, asked: bool = True, **script: Any) -> bytes:
    request: dict[str, Any] = {"model": "m", "messages": [{"content": "hi"}], "stream": True}
    if asked:
        request["stream_options"] = {"include_usage": True}
    return b"".join(FakeProvider().stream_bytes(request, Script(usage_style=style, **script)))


texts = st.text(max_size=40)
scripts = st.fixed_dictionaries(
    {
        "text": texts,
        "line_end": st.sampled_from(["\n", "\r\n"]),
        "spaced": st.booleans(),
        "done": st.booleans(),
        "before": st.lists(st.sampled_from([": keep-alive", "", "event: x", "id: 7", "retry: 100"]), max_size=3),
    }
)


@given(scripts, st.lists(st.integers(0, 5000), max_size=30))
def test_cut_anywhere_the_same_bytes_come_out(script: dict[str, Any], cuts: list[int]) -> None:
    stream = stream_of(**script)
    assert stream == through(pieces_of(stream, cuts))[0]


@given(scripts, st.lists(st.integers(0, 5000), max_size=30))
def test_only_whole_events_come_out_until_the_stream_ends(script: dict[str, Any], cuts: list[int]) -> None:
    stream = stream_of(**script)
    *writes, _ = through(pieces_of(stream, cuts))[1]
    for write in writes:
        assert write == b"" or write.endswith((b"\n\n", b"\r\n\r\n"))


@given(scripts, st.lists(st.integers(0, 5000), max_size=30), st.sampled_from(["own_event", "null_until_end"]))
def test_cut_anywhere_the_client_gets_what_it_would_have_got_without_our_asking(
    script: dict[str, Any], cuts: list[int], style: UsageStyle
) -> None:
    got, _ = through(pieces_of(stream_of(style, **script), cuts), strip=True)
    assert stream_of(style, asked=False, **script) == got


@pytest.mark.parametrize("style", ["own_event", "null_until_end"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_cut_at_every_single_byte_nothing_changes(style: UsageStyle, line_end: str) -> None:
    stream = stream_of(style, text="grüße 🙂", line_end=line_end)
    expected = stream_of(style, asked=False, text="grüße 🙂", line_end=line_end)
    for cut in range(len(stream) + 1):
        assert expected == through([stream[:cut], stream[cut:]], strip=True)[0]
    assert expected == through([stream[at : at + 1] for at in range(len(stream))], strip=True)[0]


@pytest.mark.parametrize("style", ["with_choices", "every_event"])
def test_usage_that_rides_on_a_chunk_with_choices_stays(style: UsageStyle) -> None:
    stream = stream_of(style)
    assert stream == without_usage(stream)


def test_the_word_usage_in_what_the_model_says_is_left_alone() -> None:
    stream = stream_of("never", text='{"usage": {"x": 1}, "choices": []} ,"usage":null}')
    assert b"usage" in stream
    assert stream == without_usage(stream)


@given(
    st.lists(st.integers(1, 3000), min_size=1, max_size=8),
    st.lists(st.integers(0, 12_000), max_size=20),
    st.sampled_from([b"\n\n", b"\r\n\r\n"]),
)
def test_an_event_over_the_limit_passes_and_little_is_held(sizes: list[int], cuts: list[int], end: bytes) -> None:
    stream = b"".join(b"data: " + b"x" * size + end for size in sizes)
    hold = EventHold(1000)
    out = b""
    for piece in pieces_of(stream, cuts):
        passing, whole = hold.feed(piece)
        out += passing + whole
        assert len(hold.held) <= 1000
    assert stream == out + hold.flush()


def test_a_megabyte_event_between_others_arrives_as_it_was() -> None:
    stream = b"data: a\n\n" + b"data: " + b"z" * (1 << 20) + b"\n\n" + b"data: b\n\n"
    assert stream == through(pieces_of(stream, list(range(0, len(stream), 4096))))[0]


def test_the_data_of_an_event_is_its_data_lines() -> None:
    assert b"a\nb" == data_of(b": comment\nevent: x\ndata: a\ndata:b\nid: 4\n\n")
    assert b"" == data_of(b": ping\n\n")
    assert [b"1", b"2"] == list(events_of(b"data: 1\n\n: ping\r\n\r\ndata: 2"))


def test_the_last_events_come_last_first_and_no_more_than_asked() -> None:
    stream = b"".join(b"data: %d\n\n" % number for number in range(10))
    assert [b"9", b"8", b"7"] == list(last_events(stream, 3))
    assert [b"1", b"0"] == list(last_events(b"data: 0\n\ndata: 1", 5))


def test_json_events_survive_as_json() -> None:
    for data in events_of(stream_of(text="a b c")):
        assert data == b"[DONE]" or json.loads(data)["object"] == "chat.completion.chunk"


@given(st.lists(st.sampled_from([b"data: 1", b"\n", b"\r\n", b"\n\n", b": x", b"data: 2", b"\r"]), max_size=12))
def test_backwards_the_same_events_are_found_as_forwards(parts: list[bytes]) -> None:
    stream = b"".join(parts)
    assert list(events_of(stream)) == list(last_events(stream, 100))[::-1]
