"""What arrives: this gateway and four others judged by the official clients, for each pair of dialects.

    scripts/bench peers [--only NAME ...] [--write docs/evidence/peers.md]

Each proxy stands before one strict mock provider that speaks chat completions, messages and responses and keeps its own
bill (`tests/fakes/provider.py`). The official `openai` and `anthropic` clients ask through it and are asked what they
hold: the answer, its usage beside the bill, parallel tool calls, why it stopped, which error they raise, and whether
the provider is told when they leave. Every cell says what was seen. Needs the peers of `bench/harness/peers.py`.
"""

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.harness.load import Target
from bench.harness.peers import PEER_KEY, PEERS, Peer, peer_running, portkey_headers
from bench.harness.processes import NotMeasuredError
from tests.app.serving import CLIENT_KEY, serving
from tests.contracts.conftest import contract_config
from tests.contracts.speakers import DIALECTS, Dialect, Said, Speaker, speaker
from tests.fakes.provider import FakeProvider, Script

Pair = tuple[Dialect, Dialect]
OURS = "weighbridge"
LEAVE_S_MAX = 10.0
NAMES: dict[Dialect, str] = {"openai": "chat", "anthropic": "messages", "openai-responses": "responses"}
PLAIN = Script(text="Rain in Bonn, sun in Rome.", cache_read=40, cache_write=8, reasoned=5, reasoning="Two cities.")
CALLS = (("weather", '{"city": "Bonn"}'), ("weather", '{"city": "Rome"}'))
WANTED = [("weather", {"city": "Bonn"}), ("weather", {"city": "Rome"})]
OVERLOADED = {"type": "overloaded_error", "code": "server_error", "message": "the fake is overloaded"}
CHECKS = {
    "answer": "the text, whole",
    "usage": "input, cached, output and reasoning tokens as the provider billed them",
    "tool calls": "two parallel calls, each with its arguments",
    "stop reason": "cut at the limit, tool calls, a refusal: told apart by the client",
    "error": "429 is the client's `RateLimitError` with the provider's words and `retry-after`",
    "error in a stream": "an error event in the middle of a stream is raised, not taken for an end",
    "cut stream": "a stream that breaks off is raised, not taken for an end",
    "cancel": f"the provider's call ends within {LEAVE_S_MAX:.0f} s of the client's leaving",
}
"""What each column asks."""


# --- how each is asked ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    """Through a proxy to an endpoint of one dialect."""

    model: str
    """As the client asks for it."""
    upstream: str
    """As it reaches the provider."""
    headers: Mapping[str, str] = field(default_factory=dict)


Ways = Callable[[Dialect, Dialect, str], Way | None]
"""(client's dialect, provider's, the provider's address); `None`: the proxy's documentation offers no such pair."""


def _same_only(client: Dialect, upstream: Dialect, address: str) -> Way | None:
    return Way(f"m-{upstream}", f"m-{upstream}") if client == upstream else None


def _ferrogw(client: Dialect, upstream: Dialect, address: str) -> Way | None:
    models: dict[Pair, str] = {
        ("openai", "openai"): "gpt-4o",
        ("openai", "anthropic"): "claude-sonnet-4-5",
        ("openai-responses", "openai-responses"): "gpt-4o",
    }
    model = models.get((client, upstream))
    return None if model is None else Way(model, model)


def _portkey(client: Dialect, upstream: Dialect, address: str) -> Way | None:
    if client != upstream and (client, upstream) != ("openai", "anthropic"):
        return None
    provider = "anthropic" if upstream == "anthropic" else "openai"
    return Way(f"m-{upstream}", f"m-{upstream}", portkey_headers(address, provider))


def _any(client: Dialect, upstream: Dialect, address: str) -> Way | None:
    return Way(f"m-{upstream}", f"m-{upstream}")


WAYS: dict[str, Ways] = {"vllm-router": _same_only, "ferrogw": _ferrogw, "Portkey": _portkey, "LiteLLM": _any}


def _ours(client: Dialect, upstream: Dialect, address: str) -> Way | None:
    return Way(f"to-{upstream}", f"m-{upstream}")


# --- asking -----------------------------------------------------------------------------------------------------------


class Judge:
    """One proxy that runs, one pair of dialects."""

    def __init__(self, provider: FakeProvider, port: int, key: str, pair: Pair, way: Way) -> None:
        self._provider, self._way = provider, way
        self.client, self.upstream = pair
        self._speak: Callable[[], Speaker] = lambda: speaker(self.client, f"127.0.0.1:{port}", key, way.headers)

    def ask(self, script: Script, *, stream: bool, tools: bool = False) -> Said:
        self._provider.answers[self._way.upstream] = script
        self._provider.bill.clear()
        speaking = self._speak()
        try:
            return speaking.ask(self._way.model, stream=stream, tools=tools).said
        finally:
            speaking.close()

    def answer(self, stream: bool) -> str:
        said = self.ask(PLAIN, stream=stream)
        return "" if said.text == PLAIN.text else f"{said.text[:40]!r}"

    def usage(self, stream: bool) -> str:
        said = self.ask(PLAIN, stream=stream)
        if not self._provider.bill:
            return "the provider was not asked"
        tokens = self._provider.bill[-1].tokens
        billed = (
            tokens.input + tokens.cache_read + tokens.cache_write, tokens.cache_read,
            tokens.output + tokens.reasoning, tokens.reasoning,
        )  # fmt: skip
        return "" if said.tokens == billed else f"{_tokens(said.tokens)} for {_tokens(billed)}"

    def tool_calls(self, stream: bool) -> str:
        said = self.ask(replace(PLAIN, tool_calls=CALLS, text_with_calls=True), stream=stream, tools=True)
        return "" if list(said.calls) == WANTED else f"{len(said.calls)} calls: {list(said.calls)!r}"[:80]

    def stop_reason(self, stream: bool) -> str:
        wrong = []
        for wanted, script in (
            ("length", replace(PLAIN, finish="length")),
            ("calls", replace(PLAIN, tool_calls=CALLS)),
            ("refusal", replace(PLAIN, refusal="I will not.")),
        ):
            try:
                found: str = self.ask(script, stream=stream, tools=wanted == "calls").stop
            except Exception as error:  # noqa: BLE001 (whatever a client raises is what was seen)
                found = _raised(error)
            if found != wanted:
                wrong.append(f"{wanted}: {found}")
        return "; ".join(wrong)

    def error(self, stream: bool) -> str:
        headers = (("retry-after", "7"), ("x-request-id", "up-1"))
        try:
            self.ask(Script(status=429, headers=headers), stream=stream)
        except Exception as error:  # noqa: BLE001 (as above)
            wrong = []
            if type(error).__name__ != "RateLimitError":
                wrong.append(type(error).__name__)
            if "the fake says 429" not in str(error):
                wrong.append("the provider's words are gone")
            response: Any = getattr(error, "response", None)
            if response is None or response.headers.get("retry-after") != "7":
                wrong.append("no `retry-after`")
            return ", ".join(wrong)
        return "nothing was raised"

    def error_in_stream(self, stream: bool) -> str:
        return self._must_raise(replace(PLAIN, error_event=OVERLOADED))

    def cut_stream(self, stream: bool) -> str:
        return self._must_raise(replace(PLAIN, text="word " * 50, cut_after=900))

    def _must_raise(self, script: Script) -> str:
        try:
            said = self.ask(script, stream=True)
        except Exception:  # noqa: BLE001 (as above)
            return ""
        return f"taken for a whole answer, stop reason {said.stop!r}"

    def cancel(self, stream: bool) -> str:
        self._provider.answers[self._way.upstream] = replace(PLAIN, text="word " * 1500, chunk_delay_s=0.02)
        before = self._provider.cancelled
        speaking = self._speak()
        running = speaking.begin(self._way.model)
        next(iter(running))
        running.close()
        speaking.close()
        until = time.monotonic() + LEAVE_S_MAX
        while time.monotonic() < until:
            if self._provider.cancelled > before:
                return ""
            time.sleep(0.05)
        return f"the provider still sends after {LEAVE_S_MAX:.0f} s"


def _tokens(tokens: Sequence[int]) -> str:
    return "/".join(map(str, tokens))


def _raised(error: Exception) -> str:
    body: Any = getattr(error, "body", None)
    inner = body.get("error", body) if isinstance(body, dict) else None
    said = inner.get("message") if isinstance(inner, dict) else None
    first = next(iter(str(said or error).splitlines()), "")
    return f"{type(error).__name__}: {first[:110]}"


ASKS: dict[str, tuple[Callable[[Judge, bool], str], bool]] = {
    "answer": (Judge.answer, True),
    "usage": (Judge.usage, True),
    "tool calls": (Judge.tool_calls, True),
    "stop reason": (Judge.stop_reason, True),
    "error in a stream": (Judge.error_in_stream, False),
    "cut stream": (Judge.cut_stream, False),
    "cancel": (Judge.cancel, False),
    "error": (Judge.error, True),
}
"""(how, whether JSON is asked as well as a stream). Errors come last: some proxies avoid a provider after one."""


BROKEN = ("error in a stream", "cut stream")
"""Whoever raises at everything would pass these."""


@dataclass
class Seen:
    """What one proxy did with one pair: per check, per mode, empty where all is well."""

    pair: Pair
    cells: dict[str, dict[str, str]] = field(default_factory=dict)
    not_offered: str | None = None

    def text(self, check: str) -> str:
        found = {mode: said for mode, said in self.cells[check].items() if said}
        if not found:
            return "yes"
        if len(found) > 1 and len(set(found.values())) == 1:
            return f"**no**: {next(iter(found.values()))}"
        return "; ".join(f"**{mode} no**: {said}" for mode, said in found.items())

    @property
    def score(self) -> dict[str, tuple[int, int]]:
        """{check: (good, asked)}"""
        return {check: (sum(not said for said in modes.values()), len(modes)) for check, modes in self.cells.items()}


def judged(judge: Judge) -> Seen:
    seen = Seen((judge.client, judge.upstream))
    for check, (ask, both) in ASKS.items():
        for stream in (False, True) if both else (True,):
            if check in BROKEN and seen.cells["answer"]["stream"]:
                said = "no stream to begin with"
            else:
                try:
                    said = ask(judge, stream)
                except Exception as error:  # noqa: BLE001 (as above)
                    said = _raised(error)
            seen.cells.setdefault(check, {})["stream" if stream else "JSON"] = said
            told = said or "yes"
            print(f"  {check}, {'stream' if stream else 'JSON'}: {told}", file=sys.stderr)
    return seen


# --- who --------------------------------------------------------------------------------------------------------------


@contextmanager
def _gateway(folder: Path, provider: FakeProvider) -> Iterator[int]:
    file = folder / "weighbridge.toml"
    file.write_text(contract_config(provider.url))
    with serving(file, {"CONTRACT_KEY": CLIENT_KEY, "ONE_KEY": "unused", "UPSTREAM_KEY": PEER_KEY}) as serve:
        yield int(serve.ready().listen.rpartition(":")[2])


@contextmanager
def _peer(peer: Peer, folder: Path, provider: FakeProvider) -> Iterator[int]:
    with peer_running(peer, folder, provider.port, ready=_listening) as target:
        yield target.port


def _listening(target: Target) -> bool:
    time.sleep(1)  # it listens; some look at their providers first
    return True


@dataclass
class Contestant:
    title: str
    start: Callable[[Path, FakeProvider], AbstractContextManager[int]]
    ways: Ways
    key: str
    wants_headers: bool = True
    """Whether the provider wants a key and a version with messages."""


def _contestants(only: Sequence[str]) -> list[Contestant]:
    everyone = [Contestant(OURS, _gateway, _ours, CLIENT_KEY)]
    for peer in PEERS:
        # It stands before vLLM alone, which wants neither, and passes neither on.
        wants = peer.name != "vllm-router"
        everyone.append(Contestant(peer.title, partial(_peer, peer), WAYS[peer.name], PEER_KEY, wants))
    return [one for one in everyone if not only or any(word.lower() in one.title.lower() for word in only)]


def run(only: Sequence[str]) -> tuple[dict[str, list[Seen]], dict[str, str]]:
    """What was seen of each proxy, and why others are missing."""
    found: dict[str, list[Seen]] = {}
    missing: dict[str, str] = {}
    for one in _contestants(only):
        print(one.title, file=sys.stderr)
        try:
            with tempfile.TemporaryDirectory(prefix="weighbridge-peers-") as folder, FakeProvider() as provider:
                provider.wants_headers = one.wants_headers
                provider.others["GET /health"] = (200, "application/json", b"{}")
                with one.start(Path(folder), provider) as port:
                    found[one.title] = list(_all_pairs(one, provider, port))
        except NotMeasuredError as error:
            missing[one.title] = str(error)
    return found, missing


def _all_pairs(one: Contestant, provider: FakeProvider, port: int) -> Iterator[Seen]:
    for client in DIALECTS:
        for upstream in DIALECTS:
            way = one.ways(client, upstream, f"http://127.0.0.1:{provider.port}")
            if way is None:
                yield Seen((client, upstream), not_offered="not offered")
                continue
            print(f" {NAMES[client]} -> {NAMES[upstream]}", file=sys.stderr)
            yield judged(Judge(provider, port, one.key, (client, upstream), way))


# --- telling ----------------------------------------------------------------------------------------------------------


def page(found: Mapping[str, Sequence[Seen]], missing: Mapping[str, str]) -> str:
    lines = [
        "# Beside other gateways: what arrives\n",
        "The official `openai` and `anthropic` clients ask through each proxy, JSON and streams, before one strict\n"
        "mock provider that keeps its own bill. Written by `scripts/bench peers --write docs/evidence/peers.md`; what\n"
        "each costs stands in [gateway.md](gateway.md).\n",
        f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, openai {version('openai')}, anthropic "
        f"{version('anthropic')}, {os.cpu_count()} cores.\n",
        *(f"- **{check}**: {asks}." for check, asks in CHECKS.items()),
        "",
        "Peers run as `bench/harness/peers.py` configures them, with retries and cool-downs off, so that the client\n"
        "sees what the provider said. A pair that a peer's documentation does not offer is not counted. Before\n"
        "vllm-router the provider wants no key and no version with messages: it is made for vLLM, which wants none.\n",
        "## Good of asked, over all pairs that are offered\n",
        f"| proxy | pairs | {' | '.join(CHECKS)} |",
        "|---|---|" + "---|" * len(CHECKS),
    ]
    for title, seen in found.items():
        offered = [one for one in seen if one.not_offered is None]
        cells = []
        for check in CHECKS:
            scores = [one.score[check] for one in offered]
            cells.append(f"{sum(good for good, _ in scores)} of {sum(asked for _, asked in scores)}")
        lines.append(f"| {title} | {len(offered)} of {len(seen)} | {' | '.join(cells)} |")
    lines += [f"| {title} | not run here: {why} |" + " |" * len(CHECKS) for title, why in missing.items()]
    for title, seen in found.items():
        lines += ["", f"## {title}\n", f"| client → provider | {' | '.join(CHECKS)} |", "|---|" + "---|" * len(CHECKS)]
        for one in seen:
            name = f"{NAMES[one.pair[0]]} → {NAMES[one.pair[1]]}"
            if one.not_offered is not None:
                lines.append(f"| {name} | {one.not_offered} |" + " |" * (len(CHECKS) - 1))
            else:
                lines.append(f"| {name} | {' | '.join(_cell(one.text(check)) for check in CHECKS)} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="only proxies whose name contains one")
    parser.add_argument("--write", type=Path, metavar="FILE", help="a Markdown file to write the result to")
    given = parser.parse_args()
    found, missing = run(given.only)
    text = page(found, missing)
    print(text)
    if given.write is not None:
        given.write.write_text(text)
    ours = found.get(OURS, [])
    wrong = [one.pair for one in ours if any(good < asked for good, asked in one.score.values())]
    if wrong:
        raise SystemExit(f"not all arrives through this gateway: {wrong}")


if __name__ == "__main__":
    main()
