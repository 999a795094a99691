"""What replaying costs the trial's own process: CPU per item, from the captured body to the journal and the tests.

    python -m bench.replay [--items N]

A process of its own answers like a gateway. Measured is the process of the trial: reading the body, the call over a
real connection, reading the answer, grading, the journal's line, the tests. Allowed is a millisecond of CPU per item.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, cast

from tests.trials.world import Traffic, asked, config, judged_by
from weighbridge.store.control import ControlClient
from weighbridge.trials.journal import Journal
from weighbridge.trials.log import TrialLog
from weighbridge.trials.machines import Here
from weighbridge.trials.money import Purse
from weighbridge.trials.outcome import Outcome, Scored
from weighbridge.trials.pace import Pace
from weighbridge.trials.replay import Replayer
from weighbridge.trials.send import GatewaySend, Line
from weighbridge.trials.walk import Walk

ALLOWED_MS = 1.0
ANSWER = {"choices": [{"message": {"role": "assistant", "content": "right"}, "finish_reason": "stop"}]}


async def answer() -> None:
    """A gateway that knows one answer."""
    body = json.dumps(ANSWER).encode()
    head = (
        f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        "x-weighbridge-id: x-1\r\nx-weighbridge-cost-nanousd: 10\r\n\r\n"
    ).encode()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                asked_head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                writer.close()
                return
            size = int(asked_head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(size)
            writer.write(head + body)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


class _Bodies:
    """The log of made-up traffic."""

    def __init__(self, traffic: Traffic) -> None:
        self.body = traffic.body


class _Token:
    text = "token"


class _Control:
    """Gives tokens that nobody checks."""

    def call(self, message: object, kind: type[Any]) -> _Token:
        return _Token()


def measured(items: int, port: int, folder: Path) -> float:
    """Seconds of this process's CPU for all items."""
    traffic = Traffic()
    for _ in range(items):
        traffic.ask()
    # So small a margin that equal answers do not decide before the last item.
    plan, by_id = traffic.plan(asked(margin=1.0 / items))
    walk, outcomes = Walk(plan), dict[str, Outcome]()
    purse = Purse(None)
    log, control = cast("TrialLog", _Bodies(traffic)), cast("ControlClient", _Control())
    line = Line(
        base_url=f"http://127.0.0.1:{port}/v1", control=control, concurrency=16, timeout_s=60.0, machines=Here()
    )
    judge = judged_by(config(), traffic)
    start = time.process_time()
    with Journal(folder, plan) as journal:
        journal.open()

        async def go() -> None:
            async with GatewaySend(line, log, plan, purse) as send:
                await Replayer(
                    walk, by_id, outcomes, send, judge, purse, lambda _: 100, Pace(16), journal.add, lambda: None,
                    lambda _: None,
                ).run()  # fmt: skip

        asyncio.run(go())
    spent = time.process_time() - start
    assert all(isinstance(one, Scored) and one.candidate == 1.0 for one in outcomes.values()), "not all were answered"
    assert len(outcomes) > items * 0.9, f"only {len(outcomes)} of {items} were replayed"
    return spent / len(outcomes)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=2_000, help="how many requests to replay")
    parser.add_argument("--answer", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.answer:
        asyncio.run(answer())
        return 0
    command = [sys.executable, "-m", "bench.replay", "--answer"]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as gateway,
        tempfile.TemporaryDirectory() as folder,
    ):
        try:
            assert gateway.stdout is not None
            port = int(gateway.stdout.readline())
            each_ms = 1e3 * measured(options.items, port, Path(folder))
        finally:
            gateway.kill()
    good = each_ms <= ALLOWED_MS
    figure = f"{each_ms:.2f} ms CPU per item ({options.items:,} items; allowed {ALLOWED_MS} ms)"
    print(f"{'  ' if good else '! '}replay: {figure}")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
