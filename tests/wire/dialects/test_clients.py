"""The official clients read what is written for them: JSON, streams, their helpers, and errors."""

import asyncio
import json
from typing import Any

import openai
import pytest

from tests.wire.dialects.served import served
from tests.wire.dialects.stories import ASKED, DONE, ENVELOPE, call_delta, chat_chunk, translated
from weighbridge.wire.conversation import Failure, Target
from weighbridge.wire.dialects import read_request, translate_answer, write_failure, write_request

USAGE = {
    "prompt_tokens": 120,
    "completion_tokens": 30,
    "total_tokens": 150,
    "prompt_tokens_details": {"cached_tokens": 100},
    "completion_tokens_details": {"reasoning_tokens": 12},
}
CHAT = (
    chat_chunk({"role": "assistant", "content": ""})
    + chat_chunk({"reasoning_content": "Two "})
    + chat_chunk({"reasoning_content": "cities."})
    + chat_chunk({"content": "I "})
    + chat_chunk({"content": "look."})
    + chat_chunk(call_delta(0, '{"city":', id="c0", name="weather"))
    + chat_chunk(call_delta(1, '{"city":"U', id="c1", name="weather"))
    + chat_chunk(call_delta(0, '"Bonn"}'))
    + chat_chunk(call_delta(1, 'lm"}'))
    + chat_chunk({}, finish="tool_calls")
    + chat_chunk(usage=USAGE)
    + DONE
)
CALLS = [("c0", "weather", {"city": "Bonn"}), ("c1", "weather", {"city": "Ulm"})]
PLAIN = (
    chat_chunk({"content": '{"a":'}) + chat_chunk({"content": "1}"}) + chat_chunk({}, finish="stop", usage=USAGE) + DONE
)
BROKEN = chat_chunk({"content": "half"})
MESSAGE = {
    "id": "chatcmpl-7",
    "object": "chat.completion",
    "created": 1,
    "model": "some-model",
    "choices": [
        {
            "index": 0,
            "finish_reason": "tool_calls",
            "message": {
                "role": "assistant",
                "content": "I look.",
                "reasoning_content": "Two cities.",
                "tool_calls": [
                    {"id": i, "type": "function", "function": {"name": n, "arguments": json.dumps(a)}}
                    for i, n, a in CALLS
                ],
            },
        }
    ],
    "usage": USAGE,
}


# --- openai -----------------------------------------------------------------------------------------------------------


def test_the_responses_helper_adds_up_a_stream_of_interleaved_calls() -> None:
    body, _ = translated(CHAT, "openai", "openai-responses")
    with served(body) as url, openai.OpenAI(base_url=url, api_key="k", max_retries=0) as client:
        deltas = []
        with client.responses.stream(model="m", input="x") as stream:
            for event in stream:
                if event.type == "response.output_text.delta":
                    deltas.append(event.delta)
            response = stream.get_final_response()
    assert ["I ", "look."] == deltas
    assert "I look." == response.output_text
    calls = [item for item in response.output if item.type == "function_call"]
    assert CALLS == [(call.call_id, call.name, json.loads(call.arguments)) for call in calls]
    thought = response.output[0]
    assert thought.type == "reasoning"
    assert thought.content is not None
    assert "Two cities." == thought.content[0].text
    assert response.usage is not None
    assert (120, 100, 30, 12) == (
        response.usage.input_tokens,
        response.usage.input_tokens_details.cached_tokens,
        response.usage.output_tokens,
        response.usage.output_tokens_details.reasoning_tokens,
    )


def test_a_responses_answer_goes_back_into_the_next_request_as_the_client_holds_it() -> None:
    body, _ = translate_answer("openai", "openai-responses", json.dumps(MESSAGE).encode(), ASKED, ENVELOPE)
    with served(body) as url, openai.OpenAI(base_url=url, api_key="k", max_retries=0) as client:
        response = client.responses.create(model="m", input="Weather?")
    items: list[Any] = [{"role": "user", "content": "Weather?"}]
    items += [item.model_dump(exclude_none=True) for item in response.output]
    items += [{"type": "function_call_output", "call_id": i, "output": "rain"} for i, _, _ in CALLS]
    asked = read_request("openai-responses", json.dumps({"model": "m", "input": items}).encode())
    upstream, losses = write_request("openai", asked, Target(model="m"))
    assert () == losses
    sent = json.loads(upstream)["messages"]
    assert ["user", "assistant", "tool", "tool"] == [row["role"] for row in sent]
    assert "Two cities." == sent[1]["reasoning_content"]
    assert MESSAGE["choices"][0]["message"]["tool_calls"] == sent[1]["tool_calls"]  # type: ignore[index]


def test_the_chat_helper_adds_up_a_stream_that_was_anthropics() -> None:
    there, _ = translated(CHAT, "openai", "anthropic")
    back, _ = translated(there, "anthropic", "openai")
    with (
        served(back) as url,
        openai.OpenAI(base_url=url, api_key="k", max_retries=0) as client,
        client.chat.completions.stream(model="m", messages=[], stream_options={"include_usage": True}) as stream,
    ):
        stream.until_done()
        completion = stream.get_final_completion()
    choice = completion.choices[0]
    assert ("I look.", "tool_calls") == (choice.message.content, choice.finish_reason)
    assert CALLS == [
        (call.id, call.function.name, json.loads(call.function.arguments)) for call in choice.message.tool_calls or ()
    ]
    assert completion.usage is not None
    assert (120, 30) == (completion.usage.prompt_tokens, completion.usage.completion_tokens)


async def read_async(url: str) -> str:
    async with openai.AsyncOpenAI(base_url=url, api_key="k", max_retries=0) as client:
        stream = await client.responses.create(model="m", input="x", stream=True)
        return "".join([event.delta async for event in stream if event.type == "response.output_text.delta"])


def test_the_async_client_reads_a_responses_stream() -> None:
    body, _ = translated(PLAIN, "openai", "openai-responses")
    with served(body) as url:
        assert '{"a":1}' == asyncio.run(read_async(url))


def test_a_broken_responses_stream_never_looks_complete_to_the_client() -> None:
    body, _ = translated(BROKEN, "openai", "openai-responses")
    with (
        served(body) as url,
        openai.OpenAI(base_url=url, api_key="k", max_retries=0) as client,
        client.responses.stream(model="m", input="x") as stream,
    ):
        kinds = [event.type for event in stream]
        assert "response.failed" == kinds[-1]
        with pytest.raises(RuntimeError, match=r"response\.completed"):
            stream.get_final_response()


def test_a_broken_anthropic_stream_raises_in_a_chat_client() -> None:
    there, _ = translated(BROKEN, "openai", "anthropic")
    back, _ = translated(there, "anthropic", "openai")
    with (
        served(back) as url,
        openai.OpenAI(base_url=url, api_key="k", max_retries=0) as client,
        pytest.raises(openai.APIError, match="broke off"),
    ):
        list(client.chat.completions.create(model="m", messages=[], stream=True))


@pytest.mark.parametrize(
    ("status", "kind", "raised"),
    [
        (401, "authentication", openai.AuthenticationError),
        (429, "rate_limit", openai.RateLimitError),
        (404, "not_found", openai.NotFoundError),
        (503, "overloaded", openai.InternalServerError),
    ],
)
def test_errors_raise_what_an_openai_client_expects(
    status: int, kind: Any, raised: type[openai.APIStatusError]
) -> None:
    body = write_failure("openai", Failure(kind, "no", status))
    with (
        served(body, status) as url,
        openai.OpenAI(base_url=url, api_key="k", max_retries=0) as client,
        pytest.raises(raised, match="no"),
    ):
        client.chat.completions.create(model="m", messages=[])


# --- anthropic --------------------------------------------------------------------------------------------------------


def test_the_anthropic_helper_adds_up_a_stream_of_interleaved_calls() -> None:
    anthropic = pytest.importorskip("anthropic")
    body, _ = translated(CHAT, "openai", "anthropic")
    with (
        served(body) as url,
        anthropic.Anthropic(base_url=url, api_key="k", max_retries=0) as client,
        client.messages.stream(model="m", max_tokens=9, messages=[]) as stream,
    ):
        texts = list(stream.text_stream)
        message = stream.get_final_message()
    assert ["I ", "look."] == texts
    assert ["thinking", "text", "tool_use", "tool_use"] == [block.type for block in message.content]
    assert "Two cities." == message.content[0].thinking
    assert CALLS == [(block.id, block.name, block.input) for block in message.content[2:]]
    assert "tool_use" == message.stop_reason
    usage = message.usage
    assert (20, 100, 30) == (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens)
    assert 12 == usage.output_tokens_details.thinking_tokens


def test_an_anthropic_answer_goes_back_into_the_next_request_as_the_client_holds_it() -> None:
    anthropic = pytest.importorskip("anthropic")
    body, _ = translate_answer("openai", "anthropic", json.dumps(MESSAGE).encode(), ASKED, ENVELOPE)
    with served(body) as url, anthropic.Anthropic(base_url=url, api_key="k", max_retries=0) as client:
        message = client.messages.create(model="m", max_tokens=9, messages=[])
    turns = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in message.content]},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": i, "content": "rain"} for i, _, _ in CALLS],
        },
    ]
    asked = read_request("anthropic", json.dumps({"model": "m", "max_tokens": 9, "messages": turns}).encode())
    upstream, losses = write_request("openai", asked, Target(model="m"))
    assert () == losses
    sent = json.loads(upstream)["messages"]
    assert "Two cities." == sent[1]["reasoning_content"]
    assert CALLS == [
        (row["id"], row["function"]["name"], json.loads(row["function"]["arguments"])) for row in sent[1]["tool_calls"]
    ]


def test_the_anthropic_client_reads_a_responses_host() -> None:
    anthropic = pytest.importorskip("anthropic")
    there, _ = translated(CHAT, "openai", "openai-responses")
    body, _ = translated(there, "openai-responses", "anthropic")
    with (
        served(body) as url,
        anthropic.Anthropic(base_url=url, api_key="k", max_retries=0) as client,
        client.messages.stream(model="m", max_tokens=9, messages=[]) as stream,
    ):
        message = stream.get_final_message()
    assert CALLS == [(block.id, block.name, block.input) for block in message.content[2:]]


@pytest.mark.parametrize("stream", [BROKEN, b"", b'data: {"error":{"message":"boom"}}\n\n'])
def test_a_broken_stream_raises_in_an_anthropic_client(stream: bytes) -> None:
    anthropic = pytest.importorskip("anthropic")
    body, _ = translated(stream, "openai", "anthropic")
    with served(body) as url, anthropic.Anthropic(base_url=url, api_key="k", max_retries=0) as client:
        stream_manager = client.messages.stream(model="m", max_tokens=9, messages=[])
        with pytest.raises(anthropic.APIStatusError), stream_manager as got:
            got.get_final_message()


@pytest.mark.parametrize(
    ("status", "kind", "raised"),
    [
        (401, "authentication", "AuthenticationError"),
        (429, "rate_limit", "RateLimitError"),
        (529, "overloaded", "OverloadedError"),
    ],
)
def test_errors_raise_what_an_anthropic_client_expects(status: int, kind: Any, raised: str) -> None:
    anthropic = pytest.importorskip("anthropic")
    body = write_failure("anthropic", Failure(kind, "no", status, request_id="req_1"))
    with (
        served(body, status) as url,
        anthropic.Anthropic(base_url=url, api_key="k", max_retries=0) as client,
        pytest.raises(anthropic.APIStatusError, match="no") as caught,
    ):
        client.messages.create(model="m", max_tokens=9, messages=[])
    assert raised == type(caught.value).__name__
