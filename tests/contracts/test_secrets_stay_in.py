"""Canaries (promise 28): keys are in no file, log, metric, error or report; prompts neither while capture is off."""

import http.client
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.app.serving import serving
from tests.fakes.provider import FakeProvider, Script

pytestmark = pytest.mark.promise(28)

PROVIDER_KEY = "sk-canary-provider-7f3a9c"
WRONG_KEY = "wb-canary-wrong-51d20e"
PROMPT = "canary-prompt-c08812"
ANSWER = "canary-answer-3be6d1"


def weighbridge(folder: Path, *arguments: str) -> str:
    """What one command says, on both outputs."""
    environment = {**os.environ, "OPENAI_API_KEY": PROVIDER_KEY}
    done = subprocess.run(
        [sys.executable, "-m", "weighbridge", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode in (0, 1, 2), done.stderr
    return done.stdout + done.stderr


def post(listen: str, key: str, model: str, *, stream: bool = False) -> str:
    """Head and body of one answer."""
    connection = http.client.HTTPConnection(listen, timeout=30)
    try:
        body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": PROMPT}]}
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        reply = connection.getresponse()
        return f"{reply.status}\n{reply.headers}\n{reply.read().decode(errors='replace')}"
    finally:
        connection.close()


OTHER_PATHS = ("/", "/v1/models", "/v1/models?key=1", "/v1/files", "/healthz", "/readyz", "/v1/chat/completions")


def get(listen: str, path: str, key: str) -> str:
    connection = http.client.HTTPConnection(listen, timeout=30)
    try:
        connection.request("GET", path, headers={"authorization": f"Bearer {key}"})
        reply = connection.getresponse()
        return f"{reply.status}\n{reply.headers}\n{reply.read().decode(errors='replace')}"
    finally:
        connection.close()


def found_in(places: dict[str, bytes], *canaries: str) -> list[tuple[str, str]]:
    return [(place, canary) for place, held in places.items() for canary in canaries if canary.encode() in held]


def test_keys_stay_in_and_prompts_too_while_nothing_is_captured(tmp_path: Path) -> None:
    said = weighbridge(tmp_path, "init", "--provider", "openai", "--model", "gpt-4o-2024-08-06")
    [client_key] = re.findall(r"wb-\S+", said)
    config = tmp_path / "weighbridge.toml"
    provider = FakeProvider(answers={"gpt-4o-2024-08-06": Script(text=ANSWER)})
    with provider:
        text = re.sub(r'"127\.0\.0\.1:84\d\d"', '"127.0.0.1:0"', config.read_text())
        config.write_text(text.replace("https://api.openai.com/v1", provider.url))
        with serving(config, {"OPENAI_API_KEY": PROVIDER_KEY}) as gateway:
            listen = gateway.ready().listen
            answers = [post(listen, client_key, "assistant", stream=stream) for stream in (False, True)]
            assert all(each.startswith("200") for each in answers)
            assert ANSWER in answers[0]
            refused = [post(listen, WRONG_KEY, "assistant"), post(listen, client_key, "no-such-model")]
            provider.answers["gpt-4o-2024-08-06"] = Script(status=401)
            refused.append(post(listen, client_key, "assistant"))
            provider.close_connections()
            provider.answers["gpt-4o-2024-08-06"] = Script(raw=b"this is not HTTP\r\n\r\n")
            refused.append(post(listen, client_key, "assistant"))
            made = re.findall(r"wb-\S+", weighbridge(tmp_path, "key", "create", "bot"))[0]
            assert post(listen, made, "assistant").startswith("502")
            rotated = re.findall(r"wb-\S+", weighbridge(tmp_path, "key", "rotate", "bot"))[0]
            refused += [get(listen, path, made) for path in OTHER_PATHS]
            keys = weighbridge(tmp_path, "key", "list") + weighbridge(tmp_path, "key", "revoke", "bot")
            refused.append(post(listen, rotated, "assistant"))
            reloaded = weighbridge(tmp_path, "reload")
            metrics = gateway.page("/metrics")[1]
        log = "\n".join(gateway.log)
    assert [PROVIDER_KEY] == sorted(
        {(row.header("authorization") or "").removeprefix("Bearer ") for row in provider.seen}
    )
    assert all(str(status) in each for status, each in zip((401, 404, 502, 502), refused, strict=False))
    assert refused[-1].startswith("401")

    store = tmp_path / "weighbridge-data"
    places = {str(file.relative_to(store)): file.read_bytes() for file in store.rglob("*") if file.is_file()}
    assert client_key.encode() in places.pop("keys/app.key")  # where the configuration says that it is
    places |= {
        "log of serve": log.encode(),
        "metrics": metrics.encode(),
        "keys": keys.encode(),
        "reload": reloaded.encode(),
        "refusals": "\n".join(refused).encode(),
        "doctor": weighbridge(tmp_path, "doctor", "--offline").encode(),
        "list": weighbridge(tmp_path, "exchanges", "list", "--json").encode(),
        "export": weighbridge(tmp_path, "exchanges", "export").encode(),
        "report": weighbridge(tmp_path, "report", "--out", "report").encode(),
    }
    places |= {str(file): file.read_bytes() for file in (tmp_path / "report").rglob("*") if file.is_file()}
    assert places["export"].count(b"\n") >= 4
    assert ("export", "assistant") in found_in(places, "assistant")  # the search finds what is there
    assert [] == found_in(places, PROVIDER_KEY, client_key, made, rotated, WRONG_KEY, PROMPT, ANSWER)
