"""Reading and editing a chat request."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.wire import openai
from weighbridge.wire.chat import Turns
from weighbridge.wire.refusal import BadRequest


def body(**fields: Any) -> bytes:
    row = {"model": "assistant", "messages": [{"role": "user", "content": "Hi"}], **fields}
    return json.dumps({name: value for name, value in row.items() if value is not ...}).encode()


def test_it_reads_what_routing_needs_and_nothing_else() -> None:
    request = openai.parse_request(
        body(stream=True, max_tokens=9, n=2, user="u-1", logit_bias={"1": -100}, unheard_of=[1, {"x": None}])
    )
    assert ("assistant", True, False, 9, 2, "u-1") == (
        request.model,
        request.stream,
        request.wants_usage,
        request.max_tokens,
        request.choices,
        request.user,
    )


def test_the_newer_name_of_the_token_limit_wins_unless_it_is_null() -> None:
    assert 5 == openai.parse_request(body(max_completion_tokens=5, max_tokens=9)).max_tokens
    assert 9 == openai.parse_request(body(max_completion_tokens=None, max_tokens=9)).max_tokens
    assert openai.parse_request(body()).max_tokens is None


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        (..., False),
        (None, False),
        ({}, False),
        ({"include_usage": None}, False),
        ({"include_usage": False}, False),
        ({"include_usage": True}, True),
        ({"include_usage": True, "include_obfuscation": False}, True),
    ],
)
def test_a_client_that_asks_for_usage_is_told_apart_from_one_that_does_not(options: Any, asked: bool) -> None:
    assert asked == openai.parse_request(body(stream=True, stream_options=options)).wants_usage


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"model": ...}, "model", "missing_required_parameter"),
        ({"model": None}, "model", "invalid_type"),
        ({"model": 7}, "model", "invalid_type"),
        ({"stream": "yes"}, "stream", "invalid_type"),
        ({"max_tokens": "many"}, "max_tokens", "invalid_type"),
        ({"max_tokens": 1.5}, "max_tokens", "invalid_type"),
        ({"max_tokens": -1}, "max_tokens", "invalid_value"),
        ({"max_tokens": 10**30}, "max_tokens", "invalid_value"),
        ({"max_completion_tokens": True}, "max_completion_tokens", "invalid_type"),
        ({"n": 100_000}, "n", "invalid_value"),
        ({"user": ["u"]}, "user", "invalid_type"),
        ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options", "invalid_type"),
    ],
)
def test_a_field_that_the_gateway_judges_must_have_its_type(fields: dict[str, Any], param: str, code: str) -> None:
    with pytest.raises(BadRequest) as caught:
        openai.parse_request(body(**fields))
    assert (param, code) == (caught.value.param, caught.value.code)
    assert param in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        b'{"model":"a","n":' + b"9" * 5000 + b"}",
        b'{"model":"a","max_tokens":1e999}',
        b'{"model":"a","max_tokens":' + b"9" * 400 + b".5}",
    ],
)
def test_a_number_without_bounds_is_refused_where_it_is_read(text: bytes) -> None:
    with pytest.raises(BadRequest):
        openai.parse_request(text)


def test_bytes_that_are_not_utf8_are_refused_even_where_nobody_looks() -> None:
    with pytest.raises(BadRequest, match="not UTF-8: byte 30 is wrong"):
        openai.parse_request(b'{"model":"a","metadata":{"x":"\xff"}}')


def test_a_repeated_field_is_refused_in_every_object_that_is_read() -> None:
    for text in (
        b'{"model":"a","model":"b"}',
        b'{"model":"a","stream":true,"stream_options":{"include_usage":false,"include_usage":true}}',
    ):
        with pytest.raises(BadRequest, match="more than once"):
            openai.parse_request(text)
    for text in (
        b'{"model":"a","messages":[{"role":"user","role":"system","content":"x"}]}',
        b'{"model":"a","messages":[ {"role":"user", "content":"x", "content":"y"} ]}',
        b'{"model":"a","messages":[{"role":"user","role":"system","content":"' + b"x" * 20_000 + b'"}]}',
    ):
        with pytest.raises(BadRequest, match="more than once"):
            openai.turns_of(openai.parse_request(text))


def turns(messages: list[dict[str, Any]], **layout: Any) -> tuple[bytes | None, bytes]:
    request = openai.parse_request(json.dumps({"model": "a", "messages": messages}, **layout).encode())
    found = openai.turns_of(request)
    return found.system, found.first_user


_TEXTS = st.text(max_size=30) | st.sampled_from(['"user"', '"role":"user","content":"', "\\", '\\"', 'a"}'])
_TURNS = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "system", "developer", "assistant"])},
    optional={"content": _TEXTS | st.lists(st.fixed_dictionaries({"text": _TEXTS})), "name": _TEXTS},
)


@given(st.lists(_TURNS | _TURNS.map(lambda turn: dict(reversed(turn.items()))), max_size=5), st.booleans())
def test_the_short_way_to_the_first_user_turn_leads_where_the_long_one_does(
    messages: list[dict[str, Any]], compact: bool
) -> None:
    layout: dict[str, Any] = {"separators": (",", ":")} if compact else {}
    request = openai.parse_request(json.dumps({"model": "a", "messages": messages}, **layout).encode())
    assert openai.first_user_of(request) == openai.turns_of(request).first_user


@pytest.mark.parametrize("later", [0, 3, 400])
def test_the_first_user_turn_is_the_same_however_long_the_conversation_has_become(later: int) -> None:
    start = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where is my parcel?"}]
    more = [{"role": "assistant", "content": "On its way. " * 10}, {"role": "user", "content": "When?"}] * later
    assert (b'"Be brief."', b'"Where is my parcel?"') == turns(start + more)


def test_system_and_developer_turns_together_are_the_system_prompt() -> None:
    messages = [
        {"role": "developer", "content": "A"},
        {"role": "system", "content": "B"},
        {"role": "user", "content": "C"},
    ]
    assert (b'"A"\n"B"', b'"C"') == turns(messages)
    assert turns([{"role": "user", "content": "C"}])[0] is None


@pytest.mark.parametrize("messages", ["text", 5, None, {"role": "user"}, [1, "x", None], []])
def test_messages_that_are_none_are_left_to_the_provider_to_refuse(messages: Any) -> None:
    request = openai.parse_request(json.dumps({"model": "a", "messages": messages}).encode())
    assert openai.turns_of(request).system is None
    assert openai.edited(request, "b", b'"b"', None)[1] == ("model",)


@given(
    st.lists(
        st.fixed_dictionaries(
            {"role": st.sampled_from(["system", "developer", "user", "assistant", "tool"])},
            optional={
                "content": st.none()
                | st.text(alphabet='a"\\\\{}[],:ü\n', max_size=12)
                | st.lists(st.just({"text": "x"})),
                "name": st.text(max_size=3),
            },
        ),
        max_size=5,
    ),
    st.sampled_from([{"separators": (",", ":")}, {"separators": (", ", ": ")}, {"indent": 1, "ensure_ascii": False}]),
    st.booleans(),
)
def test_the_short_way_to_the_first_turns_reads_what_the_long_way_reads(
    messages: list[dict[str, Any]], layout: dict[str, Any], content_first: bool
) -> None:
    if content_first:
        messages = [dict(reversed(message.items())) for message in messages]
    raw = json.dumps(messages, **layout).encode()
    short = openai._plain_turns(raw)
    assert short in (None, openai._read_turns(msgspec.Raw(raw)))
    plain = all(list(message) == ["role", "content"] and isinstance(message["content"], str) for message in messages)
    roles = [message["role"] for message in messages]
    if plain and "user" in roles and set(roles[: roles.index("user")]) <= {"system", "developer"}:
        assert short is not None


@pytest.mark.parametrize(
    "text", ['"' * 300, "\\" * 300, '\\"' * 5_000, "\\" * 255 + '"', "\\" * 256 + '"', 'a"b' * 200]
)
def test_a_text_of_many_quotes_and_backslashes_is_read_alike_and_in_bounded_looks(text: str) -> None:
    raw = json.dumps([{"role": "system", "content": text}, {"role": "user", "content": text}]).encode()
    expected = json.dumps(text).encode()
    assert openai._plain_turns(raw) in (None, Turns(expected, expected))
    assert Turns(expected, expected) == openai._read_turns(msgspec.Raw(raw))


# --- edits ------------------------------------------------------------------------------------------------------------


def edited(text: bytes, model: str = "m-2024", system_prompt: str | None = None) -> tuple[bytes, tuple[str, ...]]:
    return openai.edited(openai.parse_request(text), model, json.dumps(model).encode(), system_prompt)


def test_a_request_that_needs_no_change_goes_out_as_it_came_in() -> None:
    text = b'{ "messages" : [],\n"model":"m-2024" , "x":1.0e5}'
    assert (text, ()) == edited(text)


def test_the_model_is_spliced_in_and_all_other_bytes_stay() -> None:
    text = b'{ "messages" : [{"model":"inner"}],\n"model" : "assistant" , "x":1.0e5}'
    assert (text.replace(b'"assistant"', b'"m-2024"'), ("model",)) == edited(text)


def test_usage_is_asked_for_in_a_stream_whose_client_did_not_and_its_other_options_stay() -> None:
    sent, edits = edited(body(stream=True, stream_options={"include_obfuscation": False}))
    assert {"include_obfuscation": False, "include_usage": True} == json.loads(sent)["stream_options"]
    assert ("model", "stream_options") == edits
    sent, _ = edited(body(stream=True, stream_options={"include_usage": False}))
    assert {"include_usage": True} == json.loads(sent)["stream_options"]
    sent, _ = edited(body(stream=True, stream_options=None))
    assert {"include_usage": True} == json.loads(sent)["stream_options"]
    sent, _ = edited(body(stream=True))
    assert {"include_usage": True} == json.loads(sent)["stream_options"]


@pytest.mark.parametrize("content", ["short", "long " * 8000])
def test_the_system_prompt_of_an_arm_replaces_the_leading_ones(content: str) -> None:
    start = [{"role": "system", "content": "old"}, {"role": "developer", "content": "older"}]
    rest = [
        {"role": "user", "content": content},
        {"role": "system", "content": "in the middle"},
        {"role": "assistant", "content": "ok"},
    ]
    sent, edits = edited(body(messages=start + rest), system_prompt='new "prompt"')
    assert [{"role": "system", "content": 'new "prompt"'}, *rest] == json.loads(sent)["messages"]
    assert ("model", "system_prompt") == edits


def test_the_system_prompt_of_an_arm_is_put_first_where_there_was_none() -> None:
    sent, _ = edited(body(messages=[]), system_prompt="new")
    assert [{"role": "system", "content": "new"}] == json.loads(sent)["messages"]
    sent, _ = edited(body(), system_prompt="new")
    assert ["system", "user"] == [row["role"] for row in json.loads(sent)["messages"]]


@pytest.mark.parametrize(("count", "is_read"), [(1024, True), (1025, False)])
def test_more_leading_system_turns_than_any_client_sends_are_not_read(count: int, is_read: bool) -> None:
    messages = [{"role": "system", "content": "x"}] * count + [{"role": "user", "content": "q"}]
    assert is_read == (b'"q"' == turns(messages)[1])
    text = body(model="m", messages=messages)
    if is_read:
        assert 2 == len(json.loads(edited(text, system_prompt="ours")[0])["messages"])
    else:
        with pytest.raises(BadRequest, match="more than 1024 system turns"):
            edited(text, system_prompt="ours")


def test_a_system_prompt_cannot_be_put_into_messages_that_are_no_list() -> None:
    with pytest.raises(BadRequest, match="'messages' must be a list"):
        edited(body(messages="text"), system_prompt="new")


def test_tools_and_schema_are_raw_values_or_none() -> None:
    request = openai.parse_request(b'{"model":"a","tools":[ {"x":1} ],"response_format":null}')
    assert b'[ {"x":1} ]' == openai.tools_of(request)
    assert openai.response_schema(request) is None
