"""Streams from one dialect to another: the order that clients expect, and nothing lost on the way."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.dialects.stories import (
    ASKED,
    DONE,
    ENVELOPE,
    answers,
    call_delta,
    calls_of,
    chat_chunk,
    events,
    interleavings,
    stream_of,
    texts_of,
    translated,
)
from weighbridge.records.usage import Usage
from weighbridge.wire.conversation import Dialect, Failure, Reasoning, Refusal, Text
from weighbridge.wire.dialects import DIALECTS, StreamTranslator, read_answer
from weighbridge.wire.dialects.events import Closed

PAIRS: list[tuple[Dialect, Dialect]] = [(a, b) for a in DIALECTS for b in DIALECTS if a != b]
USAGE = {"prompt_tokens": 20, "completion_tokens": 7, "total_tokens": 27}


def check_anthropic_order(stream: bytes) -> None:
    """`message_start`, then blocks one at a time with indexes from 0, then `message_delta` and `message_stop`."""
    kinds = [event["type"] for event in events(stream)]
    assert "message_start" == kinds[0]
    assert ["message_delta", "message_stop"] == kinds[-2:]
    assert 1 == kinds.count("message_start") == kinds.count("message_delta") == kinds.count("message_stop")
    open_index, next_index = None, 0
    for event in events(stream)[1:-2]:
        if event["type"] == "content_block_start":
            assert (None, next_index) == (open_index, event["index"])
            open_index, next_index = next_index, next_index + 1
        elif event["type"] == "content_block_delta":
            assert open_index == event["index"]
        elif event["type"] == "content_block_stop":
            assert open_index == event["index"]
            open_index = None
    assert open_index is None


def check_responses_order(stream: bytes) -> None:
    """Numbered without a gap; an item is added, said and done before the next; the end repeats every item."""
    happened = events(stream)
    assert list(range(len(happened))) == [event["sequence_number"] for event in happened]
    kinds = [event["type"] for event in happened]
    assert ["response.created", "response.in_progress"] == kinds[:2]
    assert kinds[-1] in ("response.completed", "response.incomplete")
    done: list[Any] = []
    open_item: dict[str, Any] | None = None
    said = ""
    for event in happened[2:-1]:
        if event["type"] == "response.output_item.added":
            assert (None, len(done)) == (open_item, event["output_index"])
            open_item, said = event["item"], ""
            continue
        assert open_item is not None
        assert len(done) == event["output_index"]
        assert open_item["id"] == event.get("item_id", event.get("item", {}).get("id"))
        if event["type"].endswith(".delta"):
            said += event["delta"]
        elif event["type"].endswith(("text.done", "arguments.done", "refusal.done", "input.done")):
            assert said == event.get("text", event.get("arguments", event.get("refusal", event.get("input"))))
        elif event["type"] == "response.output_item.done":
            done.append(event["item"])
            open_item = None
    assert open_item is None
    assert done == happened[-1]["response"]["output"]


def unchecked(stream: bytes) -> None:
    """Chunks of a chat stream may come in any order."""


CHECKS: dict[Dialect, Callable[[bytes], None]] = {
    "anthropic": check_anthropic_order,
    "openai-responses": check_responses_order,
    "openai": unchecked,
}


@given(st.data(), st.sampled_from(PAIRS))
def test_text_reasoning_calls_usage_and_finish_are_the_same_on_both_sides(
    data: st.DataObject, pair: tuple[Dialect, Dialect]
) -> None:
    answer = data.draw(answers())
    upstream, client = pair
    stream = stream_of(upstream, data.draw(interleavings(answer)))
    written, translator = translated(stream, upstream, client)
    CHECKS[client](written)
    assert translator.whole
    seen = read_answer(client, written)
    assert texts_of(answer.parts, Text) == texts_of(seen.parts, Text)
    assert texts_of(answer.parts, Reasoning) == texts_of(seen.parts, Reasoning)
    assert calls_of(answer.parts) == calls_of(seen.parts)
    assert (answer.usage, answer.finish) == (seen.usage, seen.finish)
    assert answer.usage == translator.facts().usage


@pytest.mark.parametrize("client", ["openai", "anthropic"])
def test_an_item_that_is_done_as_something_else_than_announced_ends_with_an_error(client: Dialect) -> None:
    stream = (
        b'data: {"type":"response.output_item.added","output_index":0,"item":{"id":"m","type":"message"}}\n\n'
        b'data: {"type":"response.output_item.done","output_index":0,"item":{"id":"f","type":"function_call",'
        b'"call_id":"c","name":"f","arguments":"{}"}}\n\n'
    )
    written, translator = translated(stream, "openai-responses", client)
    assert (True, False) == (translator.over, translator.whole)
    assert b"announced as something else" in written


@given(st.data(), st.sampled_from(PAIRS))
def test_the_pieces_in_which_a_stream_arrives_change_nothing(
    data: st.DataObject, pair: tuple[Dialect, Dialect]
) -> None:
    stream = stream_of(pair[0], data.draw(interleavings(data.draw(answers()))))
    if data.draw(st.booleans()):
        stream = stream.replace(b"\n", b"\r\n")
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=30))
    assert translated(stream, *pair)[0] == translated(stream, *pair, cuts=cuts)[0]


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair[0]}->{pair[1]}")
def test_a_stream_that_arrives_byte_by_byte_is_the_same(pair: tuple[Dialect, Dialect]) -> None:
    chat = chat_chunk({"content": "héllo → 世界"}) + chat_chunk(call_delta(0, "{}", id="c", name="f"))
    chat += chat_chunk({}, finish="tool_calls") + chat_chunk(usage=USAGE) + DONE
    stream = chat if pair[0] == "openai" else translated(chat, "openai", pair[0])[0]
    assert translated(stream, *pair)[0] == translated(stream, *pair, cuts=range(len(stream)))[0]


# --- calls ------------------------------------------------------------------------------------------------------------


def test_interleaved_calls_come_one_after_the_other_with_all_their_arguments() -> None:
    stream = chat_chunk(call_delta(0, '{"a":', id="c0", name="f")) + chat_chunk(
        call_delta(1, '{"b"', id="c1", name="g")
    )
    stream += chat_chunk(call_delta(0, "1}")) + chat_chunk(call_delta(1, ":2}")) + chat_chunk({}, finish="tool_calls")
    written, _ = translated(stream + DONE, "openai", "anthropic")
    check_anthropic_order(written)
    assert [("c0", "f", '{"a":1}'), ("c1", "g", '{"b":2}')] == calls_of(read_answer("anthropic", written).parts)


def test_a_whole_call_is_closed_as_soon_as_the_next_begins() -> None:
    stream = chat_chunk(call_delta(0, '{"a":"}"}', id="c0", name="f")) + chat_chunk(
        call_delta(1, "{", id="c1", name="g")
    )
    translator = StreamTranslator("openai", "anthropic", ASKED, ENVELOPE)
    kinds = [(event["type"], event.get("index")) for event in events(translator.feed(stream))]
    assert ("content_block_stop", 0) in kinds
    assert ("content_block_delta", 1) == kinds[-1]


def test_a_host_that_numbers_every_call_0_loses_none() -> None:
    stream = chat_chunk(call_delta(0, '{"a":1}', id="c0", name="f")) + chat_chunk(
        call_delta(0, '{"a":2}', id="c1", name="f")
    )
    written, _ = translated(stream + chat_chunk({}, finish="stop") + DONE, "openai", "anthropic")
    assert [("c0", "f", '{"a":1}'), ("c1", "f", '{"a":2}')] == calls_of(read_answer("anthropic", written).parts)


def test_a_host_that_repeats_id_and_name_in_every_piece_gets_one_call() -> None:
    stream = b"".join(chat_chunk(call_delta(0, piece, id="c0", name="f")) for piece in ('{"a"', ":", "1}"))
    written, _ = translated(stream + chat_chunk({}, finish="tool_calls") + DONE, "openai", "anthropic")
    assert [("c0", "f", '{"a":1}')] == calls_of(read_answer("anthropic", written).parts)


def test_a_host_that_sends_neither_index_nor_name_at_once_is_understood() -> None:
    stream = chat_chunk(call_delta(None, "", id="c0")) + chat_chunk(call_delta(None, "", name="f"))
    stream += chat_chunk(call_delta(None, '{"a":1}')) + chat_chunk({}, finish="tool_calls")
    written, _ = translated(stream + DONE, "openai", "anthropic")
    assert [("c0", "f", '{"a":1}')] == calls_of(read_answer("anthropic", written).parts)


def test_calls_under_finish_reason_stop_are_still_a_tool_use() -> None:
    stream = chat_chunk(call_delta(0, "{}", id="c0", name="f")) + chat_chunk({}, finish="stop") + DONE
    assert "tool_use" == events(translated(stream, "openai", "anthropic")[0])[-2]["delta"]["stop_reason"]


def test_arguments_that_go_on_after_their_end_are_an_error_and_not_dropped() -> None:
    stream = chat_chunk(call_delta(0, "{}", id="c0", name="f")) + chat_chunk(call_delta(1, "{", id="c1", name="g"))
    written, translator = translated(stream + chat_chunk(call_delta(0, '{"x":1}')), "openai", "anthropic")
    assert "error" == events(written)[-1]["type"]
    assert not translator.whole


def test_an_anthropic_host_that_sends_all_arguments_at_the_start_loses_none() -> None:
    block = {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}
    stream = b"".join(
        b"data: " + json.dumps(event).encode() + b"\n\n"
        for event in (
            {"type": "message_start", "message": {"id": "m", "model": "x", "usage": {"input_tokens": 1}}},
            {"type": "content_block_start", "index": 0, "content_block": block},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 3}},
            {"type": "message_stop"},
        )
    )
    seen = read_answer("openai", translated(stream, "anthropic", "openai")[0])
    assert [("t", "f", {"a": 1})] == [(i, n, json.loads(a)) for i, n, a in calls_of(seen.parts)]


# --- refusals, usage --------------------------------------------------------------------------------------------------


def test_a_refusal_keeps_its_text_and_becomes_the_stop_reason_refusal() -> None:
    stream = chat_chunk({"refusal": "I will "}) + chat_chunk({"refusal": "not."}) + chat_chunk({}, finish="stop") + DONE
    written, _ = translated(stream, "openai", "anthropic")
    assert "refusal" == events(written)[-2]["delta"]["stop_reason"]
    assert "I will not." == texts_of(read_answer("anthropic", written).parts, Text)
    written, _ = translated(stream, "openai", "openai-responses")
    assert "I will not." == texts_of(read_answer("openai-responses", written).parts, Refusal)


def test_usage_that_nobody_gave_stays_unknown_and_is_not_0() -> None:
    stream = chat_chunk({"content": "x"}) + chat_chunk({}, finish="stop") + DONE
    written, translator = translated(stream, "openai", "anthropic")
    assert {"input_tokens": None, "output_tokens": None} == events(written)[-2]["usage"]
    assert translator.facts().usage is None
    assert events(translated(stream, "openai", "openai-responses")[0])[-1]["response"]["usage"] is None


def test_cache_writes_for_an_hour_stay_told_apart_from_the_others() -> None:
    start = {
        "input_tokens": 5,
        "cache_creation_input_tokens": 30,
        "cache_read_input_tokens": 100,
        "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
        "output_tokens": 1,
    }
    end = {"output_tokens": 50, "output_tokens_details": {"thinking_tokens": 40}}
    stream = b"".join(
        b"data: " + json.dumps(event).encode() + b"\n\n"
        for event in (
            {"type": "message_start", "message": {"id": "m", "model": "x", "usage": start}},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": end},
            {"type": "message_stop"},
        )
    )
    written, translator = translated(stream, "anthropic", "openai")
    assert Usage(5, 10, 100, 10, 20, 40) == translator.facts().usage
    said = events(written)[-1]["usage"]
    assert (135, 50, 185) == (said["prompt_tokens"], said["completion_tokens"], said["total_tokens"])
    assert {"cached_tokens": 100, "cache_write_tokens": 30} == said["prompt_tokens_details"]


def test_a_chat_client_that_did_not_ask_for_usage_gets_none() -> None:
    stream = translated(
        chat_chunk({"content": "x"}) + chat_chunk({}, finish="stop", usage=USAGE) + DONE, "openai", "anthropic"
    )[0]
    asked = msgspec.structs.replace(ASKED, wants_usage=False)
    assert b'"usage"' not in translated(stream, "anthropic", "openai", asked)[0]
    assert b'"usage"' in translated(stream, "anthropic", "openai")[0]


# --- endings ----------------------------------------------------------------------------------------------------------


@given(st.data(), st.sampled_from(PAIRS))
def test_wherever_a_stream_breaks_off_the_client_is_told(data: st.DataObject, pair: tuple[Dialect, Dialect]) -> None:
    stream = stream_of(pair[0], data.draw(interleavings(data.draw(answers()))))
    cut = data.draw(st.integers(0, len(stream)))
    written, translator = translated(stream[:cut], *pair)
    last = events(written)[-1]
    if translator.whole:
        assert written == translated(stream, *pair)[0] or pair[0] == "openai"
    elif pair[1] == "openai-responses":
        assert last["type"] in ("error", "response.failed")
    else:
        assert "error" in last
    ended = {"openai": DONE, "anthropic": b"message_stop", "openai-responses": b"response.completed"}[pair[1]]
    assert translator.whole or ended not in written


@pytest.mark.parametrize("client", ["anthropic", "openai-responses"])
def test_a_chat_host_that_leaves_out_done_has_still_ended(client: Dialect) -> None:
    _, translator = translated(chat_chunk({"content": "x"}) + chat_chunk({}, finish="stop"), "openai", client)
    assert translator.whole


@pytest.mark.parametrize("client", ["anthropic", "openai-responses"])
def test_an_error_inside_a_stream_reaches_the_client_with_its_message(client: Dialect) -> None:
    error = b'data: {"error":{"message":"out of memory","type":"server_error","code":500}}\n\n'
    for before in (b"", chat_chunk({"content": "x"})):
        written, translator = translated(before + error + DONE, "openai", client)
        assert b"out of memory" in written.rsplit(b"event:", 1)[1]
        assert "500" == translator.facts().error
        assert not translator.whole


def test_an_overloaded_anthropic_host_is_named_so_in_a_chat_stream() -> None:
    error = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
    written, _ = translated(error, "anthropic", "openai")
    assert {"message": "Overloaded", "type": "overloaded_error", "param": None, "code": None} == events(written)[-1][
        "error"
    ]


def test_a_json_error_in_place_of_a_stream_is_read() -> None:
    written, translator = translated(b'{"error":{"message":"no such model","type":"x"}}', "openai", "anthropic")
    assert "no such model" == events(written)[-1]["error"]["message"]
    assert translator.over


def test_an_event_that_is_no_chunk_ends_the_stream_with_an_error() -> None:
    written, _ = translated(chat_chunk({"content": "x"}) + b"data: <html>\n\n", "openai", "anthropic")
    assert "error" == events(written)[-1]["type"]


def test_our_own_error_ends_a_stream_and_nothing_follows_it() -> None:
    translator = StreamTranslator("openai", "anthropic", ASKED, ENVELOPE)
    translator.feed(chat_chunk({"content": "x"}))
    written = translator.fail(Failure("timeout", "the provider stalled", 504))
    assert {"type": "timeout_error", "message": "the provider stalled"} == events(written)[0]["error"]
    assert b"" == translator.feed(DONE) == translator.end()
    assert translator.fail(Failure("server", "again", 500)) == b""


def test_comments_of_the_provider_keep_the_client_awake() -> None:
    stream = b": keep-alive\n\n" + chat_chunk({"content": "x"}) + b": keep-alive\n\n"
    written, _ = translated(stream + chat_chunk({}, finish="stop") + DONE, "openai", "anthropic")
    assert written.startswith(b": ping\n\n")
    assert 1 == [event["type"] for event in events(written)].count("ping")
    check_anthropic_order(written)


def test_a_second_choice_is_named_as_lost() -> None:
    second = json.loads(chat_chunk({"content": "y"})[6:])
    second["choices"][0]["index"] = 1
    stream = chat_chunk({"content": "x"}) + b"data: " + json.dumps(second).encode() + b"\n\n"
    written, translator = translated(stream + chat_chunk({}, finish="stop") + DONE, "openai", "anthropic")
    assert ["choices@choices[1]"] == [str(loss) for loss in translator.losses]
    assert "x" == texts_of(read_answer("anthropic", written).parts, Text)


def test_an_empty_answer_has_its_frame() -> None:
    stream = stream_of("openai", [Closed()])
    for client in DIALECTS[1:]:
        written, _ = translated(stream, "openai", client)
        CHECKS[client](written)
