"""What the exchange log costs a worker: CPU microseconds per request, in process and at saturation.

    python bench/exchange_log.py [--requests N] [--per-turn N] [--body BYTES]

A request here is what the gateway writes for one: two bodies (encrypted, committed to, redaction looked at) and the
frames held, attempted, posted and finished. CPU is that of the whole process (`time.process_time`), so the syncing
thread is in it; the empty event loop and the making of the frames' records are measured apart and left out.
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from statistics import median

import uvloop

from weighbridge.exchanges.bodies import BodySealer, master_key
from weighbridge.exchanges.framing import new_incarnation
from weighbridge.exchanges.writer import LogWriter
from weighbridge.records.frames import Attempted, Finished, Held, Posted
from weighbridge.records.usage import Usage
from weighbridge.store.layout import Layout

USAGE_RAW = (
    b'{"prompt_tokens":312,"completion_tokens":64,"total_tokens":376,"prompt_tokens_details":{"cached_tokens":0}}'
)


class Case:
    def __init__(self, name: str, *, frames: bool, bodies: bool, redaction: bool, durability: str = "process") -> None:
        self.name, self.frames, self.bodies, self.redaction = name, frames, bodies, redaction
        self.durability = durability


CASES = (
    Case("records only", frames=False, bodies=False, redaction=False),
    Case("frames", frames=True, bodies=False, redaction=False),
    Case("frames + bodies", frames=True, bodies=True, redaction=False),
    Case("frames + bodies + redaction", frames=True, bodies=True, redaction=True),
    Case("the same, durability = power", frames=True, bodies=True, redaction=True, durability="power"),
)


async def run(case: Case, requests: int, per_turn: int, body: bytes) -> float:
    """CPU microseconds per request."""
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryDirectory() as folder:
        layout = Layout(Path(folder))
        layout.create()
        log = LogWriter(
            layout, new_incarnation(), durability="power" if case.durability == "power" else "process",
            call_soon=loop.call_soon, call_threadsafe=loop.call_soon_threadsafe,
            sealer=BodySealer(layout, master_key(layout, None)) if case.bodies else None,
        )  # fmt: skip
        append, capture, wait = log.append, log.capture, log.when_written
        rules = ("secrets",) if case.redaction else ()
        written = 0

        def count() -> None:
            nonlocal written
            written += 1

        start = time.process_time_ns()
        for turn in range(0, requests, per_turn):
            for number in range(turn, turn + per_turn):
                identity = f"0123456789abcdef-{number:x}"
                frames = (
                    Held(
                        identity, 1_764_000_000_000_000_000, "user", "assistant", 7, "support-bot", "support", None,
                        (("task", "refund"),), "task=refund", "9f2c7d3a1b5e8f60", False, len(body), 256, 1_200_000,
                        None,
                    ),
                    Attempted(
                        identity, 1, 1_764_000_000_000_000_000, "gpt-4o", "openai", "gpt-4o-2024-08-06", ("model",)
                    ),
                    Posted(
                        identity, 1, 200, Usage(312, 64), USAGE_RAW, 1_420_000, "genai-prices 0.2.3", 312_000_000,
                        250_000_000, None, False, "stop",
                    ),
                    Finished(
                        identity, 1_764_000_000_312_000_000, "ok", 200, 1, 312_000_000, 250_000_000, len(body),
                        None, 1_420_000,
                    ),
                )  # fmt: skip
                if case.frames:
                    for frame in frames:
                        if case.bodies and isinstance(frame, Held | Finished):
                            capture(frame, "support", body, rules)
                        else:
                            append(frame)
                    wait(count)
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        spent = time.process_time_ns() - start
        assert not case.frames or written == requests, f"{written} of {requests} were written: {log.reason}"
        assert log.state == "ok", log.reason
        log.close()
    return spent / requests / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--per-turn", type=int, default=4, help="requests that share a loop turn, as under load")
    parser.add_argument("--body", type=int, default=1024, help="bytes of each of the two bodies")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    text = b'{"model":"assistant","messages":[{"role":"user","content":"' + b"where is my parcel, please? " * 9000
    body = text[: chosen.body]
    found: dict[str, list[float]] = {case.name: [] for case in CASES}
    for _ in range(chosen.rounds):  # interleaved: a busy machine slows all cases alike
        for case in CASES:
            found[case.name].append(uvloop.run(run(case, chosen.requests, chosen.per_turn, body)))
    base = median(found[CASES[0].name])
    print(
        f"{chosen.requests} requests, {chosen.per_turn} a turn, bodies of {chosen.body} bytes, {chosen.rounds} rounds"
    )
    for name, values in found.items():
        print(f"{name:32} {median(values):7.2f} us/request   log alone {median(values) - base:7.2f} us")


if __name__ == "__main__":
    main()
