"""What the gateway costs beside nginx and other gateways, in one interleaved run on one mock provider.

    scripts/bench gateway [--quick] [--peers [NAME ...]] [--only GROUP ...] [--compiled WHEEL] [--write FILE]

CPU time is that of the proxy's whole process tree, read from /proc/PID/task/*/schedstat before and after, divided by
the requests or chunks that came out: this stays meaningful on a busy machine, where requests per second do not. Rounds
of all proxies alternate, so that whatever else runs hits each; a figure is the median over the rounds.

Groups, each of which can run alone (`--only memory start`): `request` (1.4 KB and 200 KB, saturated), `chunk` (64 and
1,000 streams, TLS), `rate` (added latency at an even 500 requests a second), `memory` (0, 1,000 and 5,000 open
streams), `start` (until the first answer).

`--peers` installs and measures vllm-router, ferrogw, Portkey and LiteLLM, too (`bench/harness/peers.py`); `--compiled`
the hot path that `scripts/build --compiled` made of the same source. Needs nginx and wrk; Portkey needs node and npm.
"""

import argparse
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.harness.contest import (
    Contestant,
    Results,
    Stage,
    chunk_columns,
    contestants,
    cpu_rounds,
    memory,
    rate_rounds,
    request_columns,
    starts,
)
from bench.harness.gateway_page import page
from bench.harness.processes import raise_file_limit, touch_memory
from bench.harness.promised import GROUPS, Run, expected


def run(
    groups: Sequence[str], peers: Sequence[str], compiled: Path | None, rounds: int, seconds: float, only: str | None
) -> Run:
    for tool in ("nginx", "wrk"):
        if shutil.which(tool) is None:
            raise SystemExit(f"{tool} is not installed: the comparison needs it (e.g. apt install nginx-light wrk)")
    raise_file_limit()
    touch_memory()
    results = Results()
    with Stage() as stage:
        everyone = contestants(peers, compiled, stage.folder)

        def of(group: str) -> list[Contestant]:
            return [one for one in everyone if group in one.groups]

        for group, columns in (("request", request_columns(stage.folder)), ("chunk", chunk_columns())):
            if group in groups:
                some = [column for column in columns if only is None or only in column.name]
                cpu_rounds(stage, of(group), some, rounds, seconds, results)
        if "rate" in groups:
            rate_rounds(stage, of("rate"), rounds, 2 * seconds, results)
        if "memory" in groups:
            memory(stage, of("memory"), results)
        if "start" in groups:
            starts(stage, of("start"), rounds, results)
    return Run(results, [one.title for one in everyone], rounds, seconds, groups)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two short rounds: for trying, not for quoting")
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=GROUPS, help="only these groups")
    parser.add_argument("--column", help="of `request` and `chunk` only columns whose name contains this")
    parser.add_argument("--peers", nargs="*", metavar="NAME", help="other gateways too: all, or those named")
    parser.add_argument("--compiled", type=Path, metavar="WHEEL", help="a compiled wheel, measured in the same run")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each round")
    parser.add_argument("--write", type=Path, metavar="FILE", help="a Markdown file to write the result to")
    given = parser.parse_args()
    rounds, seconds = (2, 2.0) if given.quick else (given.rounds, given.seconds)
    peers = () if given.peers is None else given.peers or ("",)
    done = run(given.only, peers, given.compiled, rounds, seconds, given.column)
    text = page(done, " ".join(["scripts/bench gateway", *map(shlex.quote, sys.argv[1:])]))
    print(text)
    if given.write is not None:
        given.write.parent.mkdir(parents=True, exist_ok=True)
        given.write.write_text(text)
    missed = [line for line in expected(done) if line.holds is False]
    if missed:
        raise SystemExit(f"{len(missed)} of {len(expected(done))} promises missed")


if __name__ == "__main__":
    main()
