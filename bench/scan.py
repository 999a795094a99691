"""Scans made-up usage files and says seconds and peak memory, beside a sum of its own.

    scripts/bench scan                        10^6 rows of CSV
    scripts/bench scan --rows 10000000        10^7
    scripts/bench scan --json-lines           LiteLLM-like JSON lines instead
    scripts/bench scan --write                10^6 of both kinds and 10^7 of CSV; also docs/evidence/scan.md

Rows have a fixed seed. Half of them state what was charged; the other half is priced by the book, and its sum is made
with the book's own arithmetic in decimals. Each scan runs in a process of its own, so that its peak memory is its own.
Exits 1 where totals differ by a cent or more, or a bound is missed: 20 s and 500 MB for 10^6 rows, 200 s and 1.5 GB for
10^7.
"""

import argparse
import json
import os
import platform
import random
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from genai_prices import Usage, calc_price

REPOSITORY = Path(__file__).resolve().parent.parent
EVIDENCE = REPOSITORY / "docs" / "evidence" / "scan.md"
MODELS = (
    ("openai", "gpt-4o"),
    ("openai", "gpt-5.5"),
    ("anthropic", "claude-opus-5-5"),
    ("deepseek", "deepseek-v4-pro"),  # dearer at some hours
)
BOUNDS = {1_000_000: (20.0, 500.0), 10_000_000: (200.0, 1500.0)}
_START = datetime(2026, 10, 1, tzinfo=UTC)
_HEADINGS = "time,application,team,user,provider,model,input_tokens,cached_input_tokens,output_tokens,cost_usd,status\n"


@dataclass(frozen=True)
class Measured:
    rows: int
    kind: str
    size: int
    seconds: float
    cpu_seconds: float
    megabytes: float
    total: Decimal
    expected: Decimal

    @property
    def good(self) -> bool:
        bound = BOUNDS.get(self.rows)
        fits = bound is None or (self.seconds <= bound[0] and self.megabytes <= bound[1])
        return fits and abs(self.total - self.expected) < Decimal("0.01")


class Book:
    """What a row costs by the book's own prices, each asked for once per model and hour."""

    def __init__(self) -> None:
        self._rates: dict[tuple[int, int], tuple[int, int, int]] = {}

    def cost(self, model: int, hour: int, given: int, cached: int, made: int) -> int:
        """Nano-dollars, rounded up once."""
        rates = self._rates.get((model, hour))
        if rates is None:
            rates = self._rates[model, hour] = self._ask(model, hour)
        return -(-((given - cached) * rates[0] + cached * rates[1] + made * rates[2]) // 10**6)

    def _ask(self, model: int, hour: int) -> tuple[int, int, int]:
        provider, name = MODELS[model]
        at = _START + timedelta(hours=hour)

        def rate(usage: Usage) -> int:
            found = calc_price(usage, name, provider_id=provider, genai_request_timestamp=at)
            return round(found.total_price * 10**9 * 100)

        # A hundredth of a million, so that no context tier is reached.
        return (
            rate(Usage(input_tokens=10_000)),
            rate(Usage(input_tokens=10_000, cache_read_tokens=10_000)),
            rate(Usage(output_tokens=10_000)),
        )


def write(path: Path, rows: int, json_lines: bool) -> Decimal:
    """Returns the sum of what the rows cost."""
    random_ = random.Random(5)
    book = Book()
    total = 0
    with path.open("w") as file:
        if not json_lines:
            file.write(_HEADINGS)
        for number in range(rows):
            provider, model = MODELS[number % 4]
            given, made = random_.randrange(100, 20_000), random_.randrange(5, 2_000)
            cached, nano = random_.randrange(0, given), random_.randrange(1, 10**8)
            minute = number % 40_320
            when = f"2026-10-{1 + minute // 1440:02d}T{minute // 60 % 24:02d}:{minute % 60:02d}:00Z"
            application, user = f"app-{number % 37}", f"user-{number % 997}"
            stated = json_lines or number // 4 % 2 == 0
            total += nano if stated else book.cost(number % 4, minute // 60, given, cached, made)
            if json_lines:
                record = {
                    "request_id": f"r{number}",
                    "call_type": "completion",
                    "api_key": "hash",
                    "spend": nano / 10**9,
                    "prompt_tokens": given,
                    "completion_tokens": made,
                    "startTime": when,
                    "endTime": when,
                    "model": model,
                    "custom_llm_provider": provider,
                    "end_user": user,
                    "team_id": "team",
                    "metadata": {"user_api_key_alias": application, "usage_object": {"cached": 0}},
                    "status": "success",
                }
                file.write(json.dumps(record) + "\n")
            else:
                cost = f"{nano / 10**9:.9f}" if stated else ""
                file.write(
                    f"{when},{application},team-{number % 5},{user},{provider},{model},{given},{cached},{made},"
                    f"{cost},200\n"
                )
    return Decimal(total) / 10**9


def measure(rows: int, json_lines: bool) -> Measured:
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "usage", Path(folder) / "scan.json"
        expected = write(path, rows, json_lines)
        started = time.perf_counter()
        process = os.fork()
        if process == 0:
            os.dup2(os.open(out, os.O_WRONLY | os.O_CREAT), 1)
            os.execv(sys.executable, [sys.executable, "-m", "weighbridge", "scan", str(path), "--json"])  # noqa: S606 (our own command)
        _, status, used = os.wait4(process, 0)
        seconds = time.perf_counter() - started
        if status:
            raise SystemExit(f"bench scan: the scan ended with {os.waitstatus_to_exitcode(status)}")
        total = json.loads(out.read_bytes())["bill"]["total"]
        found = Measured(
            rows=rows,
            kind="JSON lines" if json_lines else "CSV",
            size=path.stat().st_size,
            seconds=seconds,
            cpu_seconds=used.ru_utime + used.ru_stime,
            megabytes=used.ru_maxrss / 1024,
            total=Decimal(total["cost_nanousd"]) / 10**9,
            expected=expected,
        )
    print(
        f"{rows:,} rows of {found.kind}, {found.size / 1e6:,.0f} MB: {found.seconds:.1f} s "
        f"({found.cpu_seconds:.1f} s of CPU), {found.megabytes:,.0f} MB at most; "
        f"total ${found.total:,.9f}, independent sum ${found.expected:,.9f}"
    )
    if total["requests"] != rows or total["unknown_requests"]:
        raise SystemExit(
            f"bench scan: {total['requests']:,} requests were read, {total['unknown_requests']:,} unpriced"
        )
    return found


def page(results: list[Measured]) -> str:
    lines = []
    for one in results:
        bound = BOUNDS[one.rows]
        lines.append(
            f"| {one.rows:,} | {one.kind}, {one.size / 1e6:,.0f} MB | {one.seconds:.1f} s | {bound[0]:g} s | "
            f"{one.cpu_seconds:.1f} s | {one.megabytes:,.0f} MB | {bound[1]:,.0f} MB | ${one.total:,.9f} | "
            f"${one.expected:,.9f} |"
        )
    return f"""# What a scan takes

Whole command `weighbridge scan FILE --json`, start of the process included. Written by `scripts/bench scan --write`.

| rows | file | wall time | bound | CPU | peak memory | bound | total | sum made beside it |
|---|---|---|---|---|---|---|---|---|
{chr(10).join(lines)}

{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {os.cpu_count()} cores, shared with other work.

Made-up rows with a fixed seed: 37 applications, 997 users, four models, four weeks. In the CSV half of the rows state
what was charged; the others are priced by the book, one model of them by the hour, and the sum beside it is made with
the book's own calculator. LiteLLM-like JSON lines state every charge.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--json-lines", action="store_true")
    parser.add_argument("--write", action="store_true", help=f"write {EVIDENCE.relative_to(REPOSITORY)}")
    given = parser.parse_args()
    runs = ((10**6, False), (10**6, True), (10**7, False)) if given.write else ((given.rows, given.json_lines),)
    results = [measure(rows, json_lines) for rows, json_lines in runs]
    if given.write:
        EVIDENCE.write_text(page(results))
    return 0 if all(one.good for one in results) else 1


if __name__ == "__main__":
    sys.exit(main())
