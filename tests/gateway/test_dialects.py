"""Dialects where routing meets them: trials, fallbacks, embeddings beside shares."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.provider import FakeProvider, Script
from tests.gateway.running import KEY, Answer, Running, call, connected, endpoint, read_answer, table
from tests.gateway.test_trials import replay, token
from weighbridge.records.frames import Attempted
from weighbridge.records.table import Arm, Endpoint, Route, Share

MESSAGE = {"model": "assistant", "max_tokens": 50, "messages": [{"role": "user", "content": "Hello"}]}


def asked(gateway: Running, path: str, body: dict[str, object]) -> Answer:
    return call(gateway.port, json.dumps(body).encode(), path=path, key=None, headers=[("x-api-key", KEY)])


@pytest.fixture
def both(tmp_path: Path, provider: FakeProvider) -> Iterator[Running]:
    """The incumbent is at an Anthropic endpoint; chat is the candidate, the fallback, and has half of the traffic."""
    claude = Endpoint(
        name="claude", dialect="anthropic", base_url=provider.url, api_key="env:X", loopback=True, address_is_own=True
    )
    arms = [Arm(name="claude", endpoint="claude", model="m-claude")]
    routes = [
        Route(
            name="assistant",
            incumbent="claude",
            candidates=("open",),
            fallbacks=("open",),
            retries_max=1,
            shares=(Share(arm="claude", basis_points=10_000),),
        ),
        Route(
            name="split",
            incumbent="closed",
            candidates=("open",),
            shares=(Share(arm="open", basis_points=10_000),),
        ),
    ]
    routes.append(
        Route(name="moved", incumbent="claude", candidates=("open",), shares=(Share(arm="open", basis_points=10_000),))
    )
    with Running(tmp_path, table("", endpoints=[endpoint(provider.url), claude], arms=arms, routes=routes)) as gateway:
        yield gateway


def test_a_message_is_replayed_to_a_chat_candidate_and_answered_as_a_message(
    both: Running, provider: FakeProvider
) -> None:
    answer = replay(both, token(arm="open"), json.dumps(MESSAGE).encode(), path="/v1/messages")
    assert (200, "message", "open") == (answer.status, answer.json["type"], answer.headers["x-weighbridge-arm"])
    assert "/v1/chat/completions" == provider.seen[0].path
    (held,) = both.held()
    assert ("trial", "anthropic") == (held.purpose, held.asked)


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/completions", "/v1/files"])
def test_what_is_no_conversation_is_no_matter_for_a_trial(both: Running, provider: FakeProvider, path: str) -> None:
    answer = replay(both, token(arm="open"), b'{"model":"assistant","input":"a","prompt":"a"}', path=path)
    assert (403, "not_for_trials") == (answer.status, answer.error["code"])
    assert ("corrupted" in answer.error["message"]) == (path == "/v1/embeddings")
    assert [] == provider.seen


def test_embeddings_stay_with_the_incumbent_whatever_the_shares(both: Running) -> None:
    moved = asked(both, "/v1/chat/completions", {**MESSAGE, "model": "split"})
    stayed = asked(both, "/v1/embeddings", {"model": "split", "input": "a"})
    assert ("open", "closed") == (moved.headers["x-weighbridge-arm"], stayed.headers["x-weighbridge-arm"])


SEARCHES = {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}


@pytest.mark.parametrize(
    ("path", "more"), [("/v1/messages", SEARCHES), ("/v1/messages/count_tokens", {}), ("/v1/messages", {})]
)
def test_a_moved_share_turns_nobody_away_what_the_candidate_cannot_be_asked_stays_with_the_incumbent(
    both: Running, provider: FakeProvider, path: str, more: dict[str, object]
) -> None:
    body = {**MESSAGE, "model": "moved", **more}
    if path.endswith("count_tokens"):
        del body["max_tokens"]
    answer = asked(both, path, body)
    stays = bool(more) or path.endswith("count_tokens")
    told = answer.headers["x-weighbridge-arm"], answer.headers["x-weighbridge-fallback"]
    assert (200, ("claude", "yes") if stays else ("open", "no")) == (answer.status, told)
    assert [path if stays else "/v1/chat/completions"] == [seen.path for seen in provider.seen]
    (attempt,) = [row for row in both.frames() if isinstance(row, Attempted)]
    assert (told[0], stays) == (attempt.arm, attempt.fallback)
    counted = ("weighbridge_other_attempts_total", {"failure": "not_carried", "fallback": "yes"}, 1)
    assert stays == (counted in both.on_loop(both.gateway.samples))


def test_what_the_incumbent_cannot_be_asked_either_is_refused(both: Running, provider: FakeProvider) -> None:
    answer = asked(both, "/v1/messages", {**MESSAGE, "model": "split", **SEARCHES})
    assert (400, "not_carried") == (answer.status, answer.headers["x-weighbridge-error"])
    assert "not_carried" == answer.error["code"]
    assert [] == provider.seen


def test_a_trial_is_not_answered_by_the_incumbent_in_the_candidates_place(both: Running) -> None:
    answer = replay(both, token(arm="open"), json.dumps({**MESSAGE, **SEARCHES}).encode(), path="/v1/messages")
    assert (400, "not_carried") == (answer.status, answer.headers["x-weighbridge-error"])


def test_a_fallback_in_another_dialect_answers_in_the_clients(both: Running, provider: FakeProvider) -> None:
    provider.answers["m-claude"] = Script(status=500)
    answer = asked(both, "/v1/messages", dict(MESSAGE))
    assert (200, "message", "yes") == (answer.status, answer.json["type"], answer.headers["x-weighbridge-fallback"])
    attempts = [row for row in both.frames() if isinstance(row, Attempted)]
    assert [("claude", ("model",)), ("open", ("model", "dialect"))] == [(row.arm, row.edits) for row in attempts]


def test_a_remembered_head_keeps_its_dialect(both: Running) -> None:
    body = json.dumps(MESSAGE).encode()
    head = f"POST /v1/messages HTTP/1.1\r\nHost: gateway\r\nx-api-key: {KEY}\r\nContent-Length: {len(body)}\r\n\r\n"
    with connected(both.port) as line:
        for _ in range(3):
            line.sendall(head.encode() + body)
            assert "message" == read_answer(line).json["type"]
        line.sendall(head.encode() + body.replace(b"assistant", b"nothing!!"))
        assert "not_found_error" == read_answer(line).error["type"]
