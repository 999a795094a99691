"""A statement and an export over ten million requests, out of the Parquet files of the log.

    scripts/bench statement                    10,000,000 requests
    scripts/bench statement --requests 1000000
    scripts/bench statement --write            also docs/evidence/statement.md

The rows are made in SQL with the columns that sealing writes, in files of 500,000, and signed into a chain as sealed
files are; nothing else of the store is made up. Timed are the functions behind `budget statement`, `--focus`
and `budget forecast`, each from a fresh look at the log. The total is compared with the sum over the
files.
"""

import argparse
import io
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import duckdb

from tests.ledger.made import NOV_1_NS, Books, loaded
from weighbridge.exchanges.chain import Chain, SealedFile, signing_key
from weighbridge.exchanges.rows import COLUMNS
from weighbridge.ledger.daily import daily
from weighbridge.ledger.focus import export
from weighbridge.ledger.outlook import outlooks
from weighbridge.ledger.postings import postings
from weighbridge.ledger.rates import put_rates
from weighbridge.ledger.statement import Month, statement
from weighbridge.records.usage import usd
from weighbridge.store.layout import Layout

REPOSITORY = Path(__file__).resolve().parent.parent
EVIDENCE = REPOSITORY / "docs" / "evidence" / "statement.md"
FILE_ROWS = 500_000
BUDGET = """
[[budget]]
name = "all"
limit_usd = "1000000000"
window = "month"
[[key]]
name = "bench"
secret = "env:BENCH_KEY"
budget = "all"
"""


def made(layout: Layout, requests: int) -> int:
    """Sealed rows of November; what they cost together, as summed while they were made."""
    chain, key = Chain(layout), signing_key(layout)
    database = duckdb.connect(config={"threads": "2"})
    total = 0
    for number, start in enumerate(range(0, requests, FILE_ROWS)):
        path = layout.parquet("0123456789abcdef", number)
        rows = min(FILE_ROWS, requests - start)
        database.execute(
            f"COPY ({_ROWS.format(start=start, rows=rows)}) TO '{path}' (FORMAT parquet, COMPRESSION zstd)"
        )
        found = database.execute("SELECT sum(cost_nanousd)::HUGEINT FROM read_parquet(?)", [str(path)]).fetchone()
        total += int(found[0]) if found else 0
        body = path.read_bytes()
        sealed = SealedFile(
            kind="rows", path=str(path.relative_to(layout.root)), source=f"0123456789abcdef-{number:06d}.wbx",
            bytes=len(body), sha256=sha256(body).hexdigest(), count=rows,
        )  # fmt: skip
        chain.append(key, time_ns=NOV_1_NS, sealed=(sealed,))
    database.close()
    return total


# Closed: 5 and 0.5 and 30 dollars a million, as the table of `tests/ledger/made.py` says, rounded up once.
_TOKENS = "{{'input': 500 + i % 700, 'output': 20 + i % 90, 'cache_read': (i % 3) * 1000, 'cache_write': 0, "
_USAGE = (
    _TOKENS + "'cache_write_1h': 0, 'reasoning': 0, 'audio_input': 0, 'audio_output': 0, 'image_input': 0, "
    "'image_output': 0, 'web_searches': 0, 'service_tier': NULL::VARCHAR, "
    "'total': 520 + i % 700 + i % 90 + (i % 3) * 1000}}"
)
_COST = "((500 + i % 700) * 5000 + (20 + i % 90) * 30000 + (i % 3) * 1000 * 500)"
_VALUES = {
    "id": "'0123456789abcdef-' || printf('%x', i)", "time": "TIMESTAMP '2026-11-01' + to_seconds(i % 2591000)",
    "route": "'assistant'", "arm": "'closed'", "key": "['app', 'bench', 'batch'][1 + i % 3]",
    "team": "CASE i % 5 WHEN 0 THEN NULL ELSE 'team-' || (i % 5) END", "user": "'user-' || (i % 40)",
    "tags": "MAP {{'task': ['refund']}}", "slice": "'task=refund'", "purpose": "'user'", "table": "7",
    "attempts": f"[{{{{'attempt': 1, 'arm': 'closed', 'endpoint': 'closed-api', 'model': 'gpt-5.5', 'edits': "
    f"[]::VARCHAR[], 'fallback': false, 'status': 200, 'usage': {_USAGE}, 'cost_nanousd': {_COST}, 'price_version': "
    "'book 1 closed', 'duration_ns': 1, 'first_byte_ns': 1, 'error': NULL::VARCHAR, 'estimated': false, "
    "'finish_reason': 'stop'}}]",
    "usage": _USAGE, "cost_nanousd": _COST, "price_version": "'book 1 closed'", "outcome": "'ok'",
    "timings": "{{'duration_ns': 1, 'first_byte_ns': 1}}", "status": "200", "error": "NULL", "stream": "false",
    "conversation": "printf('%x', i)", "trial": "NULL", "item": "NULL", "max_tokens": "NULL",
    "redacted": "false",
    "digest": "sha256(i::VARCHAR)",
}  # fmt: skip
_ABSENT = "NULL"
_CAST = ", ".join(f'CAST({_VALUES.get(name, _ABSENT)} AS {kind}) AS "{name}"' for name, kind in COLUMNS.items())
_ROWS = f"SELECT {_CAST} FROM (SELECT unnest(range({{start}}, {{start}} + {{rows}})) AS i)"  # noqa: S608 (our own text)


def timed(what: Callable[[], object]) -> tuple[float, object]:
    began = time.perf_counter()
    answer = what()
    return time.perf_counter() - began, answer


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000_000)
    parser.add_argument("--write", action="store_true", help="also write docs/evidence/statement.md")
    options = parser.parse_args()
    november, config = Month.parse("2026-11", "UTC"), loaded(BUDGET)
    with tempfile.TemporaryDirectory(prefix="weighbridge-statement-") as folder:
        books = Books(Path(folder))
        layout = books.layout
        total = made(layout, options.requests)
        size = sum(path.stat().st_size for path in layout.rows.iterdir())

        def stated() -> int:
            with postings(layout) as sql:
                said = statement(sql, november)
            if not total == said.total_nanousd == said.allocated_nanousd:
                raise SystemExit(f"statement: {said.total_nanousd} and {said.allocated_nanousd}, made were {total}")
            return len(said.lines)

        def exported() -> int:
            with postings(layout) as sql:
                put_rates(sql, layout)
                done = export(sql, config, november, statement(sql, november), io.StringIO())
            if done.billed_nanousd != total:
                raise SystemExit(f"export: {done.billed_nanousd}, made were {total}")
            return done.rows

        def looked() -> int:
            with daily(layout) as days:
                return len(outlooks(days, config, NOV_1_NS + 30 * 86_400 * 10**9 - 1))

        rows: list[tuple[str, float, object]] = []
        for name, what in (
            ("statement", stated), ("FOCUS export", exported),
            ("forecast, the first one: sums by day are made and kept", looked), ("forecast", looked),
        ):  # fmt: skip
            seconds, answer = timed(what)
            rows.append((name, seconds, answer))
            print(f"{name}: {seconds:.1f} s ({answer})", file=sys.stderr, flush=True)
        books.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    text = "\n".join([
        "# A statement over ten million requests" if options.requests == 10_000_000 else "# A statement",
        "",
        f"Made by `scripts/bench statement --write`: {options.requests:,} requests in Parquet files of {FILE_ROWS:,}",
        f"({size / 2**20:,.0f} MiB), {usd(total)} together, two threads, other work on the machine.",
        f"Statement and export met that sum to the nano-dollar. Peak memory {peak:,.0f} MiB, making the rows included.",
        "",
        "| | seconds | result |",
        "|---|---|---|",
        *(f"| {name} | {seconds:.1f} | {answer:,} {'rows' if name == 'FOCUS export' else 'lines'} |"
          for name, seconds, answer in rows),
        "",
    ])  # fmt: skip
    print(text)
    if options.write:
        EVIDENCE.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
