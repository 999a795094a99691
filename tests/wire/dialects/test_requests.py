"""Requests from one dialect to another: what both can say arrives, what cannot is named."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.dialects.stories import arguments, names
from weighbridge.wire.carried import refused
from weighbridge.wire.conversation import Dialect, Target
from weighbridge.wire.dialects import DIALECTS, read_request, write_request
from weighbridge.wire.refusal import BadRequest

PNG = "iVBORw0KGgo="
SCHEMA = {"type": "object", "properties": {"zeta": {"type": "string"}, "alpha": {"type": "number"}}}


def across(
    client: Dialect, upstream: Dialect, request: dict[str, Any], **target: Any
) -> tuple[dict[str, Any], list[str]]:
    body, losses = write_request(
        upstream, read_request(client, json.dumps(request).encode()), Target(model="the-model", **target)
    )
    return json.loads(body), [loss.feature for loss in losses]


def anthropic(**more: Any) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}]} | more


def chat(**more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": "Hi"}]} | more


TOOL_TURNS: list[dict[str, Any]] = [
    {"role": "user", "content": "Weather?"},
    {
        "role": "assistant",
        "content": [
            {"type": "text", "text": "I look."},
            {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Bonn"}},
            {"type": "tool_use", "id": "t2", "name": "weather", "input": {"city": "Ulm"}},
        ],
    },
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "t1", "content": "rain"},
            {"type": "tool_result", "tool_use_id": "t2", "content": [{"type": "text", "text": "sun"}]},
            {"type": "text", "text": "So?"},
        ],
    },
]


# --- turns ------------------------------------------------------------------------------------------------------------


def test_a_tool_loop_becomes_one_message_for_each_result_before_the_users_words() -> None:
    body, losses = across("anthropic", "openai", anthropic(messages=TOOL_TURNS, system="Be kind"))
    assert [] == losses
    assert ["system", "user", "assistant", "tool", "tool", "user"] == [row["role"] for row in body["messages"]]
    call = body["messages"][2]["tool_calls"][1]
    assert ("t2", "weather", {"city": "Ulm"}) == (
        call["id"],
        call["function"]["name"],
        json.loads(call["function"]["arguments"]),
    )
    assert {"role": "tool", "tool_call_id": "t2", "content": "sun"} == body["messages"][4]


@pytest.mark.parametrize("through", ["openai", "openai-responses"])
def test_a_tool_loop_comes_back_as_it_went(through: Dialect) -> None:
    asked = read_request("anthropic", json.dumps(anthropic(messages=TOOL_TURNS, system="Be kind")).encode())
    body, losses = write_request(through, asked, Target(model="m"))
    assert () == losses
    again, losses = write_request("anthropic", read_request(through, body), Target(model="m"))
    assert () == losses
    straight, _ = write_request("anthropic", asked, Target(model="m"))
    assert json.loads(straight) == json.loads(again)


def test_system_turns_between_others_stay_where_they_are() -> None:
    messages = [
        {"role": "developer", "content": "one"},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "system", "content": "two"},
        {"role": "user", "content": "Go"},
    ]
    body, losses = across("openai", "anthropic", chat(messages=messages, max_tokens=5))
    assert [] == losses
    assert [{"type": "text", "text": "one"}] == body["system"]
    assert ["user", "assistant", "system", "user"] == [row["role"] for row in body["messages"]]


def test_images_and_documents_arrive_with_every_byte() -> None:
    pdf = base64.b64encode(b"%PDF-1.7").decode()
    content = [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}},
        {
            "type": "document",
            "title": "a.pdf",
            "source": {"type": "base64", "media_type": "application/pdf", "data": pdf},
        },
        {"type": "text", "text": "What is this?"},
    ]
    request = anthropic(messages=[{"role": "user", "content": content}])
    for through in DIALECTS[::2]:
        body, losses = write_request(
            through, read_request("anthropic", json.dumps(request).encode()), Target(model="m")
        )
        again, more = write_request("anthropic", read_request(through, body), Target(model="m"))
        assert ((), ()) == (losses, more)
        assert content == json.loads(again)["messages"][0]["content"]


def test_an_image_in_a_tool_result_moves_after_it_and_that_is_named() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    turns = [
        *TOOL_TURNS[:2],
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": [image]}]},
    ]
    body, losses = across("anthropic", "openai", anthropic(messages=turns))
    assert ["tool_result_media"] == losses
    assert ["tool", "user"] == [row["role"] for row in body["messages"][-2:]]
    assert f"data:image/png;base64,{PNG}" == body["messages"][-1]["content"][0]["image_url"]["url"]


def test_a_plain_text_document_arrives_as_text_and_that_is_named() -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "Grüße"}
    turns = [{"role": "user", "content": [{"type": "document", "source": source}]}]
    body, losses = across("anthropic", "openai", anthropic(messages=turns))
    assert ["document_borders"] == losses
    assert [{"type": "text", "text": "Grüße"}] == body["messages"][0]["content"]


@pytest.mark.parametrize(
    ("client", "upstream", "more", "feature"),
    [
        ("openai", "anthropic", {"n": 2}, "choices"),
        ("openai", "anthropic", {"logprobs": True}, "logprobs"),
        ("openai", "anthropic", {"response_format": {"type": "json_object"}}, "json_object"),
        ("openai", "anthropic", {"temperature": 1.5}, "temperature_range"),
        ("openai", "openai-responses", {"stop": ["x"]}, "stop"),
        ("openai", "anthropic", {"tools": [{"type": "custom", "custom": {"name": "sh"}}]}, "custom_tool"),
        ("openai", "anthropic", {"functions": [{"name": "f"}]}, "legacy_functions"),
        ("openai", "anthropic", {"modalities": ["audio"]}, "unknown_part"),
        ("anthropic", "openai", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "hosted_tool"),
        ("anthropic", "openai", {"messages": [{"role": "assistant", "content": "So"}]}, "prefill"),
        ("openai-responses", "openai", {"previous_response_id": "resp_1"}, "server_state"),
        ("anthropic", "openai", {"thread": {"type": "create"}}, "server_state"),
        ("openai-responses", "openai", {"tools": [{"type": "web_search"}]}, "hosted_tool"),
        ("openai-responses", "openai", {"background": True}, "server_state"),
    ],
)
def test_what_would_change_the_question_is_refused(
    client: Dialect, upstream: Dialect, more: dict[str, Any], feature: str
) -> None:
    request = {"openai": chat(), "anthropic": anthropic(), "openai-responses": {"model": "m", "input": "Hi"}}[client]
    _, losses = write_request(upstream, read_request(client, json.dumps(request | more).encode()), Target(model="m"))
    assert feature in [loss.feature for loss in refused(losses)]


@pytest.mark.parametrize(
    ("client", "upstream", "more", "feature"),
    [
        ("openai", "anthropic", {"seed": 1}, "seed"),
        ("openai", "anthropic", {"presence_penalty": 0.5}, "penalties"),
        ("openai", "anthropic", {"metadata": {"a": "b"}}, "metadata"),
        ("openai", "anthropic", {}, "max_tokens_missing"),
        ("openai", "anthropic", {"reasoning_effort": "minimal"}, "effort_minimal"),
        ("openai", "anthropic", {"prediction": {"type": "content", "content": "x"}}, "unknown_field"),
        ("anthropic", "openai", {"top_k": 5}, "top_k"),
        ("anthropic", "openai", {"thinking": {"type": "enabled", "budget_tokens": 2048}}, "thinking_budget"),
        ("anthropic", "openai", {"thinking": {"type": "disabled"}}, "thinking_off"),
        ("anthropic", "openai", {"context_management": {"edits": []}}, "unknown_field"),
        ("openai-responses", "openai", {"truncation": "auto"}, "unknown_field"),
    ],
)
def test_what_the_answer_can_do_without_is_named(
    client: Dialect, upstream: Dialect, more: dict[str, Any], feature: str
) -> None:
    request = {"openai": chat(), "anthropic": anthropic(), "openai-responses": {"model": "m", "input": "Hi"}}[client]
    _, losses = write_request(upstream, read_request(client, json.dumps(request | more).encode()), Target(model="m"))
    assert feature in [loss.feature for loss in losses]
    assert () == refused(losses)


def test_fields_at_the_value_that_holds_anyway_are_no_loss() -> None:
    harmless = {"n": 1, "logprobs": False, "presence_penalty": 0, "service_tier": "auto", "store": False, "seed": None}
    assert [] == across("openai", "anthropic", chat(max_tokens=5, **harmless))[1]


@given(st.dictionaries(st.from_regex(r"x_[a-z]{1,8}", fullmatch=True), st.integers(), min_size=1, max_size=4))
def test_no_field_is_dropped_unseen_wherever_it_stands(fields: dict[str, int]) -> None:
    block = {"type": "text", "text": "Hi"} | fields
    tool = {"name": "f", "input_schema": SCHEMA} | fields
    request = anthropic(messages=[{"role": "user", "content": [block]} | fields], tools=[tool], **fields)
    asked = read_request("anthropic", json.dumps(request).encode())
    places = {"", "messages[0].", "messages[0].content[0].", "tools[0]."}
    assert {place + name for place in places for name in fields} == {loss.at for loss in asked.losses}


# --- tools, format, sampling ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("through", ["openai", "openai-responses"])
def test_tools_choice_and_schema_come_back_as_they_went(through: Dialect) -> None:
    request = anthropic(
        tools=[{"name": "f", "description": "d", "input_schema": SCHEMA, "strict": True}],
        tool_choice={"type": "tool", "name": "f", "disable_parallel_tool_use": True},
        temperature=0.5,
        top_p=0.9,
        metadata={"user_id": "u"},
        output_config={"effort": "high"},
        stream=True,
    )
    asked = read_request("anthropic", json.dumps(request).encode())
    body, losses = write_request(through, asked, Target(model="m"))
    assert () == losses
    again, losses = write_request("anthropic", read_request(through, body), Target(model="m"))
    assert () == losses
    said = json.loads(again)
    for name in ("tools", "tool_choice", "temperature", "top_p", "metadata", "output_config", "stream", "max_tokens"):
        assert request[name] == said[name]


def test_a_schema_keeps_its_order_and_its_numbers() -> None:
    schema = b'{"type":"object","properties":{"z":{"minimum":1.0},"a":{"maximum":12345678901234567890}}}'
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":3,"tools":[{"type":"function",'
    body += b'"function":{"name":"f","parameters":' + schema + b"}}]}"
    written, _ = write_request("anthropic", read_request("openai", body), Target(model="m"))
    assert b'"input_schema":' + schema in written


@given(arguments, names)
def test_arguments_cross_byte_for_byte(given_arguments: str, name: str) -> None:
    call = {"id": "c", "type": "function", "function": {"name": name, "arguments": given_arguments}}
    turns = [*chat()["messages"], {"role": "assistant", "content": None, "tool_calls": [call]}]
    turns.append({"role": "tool", "tool_call_id": "c", "content": "ok"})
    asked = read_request("openai", json.dumps(chat(messages=turns)).encode())
    body, _ = write_request("anthropic", asked, Target(model="m"))
    again, _ = write_request("openai", read_request("anthropic", body), Target(model="m"))
    assert call == json.loads(again)["messages"][1]["tool_calls"][0]


@pytest.mark.parametrize("broken", ['{"a":', "[1]", "nonsense", '"text"'])
def test_arguments_that_are_no_object_are_kept_and_come_back(broken: str) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": broken}}
    turns = [*chat()["messages"], {"role": "assistant", "tool_calls": [call]}]
    turns.append({"role": "tool", "tool_call_id": "c", "content": "no"})
    body, losses = across("openai", "anthropic", chat(messages=turns, max_tokens=3))
    assert ["invalid_arguments"] == losses
    assert {"INVALID_JSON": broken} == body["messages"][1]["content"][0]["input"]
    again, _ = across("anthropic", "openai", body)
    assert broken == again["messages"][1]["tool_calls"][0]["function"]["arguments"]


def test_structured_output_crosses_and_its_label_is_named() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}}
    body, losses = across("openai", "anthropic", chat(response_format=form, max_tokens=3))
    assert ["schema_label"] == losses
    assert {"type": "json_schema", "schema": SCHEMA} == body["output_config"]["format"]
    again, _ = across("anthropic", "openai-responses", body)
    assert SCHEMA == again["text"]["format"]["schema"]


# --- reasoning --------------------------------------------------------------------------------------------------------


def test_anthropics_own_thinking_never_goes_to_another_host_unless_that_host_takes_it() -> None:
    thinking = {"type": "thinking", "thinking": "Hm", "signature": "EqQB"}
    turns = [TOOL_TURNS[0], {"role": "assistant", "content": [thinking, *TOOL_TURNS[1]["content"]]}, TOOL_TURNS[2]]
    body, losses = across("anthropic", "openai", anthropic(messages=turns))
    assert ["foreign_reasoning"] == losses
    assert "reasoning_content" not in body["messages"][1]
    body, losses = across("anthropic", "openai", anthropic(messages=turns), reasoning_field="reasoning_content")
    assert ([], "Hm") == (losses, body["messages"][1]["reasoning_content"])


def test_a_host_that_wants_reasoning_on_every_tool_turn_gets_an_empty_one() -> None:
    body, _ = across("anthropic", "openai", anthropic(messages=TOOL_TURNS), reasoning_field="reasoning_content")
    assert "" == body["messages"][1]["reasoning_content"]


def test_unsigned_reasoning_is_not_sent_to_anthropic() -> None:
    turns = [*chat()["messages"], {"role": "assistant", "content": "a", "reasoning_content": "r"}, *chat()["messages"]]
    body, losses = across("openai", "anthropic", chat(messages=turns, max_tokens=3))
    assert ["foreign_reasoning"] == losses
    assert [{"type": "text", "text": "a"}] == body["messages"][1]["content"]


# --- cache markers ----------------------------------------------------------------------------------------------------


def test_cache_markers_cross_where_the_host_takes_them_and_are_named_where_not() -> None:
    marked = {"type": "text", "text": "long", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    request = anthropic(system=[marked])
    body, losses = across("anthropic", "openai", request)
    assert (["cache_marker"], "long") == (losses, body["messages"][0]["content"])
    body, losses = across("anthropic", "openai", request, cache_markers="cache_control")
    assert ([], [marked]) == (losses, body["messages"][0]["content"])
    again, losses = across("openai", "anthropic", body)
    assert ([], [marked]) == (losses, again["system"])
    body, losses = across("anthropic", "openai", request, cache_markers="prompt_cache_breakpoint")
    assert ["cache_ttl"] == losses
    assert {"mode": "explicit"} == body["messages"][0]["content"][0]["prompt_cache_breakpoint"]


# --- what is no request -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client", "body", "param"),
    [
        ("openai", b"[]", None),
        ("openai", b"{", None),
        ("openai", b'{"model":"m"}', "messages"),
        ("openai", b'{"messages":[]}', "model"),
        ("openai", b'{"model":"m","messages":[{"role":"bot"}]}', "messages[0].role"),
        ("openai", b'{"model":"m","messages":[7]}', "messages[0]"),
        ("openai", b'{"model":"m","messages":[{"role":"user","content":5}]}', "messages[0].content"),
        ("anthropic", b'{"model":"m","messages":[{"role":"user","content":"x"}]}', "max_tokens"),
        ("anthropic", b'{"model":"m","max_tokens":"5","messages":[]}', "max_tokens"),
        ("anthropic", b'{"model":"m","max_tokens":5,"messages":[]}', "messages"),
        ("openai-responses", b'{"model":"m"}', "input"),
        ("openai-responses", b'{"model":"m","input":[{"type":"function_call"}]}', "input[0].call_id"),
    ],
)
def test_a_body_that_is_no_request_is_refused_with_the_place(client: Dialect, body: bytes, param: str | None) -> None:
    with pytest.raises(BadRequest) as refusal:
        read_request(client, body)
    assert param == refusal.value.param


@given(
    st.sampled_from(DIALECTS),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "model",
                        "messages",
                        "input",
                        "role",
                        "content",
                        "type",
                        "text",
                        "tools",
                        "system",
                        "max_tokens",
                        "user",
                    ]
                ),
                inner,
            )
        ),
        max_leaves=12,
    ),
)
def test_any_json_is_read_or_refused_and_never_crashes(client: Dialect, value: Any) -> None:
    body = json.dumps(value).encode()
    try:
        asked = read_request(client, body)
    except BadRequest:
        return
    for upstream in DIALECTS:
        json.loads(write_request(upstream, asked, Target(model="m"))[0])


@given(st.sampled_from(DIALECTS), st.binary(max_size=60))
def test_any_bytes_are_refused_and_never_crash(client: Dialect, body: bytes) -> None:
    with pytest.raises(BadRequest):
        read_request(client, body)
