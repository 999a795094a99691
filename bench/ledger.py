"""What hard budgets cost: CPU per request in a worker, leases and projection in the keeper, recovery; both databases.

    scripts/bench ledger [--requests N] [--exchanges N] [--leases N] [--write FILE]

CPU is that of the process (`time.process_time`). *Worker*: hold and settle against leases in hand, and what the leases
add to a `held` frame; the empty loop is left out. *Leases*: one transaction each, stored before it returns. *Recovery*:
a worker that died with its log unread, from opening the ledger until all of its leases are closed.
"""

import argparse
import os
import platform
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import msgspec

from tests.fakes import postgres
from weighbridge.exchanges.framing import FRAMES_MAGIC, frame, header, new_incarnation
from weighbridge.gateway.purse import Chain, Purse
from weighbridge.ledger.leasing import give
from weighbridge.ledger.projection import Projector
from weighbridge.records.budget import Budget
from weighbridge.records.frames import Attempted, Finished, Held, Posted
from weighbridge.records.usage import Usage
from weighbridge.store.control import AskFunds, Funds, FundsRequest
from weighbridge.store.funds import Ask, Given, Grant, Want
from weighbridge.store.layout import Layout
from weighbridge.store.ledger import LedgerStore
from weighbridge.store.postgres import PostgresSql
from weighbridge.store.sql import Sql, SqliteSql

T0 = 1_795_608_000_000_000_000
USAGE_RAW = b'{"prompt_tokens":312,"completion_tokens":64,"total_tokens":376}'
ROUNDS = 5
HELD = 1_200_000
COST = 900_000
IN_FLIGHT = 64
"""Requests that are under way at once, in the log that is recovered."""


class Row(msgspec.Struct):
    what: str
    figure: str


# --- worker -----------------------------------------------------------------------------------------------------------


def budgets(count: int, *, hard: bool, users: bool = False) -> tuple[Budget, ...]:
    return tuple(
        Budget(
            name=f"budget-{number}", limit_nanousd=10**15, hard=hard,
            per_user_nanousd=10**14 if users and number == 0 else None,
        )
        for number in range(count)
    )  # fmt: skip


def funded_purse() -> Purse:
    """A purse whose keeper grants plenty at once."""
    later: list[Callable[[], None]] = []
    purse = Purse(time.perf_counter_ns, time.time_ns, later.append)
    ids = iter(range(1, 1 << 30))

    def send(said: FundsRequest) -> None:
        if isinstance(said, AskFunds):
            given = tuple(
                Given(
                    ask.count,
                    tuple(Grant(want.budget, want.subject, next(ids), 10**15, None) for want in ask.wants),
                    None,
                )
                for ask in said.asks
            )
            purse.funds(Funds(call=said.call, given=given))

    purse.connected(send)
    purse.run_later = later  # type: ignore[attr-defined]  # for `lease_now`
    return purse


class Waiting:
    """Stands for an exchange that waits for its first lease."""

    done = False

    def funded(self, hold: object) -> None:
        self.hold = hold

    def not_funded(self, refusal: object) -> None:
        raise RuntimeError(f"the keeper of this benchmark refused: {refusal}")


def lease_now(purse: Purse, chain: Chain, user: str | None) -> None:
    waiting = Waiting()
    purse.wait(waiting, chain, user, HELD)  # type: ignore[arg-type]
    for callback in purse.run_later:  # type: ignore[attr-defined]
        callback()
    purse.settle(waiting.hold, COST)  # type: ignore[arg-type]


def worker_us(requests: int, chain_of: tuple[Budget, ...], user: str | None) -> float:
    """CPU microseconds of one hold and its settlement."""
    purse = funded_purse()
    chain = purse.chain(chain_of)
    lease_now(purse, chain, user)
    times = []
    for _ in range(ROUNDS):
        start = time.process_time_ns()
        for _ in range(requests):
            hold = purse.hold(chain, user, HELD, time.perf_counter_ns())
            if hold is None:
                raise RuntimeError("the lease did not suffice")
            purse.settle(hold, COST)
        used = time.process_time_ns() - start
        start = time.process_time_ns()
        for _ in range(requests):
            pass
        times.append((used - (time.process_time_ns() - start)) / requests / 1_000)
    return median(times)


def encode_us(requests: int, leases: tuple[int, ...]) -> float:
    encode = msgspec.msgpack.Encoder().encode
    record = frames("0123456789abcdef", 1, leases)[0]
    times = []
    for _ in range(ROUNDS):
        start = time.process_time_ns()
        for _ in range(requests):
            encode(record)
        times.append((time.process_time_ns() - start) / requests / 1_000)
    return median(times)


# --- keeper -----------------------------------------------------------------------------------------------------------


def frames(owner: str, number: int, leases: tuple[int, ...]) -> tuple[Held, Attempted, Posted, Finished]:
    name = f"{owner}-{number:x}"
    return (
        Held(name, T0, "user", "assistant", 7, "support-bot", "support", None, (("task", "refund"),), "task=refund",
             "9f2c7d3a1b5e8f60", False, 1_400, 256, HELD, None, leases=leases),
        Attempted(name, 1, T0, "gpt-4o", "openai", "gpt-4o-2024-08-06", ("model",)),
        Posted(name, 1, 200, Usage(312, 64), USAGE_RAW, COST, "genai-prices 0.0.60 openai/gpt-4o", 9_000_000, 800_000),
        Finished(name, T0, "ok", 200, 1, 900_000_000, 800_000_000, 900, None, COST),
    )  # fmt: skip


@contextmanager
def database(kind: str, server: str | None, folder: Path) -> Iterator[Sql]:
    sql: Sql
    if kind == "SQLite":
        sql = SqliteSql(folder / "ledger.db", lambda: T0)
    else:
        sql = PostgresSql(postgres.database(server or ""), "bench")
    try:
        yield sql
    finally:
        sql.close()


def want(number: int) -> Want:
    return Want(f"budget-{number}", "", "month UTC", "month", "UTC", 10**17, 0, 0)


def lease_ms(sql: Sql, leases: int) -> tuple[float, float]:
    """Milliseconds of one durable lease over three budgets: median and 99th percentile."""
    store = LedgerStore(sql)
    asks = [Ask(tuple(map(want, range(3))), HELD, 1)]
    times = []
    for number in range(leases):
        start = time.perf_counter()
        with sql.transaction():
            (given,) = give(store, f"worker-{number % 4}", "bench", asks, T0)
        times.append((time.perf_counter() - start) * 1_000)
        if given.count != 1:
            raise RuntimeError(f"lease {number} was refused, so nothing was stored: measure fewer")
    times.sort()
    return times[len(times) // 2], times[int(len(times) * 0.99)]


def recovery_s(sql: Sql, folder: Path, exchanges: int) -> tuple[float, float]:
    """Seconds, and seconds of CPU, to project a dead worker's log of so many exchanges, the last ten without an end."""
    store, layout, owner = LedgerStore(sql), Layout(folder), new_incarnation()
    layout.create()
    with sql.transaction():
        (given,) = give(store, owner, "bench", [Ask(tuple(map(want, range(3))), HELD, exchanges)], T0)
    leases = tuple(grant.lease for grant in given.grants)
    encode = msgspec.msgpack.Encoder().encode
    per_segment = 100_000
    for segment in range(-(-exchanges // per_segment)):
        with open(layout.segment(owner, segment + 1), "wb") as file:
            file.write(header(FRAMES_MAGIC))
            begin, last = segment * per_segment, min(exchanges, (segment + 1) * per_segment)
            waiting: deque[tuple[Held, Attempted, Posted, Finished]] = deque()
            for number in range(begin, last + IN_FLIGHT):
                if number < last:
                    begun = frames(owner, number, leases)
                    waiting.append(begun)
                    file.write(b"".join(frame(encode(row)) for row in begun[:2]))
                if number - begin >= IN_FLIGHT - 1 and waiting and number - IN_FLIGHT + 1 < exchanges - 10:
                    file.write(b"".join(frame(encode(row)) for row in waiting.popleft()[2:]))
            file.write(bytes(4096))
    start, busy = time.perf_counter(), time.process_time()
    projector = Projector(layout, store, "bench")
    with sql.transaction():
        projector.load(T0)
    for batch in projector.batches():
        with sql.transaction():
            projector.store(batch, T0)
    took = time.perf_counter() - start, time.process_time() - busy
    expected = (exchanges - 10) * COST + 10 * HELD
    for window in store.windows():
        if window.budget != "budget-0" or window.requests:
            assert (expected, 10) == (window.posted_nanousd, window.orphans), window
    assert not store.leases_of(owner)
    return took


def measured(requests: int, exchanges: int, leases: int) -> list[Row]:
    none = encode_us(requests, ())
    three = encode_us(requests, (1 << 40 | 1, 1 << 40 | 2, 1 << 40 | 3))
    rows = [Row("worker, no budget configured", "one attribute test: below what this can measure")]
    for what, chain, user in (
        ("one hard budget", budgets(1, hard=True), None),
        ("three hard budgets", budgets(3, hard=True), None),
        ("three hard budgets and an end user's", budgets(3, hard=True, users=True), "user-1"),
        ("three soft budgets", budgets(3, hard=False), None),
    ):
        rows.append(Row(f"worker, {what}: hold + settle", f"{worker_us(requests, chain, user):.2f} µs"))
    rows.append(Row("worker, three lease ids in the `held` frame", f"{three - none:+.2f} µs"))
    with postgres.server() as server:
        for kind in ("SQLite", "PostgreSQL"):
            with tempfile.TemporaryDirectory() as text:
                folder = Path(text)
                with database(kind, server, folder) as sql:
                    p50, p99 = lease_ms(sql, leases)
                (folder / "recovery").mkdir()
                with database(kind, server, folder / "recovery") as sql:
                    took, busy = recovery_s(sql, folder / "store", exchanges)
            rows.append(Row(f"{kind}: a durable lease over three budgets", f"p50 {p50:.1f} ms, p99 {p99:.1f} ms"))
            rows.append(Row(f"{kind}: recovery of {exchanges:,} exchanges", f"{took:.1f} s, {busy:.1f} s of CPU"))
            rows.append(Row(f"{kind}: projection, per second of CPU", f"{exchanges / busy:,.0f} exchanges"))
    return rows


def page(rows: list[Row], command: str) -> str:
    table = "\n".join(f"| {row.what} | {row.figure} |" for row in rows)
    return f"""# Evidence: what budgets cost

Written by `{command}` with Python {platform.python_version()} on {os.cpu_count()}
cores, load average {os.getloadavg()[0]:.1f} afterwards: above the number of cores, seconds say more about the machine
than about the ledger, and CPU is what to look at. Expected: at most 15 µs of worker CPU per request, recovery of 10^6
exchanges within 10 s.

| what | figure |
|---|---|
{table}

The worker's figures are CPU of the process, the empty loop left out. A lease is one transaction that is on disk before
it is answered; a worker asks for one when what it has does not suffice, not per request. Recovery is from opening the
ledger until the dead worker's leases are closed, ten requests without an end booked at their upper bound; the sums are
checked to the nano-dollar. Sixty-four requests are under way at a time in that log.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--exchanges", type=int, default=1_000_000)
    parser.add_argument("--leases", type=int, default=300)
    parser.add_argument("--write", type=Path, metavar="FILE")
    given = parser.parse_args()
    rows = measured(given.requests, given.exchanges, given.leases)
    options = f" --exchanges {given.exchanges}" if given.exchanges != 1_000_000 else ""
    text = page(rows, f"scripts/bench ledger{options} --write docs/evidence/ledger.md")
    print(text)
    if given.write is not None:
        given.write.write_text(text)


if __name__ == "__main__":
    main()
