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
from urllib.parse import urlencode

from bench.harness.rows import made
from weighbridge.exchanges.kept import KeptRelation
from weighbridge.ledger.daily import Daily
from weighbridge.store.layout import Layout

REPOSITORY = Path(__file__).resolve().parent.parent
EVIDENCE = REPOSITORY / "docs" / "evidence" / "admin.md"
TIMES = 15
OVERVIEW_S_MAX, SEARCH_S_MAX = 0.3, 1.0

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
        with running("serve", "--config", str(file), until="the log is signed", stream="stderr"):
            line = signed_in(file)
            first_s, _ = line.get("/")
            pages = {path: [line.get(path)[0] for _ in range(TIMES)] for path in PAGES}
            searches = {
                what: [line.get("/exchanges?" + urlencode(form))[0] for _ in range(TIMES)]
                for what, form in SEARCHES.items()
            }
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    text = _page(options.exchanges, size, cold_s, first_s, pages, searches, peak)
    print(text)
    if options.write:
        EVIDENCE.write_text(text, "utf-8")
    overview, search = max(pages["/"]), max(max(times) for times in searches.values())
    held = overview < OVERVIEW_S_MAX and search < SEARCH_S_MAX
    return 0 if held else 1


def _page(
    exchanges: int, size: int, cold_s: float, first_s: float, pages: dict[str, list[float]],
    searches: dict[str, list[float]], peak: float,
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
        "Not measured here: one exchange's frames and bodies, which these made rows do not have, and the report.",
        "",
    ])  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
