"""Planted secrets: they may be in the provider's hands and in encrypted bodies, and nowhere else."""

import json
import os
import signal
from pathlib import Path

import msgspec
import pytest

from tests.fakes.provider import FakeProvider, Script
from tests.gateway.running import call, chat, connected, endpoint, key_digest, read_answer, request_bytes, table
from tests.gateway.test_trials import token
from tests.gateway.test_worker import publish, worker
from weighbridge.records.table import Key
from weighbridge.records.trial import TOKEN_HEADER

CLIENT_KEY = "client-canary-7f3a9c51e2d84b06"
WRONG_KEY = "wrong-canary-1b2c3d4e5f607182"
UPSTREAM_KEY = "upstream-canary-a1b2c3d4e5f60718"
PROMPT = "prompt-canary-5e4d3c2b1a098f7e"
ANSWER = "answer-canary-0f1e2d3c4b5a6978"
USERNAME = "user-canary-visible"


def everything_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("stream", [False, True])
def test_no_secret_is_in_the_store_the_metrics_the_errors_or_what_the_worker_says(
    tmp_path: Path, provider: FakeProvider, stream: bool
) -> None:
    store = tmp_path / "store"
    keys = [Key(name="canary", digest=key_digest(CLIENT_KEY), team="qa", routes=("*",))]
    route_table = table("", endpoints=[endpoint(provider.url, api_key="env:CANARY_UPSTREAM")], keys=keys)
    publish(store, route_table)
    trial = token()
    said: list[bytes] = []
    with worker(store, environment={"CANARY_UPSTREAM": UPSTREAM_KEY}) as process:
        port = process.ready()
        provider.answers["model-a"] = Script(text=f"{ANSWER} sk-{'a1B2' * 8}")
        good = call(port, chat(text=f"{PROMPT} my key is {CLIENT_KEY}", user=USERNAME, stream=stream), key=CLIENT_KEY)
        assert ANSWER.encode() in good.body
        heads = [good]
        for how in (
            {"key": WRONG_KEY},
            {"key": None, "headers": [("api-key", WRONG_KEY)]},
            {"key": CLIENT_KEY, "path": "/v1/nowhere"},
            {"key": CLIENT_KEY, "headers": [(TOKEN_HEADER, trial[:-4] + "AAAA")]},
            {"key": CLIENT_KEY, "headers": [("x-weighbridge-tag", "no tag")]},
        ):
            heads.append(call(port, chat(text=PROMPT, stream=stream), **how))
        for script in (Script(status=500), Script(raw=b""), Script(cut_after=10), Script(raw=b"rubbish\r\n")):
            provider.answers["model-a"] = script
            heads.append(call(port, chat(text=PROMPT, stream=stream), key=CLIENT_KEY))
        with connected(port) as line:
            line.sendall(request_bytes(chat(text=PROMPT), key=CLIENT_KEY) + b"rubbish")
            heads.append(read_answer(line))
        said += [json.dumps(process.ask("metrics")).encode(), json.dumps(process.ask("modules")).encode()]
        process.process.send_signal(signal.SIGTERM)
        _, stderr = process.process.communicate(timeout=20)
        said.append(stderr)
    for answer in heads[1:]:
        said += [answer.body, json.dumps(answer.headers).encode()]
    said.append(json.dumps(good.headers).encode())
    stored = everything_in(store)
    assert any(USERNAME.encode() in content for content in stored.values())  # the search finds what is there
    for secret in (CLIENT_KEY, WRONG_KEY, UPSTREAM_KEY, PROMPT, ANSWER, trial):
        for form in (secret.encode(), secret.encode("utf-16-le"), secret.encode().hex().encode()):
            assert [] == [name for name, content in stored.items() if form in content], secret
            assert [] == [text[:200] for text in said if form in text], secret
    # The provider got its own key and never the client's.
    for seen in provider.seen:
        assert f"Bearer {UPSTREAM_KEY}" == seen.header("authorization")
        assert CLIENT_KEY not in json.dumps(seen.headers)


def test_a_secret_in_a_prompt_is_taken_out_before_it_is_kept_and_the_row_says_so(
    tmp_path: Path, provider: FakeProvider
) -> None:
    from tests.gateway.running import Running
    from tests.gateway.test_streams import body_of

    planted = "sk-proj-" + "Ab3dE6gH" * 4
    with Running(tmp_path, table(provider.url)) as gateway:
        provider.answers["model-a"] = Script(text=f"Your key {planted} is safe")
        answer = call(gateway.port, chat(text=f"My key is {planted}, help"))
        call(gateway.port, chat(text="nothing to see"))
        first, second = gateway.held()
        assert (True, False) == (first.redacted, second.redacted)
        assert planted.encode() in provider.seen[0].body  # what goes to the provider is what the client sent
        assert planted.encode() in answer.body
        assert planted.encode() not in body_of(gateway, first.request)
        assert msgspec.json.decode(body_of(gateway, first.request))["model"] == "assistant"
        assert planted.encode() not in body_of(gateway, gateway.finished(2)[0].response)


def test_a_body_that_takes_too_long_to_look_through_is_served_and_not_kept(
    tmp_path: Path, provider: FakeProvider
) -> None:
    from tests.gateway.running import Running

    with Running(tmp_path, table(provider.url)) as gateway:
        answer = call(gateway.port, chat(text=("a=" * 8 + " ") * 200_000))
        assert 200 == answer.status
        assert (None, False) == (gateway.held()[0].request, gateway.held()[0].redacted)
        assert gateway.finished()[0].response is not None
        name, why = "weighbridge_bodies_dropped_total", {"why": "too_much_to_redact"}
        assert (name, why, 1) in gateway.gateway.samples()


@pytest.mark.parametrize(
    "script",
    [
        Script(status=400, body=b'{"error":{"message":"you said: %b","type":"x"}}' % PROMPT.encode()),
        Script(body=b'{"error":"you said: %b"}' % PROMPT.encode()),
        Script(usage={"prompt_tokens": 1, "completion_tokens": 1, "note": f"you said: {PROMPT}"}),
        Script(usage={"prompt_tokens": 1, "completion_tokens": 1, f"you said: {PROMPT}": 1}),
        Script(
            body=b'{"choices":[{"finish_reason":"you said: %b"}],"usage":{"prompt_tokens":1,"completion_tokens":1}}'
            % PROMPT.encode()
        ),
    ],
)
def test_what_a_provider_may_have_written_freely_is_in_no_row(
    tmp_path: Path, provider: FakeProvider, script: Script
) -> None:
    from tests.gateway.running import Running

    provider.answers["model-a"] = script
    with Running(tmp_path, table(provider.url)) as gateway:
        assert PROMPT.encode() in call(gateway.port, chat(text=PROMPT)).body
    assert [] == [name for name, content in everything_in(tmp_path).items() if PROMPT.encode() in content]


def test_an_error_status_is_recorded_with_its_code_and_without_its_message(
    tmp_path: Path, provider: FakeProvider
) -> None:
    from tests.gateway.running import Running

    body = b'{"error":{"message":"no such model","type":"invalid_request_error","code":"model_not_found"}}'
    provider.answers["model-a"] = Script(status=404, body=body)
    with Running(tmp_path, table(provider.url)) as gateway:
        assert body == call(gateway.port, chat()).body
        assert "upstream answered 404: model_not_found" == gateway.posted()[0].error
        assert "upstream answered 404" == gateway.finished()[0].error


def test_the_stores_files_are_for_their_user_alone(tmp_path: Path, provider: FakeProvider) -> None:
    store = tmp_path / "store"
    publish(store, table(provider.url))
    with worker(store) as process:
        call(process.ready(), chat())
        written = [path for path in store.rglob("*") if path.is_file() and path.parent.name != "tables"]
        assert len(written) > 3
        for path in written:
            assert 0 == os.stat(path).st_mode & 0o077, path
