"""A worker that only writes its log, about a thousand exchanges a second, until it is killed.

    python log_child.py STORE

Prints the id of each exchange once its `finished` frame is written, which is when a client would have its answer.
"""

import asyncio
import os
import random
import sys
from pathlib import Path

import uvloop

from tests.exchanges.loop import attempted, finished, held, posted
from weighbridge.exchanges.bodies import BodySealer, master_key
from weighbridge.exchanges.framing import new_incarnation
from weighbridge.exchanges.writer import LogWriter
from weighbridge.store.layout import Layout


async def main(folder: Path) -> None:
    layout, loop, incarnation = Layout(folder), asyncio.get_running_loop(), new_incarnation()
    log = LogWriter(
        layout, incarnation, durability="process", call_soon=loop.call_soon, call_threadsafe=loop.call_soon_threadsafe,
        sealer=BodySealer(layout, master_key(layout, None)), segment_bytes_max=1_000_000, chunk_bytes=64 << 10,
    )  # fmt: skip
    chance = random.Random(incarnation)
    answered: list[str] = []

    async def one(number: int) -> None:
        identity = f"{incarnation}-{number:x}"
        written = asyncio.Event()
        log.capture(held(identity), "support", chance.randbytes(chance.randrange(3000)))
        log.when_written(written.set)
        await written.wait()
        log.append(attempted(identity))
        await asyncio.sleep(0)
        log.append(posted(identity))
        log.capture(finished(identity), "support", chance.randbytes(chance.randrange(3000)))
        log.when_written(lambda: answered.append(identity))

    number = 0
    os.write(1, b"ready\n")
    while True:
        await asyncio.gather(*(one(number + index) for index in range(chance.randrange(1, 20))))
        number += 20
        if chance.random() < 0.01:
            log.roll()
        # The other end reads and verifies all of it while it grows: leave it a chance.
        await asyncio.sleep(0.02)
        if answered:
            os.write(1, "".join(f"{identity}\n" for identity in answered).encode())
            answered.clear()


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1])))
