"""The page of a run of `scripts/bench gateway`."""

import os
import platform
import subprocess
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench.harness.contest import (
    DIRECT,
    FIRST_ANSWER,
    IDLE,
    NGINX,
    RATE_PARTS,
    RATES,
    START_CPU,
    STREAMS,
    at,
    chunk_columns,
    open_streams,
)
from bench.harness.promised import GROUPS, LARGE, SMALL, Run, expected


def figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}"


def cpu_table(run: Run, columns: Sequence[str]) -> Iterator[str]:
    yield f"| proxy |{''.join(f' {name} |' for name in columns)}"
    yield "|---|" + "---|" * len(columns)
    for who in run.measured(*columns):
        cells = []
        for column in columns:
            value, ratios = run.results.median(who, column), run.results.ratios(who, column)
            if value is None:
                cells.append("-")
            elif who == NGINX or not ratios:
                cells.append(figure(value))
            else:
                middle = run.results.ratio(who, column)
                cells.append(f"{figure(value)}: **{middle:,.2f}** ({min(ratios):,.2f} - {max(ratios):,.2f})")
        yield f"| {who} | {' | '.join(cells)} |"


def rate_table(run: Run) -> Iterator[str]:
    yield "| proxy | requests/s | CPU / request | x nginx at this rate | added p50 | p95 | p99, ms |"
    yield "|---|---|---|---|---|---|---|"
    for who in [*run.order, DIRECT]:
        for rate in RATES:
            figures = [run.results.median(who, at(rate, part)) for part in RATE_PARTS]
            if figures[1] is None:
                continue
            ratio = run.results.ratio(who, at(rate, "CPU"))
            ms = " | ".join("-" if one is None else f"{one:.2f}" for one in figures[1:])
            cpu = "-" if figures[0] is None else figure(figures[0])
            times = "-" if ratio is None or who == NGINX else f"**{ratio:.2f}**"
            name = f"{who} (not added: by itself)" if who == DIRECT else who
            yield f"| {name} | {rate:g} | {cpu} | {times} | {ms} |"


def plain_table(run: Run, titles: Sequence[str], columns: Sequence[str], digits: int) -> Iterator[str]:
    yield f"| proxy | {' | '.join(titles)} |"
    yield "|---|" + "---|" * len(columns)
    for who in run.measured(*columns):
        values = [run.results.median(who, column) for column in columns]
        yield f"| {who} | {' | '.join('-' if one is None else f'{one:.{digits}f}' for one in values)} |"


HEADS = {
    "request": "Per request", "chunk": "Per chunk", "rate": "Added latency", "memory": "Memory", "start": "Start",
}  # fmt: skip
TEXTS = {
    "request": """CPU microseconds for each request, saturated: connections that never wait. Ratios are to nginx, the
median over the rounds, with the lowest and the highest round.""",
    "chunk": """CPU microseconds for each chunk that is relayed, in streams of 200 chunks, one every 10 or 100 ms
each. The client does not ask for usage, so the gateway asks and takes it out again, but where the column says so.
TLS is spoken to the provider, with its certificate verified.""",
    "rate": """An open loop: a 1.4 KB request is sent every 2 ms, whatever became of those before. Latency is from
sending a request to the end of its answer, less what the provider takes without a proxy in the same round. Who
does not keep 500 requests a second is measured at the highest of {rates} that it keeps.""",
    "memory": """Resident MB (10^6 bytes) of the process tree, started anew: after one answer, and while streams are
open that have had one chunk. The other rows of ours are one worker alone; `weighbridge serve` is supervisor, keeper and
worker, whose shared pages count in each.""",
    "start": """Seconds from the start of the process to its first answered request, and CPU seconds of its tree by
then. `weighbridge serve` starts on an empty store: it makes keys and loads the price book.""",
}


def section(run: Run, group: str) -> Iterator[str]:
    yield f"## {HEADS[group]}\n"
    yield TEXTS[group].format(rates=", ".join(f"{rate:g}" for rate in RATES)) + "\n"
    streams = [open_streams(count) for count in STREAMS]
    tables = {
        "request": lambda: cpu_table(run, [SMALL, LARGE]),
        "chunk": lambda: cpu_table(run, [one.name for one in chunk_columns()]),
        "rate": lambda: rate_table(run),
        "memory": lambda: plain_table(run, ["idle", *streams], [IDLE, *streams], 0),
        "start": lambda: plain_table(run, [FIRST_ANSWER, START_CPU], [FIRST_ANSWER, START_CPU], 2),
    }
    yield from tables[group]()
    yield ""


ON = """\
**bare** is one key, one route with one arm, no bodies, no budget; like all rows of ours it checks HTTP strictly,
writes the exchange log (one write per turn of the loop, fdatasync every 50 ms), reads usage, prices the answer, keeps
limits and metrics. **everything on** is, besides, 1,000 client keys, tags and slices, sticky shares of 90 % and 10 %,
three hard budgets one above the other, and both bodies looked through for secrets, encrypted and kept. **compiled** is
the wheel of `scripts/build --compiled`: the same source, its hot path made into C.

The peers run with one worker and as their documentation advises for production; they keep no log of requests and no
database, and were not asked to. The provider's and the load generator's time is in no figure but latency. Ratios move
by 10 to 25 % between runs on a shared machine. Free memory is touched once before the first round: to a virtual
machine a page costs several times as much when it is new. An interpreter built without profile-guided optimisation (a
plain `./configure`) costs a tenth more than those of distributions."""


def page(run: Run, command: str) -> str:
    said = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.partition(":")[2].strip() for line in cpuinfo if "model name" in line)
    lines = [
        "# What the gateway costs\n",
        f"One run of {run.rounds} interleaved rounds of {run.seconds:g} s on one mock provider, one worker each, CPU "
        f"time of the whole process tree.\nWritten by `{command}`.\n",
        f"{datetime.now(UTC):%Y-%m-%d}, {said.strip().removeprefix('nginx version: ')}, Python "
        f"{platform.python_version()}, uvloop {version('uvloop')}, {os.cpu_count()} cores of "
        f"{next(names, platform.machine())}, shared with other work.\n",
        "## Promised and measured\n",
        "| | row | measured | promised | |",
        "|---|---|---|---|---|",
        *(line.row for line in expected(run)),
        "",
        ON + "\n",
    ]
    for group in GROUPS:
        if group in run.groups:
            lines += section(run, group)
    if run.results.missing:
        lines.append("## No figure\n")
        lines += [f"- {who}, {column}: {why}" for (who, column), why in run.results.missing.items()]
    return "\n".join(lines).rstrip() + "\n"
