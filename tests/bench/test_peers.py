"""What official clients make of a proxy: the judge sees nothing wrong without one, and each loss behind one."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from bench.peers import ASKS, Judge, Seen, Way, judged, page
from tests.contracts.speakers import DIALECTS, Dialect, Said
from tests.fakes.provider import FakeProvider, Script


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running


def judge(provider: FakeProvider, client: Dialect = "openai") -> Judge:
    return Judge(provider, provider.port, "any", (client, client), Way("m", "m"))


@pytest.mark.parametrize("client", DIALECTS)
def test_without_a_proxy_everything_arrives(provider: FakeProvider, client: Dialect) -> None:
    seen = judged(judge(provider, client))
    assert dict.fromkeys(ASKS, "yes") == {check: seen.text(check) for check in ASKS}


class Losing(Judge):
    """As behind a proxy that loses something of every answer."""

    def __init__(self, provider: FakeProvider, **changed: Any) -> None:
        super().__init__(provider, provider.port, "any", ("openai", "openai"), Way("m", "m"))
        self._changed = changed

    def ask(self, script: Script, *, stream: bool, tools: bool = False) -> Said:
        good = replace(script, error_event=None, cut_after=None, status=200)
        return super().ask(good, stream=stream, tools=tools)._replace(**self._changed)


@pytest.mark.parametrize(
    ("check", "changed", "told"),
    [
        ("answer", {"text": "Rain in Bonn"}, "'Rain in Bonn'"),
        ("usage", {"tokens": (10, 0, 7, 0)}, "10/0/7/0 for "),
        ("tool calls", {"calls": [("weather", {"city": "Bonn"})]}, "1 calls"),
        ("stop reason", {"stop": "stop"}, "length: stop; calls: stop; refusal: stop"),
        ("error", {}, "nothing was raised"),
        ("error in a stream", {}, "taken for a whole answer, stop reason 'stop'"),
        ("cut stream", {}, "taken for a whole answer, stop reason 'stop'"),
    ],
)
def test_each_loss_is_seen(provider: FakeProvider, check: str, changed: dict[str, Any], told: str) -> None:
    ask, _ = ASKS[check]
    assert told in ask(Losing(provider, **changed), True)


def test_a_loss_in_one_mode_is_named_with_it_and_one_in_both_once() -> None:
    seen = Seen(("openai", "openai"), {"usage": {"JSON": "", "stream": "none"}, "answer": {"JSON": "x", "stream": "x"}})
    assert ("**stream no**: none", "**no**: x") == (seen.text("usage"), seen.text("answer"))
    assert {"usage": (1, 2), "answer": (0, 2)} == seen.score


def test_the_page_counts_offered_pairs_only_and_names_who_did_not_run() -> None:
    whole = {check: {"JSON": "", "stream": ""} for check in ASKS}
    pairs = [Seen(("openai", "openai"), whole), Seen(("openai", "anthropic"), not_offered="not offered")]
    text = page({"one": pairs}, {"two": "it did not start"})
    assert "| one | 1 of 2 | 2 of 2 |" in text
    assert "| chat → messages | not offered |" in text
    assert "| two | not run here: it did not start |" in text


def test_who_raises_at_everything_is_not_said_to_tell_a_broken_stream(provider: FakeProvider) -> None:
    refused = Judge(provider, provider.port, "any", ("anthropic", "openai"), Way("m", "m"))
    refused.ask = refuse  # type: ignore[method-assign]
    seen = judged(refused)
    for check in ("error in a stream", "cut stream"):
        assert "no stream to begin with" in seen.text(check)


def refuse(script: Script, *, stream: bool, tools: bool = False) -> Said:
    raise RuntimeError("refused")
