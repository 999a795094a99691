"""What the gateway costs beside nginx `proxy_pass`, in one interleaved run on one mock upstream.

    python bench/gateway.py [--quick] [--write docs/evidence/gateway.md]

CPU time of the proxy's whole process tree, read from /proc/PID/task/*/schedstat before and after, divided by the
requests or chunks that came out: this stays meaningful on a busy machine, where requests per second do not. Rounds of
nginx and of the gateway alternate, so that whatever else runs hits both; a figure is the median over the rounds.

The gateway runs with everything on: keys (1,000), routes and tags, the splice of the model name, the exchange log with
fdatasync, bodies encrypted after redaction, usage and cost, limits and timers, metrics. Needs nginx and wrk.
"""

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
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
    us: dict[str, list[float]] = field(default_factory=lambda: {"nginx": [], "gateway": []})

    def median(self, who: str) -> float:
        return statistics.median(self.us[who])

    @property
    def ratio(self) -> float:
        return statistics.median(
            mine / theirs for mine, theirs in zip(self.us["gateway"], self.us["nginx"], strict=True)
        )


def measure(cases: list[Case], servers: dict[str, tuple[int, int]], rounds: int, seconds: float) -> None:
    for number in range(rounds):
        for case in cases:
            for who, server in (("nginx", case.proxy), ("gateway", case.gateway)):
                pid, port = servers[server]
                if number == 0:
                    case.load(port, 1.0)  # warm: connections made, keys of the day there
                before = cpu_ns(pid)
                count = case.load(port, seconds)
                case.us[who].append((cpu_ns(pid) - before) / 1000 / count)
            print(
                f"round {number + 1}/{rounds}  {case.name:<46} nginx {case.us['nginx'][-1]:6.1f}  "
                f"gateway {case.us['gateway'][-1]:6.1f} us/{case.unit}",
                file=sys.stderr,
            )


def all_cases(folder: Path) -> list[Case]:
    small = wrk_script(folder, "small", request_body(1400, stream=False))
    large = wrk_script(folder, "large", request_body(200_000, stream=False))
    return [
        Case("1.4 KB request, 32 connections", "request", 3.0, lambda p, s: wrk(p, small, 32, s), "json proxy", "json"),
        Case("the same, bodies not captured", "request", 3.0, lambda p, s: wrk(p, small, 32, s), "json proxy", "bare"),
        Case(
            "not captured, under three hard budgets", "request", 3.0, lambda p, s: wrk(p, small, 32, s), "json proxy",
            "funded",
        ),
        Case("200 KB request, 8 connections", "request", None, lambda p, s: wrk(p, large, 8, s), "json proxy", "json"),
        Case(
            "chunk, 64 streams, usage asked for and removed", "chunk", 1.5,
            lambda p, s: read_streams(p, 64, s, usage=False), "stream proxy", "stream",
        ),
        Case(
            "chunk, 64 streams, client asks for usage", "chunk", 1.5,
            lambda p, s: read_streams(p, 64, s, usage=True), "stream proxy", "stream",
        ),
    ]  # fmt: skip


def run(rounds: int, seconds: float, only: str | None) -> list[Case]:
    for tool in ("nginx", "wrk"):
        if shutil.which(tool) is None:
            raise SystemExit(f"{tool} is not installed: the comparison needs it (e.g. apt install nginx-light wrk)")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="weighbridge-bench-")))
        ports = {name: free_port() for name in ("json", "stream", "json proxy", "stream proxy")}
        mock = MOCK.format(port=ports["json"], answer=JSON_ANSWER)
        stack.enter_context(nginx(folder, "mock", mock, ports["json"]))
        stack.enter_context(running([*MOCK_STREAMS, str(ports["stream"])], ports["stream"]))
        servers: dict[str, tuple[int, int]] = {}
        for name, buffering in (("json", "on"), ("stream", "off")):
            port = ports[f"{name} proxy"]
            body = PROXY.format(upstream=ports[name], port=port, buffering=buffering)
            process = stack.enter_context(nginx(folder, f"{name}-proxy", body, port))
            servers[f"{name} proxy"] = process.pid, port
        for name, upstream, bodies, budgets in (
            ("json", "json", True, False),
            ("bare", "json", False, False),
            ("funded", "json", False, True),
            ("stream", "stream", True, False),
        ):
            started = gateway(folder / name, ports[upstream], bodies=bodies, budgets=budgets)
            servers[name] = stack.enter_context(started)
        cases = [case for case in all_cases(folder) if only is None or only in case.name]
        measure(cases, servers, rounds, seconds)
    return cases


# --- telling ----------------------------------------------------------------------------------------------------------


PAGE = """# What the gateway costs

CPU microseconds of the proxy's whole process tree, beside nginx `proxy_pass` on the same mock upstream, in one
interleaved run: medians of {rounds} rounds of {seconds} s each. Written by
`scripts/bench gateway --write docs/evidence/gateway.md`.

{rows}

{where}

On: 1,000 client keys, routes, tags and slices, sticky arms with shares of 90 % and 10 %, the splice of the model
name, the exchange log (four frames a request, one write per turn of the loop, fdatasync every 50 ms), redaction of
secrets and encryption of request and response bodies (but for the row that says so), usage and cost, limits, timers,
metrics. Saturated: at low rates every proxy costs several times as much per request. The mock upstream's and the load
generator's time is not in these figures. Ratios move by 10 to 25 % between runs on a shared machine.
"""


def report(cases: list[Case], rounds: int, seconds: float) -> str:
    rows = ["| case | nginx | gateway | ratio (lowest - highest round) | expected |", "|---|---|---|---|---|"]
    for case in cases:
        ratios = [mine / theirs for mine, theirs in zip(case.us["gateway"], case.us["nginx"], strict=True)]
        spread = f"**{case.ratio:.2f}** ({min(ratios):.2f} - {max(ratios):.2f})"
        expected = "" if case.target is None else f"<= {case.target:g}"
        ours = f"{case.median('gateway'):.1f} us / {case.unit}"
        rows.append(f"| {case.name} | {case.median('nginx'):.1f} | {ours} | {spread} | {expected} |")
    said = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.partition(":")[2].strip() for line in cpuinfo if "model name" in line)
    where = (
        f"{datetime.now(UTC):%Y-%m-%d}, {said.strip().removeprefix('nginx version: ')}, "
        f"Python {platform.python_version()}, uvloop {version('uvloop')}, "
        f"{os.cpu_count()} cores of {next(names, platform.machine())}, shared with other work."
    )
    return PAGE.format(rounds=rounds, seconds=f"{seconds:g}", rows="\n".join(rows), where=where)


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU of the gateway per request and per chunk, beside nginx.")
    parser.add_argument("--quick", action="store_true", help="three short rounds")
    parser.add_argument("--write", type=Path, help="a Markdown file to write the result to")
    parser.add_argument("--only", help="only cases whose name contains this")
    given = parser.parse_args()
    rounds, seconds = (3, 2.0) if given.quick else (7, 4.0)
    cases = run(rounds, seconds, given.only)
    text = report(cases, rounds, seconds)
    print(text)
    if given.write is not None:
        given.write.parent.mkdir(parents=True, exist_ok=True)
        given.write.write_text(text)
    missed = [case.name for case in cases if case.target is not None and case.ratio > case.target]
    if missed:
        raise SystemExit(f"over what is expected: {', '.join(missed)}")


if __name__ == "__main__":
    main()
