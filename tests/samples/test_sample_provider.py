import json
import threading
import urllib.request
from collections.abc import Iterator

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from weighbridge.samples.items import SampleItem, support_items
from weighbridge.samples.sample_provider import Answers, SampleProvider, sample_answers, server, tokens


@pytest.fixture
def base_url() -> Iterator[str]:
    serving = server(sample_answers())
    thread = threading.Thread(target=serving.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{serving.server_port}"
    serving.shutdown()
    thread.join()
    serving.server_close()


def turns(item: SampleItem) -> list[ChatCompletionMessageParam]:
    return [
        {"role": "system", "content": one.content} if one.role == "system" else {"role": "user", "content": one.content}
        for one in item.messages
    ]


def client(base_url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{base_url}/v1", api_key="none", max_retries=0)


def test_it_says_what_was_written_down_for_the_prompt(base_url: str) -> None:
    item = support_items()[200]
    found = client(base_url).chat.completions.create(model="hand-written", messages=turns(item))
    assert found.choices[0].message.content == item.incumbent_answer


def test_a_stream_says_the_same_and_gives_usage_only_when_asked(base_url: str) -> None:
    item = support_items()[0]
    for asked in (True, False):
        stream = client(base_url).chat.completions.create(
            model="x",
            messages=turns(item),
            stream=True,
            stream_options={"include_usage": True} if asked else openai.omit,
        )
        events = list(stream)
        text = "".join(event.choices[0].delta.content or "" for event in events if event.choices)
        assert text == item.incumbent_answer
        assert [event.usage is not None for event in events].count(True) == int(asked)


def test_a_prompt_that_nobody_answered_is_an_error_and_is_not_billed(base_url: str) -> None:
    with pytest.raises(openai.NotFoundError, match="nobody wrote an answer"):
        client(base_url).chat.completions.create(model="x", messages=[{"role": "user", "content": "Hello?"}])
    with urllib.request.urlopen(f"{base_url}/_bill") as response:  # noqa: S310
        assert json.load(response)["requests"] == 0


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"messages":3}'])
def test_a_bad_body_is_refused_in_the_dialect(base_url: str, body: bytes) -> None:
    request = urllib.request.Request(f"{base_url}/v1/chat/completions", data=body)  # noqa: S310
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)  # noqa: S310
    assert caught.value.code == 400
    assert "message" in json.load(caught.value)["error"]


def test_its_bill_adds_up_to_the_usage_that_it_told(base_url: str) -> None:
    told = 0
    for item in support_items()[:5]:
        found = client(base_url).chat.completions.create(model="x", messages=turns(item))
        assert found.usage is not None
        told += found.usage.total_tokens
    with urllib.request.urlopen(f"{base_url}/_bill") as response:  # noqa: S310
        bill = json.load(response)
    assert (bill["requests"], bill["prompt_tokens"] + bill["completion_tokens"]) == (5, told)


def test_in_a_process_of_its_own_it_can_say_one_thing_to_everything() -> None:
    with SampleProvider("banana") as provider:
        found = openai.OpenAI(base_url=provider.base_url, api_key="none").chat.completions.create(
            model="x", messages=[{"role": "user", "content": "What is 2 + 2?"}]
        )
    assert found.choices[0].message.content == "banana"


def test_tokens_are_an_estimate_that_rounds_up() -> None:
    assert [tokens(""), tokens("a"), tokens("abcd"), tokens("abcde")] == [0, 1, 1, 2]
    assert Answers({}).answer("x") is None
