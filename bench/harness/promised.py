"""What is promised of the gateway's cost, beside what a run found."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.harness.contest import (
    COMPILED,
    FIRST_ANSWER,
    FULL,
    IDLE,
    RATES,
    STREAMS,
    UNKEPT,
    WHOLE,
    Results,
    at,
    chunk_columns,
    open_streams,
)
from bench.harness.peers import PEERS

GROUPS = ("request", "chunk", "rate", "memory", "start")
SMALL, LARGE = "1.4 KB, 32 connections", "200 KB, 8 connections"


@dataclass
class Run:
    results: Results
    order: list[str]
    """Contestants, as they are shown."""
    rounds: int
    seconds: float
    groups: Sequence[str]

    def measured(self, *columns: str) -> list[str]:
        """Who has a figure, or a reason for none, in one of these columns."""
        found = {who for who, column in (*self.results.rounds, *self.results.missing) if column in columns}
        return [who for who in self.order if who in found]


@dataclass(frozen=True)
class Expected:
    """One line of what is promised, for one build of the gateway."""

    what: str
    who: str
    measured: float | None
    """`None`: there is no figure."""
    limit: float
    unit: str = "x nginx"
    at_least: bool = False

    @property
    def holds(self) -> bool | None:
        if self.measured is None:
            return None
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    @property
    def row(self) -> str:
        verdict = {True: "holds", False: "**missed**", None: "not measured"}[self.holds]
        measured = "-" if self.measured is None else f"{self.measured:,.2f}"
        sign = ">=" if self.at_least else "<="
        return f"| {self.what} | {self.who} | {measured} | {sign} {self.limit:g} {self.unit} | {verdict} |"


def expected(run: Run) -> list[Expected]:
    """Every promise that the groups of this run can speak of, for the source and, where it ran, the compiled wheel."""
    found: list[Expected] = []
    for suffix in ("", COMPILED):
        full, unkept = FULL + suffix, UNKEPT + suffix
        if full in run.order:
            for group, lines in (
                ("request", _of_requests), ("chunk", _of_chunks), ("rate", _of_rate), ("memory", _of_memory)
            ):  # fmt: skip
                if group in run.groups:
                    found += lines(run.results, full, unkept)
    if "start" in run.groups:
        start = run.results.median(WHOLE, FIRST_ANSWER)
        found.append(Expected("first answer after the start", WHOLE, start, 1.0, "s"))
    rivals = [peer.title for peer in PEERS if peer.title in run.order]
    best = FULL + COMPILED if FULL + COMPILED in run.order else FULL
    if rivals and "request" in run.groups:
        found += _beside_peers(run.results, best, rivals)
    return found


def _of_requests(results: Results, full: str, unkept: str) -> list[Expected]:
    return [
        Expected("CPU per 1.4 KB request, saturated", full, results.ratio(full, SMALL), 3.0),
        Expected("CPU per 200 KB request, saturated", full, results.ratio(full, LARGE), 3.5),
        Expected("the same, bodies not kept", unkept, results.ratio(unkept, LARGE), 2.5),
    ]


def _of_chunks(results: Results, full: str, unkept: str) -> list[Expected]:
    return [
        Expected(
            f"CPU per chunk: {column.name}",
            full,
            results.ratio(full, column.name),
            1.6 if "TLS" in column.name else 1.5,
        )
        for column in chunk_columns()
    ]


def _of_rate(results: Results, full: str, unkept: str) -> list[Expected]:
    rate = RATES[0]
    return [
        Expected(f"CPU per request at {rate:g}/s", full, results.ratio(full, at(rate, "CPU")), 3.0),
        Expected(f"added p50 at {rate:g}/s", full, results.median(full, at(rate, "p50")), 0.5, "ms"),
        Expected(f"added p99 at {rate:g}/s", full, results.median(full, at(rate, "p99")), 2.0, "ms"),
    ]


def _of_memory(results: Results, full: str, unkept: str) -> list[Expected]:
    rows = [Expected("resident, idle", full, results.median(full, IDLE), 40.0, "MB")]
    for count, limit in zip(STREAMS, (60.0, 90.0), strict=True):
        name = open_streams(count)
        rows.append(Expected(f"resident, {name} open", full, results.median(full, name), limit, "MB"))
    return rows


def _beside_peers(results: Results, ours: str, rivals: Sequence[str]) -> list[Expected]:
    """Below every peer: the dearest ratio to any of them."""
    rows = []
    for what, columns in (("request", (SMALL, LARGE)), ("chunk", tuple(one.name for one in chunk_columns()))):
        ratios = [results.ratio(ours, column, rival) for column in columns for rival in rivals]
        known = [ratio for ratio in ratios if ratio is not None]
        if known:
            rows.append(Expected(f"CPU per {what}, beside the cheapest peer", ours, max(known), 1.0, "x that peer"))
    litellm = next((rival for rival in rivals if rival.startswith("LiteLLM")), None)
    if litellm is not None:
        times = results.ratio(litellm, SMALL, ours)
        rows.append(Expected("CPU per 1.4 KB request of LiteLLM", ours, times, 100.0, "x ours", at_least=True))
    return rows
