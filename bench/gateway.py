"""What the gateway costs beside nginx `proxy_pass`, in one interleaved run on one mock upstream.

    scripts/bench gateway [--quick] [--compiled WHEEL] [--write docs/evidence/gateway.md]

CPU time of the proxy's whole process tree, read from /proc/PID/task/*/schedstat before and after, divided by the
requests or chunks that came out: this stays meaningful on a busy machine, where requests per second do not. Rounds of
nginx and of the gateway alternate, so that whatever else runs hits both; a figure is the median over the rounds.

The gateway runs with everything on: keys (1,000), routes and tags, the splice of the model name, the exchange log with
fdatasync, bodies encrypted after redaction, usage and cost, limits and timers, metrics. Needs nginx and wrk.

`--compiled` measures beside it the hot path that `scripts/build --compiled` made of the same source.
"""

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench.harness.proxies import (
    JSON_ANSWER,
    MOCK,
    MOCK_STREAMS,
    PROXY,
    cpu_ns,
    free_port,
    gateway,
    nginx,
    read_streams,
    request_body,
    running,
    wrk,
    wrk_script,
)  # fmt: skip

# --- measuring --------------------------------------------------------------------------------------------------------


@dataclass
class Case:
    name: str
    unit: str
    target: float | None
    load: Callable[[int, float], int]
    """(port, seconds) -> how many came out."""
    proxy: str
    gateway: str
    us: dict[str, list[float]] = field(default_factory=dict)

    def median(self, who: str) -> float:
        return statistics.median(self.us[who])

    def ratios(self, who: str) -> list[float]:
        """To nginx, round by round."""
        return [mine / theirs for mine, theirs in zip(self.us[who], self.us["nginx"], strict=True)]

    def ratio(self, who: str) -> float:
        return statistics.median(self.ratios(who))


def measure(
    cases: list[Case], servers: dict[tuple[str, str], tuple[int, int]], ours: list[str], rounds: int, seconds: float
) -> None:
    for number in range(rounds):
        for case in cases:
            for who in ("nginx", *ours):
                pid, port = servers[who, case.proxy if who == "nginx" else case.gateway]
                if number == 0:
                    case.load(port, 1.0)  # warm: connections made, keys of the day there
                before = cpu_ns(pid)
                count = case.load(port, seconds)
                case.us.setdefault(who, []).append((cpu_ns(pid) - before) / 1000 / count)
            said = "  ".join(f"{who} {us[-1]:6.1f}" for who, us in case.us.items())
            print(f"round {number + 1}/{rounds}  {case.name:<46} {said} us/{case.unit}", file=sys.stderr)


def all_cases(folder: Path) -> list[Case]:
    small = wrk_script(folder, "small", request_body(1400, stream=False))
    large = wrk_script(folder, "large", request_body(200_000, stream=False))
    return [
        Case("1.4 KB request, 32 connections", "request", 3.0, lambda p, s: wrk(p, small, 32, s), "json", "json"),
        Case("the same, bodies not captured", "request", 3.0, lambda p, s: wrk(p, small, 32, s), "json", "bare"),
        Case(
            "not captured, under three hard budgets", "request", 3.0, lambda p, s: wrk(p, small, 32, s), "json",
            "funded",
        ),
        Case("200 KB request, 8 connections", "request", None, lambda p, s: wrk(p, large, 8, s), "json", "json"),
        Case(
            "chunk, 64 streams, usage asked for and removed", "chunk", 1.5,
            lambda p, s: read_streams(p, 64, s, usage=False), "stream", "stream",
        ),
        Case(
            "chunk, 64 streams, client asks for usage", "chunk", 1.5,
            lambda p, s: read_streams(p, 64, s, usage=True), "stream", "stream",
        ),
    ]  # fmt: skip


def run(rounds: int, seconds: float, only: str | None, compiled: Path | None) -> list[Case]:
    for tool in ("nginx", "wrk"):
        if shutil.which(tool) is None:
            raise SystemExit(f"{tool} is not installed: the comparison needs it (e.g. apt install nginx-light wrk)")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="weighbridge-bench-")))
        ports = {name: free_port() for name in ("json", "stream", "json proxy", "stream proxy")}
        sources: dict[str, Path | None] = {"gateway": None}
        if compiled is not None:
            sources["compiled"] = folder / "compiled"
            with zipfile.ZipFile(compiled) as wheel:
                wheel.extractall(folder / "compiled")
        mock = MOCK.format(port=ports["json"], answer=JSON_ANSWER)
        stack.enter_context(nginx(folder, "mock", mock, ports["json"]))
        stack.enter_context(running([*MOCK_STREAMS, str(ports["stream"])], ports["stream"]))
        servers: dict[tuple[str, str], tuple[int, int]] = {}
        for name, buffering in (("json", "on"), ("stream", "off")):
            port = ports[f"{name} proxy"]
            body = PROXY.format(upstream=ports[name], port=port, buffering=buffering)
            process = stack.enter_context(nginx(folder, f"{name}-proxy", body, port))
            servers["nginx", name] = process.pid, port
        for who, source in sources.items():
            for name, upstream, bodies, budgets in (
                ("json", "json", True, False),
                ("bare", "json", False, False),
                ("funded", "json", False, True),
                ("stream", "stream", True, False),
            ):
                store = folder / who / name if source is None else folder / "compiled stores" / name
                started = gateway(store, ports[upstream], bodies=bodies, budgets=budgets, source=source)
                servers[who, name] = stack.enter_context(started)
        cases = [case for case in all_cases(folder) if only is None or only in case.name]
        measure(cases, servers, list(sources), rounds, seconds)
    return cases


# --- telling ----------------------------------------------------------------------------------------------------------


PAGE = """# What the gateway costs

CPU microseconds of the proxy's whole process tree, beside nginx `proxy_pass` on the same mock upstream, in one
interleaved run: medians of {rounds} rounds of {seconds} s each. Written by
`scripts/bench gateway {option}--write docs/evidence/gateway.md`.

{rows}
{compiled}
{where}

On: 1,000 client keys, routes, tags and slices, sticky arms with shares of 90 % and 10 %, the splice of the model
name, the exchange log (four frames a request, one write per turn of the loop, fdatasync every 50 ms), redaction of
secrets and encryption of request and response bodies (but for the row that says so), usage and cost, limits, timers,
metrics. Saturated: at low rates every proxy costs several times as much per request. The mock upstream's and the load
generator's time is not in these figures. Ratios move by 10 to 25 % between runs on a shared machine.
"""


COMPILED = """
`gateway` is the source as it is; `compiled` is the wheel of `scripts/build --compiled`: the same source, its hot path
made into C by mypyc.
"""


def report(cases: list[Case], rounds: int, seconds: float) -> str:
    ours = [who for who in cases[0].us if who != "nginx"] if cases else []
    rows = [f"| case | nginx |{''.join(f' {who} | ratio (lowest - highest round) |' for who in ours)} expected |"]
    rows.append("|---|---|" + "---|---|" * len(ours) + "---|")
    for case in cases:
        figures = "".join(
            f" {case.median(who):.1f} us / {case.unit} | **{case.ratio(who):.2f}** "
            f"({min(case.ratios(who)):.2f} - {max(case.ratios(who)):.2f}) |"
            for who in ours
        )
        expected = "" if case.target is None else f"<= {case.target:g}"
        rows.append(f"| {case.name} | {case.median('nginx'):.1f} |{figures} {expected} |")
    said = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.partition(":")[2].strip() for line in cpuinfo if "model name" in line)
    where = (
        f"{datetime.now(UTC):%Y-%m-%d}, {said.strip().removeprefix('nginx version: ')}, "
        f"Python {platform.python_version()}, uvloop {version('uvloop')}, "
        f"{os.cpu_count()} cores of {next(names, platform.machine())}, shared with other work."
    )
    compiled = len(ours) > 1
    return PAGE.format(
        rounds=rounds,
        seconds=f"{seconds:g}",
        rows="\n".join(rows),
        where=where,
        option="--compiled dist/weighbridge-*-linux_*.whl " if compiled else "",
        compiled=COMPILED if compiled else "",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU of the gateway per request and per chunk, beside nginx.")
    parser.add_argument("--quick", action="store_true", help="three short rounds")
    parser.add_argument("--write", type=Path, help="a Markdown file to write the result to")
    parser.add_argument("--compiled", type=Path, metavar="WHEEL", help="a compiled wheel, measured in the same run")
    parser.add_argument("--only", help="only cases whose name contains this")
    given = parser.parse_args()
    rounds, seconds = (3, 2.0) if given.quick else (7, 4.0)
    cases = run(rounds, seconds, given.only, given.compiled)
    text = report(cases, rounds, seconds)
    print(text)
    if given.write is not None:
        given.write.parent.mkdir(parents=True, exist_ok=True)
        given.write.write_text(text)
    best = "gateway" if given.compiled is None else "compiled"
    missed = [case.name for case in cases if case.target is not None and case.ratio(best) > case.target]
    if missed:
        raise SystemExit(f"over what is expected: {', '.join(missed)}")


if __name__ == "__main__":
    main()
