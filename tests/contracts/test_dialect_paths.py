"""What stands beside the matrix: other paths, refusals, what is named, and an agent's pattern over several turns."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import anthropic
import httpx
import openai
import pytest

from tests.app.serving import CLIENT_KEY
from tests.contracts.conftest import Stage
from tests.contracts.speakers import DIALECTS, SCHEMA, Dialect, speaker
from tests.fakes.provider import Script
from tests.gateway.running import connected, read_answer

PLAIN = Script(text="Rain in Bonn.")
HUGE_HEAD = b"POST /v1/messages HTTP/1.1\r\nHost: gateway\r\nx-api-key: %b\r\nContent-Length: 99999999999\r\n\r\n"


def http(stage: Stage, key: str = CLIENT_KEY, **headers: str) -> httpx.Client:
    return httpx.Client(
        base_url=f"http://{stage.listen}", headers={"authorization": f"Bearer {key}", **headers}, timeout=20
    )


def chat(stage: Stage) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"http://{stage.listen}/v1", api_key=CLIENT_KEY, max_retries=0, timeout=20)


def messages(stage: Stage) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=f"http://{stage.listen}", api_key=CLIENT_KEY, max_retries=0, timeout=20)


# --- other paths ------------------------------------------------------------------------------------------------------


def test_embeddings_are_metered_and_stay_with_the_incumbent(stage: Stage) -> None:
    stage.script("openai", PLAIN)
    raw = chat(stage).embeddings.with_raw_response.create(model="to-openai", input=["a", "b"], encoding_format="float")
    assert 2 == len(raw.parse().data)
    exchange = stage.exchange(raw.headers["x-weighbridge-id"])
    [charge] = stage.provider.bill
    assert exchange.usage is not None
    assert ("openai-embeddings", charge.tokens.input, 0) == (
        exchange.asked,
        exchange.usage.input,
        exchange.usage.output,
    )
    assert 1000 * charge.tokens.input == exchange.cost_nanousd


def test_legacy_completions_are_metered(stage: Stage) -> None:
    stage.script("openai", PLAIN)
    raw = chat(stage).completions.with_raw_response.create(model="to-openai", prompt="Weather?")
    assert PLAIN.text == raw.parse().choices[0].text
    exchange = stage.exchange(raw.headers["x-weighbridge-id"])
    assert exchange.cost_nanousd is not None
    assert exchange.cost_nanousd > 0


def test_tokens_are_counted_for_nothing_where_the_endpoint_counts_them(stage: Stage) -> None:
    stage.script("anthropic", PLAIN)
    row: Any = {"model": "to-anthropic", "messages": [{"role": "user", "content": "Hello"}]}
    raw = messages(stage).messages.with_raw_response.count_tokens(**row)
    assert raw.parse().input_tokens > 0
    assert 0 == stage.exchange(raw.headers["x-weighbridge-id"]).cost_nanousd
    with pytest.raises(anthropic.BadRequestError, match="count_tokens is not carried"):
        messages(stage).messages.count_tokens(**{**row, "model": "to-openai"})


def test_other_paths_pass_through_to_the_one_route_of_a_key_as_unpriced(stage: Stage) -> None:
    stage.provider.others["GET /v1/files/file-1/content"] = (200, "application/octet-stream", b"\x00\x01" * 40_000)
    with http(stage, "one-route-only") as client:
        answer = client.get("/v1/files/file-1/content?part=1")
    assert (200, b"\x00\x01" * 40_000) == (answer.status_code, answer.content)
    seen = stage.provider.seen[-1]
    assert ("/v1/files/file-1/content?part=1", "Bearer upstream-secret") == (seen.path, seen.header("authorization"))
    exchange = stage.exchange(answer.headers["x-weighbridge-id"])
    assert ("other", "ok", None) == (exchange.asked, exchange.outcome, exchange.cost_nanousd)


def test_paths_that_are_there_for_who_names_a_beta_are_reached_by_both_official_clients(stage: Stage) -> None:
    file = {
        "id": "file_1", "type": "file", "filename": "a.txt", "mime_type": "text/plain", "size_bytes": 3,
        "created_at": "2026-01-01T00:00:00Z", "downloadable": False,
    }  # fmt: skip
    vectors = {"id": "vs_1", "object": "vector_store", "created_at": 1, "name": "x", "status": "completed",
               "usage_bytes": 0, "file_counts": {}, "last_active_at": 1, "metadata": {}}  # fmt: skip
    stage.provider.others["POST /v1/files"] = (200, "application/json", json.dumps(file).encode())
    stage.provider.others["POST /v1/vector_stores"] = (200, "application/json", json.dumps(vectors).encode())
    to = {"x-weighbridge-route": "to-anthropic"}
    beta = "files-api-2025-04-14"
    messages(stage).beta.files.upload(file=("a.txt", b"abc", "text/plain"), betas=[beta], extra_headers=to)
    seen = stage.provider.seen[-1]
    assert beta == seen.header("anthropic-beta")
    assert seen.header("anthropic-version") is not None
    both = {"x-weighbridge-route": "to-openai", "anthropic-beta": "not-yours"}
    chat(stage).vector_stores.create(name="x", extra_headers=both)
    seen = stage.provider.seen[-1]
    assert ("assistants=v2", None) == (seen.header("openai-beta"), seen.header("anthropic-beta"))


def test_where_a_key_has_several_routes_one_must_be_named(stage: Stage) -> None:
    stage.provider.others["POST /v1/batches"] = (200, "application/json", b'{"id":"batch_1"}')
    with http(stage) as client:
        unnamed = client.post("/v1/batches", json={"input_file_id": "f"})
        named = client.post("/v1/batches", json={"input_file_id": "f"}, headers={"x-weighbridge-route": "to-openai"})
    assert (400, "route_not_named") == (unnamed.status_code, unnamed.json()["error"]["code"])
    assert (200, {"id": "batch_1"}) == (named.status_code, named.json())
    assert b'{"input_file_id":"f"}' == stage.provider.seen[-1].body


def test_an_idempotency_key_of_what_passes_unread_is_the_providers_to_keep(stage: Stage) -> None:
    stage.provider.others["POST /v1/batches"] = (200, "application/json", b'{"id":"batch_1"}')
    with http(stage, "one-route-only", **{"idempotency-key": "retry-1%d"}) as client:
        for _ in range(2):
            assert 200 == client.post("/v1/batches", json={}).status_code
    assert ["retry-1%d"] * 2 == [seen.header("idempotency-key") for seen in stage.provider.seen[-2:]]


@pytest.mark.parametrize("path", ["/v1/../admin", "/v1/files/%2e%2e/x", "/v1//files", "/v1/files%5c..", "/v1/a%252e"])
def test_a_path_that_climbs_is_not_passed_on(stage: Stage, path: str) -> None:
    before = len(stage.provider.seen)
    with http(stage, "one-route-only") as client:
        request = client.build_request("GET", "/")
        request.url = request.url.copy_with(raw_path=path.encode())
        assert 404 == client.send(request).status_code
    assert before == len(stage.provider.seen)


def test_a_model_is_asked_for_by_its_route_in_both_dialects(stage: Stage) -> None:
    assert "to-openai" == chat(stage).models.retrieve("to-openai").id
    assert "to-openai" in [model.id for model in messages(stage).models.list()]


# --- refused and named ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("client", DIALECTS)
def test_a_wrong_key_and_a_wrong_model_raise_what_the_client_knows(stage: Stage, client: Dialect) -> None:
    errors: Any = anthropic if client == "anthropic" else openai
    with pytest.raises(errors.AuthenticationError):
        speaker(client, stage.listen, "nobody").ask("to-openai", stream=False, tools=False)
    with pytest.raises(errors.NotFoundError, match="may not use it") as caught:
        speaker(client, stage.listen, CLIENT_KEY).ask("nothing", stream=False, tools=False)
    assert "model_not_found" == caught.value.response.headers["x-weighbridge-error"]


def test_a_path_of_a_dialect_has_its_errors_even_where_nothing_can_be_read(stage: Stage) -> None:
    with http(stage) as client:
        broken = client.post("/v1/messages", content=b"{")
    _, _, port = stage.listen.rpartition(":")
    with connected(int(port)) as line:
        line.sendall(HUGE_HEAD % CLIENT_KEY.encode())
        large = read_answer(line)
    assert ("error", "invalid_request_error") == (broken.json()["type"], broken.json()["error"]["type"])
    assert (413, "request_too_large") == (large.status, large.error["type"])


def test_what_cannot_be_carried_is_refused_by_its_name_before_anything_is_sent(stage: Stage) -> None:
    stage.script("anthropic", PLAIN)
    with pytest.raises(openai.BadRequestError, match="n \\(Several answers") as caught:
        chat(stage).chat.completions.create(
            model="to-anthropic", messages=[{"role": "user", "content": "x"}], n=2, max_tokens=5
        )
    assert ("not_carried", "n") == (caught.value.code, caught.value.param)
    assert [] == stage.provider.seen


def test_what_is_left_out_is_named_in_a_header_and_in_the_log(stage: Stage) -> None:
    stage.script("anthropic", PLAIN)
    raw = chat(stage).chat.completions.with_raw_response.create(
        model="to-anthropic", messages=[{"role": "user", "content": "x"}], seed=7
    )
    assert "seed@seed" in raw.headers["x-weighbridge-lost"]
    assert "max_tokens_missing@max_tokens" in raw.headers["x-weighbridge-lost"]
    edits = stage.exchange(raw.headers["x-weighbridge-id"]).attempts[-1].edits
    assert ("model", "dialect", "lost:seed", "lost:max_tokens_missing") == edits


def test_betas_of_a_client_reach_its_own_dialect_and_are_named_elsewhere(stage: Stage) -> None:
    row: Any = {"model": "to-anthropic", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}
    stage.script("anthropic", PLAIN)
    messages(stage).messages.create(**row, extra_headers={"anthropic-beta": "context-1m-2025-08-07"})
    assert "context-1m-2025-08-07" == stage.provider.seen[-1].header("anthropic-beta")
    row["model"] = "to-openai"
    raw = messages(stage).messages.with_raw_response.create(**row, extra_headers={"anthropic-beta": "a-beta"})
    assert "beta_header@anthropic-beta" in raw.headers["x-weighbridge-lost"]
    assert stage.provider.seen[-1].header("anthropic-beta") is None


# --- several turns ----------------------------------------------------------------------------------------------------


def agent_turns(stage: Stage, model: str, upstream: str, script: Script) -> list[dict[str, Any]]:
    """A coding agent over two calls: long marked prefix, thinking, parallel tools, results. What the provider got."""
    stage.provider.answers[upstream] = replace(
        script, tool_calls=(("read", '{"city": "a.py"}'), ("read", '{"city": "b.py"}')), text_with_calls=True,
        reasoning="Two files to read.",
    )  # fmt: skip
    client = messages(stage)
    system = [{"type": "text", "text": "Rules. " * 500, "cache_control": {"type": "ephemeral"}}]
    tools: Any = [{"name": "read", "input_schema": SCHEMA}]
    turns: list[Any] = [{"role": "user", "content": "Fix the bug."}]
    common: Any = {
        "model": model, "max_tokens": 2000, "system": system, "tools": tools,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }  # fmt: skip
    with client.messages.stream(messages=turns, **common) as stream:
        said = stream.get_final_message()
    assert ["thinking", "text", "tool_use", "tool_use"] == [block.type for block in said.content]
    turns.append({"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in said.content]})
    results = [
        {"type": "tool_result", "tool_use_id": block.id, "content": "ok"}
        for block in said.content
        if block.type == "tool_use"
    ]
    turns.append({"role": "user", "content": results})
    stage.provider.answers[upstream] = replace(script, text="Fixed.")
    stage.provider.seen.clear()
    with client.messages.stream(messages=turns, **common) as stream:
        assert "Fixed." == stream.get_final_text()
    return [json.loads(seen.body) for seen in stage.provider.seen]


def test_an_agents_thinking_and_parallel_tools_survive_their_own_dialect(stage: Stage) -> None:
    [sent] = agent_turns(stage, "to-anthropic", "m-anthropic", Script())
    assert {"type": "ephemeral"} == sent["system"][0]["cache_control"]
    assert "Two files to read." == sent["messages"][1]["content"][0]["thinking"]


def test_an_agents_reasoning_goes_back_to_a_host_that_demands_it(stage: Stage) -> None:
    [sent] = agent_turns(stage, "to-deepseek", "m-deepseek", Script(wants_reasoning=True))
    assistant = next(turn for turn in sent["messages"] if turn["role"] == "assistant")
    assert "Two files to read." == assistant["reasoning_content"]
    assert ["tool", "tool"] == [turn["role"] for turn in sent["messages"][-2:]]


def test_an_agents_sealed_reasoning_goes_back_to_a_responses_endpoint(stage: Stage) -> None:
    [sent] = agent_turns(stage, "to-openai-responses", "m-openai-responses", Script())
    assert ["reasoning"] == [item["type"] for item in sent["input"] if item["type"] == "reasoning"]


def test_structured_output_keeps_its_schema_across_dialects(stage: Stage) -> None:
    stage.script("anthropic", Script(text='{"city": "Bonn"}'))
    form: Any = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA, "strict": True}}
    chat(stage).chat.completions.create(
        model="to-anthropic", messages=[{"role": "user", "content": "x"}], max_tokens=9, response_format=form
    )
    assert SCHEMA == json.loads(stage.provider.seen[-1].body)["output_config"]["format"]["schema"]


def test_async_clients_stream_across_dialects(stage: Stage) -> None:
    stage.script("anthropic", PLAIN)
    stage.script("openai", PLAIN)

    async def both() -> tuple[str, str]:
        async with (
            openai.AsyncOpenAI(base_url=f"http://{stage.listen}/v1", api_key=CLIENT_KEY, max_retries=0) as one,
            anthropic.AsyncAnthropic(base_url=f"http://{stage.listen}", api_key=CLIENT_KEY, max_retries=0) as other,
        ):
            events = await one.responses.create(model="to-anthropic", input="x", max_output_tokens=9, stream=True)
            text = "".join([event.delta async for event in events if event.type == "response.output_text.delta"])
            row: Any = {"model": "to-openai", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
            async with other.messages.stream(**row) as stream:
                return text, await stream.get_final_text()

    assert (PLAIN.text, PLAIN.text) == asyncio.run(both())
