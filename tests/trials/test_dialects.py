"""Trials on routes whose clients speak Anthropic's messages or OpenAI's responses: a candidate of another dialect is
asked what was asked, judged by what it said, and billed as its host bills.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.provider import Script
from tests.trials.live import CONFIG, Store, gold, live_store, prompt_of, well
from weighbridge.wire.conversation import Dialect

REQUESTS = 60
PATH = {"anthropic": "/v1/messages", "openai-responses": "/v1/responses"}


def config(dialect: Dialect) -> str:
    """The incumbent at an endpoint of the dialect, the candidates at one of OpenAI's chat."""
    native = (
        f'[[endpoint]]\nname = "native"\ndialect = "{dialect}"\nbase_url = "{{url}}"\napi_key = "env:LIVE_TEST_KEY"\n'
    )
    native += '[[arm]]\nname = "old"'
    text = CONFIG.replace('[[arm]]\nname = "old"', native, 1)
    return text.replace('name = "old"\nendpoint = "host"', 'name = "old"\nendpoint = "native"', 1)


def traffic(folder: Path, dialect: Dialect, **more: Any) -> Iterator[Store]:
    with live_store(folder / "a", REQUESTS, config(dialect), dialect, more) as store:
        assert {PATH[dialect]} == {seen.path for seen in store.provider.seen}
        yield store


@pytest.fixture(scope="module")
def messages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    yield from traffic(tmp_path_factory.mktemp("messages"), "anthropic", system="Be short.")


@pytest.fixture(scope="module")
def responses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    yield from traffic(tmp_path_factory.mktemp("responses"), "openai-responses", instructions="Be short.")


@pytest.mark.parametrize("spoken", ["messages", "responses"])
def test_a_chat_candidate_is_asked_in_its_own_dialect_judged_and_billed(
    request: pytest.FixtureRequest, tmp_path: Path, spoken: str
) -> None:
    store = request.getfixturevalue(spoken).copy(tmp_path / "b")
    store.provider.seen.clear()
    store.provider.bill.clear()
    verdict = store.trial("new", "--margin", "0.3")
    assert "non_inferior" == verdict.overall.verdict
    assert {"/v1/chat/completions"} == {seen.path for seen in store.provider.seen}
    sent = [json.loads(seen.body) for seen in store.provider.seen]
    assert {("system", "Be short.")} == {(one["messages"][0]["role"], one["messages"][0]["content"]) for one in sent}
    assert {40} == {one.get("max_tokens", one.get("max_completion_tokens")) for one in sent}
    assert any(one.get("stream") for one in sent), "streams are replayed as streams"
    cost = sum(row.prompt_tokens + 2 * row.completion_tokens for row in store.provider.bill)
    assert verdict.cost_usd is not None
    assert cost * 1000 == round(verdict.cost_usd * 1e9)
    assert all(pair.incumbent == 1.0 for pair in store.evidence(verdict).pairs)
    assert "1 verdicts of trials were derived again from their pairs and agree" in store.run("verify")


def test_what_the_candidate_cannot_read_counts_as_its_own_no(messages: Store, tmp_path: Path) -> None:
    """Half of the prompts are longer than its context; whoever moved there would get no answer to them."""
    store = messages.copy(tmp_path / "b")
    too_long = {
        "message": "too long",
        "type": "invalid_request_error",
        "param": "messages",
        "code": "context_length_exceeded",
    }

    def rule(model: str, prompt: str) -> Script:
        if model == "new-model" and int(prompt.rsplit(" ", 1)[1]) % 4 < 2:
            return Script(status=400, body=json.dumps({"error": too_long}).encode())
        return well(model, prompt)

    store.provider.rule = rule
    verdict = store.trial("new", "--margin", "0.1")
    assert "inferior" == verdict.overall.verdict
    evidence = store.evidence(verdict)
    assert {} == evidence.failed
    assert {"refusal"} == {pair.failure for pair in evidence.pairs if pair.candidate == 0.0}


@pytest.mark.long
def test_what_no_chat_host_has_a_place_for_counts_as_a_no_and_leaves_no_exchange(tmp_path: Path) -> None:
    searches = {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}
    for store in traffic(tmp_path, "anthropic", **searches):
        verdict = store.trial("new", "--margin", "0.3")
        assert "inferior" == verdict.overall.verdict
        pairs = store.evidence(verdict).pairs
        assert {(None, 0.0, "refusal")} == {(pair.replay, pair.candidate, pair.failure) for pair in pairs}
        assert 0 == store.provider.asked("new-model")
        assert 0.0 == verdict.cost_usd
        store.run("verify")


def test_the_last_text_of_a_request_is_found_in_each_dialect() -> None:
    turns = [{"role": "user", "content": f"sum: what is 7 times {gold(1)}"}]
    assert prompt_of({"messages": turns}) == prompt_of({"input": turns}) == prompt_of({"input": turns[0]["content"]})
