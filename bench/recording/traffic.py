"""User traffic with the official client, and what the log then holds against the provider's own bill."""

import asyncio
import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import msgspec
import openai
from openai.types import CompletionUsage

from bench.recording.answers import INCUMBENT, Item
from weighbridge.records.usage import Price, Usage, cost_nanousd


@dataclass
class Told:
    """What the client was told: usage of each answer, over all threads."""

    requests: int = 0
    streams: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, usage: CompletionUsage | None, *, stream: bool) -> None:
        with self.lock:
            self.requests += 1
            self.streams += stream
            if usage is not None:
                self.prompt_tokens += usage.prompt_tokens
                self.completion_tokens += usage.completion_tokens


def send(base_url: str, key: str, items: Sequence[Item], told: Told, progress: Callable[[int], None]) -> None:
    """Every item once: even ones with the sync client, odd ones with the async one; half of each streamed."""
    with ThreadPoolExecutor(1) as other:
        asynchronous = other.submit(lambda: asyncio.run(_send_async(base_url, key, items[1::2], told, progress)))
        _send_sync(base_url, key, items[0::2], told, progress)
        asynchronous.result()


def _send_sync(base_url: str, key: str, items: Sequence[Item], told: Told, progress: Callable[[int], None]) -> None:
    client = openai.OpenAI(base_url=base_url, api_key=key, max_retries=2)

    def one(numbered: tuple[int, Item]) -> None:
        number, item = numbered
        tag = {"x-weighbridge-tag": f"task={item.task}"}
        if number % 2:
            usage = None
            with client.chat.completions.create(
                model=INCUMBENT, messages=[{"role": "user", "content": item.prompt}], stream=True, temperature=0,
                stream_options={"include_usage": True}, extra_headers=tag,
            ) as stream:  # fmt: skip
                for event in stream:
                    usage = event.usage or usage
        else:
            usage = client.chat.completions.create(
                model=INCUMBENT, messages=[{"role": "user", "content": item.prompt}], temperature=0, extra_headers=tag
            ).usage
        told.add(usage, stream=bool(number % 2))
        progress(told.requests)

    with client, ThreadPoolExecutor(4) as pool:
        list(pool.map(one, enumerate(items)))


async def _send_async(
    base_url: str, key: str, items: Sequence[Item], told: Told, progress: Callable[[int], None]
) -> None:
    limit = asyncio.Semaphore(4)
    async with openai.AsyncOpenAI(base_url=base_url, api_key=key, max_retries=2) as client:

        async def one(number: int, item: Item) -> None:
            tag = {"x-weighbridge-tag": f"task={item.task}"}
            async with limit:
                if number % 2:
                    usage = None
                    async with await client.chat.completions.create(
                        model=INCUMBENT, messages=[{"role": "user", "content": item.prompt}], stream=True,
                        temperature=0, stream_options={"include_usage": True}, extra_headers=tag,
                    ) as stream:  # fmt: skip
                        async for event in stream:
                            usage = event.usage or usage
                else:
                    answer = await client.chat.completions.create(
                        model=INCUMBENT, messages=[{"role": "user", "content": item.prompt}], temperature=0,
                        extra_headers=tag,
                    )  # fmt: skip
                    usage = answer.usage
            told.add(usage, stream=bool(number % 2))
            progress(told.requests)

        await asyncio.gather(*(one(number, item) for number, item in enumerate(items)))


@dataclass
class Ledger:
    """What the log says of one model over all exchanges."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_nanousd: int = 0
    recomputed_nanousd: int = 0
    cost_unknown: int = 0


def ledgers(exported: str, prices: dict[str, Price]) -> dict[str, Ledger]:
    found: dict[str, Ledger] = {}
    for line in exported.splitlines():
        row = json.loads(line)
        for attempt in row["attempts"]:
            if attempt.get("status") != 200 or attempt.get("usage") is None:
                continue
            model = str(attempt["model"])
            usage = _usage(attempt["usage"])
            one = found.setdefault(model, Ledger())
            one.requests += 1
            one.prompt_tokens += usage.input_total
            one.completion_tokens += usage.output + usage.reasoning
            if attempt.get("cost_nanousd") is None:
                one.cost_unknown += 1
            else:
                one.cost_nanousd += attempt["cost_nanousd"]
            if model in prices:
                one.recomputed_nanousd += cost_nanousd(usage, prices[model]) or 0
    return found


FIELDS = Usage.__struct_fields__


def _usage(told: dict[str, int | str | None]) -> Usage:
    """The token classes of an exported attempt; `total` is their sum and no class."""
    return msgspec.convert([told.get(name, None if name == "service_tier" else 0) for name in FIELDS], Usage)


def mismatches(log: dict[str, Ledger], bill: dict[str, dict[str, int]], told: Told) -> list[str]:
    """Where the log and the provider's own bill differ, and where the client was told something else."""
    found: list[str] = []
    for model in sorted({*log, *bill}):
        own, billed = log.get(model, Ledger()), bill.get(model, {})
        for name, mine, theirs in (
            ("requests", own.requests, billed.get("requests", 0)),
            ("input tokens", own.prompt_tokens, billed.get("input_tokens", 0)),
            ("output tokens", own.completion_tokens, billed.get("output_tokens", 0)),
        ):
            if mine != theirs:
                found.append(f"{model}: {name} {mine:,} in the log, {theirs:,} on the bill")
        if not own.cost_unknown and own.recomputed_nanousd and own.cost_nanousd != own.recomputed_nanousd:
            found.append(f"{model}: cost {own.cost_nanousd} in the log, {own.recomputed_nanousd} recomputed")
    incumbent = log.get(INCUMBENT, Ledger())
    if (told.prompt_tokens, told.completion_tokens) != (incumbent.prompt_tokens, incumbent.completion_tokens):
        found.append("the client was told another usage than the log holds")
    return found
