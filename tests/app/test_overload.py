"""Promise 23: three times what an endpoint can take, for five minutes."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.serving import CLIENT_KEY, Serving, serving, write_config
from tests.fakes.provider import FakeProvider, Script

pytestmark = pytest.mark.promise(23)

PLACES, ANSWER_S = 10, 0.2
CAPACITY = PLACES / ANSWER_S
"""Requests a second that the endpoint can answer."""
BODY = json.dumps({"model": "assistant", "messages": [{"role": "user", "content": "hello"}]}).encode()
REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer %b\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (CLIENT_KEY.encode(), len(BODY), BODY)
)


class Lines:
    """Kept connections to the gateway; one more where all are in use."""

    def __init__(self, listen: str) -> None:
        self.host, _, port = listen.rpartition(":")
        self.port = int(port)
        self.idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.answered: list[float] = []
        self.refused: list[tuple[float, bool]] = []

    async def one(self) -> None:
        reader, writer = self.idle.pop() if self.idle else await asyncio.open_connection(self.host, self.port)
        begun = time.monotonic()
        writer.write(REQUEST)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(row[15:]) for row in head.lower().split(b"\r\n") if row.startswith(b"content-length:"))
        await reader.readexactly(length)
        took = time.monotonic() - begun
        if head.startswith(b"HTTP/1.1 200"):
            self.answered.append(took)
        else:
            self.refused.append((took, head.startswith(b"HTTP/1.1 503") and b"\r\nretry-after:" in head.lower()))
        self.idle.append((reader, writer))

    async def offered(self, per_second: float, seconds: float) -> float:
        """Requests come on their own clock, whether or not the ones before were answered. Returns answers a second."""
        before = len(self.answered)
        begun = time.monotonic()
        running: set[asyncio.Task[None]] = set()
        sent = 0
        while (now := time.monotonic() - begun) < seconds:
            while sent < now * per_second:
                sent += 1
                task = asyncio.create_task(self.one())
                running.add(task)
                task.add_done_callback(running.discard)
            await asyncio.sleep(0.005)
        goodput = (len(self.answered) - before) / seconds
        await asyncio.gather(*running)
        return goodput


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    with FakeProvider() as provider:
        provider.answers["model-a"] = Script(delay_s=ANSWER_S)
        made = write_config(tmp_path, provider.url)
        limits = f'name = "provider"\nconcurrency_max = {PLACES}\nqueue_max = {PLACES}\nqueue_s_max = 5\n'
        made.write_text(made.read_text().replace('name = "provider"\n', limits))
        yield made


def overload(served: Serving, peak_s: float, seconds: float) -> None:
    async def run() -> tuple[Lines, float, float, list[int]]:
        lines = Lines(served.listen)
        peak = await lines.offered(CAPACITY, peak_s)
        lines.refused.clear()
        worker = served.worker_pids()[0]
        sizes, goods = [], []
        for _ in range(4):
            goods.append(await lines.offered(3 * CAPACITY, seconds / 4))
            sizes.append(resident(worker))
        return lines, peak, sum(goods) / len(goods), sizes

    lines, peak, goodput, sizes = asyncio.run(run())
    waits = sorted(took for took, _ in lines.refused)
    late = waits[int(0.99 * (len(waits) - 1))]
    print(
        f"peak {peak:.1f}/s, at three times the load {goodput:.1f}/s; {len(waits)} refusals, p50 "
        f"{waits[len(waits) // 2] * 1e3:.1f} ms, p99 {late * 1e3:.1f} ms; resident {[size >> 20 for size in sizes]} MiB"
    )
    assert goodput >= 0.9 * peak
    assert all(told for _, told in lines.refused)
    assert late <= 0.05
    assert sizes[-1] <= sizes[1] * 1.05 + (1 << 20)


@pytest.mark.long
def test_under_three_times_the_load_answers_go_on_and_the_rest_is_told_at_once(file: Path) -> None:
    with serving(file) as served:
        overload(served, 20, 300)
