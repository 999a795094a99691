"""Half an hour of a gateway under load while things break: no leak, equal books, every connection accounted for.

    scripts/bench soak                     thirty minutes, at 70 % of what this machine manages
    scripts/bench soak --minutes 5         a short one
    scripts/bench soak --write             also docs/evidence/soak.md

Clients of three dialects call endpoints of three dialects: JSON and streams, tools, reasoning, answers that break off,
429s, errors inside a 200. Some clients leave, dawdle, send half a request or rubbish. All the while the configuration
is reloaded and providers and the keeper are killed (`kill -9`), one of them every some seconds. Twice the load stops:
what is open then must be nothing but kept connections.
"""

import argparse
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path

from bench.harness.soaking import SHARE, WARM, WORKERS, Run, soak

EVIDENCE = Path(__file__).resolve().parent.parent / "docs" / "evidence" / "soak.md"


def _mib(size: float) -> str:
    return f"{size / (1 << 20):.1f} MiB"


def page(run: Run) -> str:
    kept, (first, last) = run.books, run.quiet
    breaks = ", ".join(f"{count} x {what}" for what, count in sorted(run.breaks.items()))
    told = ", ".join(f"{count:,} {what}" for what, count in run.told.most_common())
    outcomes = ", ".join(f"{count:,} `{what}`" for what, count in kept.outcomes.most_common())
    memory = "".join(
        f"| {name} | {_mib(run.fifths(name)[0])} | {_mib(run.fifths(name)[1])} | "
        f"{_mib(max(size for _, size in rows))} | {run.grew(name) / (1 << 20):+.1f} MiB |\n"
        for name, rows in run.memory.items()
    )
    files = "".join(
        f"| worker {at} | {one.rest} → {other.rest} | {one.threads} → {other.threads} | "
        f"{one.tasks:g} → {other.tasks:g} | {other.towards_providers} | {other.towards_clients} |\n"
        for at, (one, other) in enumerate(zip(first, last, strict=True))
    )
    wrong = "".join(f"- {line}\n" for line in run.wrong[:20])
    verdict = f"**{len(run.wrong)} things did not hold:**\n\n{wrong}" if run.wrong else "Everything held."
    what = f"{run.seconds / 60:.1f} minutes, {WORKERS} workers, {run.offered:.0f} requests/s, which is {SHARE:.0%} of"
    return f"""# Under load while things break

Written by `scripts/bench soak --write` with Python {platform.python_version()} on {os.cpu_count()} cores shared with
other work: {what}
the {run.peak:.0f}/s that clients, gateway and providers managed together. Clients and endpoints of three dialects, each
with each; JSON and streams; keys, a hard budget, capture with redaction, log and metrics on. {verdict}

| | |
|---|---|
| broken meanwhile | {breaks} |
| requests sent, and how they ended for clients | {sum(run.told.values()):,}: {told} |
| requests in the log, and how they ended | {kept.requests:,}: {outcomes} |
| by the workers' own counters | {run.counted:,.0f} |
| CPU of the workers | {run.cpu_s:.0f} s, {1e3 * run.cpu_s / max(1, kept.requests):.2f} ms a request |
| billed by the providers | {_usd(kept.billed_nanousd)} |
| cost known: equal to the bill, request by request | {kept.exact:,} requests, {_usd(kept.exact_nanousd)} |
| cost unknown (left, cut, 5xx): no less than the bill | {kept.bounded:,} requests, {_usd(kept.bounded_nanousd)} |
| ledger against log, and `verify` of the whole store | equal, nothing found |
| client connections made, requests that found too many open | {run.opened:,}, {run.late:,} |

Memory (resident), from {WARM:.0%} of the time on, median of the first and of the last fifth, the highest of all:

| | first | last | highest | grew |
|---|---|---|---|---|
{memory}
While nothing was asked, at {WARM:.0%} of the time → at the end: open files that are no connection, threads, tasks of
the event loop; and at the end the connections, as the kernel counts them and the workers, too, to providers (kept) and
to clients.

| | files | threads | tasks | to providers | to clients |
|---|---|---|---|---|---|
{files}"""


def _usd(nanousd: int) -> str:
    return f"${nanousd // 10**9:,}.{nanousd % 10**9:09}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--keep", type=Path, help="an empty folder that is left as it is afterwards")
    given = parser.parse_args()
    folder = given.keep or Path(tempfile.mkdtemp(prefix="weighbridge-soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        run = soak(folder, given.minutes)
    finally:
        if given.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    text = page(run)
    print(text)
    if given.write and not run.wrong:
        EVIDENCE.write_text(text)
    return 1 if run.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
