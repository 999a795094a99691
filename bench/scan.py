"""Scans a million rows (or --rows N) and says seconds and peak memory, beside an independent sum.

The rows are made up with a fixed seed and written as CSV or as LiteLLM-like JSON lines (--json-lines). The scan runs in
a process of its own, so that its peak memory is its own. Exits 1 where totals differ by a cent or more, or a bound is
missed: 20 s and 500 MB for 10^6 rows, 200 s and 1.5 GB for 10^7.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path

MODELS = (
    ("openai", "gpt-4o"),
    ("openai", "gpt-5.5"),
    ("anthropic", "claude-opus-5-5"),
    ("deepseek", "deepseek-v4-pro"),
)
BOUNDS = {1_000_000: (20.0, 500.0), 10_000_000: (200.0, 1500.0)}


def write(path: Path, rows: int, json_lines: bool) -> Decimal:
    """Returns the sum of the stated costs."""
    random_ = random.Random(5)
    total = 0
    with path.open("w") as file:
        if not json_lines:
            file.write(
                "time,application,team,user,provider,model,input_tokens,cached_input_tokens,output_tokens,"
                "cost_usd,status\n"
            )
        for number in range(rows):
            provider, model = MODELS[number % 4]
            given, made = random_.randrange(100, 20_000), random_.randrange(5, 2_000)
            cached, nano = random_.randrange(0, given), random_.randrange(1, 10**8)
            total += nano
            minute = number % 40_320
            when = f"2026-10-{1 + minute // 1440:02d}T{minute // 60 % 24:02d}:{minute % 60:02d}:00Z"
            cost = f"{nano / 10**9:.9f}"
            application, user = f"app-{number % 37}", f"user-{number % 997}"
            if json_lines:
                metadata = {"user_api_key_alias": application, "usage_object": {"cached": 0}}
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
                    "metadata": metadata,
                    "status": "success",
                }
                file.write(json.dumps(record) + "\n")
            else:
                file.write(
                    f"{when},{application},team-{number % 5},{user},{provider},{model},{given},{cached},{made},"
                    f"{cost},200\n"
                )
    return Decimal(total) / 10**9


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--json-lines", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "usage"
        expected = write(path, arguments.rows, arguments.json_lines)
        command = [sys.executable, "-m", "weighbridge", "scan", str(path), "--json"]
        started = time.perf_counter()
        done = subprocess.run(command, capture_output=True, check=False)
        seconds = time.perf_counter() - started
        size = path.stat().st_size
    if done.returncode:
        print(done.stderr.decode())
        return 1
    megabytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    found = json.loads(done.stdout)["bill"]["total"]
    total = Decimal(found["cost_nanousd"]) / 10**9
    kind = "JSON lines" if arguments.json_lines else "CSV"
    print(f"{arguments.rows:,} rows of {kind}, {size / 1e6:,.0f} MB: {seconds:.1f} s, {megabytes:,.0f} MB at most")
    print(f"total ${total:,.9f}, independent sum ${expected:,.9f}")
    limit = BOUNDS.get(arguments.rows)
    good = abs(total - expected) < Decimal("0.01") and found["requests"] == arguments.rows
    if limit is not None:
        print(f"bounds: {limit[0]:g} s, {limit[1]:,.0f} MB")
        good = good and seconds <= limit[0] and megabytes <= limit[1]
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
