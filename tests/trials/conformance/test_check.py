"""`endpoint check` through a real gateway: a good host, hosts with one quirk each, and two hosts beside each other."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.running import until
from tests.trials.conformance.host import Host

CONFIG = """
[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
[[endpoint]]
name = "first"
base_url = "{first}"
[[endpoint]]
name = "second"
base_url = "{second}"
[[arm]]
name = "old"
endpoint = "first"
model = "model"
price = {{ input = "1", output = "2" }}
[[arm]]
name = "new"
endpoint = "second"
model = "model"
price = {{ input = "1", output = "2" }}
[[route]]
name = "assistant"
incumbent = "old"
candidates = ["new"]
"""


def command(file: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "weighbridge", *arguments, "--config", str(file)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        stdin=subprocess.DEVNULL,
    )


def config(tmp_path: Path, first: Host, second: Host | None = None) -> Path:
    file = tmp_path / "weighbridge.toml"
    file.write_text(CONFIG.format(first=first.url, second=(second or first).url))
    return file


def checked(file: Path, *arguments: str) -> tuple[int, Any]:
    done = command(file, "endpoint", "check", "first", "--yes", "--samples", "3", "--json", *arguments)
    assert done.returncode in (0, 2), done.stderr
    return done.returncode, json.loads(done.stdout)


def statuses(found: Any) -> dict[str, str]:
    return {row["check"]: row["status"] for row in found["rows"]}


def test_a_host_that_does_what_it_is_asked_has_no_complaint_and_every_request_is_in_the_log(tmp_path: Path) -> None:
    with Host(quirks={"reasons", "limits"}) as host:
        file = config(tmp_path, host)
        code, found = checked(file)
        assert 0 == code
        assert {"cancelling": "unknown"} == {
            name: status for name, status in statuses(found).items() if status != "yes"
        }
        says = {row["check"]: row["says"] for row in found["rows"]}
        assert "and knew the word at its start; more was not asked for" in says["context"]
        assert "x-ratelimit-remaining-requests: 41" in says["rate limits"]
        assert re.match(r"p50 [\d,]+ ms, p95 [\d,]+ ms of 3 streams", says["time to first token"])
        until(lambda: host.cancelled, lambda count: count == 1)  # it notices on its next write
        assert host.asked == found["requests"]
        rows = list(json.loads(command(file, "exchanges", "list", "--json", "--limit", "200").stdout)["exchanges"])
        assert found["requests"] == len(rows)
        assert {"trial"} == {row["purpose"] for row in rows}
        named = {each["exchange"] for row in found["rows"] for each in row["evidence"] if each["exchange"]}
        assert named <= {row["id"] for row in rows}
        costs = sum(row["cost_nanousd"] or 0 for row in rows if row["outcome"] != "client_gone")
        assert costs == found["spent_nanousd"] <= found["bound_nanousd"]
        assert 1 == found["requests_of_unknown_cost"]


@pytest.mark.parametrize(
    ("quirk", "check", "status", "says"),
    [
        ("no_tools", "tools: auto", "no", "answered in text"),
        ("no_tools", "tools: required", "no", "no tool call"),
        ("ignores_choice", "tools: named", "partly", "get_weather"),
        ("no_parallel", "tools: parallel", "no", "1 call"),
        ("broken_arguments", "tools: streamed", "partly", "do not fit"),
        ("no_schema", "schema enforced", "no", "not supported"),
        ("ignores_schema", "schema enforced", "no", "0 of 3"),
        ("no_stream_usage", "usage in streams", "no", "cost cannot be known"),
        ("ignores_stop", "stop sequences", "no", "is in the answer"),
        ("ignores_max_tokens", "max_tokens", "no", "where 8 were allowed"),
        ("unsteady", "seed", "no", "3 different answers"),
        ("unsteady", "repeatable at temperature 0", "no", "1 of 4"),
        ("no_logprobs", "log probabilities", "no", "not given"),
        ("throttles", "rate limits", "yes", "were answered 429"),
    ],
)
def test_each_quirk_is_found_with_its_evidence(tmp_path: Path, quirk: str, check: str, status: str, says: str) -> None:
    with Host(quirks={quirk, "reasons", "limits"}) as host:
        _, found = checked(config(tmp_path, host))
    (row,) = [row for row in found["rows"] if row["check"] == check]
    assert (status, True) == (row["status"], says in row["says"]), row
    assert row["evidence"] or check == "rate limits"


@pytest.mark.parametrize(
    ("quirks", "status", "says"),
    [(set(), "yes", "the next was refused: HTTP 400: at most 3000 tokens"), ({"cuts"}, "no", "it cuts in silence")],
)
def test_the_context_ends_where_the_host_says_so_or_is_found_cut(
    tmp_path: Path, quirks: set[str], status: str, says: str
) -> None:
    with Host(quirks=quirks, context_tokens=3000) as host:
        _, found = checked(config(tmp_path, host), "--context-max", "16000")
    (row,) = [row for row in found["rows"] if row["check"] == "context"]
    assert (status, True) == (row["status"], says in row["says"]), row


def test_the_same_weights_on_two_hosts_are_not_told_apart_and_that_is_not_called_a_proof(tmp_path: Path) -> None:
    with Host() as first, Host() as second:
        _, found = checked(config(tmp_path, first, second), "--against", "second")
        assert {40, 10} == {second.asked - 10, second.asked - 40}
    compared = found["comparison"]
    assert ("alike", 40, 40) == (compared["finding"], compared["agreement"]["count"], compared["agreement"]["n"])
    assert 0.9 < compared["agreement"]["low"] < 0.92  # Clopper-Pearson: 0.025 ** (1 / 40)
    assert "does not prove the same weights" in compared["says"]


@pytest.mark.parametrize(
    ("second", "says"),
    [
        (Host(weights="w2"), "more differs than chance explains"),
        (Host(context_tokens=5, quirks={"cuts"}), "prompts are counted differently"),
    ],
)
def test_other_weights_or_another_tokenizer_differ(tmp_path: Path, second: Host, says: str) -> None:
    with Host() as first, second:
        code, found = checked(config(tmp_path, first, second), "--against", "second")
    assert (2, "differ") == (code, found["comparison"]["finding"])
    assert says in found["comparison"]["says"]


def test_a_host_that_does_not_repeat_itself_is_not_called_another(tmp_path: Path) -> None:
    with Host(quirks={"unsteady"}) as first, Host(quirks={"unsteady"}) as second:
        _, found = checked(config(tmp_path, first, second), "--against", "second")
    assert "alike" == found["comparison"]["finding"]
    assert "could hardly tell" in found["comparison"]["says"]


def test_nothing_is_spent_before_somebody_agreed_and_a_cap_holds(tmp_path: Path) -> None:
    with Host() as host:
        file = config(tmp_path, host)
        refused = command(file, "endpoint", "check", "first")
        assert 64 == refused.returncode
        assert re.search(r"requests for at most \$0\.\d{4}; agree with --yes, or --max-usd", refused.stderr)
        assert 0 == host.asked
        done = command(file, "endpoint", "check", "first", "--max-usd", "0.0005", "--json")
        found = json.loads(done.stdout)
        assert found["spent_nanousd"] <= 500_000
        (row,) = [row for row in found["rows"] if row["check"] == "context"]
        assert ("unknown", True) == (row["status"], "budget" in row["says"])


def test_an_endpoint_that_no_route_has_is_refused_with_the_way_to_permit_it(tmp_path: Path) -> None:
    with Host() as host:
        file = config(tmp_path, host)
        file.write_text(file.read_text().replace('candidates = ["new"]', ""))
        refused = command(file, "endpoint", "check", "second", "--yes")
        assert (64, True) == (refused.returncode, "past a route's send gate" in refused.stderr)
        assert 64 == command(file, "endpoint", "check", "third", "--yes").returncode
        file.write_text(file.read_text().replace('incumbent = "old"', 'incumbent = "old"\ncandidates = ["new"]'))
        file.write_text(
            file.read_text().replace(
                f'name = "second"\nbase_url = "{host.url}"', 'name = "second"\nbase_url = "https://models.example/v1"'
            )
        )
        refused = command(file, "endpoint", "check", "second", "--yes")
        assert (1, True) == (refused.returncode, "`region` is not stated" in refused.stderr)
        assert 0 == host.asked
