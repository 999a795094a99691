"""`weighbridge key`: secrets are shown once, work in every worker at once, and end when they should."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.app.serving import ask, serving, write_config
from tests.fakes.provider import FakeProvider
from weighbridge.cli.key import duration_ns, per_minute
from weighbridge.errors import UsageError

EFFECTIVE_S_MAX = 5.0
"""Promised; a push over a socket takes milliseconds."""


def key(file: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "weighbridge", "key", *arguments, "--config", str(file)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def key_json(file: Path, *arguments: str) -> Any:
    done = key(file, *arguments, "--json")
    assert 0 == done.returncode, done.stderr
    return json.loads(done.stdout)


def seconds_until(listen: str, secret: str, status: int) -> float:
    """How long until each of many fresh connections (spread over the workers) is answered with `status`."""
    began, alike = time.monotonic(), 0
    while alike < 20:
        alike = alike + 1 if ask(listen, key=secret).status == status else 0
        assert time.monotonic() - began < 60
    return time.monotonic() - began


def test_keys_take_effect_in_all_workers_at_once_and_end_when_they_should(tmp_path: Path) -> None:
    with FakeProvider() as provider:
        file = write_config(tmp_path, provider.url)
        file.write_text(file.read_text().replace("[server]", "[server]\nworkers = 2"))
        with serving(file) as served:
            made = key_json(file, "create", "bot")
            assert seconds_until(served.listen, made["secret"], 200) < EFFECTIVE_S_MAX
            rotated = key_json(file, "rotate", "bot", "--overlap", "1h")
            assert seconds_until(served.listen, rotated["secret"], 200) < EFFECTIVE_S_MAX
            assert 200 == ask(served.listen, key=made["secret"]).status
            refused = key(file, "rotate", "bot")
            assert (1, True) == (refused.returncode, "two live" in refused.stderr or "2 live" in refused.stderr)
            key_json(file, "revoke", "bot", "--old")
            assert seconds_until(served.listen, made["secret"], 401) < EFFECTIVE_S_MAX
            assert 200 == ask(served.listen, key=rotated["secret"]).status
            key_json(file, "revoke", "bot")
            assert seconds_until(served.listen, rotated["secret"], 401) < EFFECTIVE_S_MAX

            short = key_json(file, "create", "short", "--expires", "2s")["secret"]
            assert seconds_until(served.listen, short, 401) < 2 + EFFECTIVE_S_MAX
            served.process.kill()
    everything = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for secret in (made["secret"], rotated["secret"], short):
        assert secret.encode() not in everything


def seconds_until_all_in(listen: str, secret: str, asked: int) -> float:
    """How long until so many requests in a row are let in."""
    began = time.monotonic()
    while not all(ask(listen, key=secret).status == 200 for _ in range(asked)):
        assert time.monotonic() - began < 60
    return time.monotonic() - began


def test_a_limit_of_a_key_holds_over_all_workers_and_is_changed_at_once(tmp_path: Path) -> None:
    with FakeProvider() as provider:
        file = write_config(tmp_path, provider.url)
        file.write_text(file.read_text().replace("[server]", "[server]\nworkers = 2"))
        with serving(file) as served:
            # One a minute: what is refilled while the test runs lets nobody in a second time.
            secret = key_json(file, "create", "bot", "--requests-per-minute", "1")["secret"]
            assert seconds_until(served.listen, secret, 429) < EFFECTIVE_S_MAX
            lifted = key_json(file, "limit", "bot", "--requests-per-minute", "none")
            assert (None, None) == (lifted["requests_per_minute"], lifted["tokens_per_minute"])
            assert seconds_until_all_in(served.listen, secret, 20) < EFFECTIVE_S_MAX
            key_json(file, "limit", "bot", "--tokens-per-minute", "1")
            assert seconds_until(served.listen, secret, 429) < EFFECTIVE_S_MAX
            shown = key(file, "list").stdout
            assert "1 tokens" in next(line for line in shown.splitlines() if line.startswith("bot"))


@pytest.mark.parametrize(("text", "value"), [("none", None), ("600", 600), ("0", 0)])
def test_a_limit_is_a_number_or_none(text: str, value: int | None) -> None:
    assert value == per_minute("--requests-per-minute", text)


@pytest.mark.parametrize("text", ["", "-1", "1.5", "many", "٣"])
def test_anything_else_is_no_limit(text: str) -> None:
    with pytest.raises(UsageError, match="none for no limit"):
        per_minute("--requests-per-minute", text)


def test_a_key_made_while_nothing_serves_is_enough_to_serve(tmp_path: Path) -> None:
    with FakeProvider() as provider:
        file = write_config(tmp_path, provider.url)
        file.write_text(file.read_text().partition("[[key]]")[0])
        shown = key(file, "create", "bot", "--route", "assistant")
        assert "nothing serves this store now" in shown.stdout
        secret = shown.stdout.splitlines()[0]
        with serving(file) as served:
            assert 200 == ask(served.listen, key=secret).status


def test_a_key_is_revoked_also_while_the_configuration_is_broken(tmp_path: Path) -> None:
    with FakeProvider() as provider:
        file = write_config(tmp_path, provider.url)
        with serving(file) as served:
            secret = key_json(file, "create", "bot")["secret"]
            assert 200 == ask(served.listen, key=secret).status
            (tmp_path / "app.key").unlink()  # the secret of a key in the file: a reload would be refused
            assert 0 == key(file, "revoke", "bot").returncode
            assert seconds_until(served.listen, secret, 401) < EFFECTIVE_S_MAX


def test_the_list_shows_every_key_and_no_secret(tmp_path: Path) -> None:
    file = write_config(tmp_path)
    secret = key_json(file, "create", "bot", "--expires", "90d")["secret"]
    listed = key(file, "list")
    assert secret not in listed.stdout
    assert ["app", "bot"] == [line.split()[0] for line in listed.stdout.splitlines()[1:]]
    (bot,) = [row for row in key_json(file, "list")["keys"] if row["name"] == "bot"]
    assert ("created", None, 1) == (bot["source"], bot["secret"], len(bot["live_secrets"]))
    assert 1 == key(file, "create", "bot").returncode
    assert 64 == key(file, "rotate", "bot", "--overlap", "soon").returncode


@pytest.mark.parametrize(("text", "seconds"), [("0", 0), ("15s", 15), ("30m", 1800), ("24h", 86400), ("90d", 7776000)])
def test_durations_are_written_with_a_unit(text: str, seconds: int) -> None:
    assert seconds * 1_000_000_000 == duration_ns("--overlap", text)


@pytest.mark.parametrize("text", ["", "1", "-1h", "1w", "1.5h", "h"])
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(UsageError, match="24h"):
        duration_ns("--overlap", text)
