"""The books beside the provider's own bill: mixed requests, with errors, retries, cut and cancelled streams.

    scripts/bench bill                   5,000 requests, some minutes on two cores
    scripts/bench bill --requests 400    fewer
    scripts/bench bill --write           also docs/evidence/bill.md

Real recorded answers are served by a provider that keeps its own bill. Traffic goes through a real gateway with the
official client; every arm has a model of its own, so that the bill can be compared arm by arm:

- answered: JSON and streams, half of the streams without asking for usage; the provider reports more output than usual
- failing: one request in eight gets 503, which the client tries again
- retried: one in four gets 503, which the gateway tries again
- first, second: one in six of `first` gets 503, and `second` stands in
- cut: the provider breaks off each stream after some characters; the client gets an error
- left: the client leaves each stream after a few events
- stops: the same, of an arm with open weights whose provider is said to stop billing then

In all but the last three the books must equal the bill to the token. A cut or cancelled stream never says what it used:
it must be marked, and booked at no less than the provider billed.
"""

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import duckdb
import openai
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionStreamOptionsParam

from bench.recording.setting import bill_of, recorded_provider, serving, toml
from weighbridge.ledger.postings import postings
from weighbridge.records.usage import Price, Usage, cost_nanousd, usd
from weighbridge.store.layout import Layout

REPOSITORY = Path(__file__).resolve().parent.parent
EVIDENCE = REPOSITORY / "docs" / "evidence" / "bill.md"
KEY = "bill-bench-key"
PRICE = Price(input=2_500_000_000, output=10_000_000_000, reasoning=10_000_000_000)
"""The same made-up price for every part: what is measured is the count."""
PARTS = {"answered": 0.4, "failing": 0.2, "retried": 0.1, "first": 0.1, "cut": 0.06, "left": 0.07, "stops": 0.07}
"""Route -> share of the requests."""
MODELS = {
    "answered": "gpt-4o-2024-08-06", "failing": "claude-3-opus-20240229", "retried": "claude-3-haiku-20240307",
    "first": "gpt-3.5-turbo-0125", "second": "Mistral-Large-2", "cut": "gemini-1.5-pro",
    "left": "gpt-4o-mini-2024-07-18", "stops": "Meta-Llama-3.1-70B-Instruct",
}  # fmt: skip
"""Arm -> model. `second` has no route: it stands in for `first`."""
FALLBACKS = {"first": "second"}
ENDS_EARLY = ("cut", "left", "stops")
FAULTS: dict[str, dict[str, float]] = {
    "answered": {"usage_factor": 1.7},
    "failing": {"error_rate": 0.125},
    "retried": {"error_rate": 0.25},
    "first": {"error_rate": 0.16},
    "cut": {"cut_after": 60},
    "stops": {"tokens_per_s": 400},
}
CONCURRENT = 8
MAX_TOKENS = 4_000


@dataclass(frozen=True)
class Part:
    name: str
    asked: int
    """Requests of the client for its route; tries that it made again are more."""
    bill: dict[str, int]
    attempts: int
    known: int
    """Attempts of which the provider said what they used."""
    input_tokens: int
    output_tokens: int
    cost_nanousd: int
    """Of those with usage."""
    estimated: int
    estimated_nanousd: int
    failed: int
    """Attempts that were answered with an error status."""

    @property
    def billed_nanousd(self) -> int:
        return cost_nanousd(Usage(self.bill["input_tokens"], self.bill["output_tokens"]), PRICE) or 0

    @property
    def problems(self) -> list[str]:
        """Where books and bill differ in what they must not."""
        found: list[str] = []
        if self.attempts != self.bill["requests"] + self.bill["errors"]:
            found.append(
                f"{self.attempts} attempts, {self.bill['requests']} answered and {self.bill['errors']} refused"
            )
        if self.name not in ENDS_EARLY:
            ours = (self.known, self.failed, self.input_tokens, self.output_tokens, self.estimated)
            names = ("requests", "errors", "input_tokens", "output_tokens", "cut_streams")
            theirs = tuple(self.bill[name] for name in names)
            found += [
                f"{name}: {a} in the books, {b} on the bill"
                for name, a, b in zip(names, ours, theirs, strict=True)
                if a != b
            ]
            # Each posting is rounded up by less than a nano-dollar.
            if not 0 <= self.cost_nanousd - self.billed_nanousd <= self.known:
                found.append(f"cost: {self.cost_nanousd} booked, {self.billed_nanousd} billed")
        elif self.estimated + self.known != self.bill["requests"]:
            found.append(f"{self.estimated} marked and {self.known} with usage, of {self.bill['requests']}")
        elif self.cost_nanousd + self.estimated_nanousd < self.billed_nanousd:
            found.append(f"{self.cost_nanousd + self.estimated_nanousd} booked for {self.billed_nanousd} billed")
        return found


def write_config(folder: Path, address: str) -> Path:
    arms = "".join(
        f'[[arm]]\nname = "{name}"\nendpoint = "{"stops" if name == "stops" else "recorded"}"\nmodel = {toml(model)}\n'
        f'weights = "{"open" if name == "stops" else "closed"}"\nprice = {{ input = "2.5", output = "10" }}\n'
        for name, model in MODELS.items()
    )
    routes = "".join(
        f'[[route]]\nname = "{part}"\nincumbent = "{part}"\nmax_tokens_default = {MAX_TOKENS}\n'
        f"fallbacks = {json.dumps([FALLBACKS[part]] if part in FALLBACKS else [])}\n"
        f"retries_max = {1 if part in ('retried', *FALLBACKS) else 0}\n"
        for part in PARTS
    )
    path = folder / "weighbridge.toml"
    path.write_text(
        '[server]\nlisten = "127.0.0.1:0"\nadmin_listen = "127.0.0.1:0"\n'
        f'[[endpoint]]\nname = "recorded"\nbase_url = "http://{address}/v1"\n'
        f'[[endpoint]]\nname = "stops"\nbase_url = "http://{address}/v1"\ncancel_stops_billing = true\n{arms}{routes}'
        '[[key]]\nname = "bench"\nsecret = "env:BILL_BENCH_KEY"\n'
    )
    return path


def control(address: str, faults: dict[str, dict[str, float]]) -> None:
    request = urllib.request.Request(
        f"http://{address}/_control", json.dumps({MODELS[part]: said for part, said in faults.items()}).encode()
    )
    urllib.request.urlopen(request).close()  # noqa: S310 (loopback, ours)


def _send(client: openai.OpenAI, part: str, number: int, prompt: str) -> None:
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": prompt}]
    tagged = {"x-weighbridge-tag": f"part={part}"}
    if (part == "answered" and number % 2) or (part == "failing" and number % 3 == 0):
        client.chat.completions.create(model=part, messages=messages, extra_headers=tagged)
        return
    usage: ChatCompletionStreamOptionsParam | None = {"include_usage": True} if number % 4 < 2 else None
    with client.chat.completions.create(
        model=part, messages=messages, stream=True, stream_options=usage or openai.omit, extra_headers=tagged
    ) as stream:
        for seen, _ in enumerate(stream):
            if part in ("left", "stops") and seen == 3:
                return


def prompts(shared: Path) -> dict[str, list[str]]:
    """Of each part, what its model was recorded on."""
    data = shared / "data" / "zeroeval"
    rows = duckdb.execute(
        "SELECT o.model, p.prompt FROM read_parquet(?) p JOIN read_parquet(?) o USING (task, id) ORDER BY task, id",
        [str(data / "prompts.parquet"), str(data / "outputs.parquet")],
    ).fetchall()
    return {part: [prompt for name, prompt in rows if name == model] for part, model in MODELS.items()}


def traffic(url: str, recorded: dict[str, list[str]], requests: int) -> dict[str, int]:
    """How many requests of each part the client made. Errors that reach it are part of the test."""
    client = openai.OpenAI(base_url=url, api_key=KEY, max_retries=4)
    asked: dict[str, int] = {}
    with client, ThreadPoolExecutor(CONCURRENT) as pool:
        for part, share in PARTS.items():
            items = recorded[part]
            count = round(requests * share)

            def one(number: int, part: str = part, items: list[str] = items) -> None:
                with contextlib.suppress(openai.APIError):
                    _send(client, part, number, items[number % len(items)])

            list(pool.map(one, range(count)))
            asked[part] = count
    return asked


def books(layout: Layout, asked: dict[str, int], bill: dict[str, dict[str, int]]) -> list[Part]:
    found: list[Part] = []
    with postings(layout) as sql:
        for part, model in MODELS.items():
            row = sql.execute(_BOOKS, [part]).fetchone()
            empty = dict.fromkeys(("requests", "input_tokens", "output_tokens", "cut_streams", "errors"), 0)
            numbers = [int(value) for value in row or ()]
            found.append(Part(part, asked.get(part, 0), bill.get(model, empty), *numbers))
    return found


_BOOKS = (
    "SELECT count(*), count(*) FILTER (has_usage), coalesce(sum(input) FILTER (has_usage), 0), "
    "coalesce(sum(output + reasoning) FILTER (has_usage), 0), "
    "coalesce(sum(cost_nanousd) FILTER (has_usage), 0)::HUGEINT, count(*) FILTER (estimated AND NOT has_usage), "
    "coalesce(sum(cost_nanousd) FILTER (estimated AND NOT has_usage), 0)::HUGEINT, "
    "count(*) FILTER (status >= 400) FROM postings WHERE arm = ?"
)


def run(shared: Path, folder: Path, requests: int) -> list[Part]:
    recorded = prompts(shared)
    os.environ["BILL_BENCH_KEY"] = KEY
    with recorded_provider(shared) as address:
        control(address, FAULTS)
        config = write_config(folder, address)
        with serving(config, folder / "serve.log") as url:
            asked = traffic(url, recorded, requests)
        bill = bill_of(address)
    return books(Layout(folder / "weighbridge-data"), asked, bill)


def page(parts: list[Part], requests: int, seconds: float) -> str:
    lines = [
        "# The books beside the provider's bill",
        "",
        f"Made by `scripts/bench bill --write`: {requests:,} requests of the official client through a real gateway",
        f"to a provider of recorded answers that keeps its own bill ({seconds:.0f} s on two cores). All but the last",
        "three must agree to the token; a stream that was cut or left never says what it used and is marked estimated.",
        "`retried` is tried again by the gateway, `second` stands in where `first` fails, `stops` has open weights and",
        "a provider that is said to stop billing when it is left.",
        "",
        "| arm | requests | attempts | with usage | input tokens: books / bill | output tokens: books / bill "
        "| refused: books / bill | marked estimated | booked / billed |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in parts:
        booked = one.cost_nanousd + one.estimated_nanousd
        lines.append(
            f"| {one.name} | {one.asked:,} | {one.attempts:,} | {one.known:,} | {one.input_tokens:,} / "
            f"{one.bill['input_tokens']:,} | {one.output_tokens:,} / {one.bill['output_tokens']:,} | {one.failed:,} / "
            f"{one.bill['errors']:,} | {one.estimated:,} | {usd(booked)} / {usd(one.billed_nanousd)} |"
        )
    problems = [f"- {one.name}: {problem}" for one in parts for problem in one.problems]
    lines += [
        "",
        *(problems or ["No difference where there must be none; no marked stream is booked below its bill."]),
        "",
    ]
    lines += [
        "A stream that was cut or left is booked at an upper bound: at what was held for it, or, on `stops`, at the",
        "text that came and 512 tokens.",
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=REPOSITORY.parent / "shared")
    parser.add_argument("--requests", type=int, default=5_000)
    parser.add_argument("--write", action="store_true", help="also write docs/evidence/bill.md")
    options = parser.parse_args()
    if not (options.shared / "data" / "zeroeval" / "outputs.parquet").is_file():
        print(f"bill: there are no recorded answers in {options.shared}; --shared names the folder", file=sys.stderr)
        return 64
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="weighbridge-bill-") as folder:
        parts = run(options.shared, Path(folder), options.requests)
    text = page(parts, options.requests, time.monotonic() - began)
    print(text)
    if options.write:
        EVIDENCE.write_text(text, "utf-8")
    return 1 if any(one.problems for one in parts) else 0


if __name__ == "__main__":
    sys.exit(main())
