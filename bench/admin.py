"""The dashboard on ten million exchanges: how long pages take, over HTTP, beside a running gateway.

    scripts/bench admin                      10,000,000 exchanges
    scripts/bench admin --exchanges 1000000
    scripts/bench admin --write              also docs/evidence/admin.md

The rows are made in SQL as sealing leaves them (`bench/harness/rows.py`). `weighbridge serve` runs on that store, as
anybody starts it; its pages are asked for by a signed-in person, one request after the other. Spend on the page is
compared with the sum that was taken while the rows were made.
"""

import argparse
import http.client
import json
import os
import re
import resource
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

from bench.harness.judged import Judged, judged
from bench.harness.rows import made
from weighbridge.exchanges.kept import KeptRelation
from weighbridge.ledger.daily import Daily
from weighbridge.store.layout import Layout

REPOSITORY = Path(__file__).resolve().parent.parent
EVIDENCE = REPOSITORY / "docs" / "evidence" / "admin.md"
TIMES = 15
OVERVIEW_S_MAX, SEARCH_S_MAX = 0.3, 1.0
REPORT_TIMES = 3
REPORT_S_MAX, REPORT_BYTES_MAX = 10.0, 1 << 30

CONFIG = """
[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
[store]
path = "store"
[[endpoint]]
name = "closed-api"
base_url = "http://127.0.0.1:9/v1"
[[arm]]
name = "closed"
endpoint = "closed-api"
model = "gpt-5.5"
weights = "closed"
price = { input = "5.00", output = "30.00", cache_read = "0.50" }
[[arm]]
name = "open"
endpoint = "closed-api"
model = "qwen"
weights = "open"
price = { input = "0.333", output = "0.777" }
[[route]]
name = "assistant"
incumbent = "closed"
candidates = ["open"]
budget = "company"
[[route]]
name = "search"
incumbent = "closed"
candidates = ["open"]
[[route]]
name = "triage"
incumbent = "closed"
candidates = ["open"]
[[budget]]
name = "company"
limit_usd = "1000000"
[[key]]
name = "app"
secret = "file:app.key"
"""

PAGES = {"/": "overview", "/budgets/company": "a budget with its forecast", "/routes": "routes and ramps"}
SEARCHES = {
    "the newest": {},
    "one user of 100,000": {"user": "user-4711"},
    "one user, one route, answered": {"user": "user-4711", "route": "search", "outcome": "ok"},
    "failures of one slice": {"slice": "task=chat", "outcome": "upstream_error"},
    "one day": {"since": "30d", "until": "29d", "route": "triage"},
    "a conversation": {"conversation": "00000000000000ff"},
    "an id": {"id": "0123456789abcde1-186a1"},
    "nothing fits": {"arm": "open", "team": "nobody"},
}


class Line:
    """One signed-in person's connection."""

    def __init__(self, link: str) -> None:
        """link: with which they choose a password."""
        self._host, _, path = link.removeprefix("http://").partition("/")
        self._connection = http.client.HTTPConnection(self._host, timeout=600)
        self._cookie = ""
        password = secrets.token_urlsafe(20)
        status, headers, _ = self._ask("POST", f"/{path}", urlencode({"password": password, "again": password}))
        if status != 303:
            raise SystemExit(f"coming in by the link was answered with {status}")
        self._cookie = str(headers["set-cookie"]).partition(";")[0]

    def _ask(self, method: str, path: str, body: str | None = None) -> tuple[int, dict[str, str], bytes]:
        headers = {"cookie": self._cookie, "origin": f"http://{self._host}"}
        if body is not None:
            headers["content-type"] = "application/x-www-form-urlencoded"
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        raw = answer.read()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, raw

    def get(self, path: str) -> tuple[float, str]:
        """Seconds until the whole page is there, and the page."""
        began = time.perf_counter()
        status, _, raw = self._ask("GET", path)
        took = time.perf_counter() - began
        if status != 200:
            raise SystemExit(f"{path} was answered with {status}: {raw[-900:].decode(errors='replace')}")
        return took, raw.decode()


@contextmanager
def running(*command: str, until: str, stream: str) -> Iterator[list[str]]:
    """A `weighbridge` command until a line of its output matches; the lines read so far."""
    process = subprocess.Popen(
        [sys.executable, "-m", "weighbridge", *command], cwd=REPOSITORY, text=True, env=dict(os.environ),
        stdout=subprocess.PIPE if stream == "stdout" else subprocess.DEVNULL,
        stderr=subprocess.PIPE if stream == "stderr" else None,
    )  # fmt: skip
    lines: list[str] = []
    source = process.stdout if stream == "stdout" else process.stderr
    try:
        for line in source or ():
            lines.append(line)
            if re.search(until, line):
                break
        yield lines
    finally:
        process.terminate()
        process.wait(60)


def signed_in(file: Path) -> Line:
    """A new person on the pages of the running `serve`."""
    said = subprocess.run(
        [sys.executable, "-m", "weighbridge", "dashboard", "--config", str(file), "--person", "bench:admin"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    link = re.search(r"http://\S+/welcome/\S+", said)
    if link is None:
        raise SystemExit(f"nobody was let in: {said}")
    return Line(link[0])


def summed(layout: Layout) -> tuple[int, float]:
    """The money in the kept sums, and the seconds of adding up what no file is kept of yet."""
    kept = KeptRelation(layout)
    sums = Daily(kept)
    began = time.perf_counter()
    sums.refresh()
    took = time.perf_counter() - began
    with sums.cursor() as sql:
        row = sql.execute("SELECT sum(cost_nanousd)::BIGINT FROM daily").fetchone()
    kept.close()
    return int(row[0]) if row else 0, took


class Made(NamedTuple):
    """One run of `weighbridge report`, as the system counts it."""

    wall_s: float
    cpu_s: float
    peak_bytes: int


def report(file: Path, out: Path) -> Made:
    """The whole command in a process of its own."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "weighbridge", "report", "--config", str(file), "--out", str(out)],
        cwd=REPOSITORY, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    _, status, used = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"weighbridge report ended with {process.returncode}")
    return Made(wall_s, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


def _requests(out: Path) -> int:
    """User requests that the report counted."""
    made = json.loads((out / "report.json").read_bytes())
    return sum(int(route["traffic"]["requests"]) for route in made["routes"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exchanges", type=int, default=10_000_000)
    parser.add_argument("--write", action="store_true", help="also write docs/evidence/admin.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="weighbridge-admin-") as name:
        folder = Path(name)
        layout = Layout(folder / "store")
        layout.create()
        file = folder / "weighbridge.toml"
        file.write_text(CONFIG)
        (folder / "app.key").write_text("a key that nobody uses")
        total = made(layout, options.exchanges, time.time_ns() // 10**9 * 10**9)
        size = sum(path.stat().st_size for path in layout.rows.iterdir())
        found, cold_s = summed(layout)
        if found != total:
            raise SystemExit(f"the sums by day are {found}, made were {total}")
        trial = judged(layout, time.time_ns())
        with running("serve", "--config", str(file), until="the log is signed", stream="stderr"):
            line = signed_in(file)
            first_s, _ = line.get("/")
            pages = {path: [line.get(path)[0] for _ in range(TIMES)] for path in PAGES}
            searches = {
                what: [line.get("/exchanges?" + urlencode(form))[0] for _ in range(TIMES)]
                for what, form in SEARCHES.items()
            }
        # Of serve and its pages: before a report is a child that has ended, too.
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        reports = [report(file, folder / "report") for _ in range(REPORT_TIMES)]
        requests = _requests(folder / "report")
        if requests != options.exchanges - len(range(7, options.exchanges, 50)):
            raise SystemExit(f"the report counts {requests:,} requests of users")
    text = _page(options.exchanges, size, cold_s, first_s, pages, searches, peak, reports, trial)
    print(text)
    if options.write:
        EVIDENCE.write_text(text, "utf-8")
    overview, search = max(pages["/"]), max(max(times) for times in searches.values())
    slowest, largest = max(one.wall_s for one in reports), max(one.peak_bytes for one in reports)
    held = overview < OVERVIEW_S_MAX and search < SEARCH_S_MAX
    held = held and slowest < REPORT_S_MAX and largest < REPORT_BYTES_MAX
    return 0 if held else 1


def _page(
    exchanges: int, size: int, cold_s: float, first_s: float, pages: dict[str, list[float]],
    searches: dict[str, list[float]], peak: float, reports: list[Made], trial: Judged,
) -> str:  # fmt: skip
    def row(what: str, times: list[float]) -> str:
        ordered = sorted(times)
        return f"| {what} | {1000 * ordered[len(ordered) // 2]:,.0f} | {1000 * ordered[-1]:,.0f} |"

    return "\n".join([
        f"# The dashboard on {exchanges:,} exchanges",
        "",
        f"Made by `scripts/bench admin --write`: {exchanges:,} exchanges of twelve weeks, three routes, six teams,",
        f"100,000 users in sealed files ({size / 2**20:,.0f} MiB of Parquet), on two cores with other work on the",
        f"machine. `weighbridge serve` runs on the store; a signed-in person asks for each page {TIMES} times, over",
        "HTTP, one after the other.",
        "The sums behind the overview are the sum that was taken while the rows were made, to the nano-dollar.",
        "",
        "| page | median ms | slowest ms |",
        "|---|---|---|",
        *(row(PAGES[path], times) for path, times in pages.items()),
        *(row(f"search: {what}", times) for what, times in searches.items()),
        "",
        f"Asked for is: overview under {1000 * OVERVIEW_S_MAX:.0f} ms, search under {1000 * SEARCH_S_MAX:.0f} ms.",
        "",
        f"The very first time on a store, the sums of every sealed file are made: {cold_s:.1f} s for all of them,",
        f"{1000 * cold_s / max(1, exchanges / 100_000):.0f} ms a file of 100,000. They are kept; the first page of a",
        f"new process took {first_s:.2f} s. Peak memory of a process: {peak:,.0f} MiB.",
        "",
        f"`weighbridge report` on the same store, with a made verdict over {trial.pairs:,} pairs of its rows and",
        f"{trial.told:,} told outcomes, {REPORT_TIMES} times in a process of its own (wall time, CPU time and peak",
        "memory as the system counts them for that process; its requests are those that were made):",
        "",
        "| wall s | CPU s | peak MiB |",
        "|---|---|---|",
        *(f"| {one.wall_s:.1f} | {one.cpu_s:.1f} | {one.peak_bytes / 2**20:,.0f} |" for one in reports),
        "",
        f"Asked for is: under {REPORT_S_MAX:.0f} s and under {REPORT_BYTES_MAX / 2**30:.0f} GiB.",
        "",
        "Not measured here: one exchange's frames and bodies, which these made rows do not have.",
        "",
    ])  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
