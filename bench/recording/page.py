"""`docs/evidence/recorded.md`: sums only, no prompt and no answer."""

import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime

from bench.recording.answers import ALPHA, INCUMBENT, LISTED, MARGIN, SEED, TASKS, Cell
from bench.recording.traffic import Ledger, Told, mismatches
from weighbridge.ledger.prices import PriceFound

HEAD = """# Verdicts beside the truth, on recorded answers of real models

Written by `bench/recorded.py`. Recorded benchmark answers (ZeroEval, Apache-2.0, September 2024) say nothing about
anybody's traffic; they are here because the truth is known. Sums only: no prompt and no answer is kept.
"""


@dataclass(frozen=True)
class Run:
    """All that the page is made from."""

    cells: list[Cell]
    log: dict[str, Ledger]
    bill: dict[str, dict[str, int]]
    prices: dict[str, PriceFound]
    told: Told
    same: tuple[int, int]
    """Answers on which our graders and the shipped labels agree, of how many."""
    again: tuple[int, int]
    """Contradictions and decisions over many orders."""
    orders: int
    verified: str
    minutes: float


def points(value: float | None) -> str:
    if value is None:
        return "unknown"
    text = f"{abs(100 * value):.1f}"
    return text if text == "0.0" else f"{'+' if value > 0 else '−'}{text}"


def page(run: Run) -> str:
    """The whole page."""
    return "\n".join([HEAD, *_summary(run), "", *_verdicts(run), "", *_bill(run)]) + "\n"


def _summary(run: Run) -> list[str]:
    decided = [row for row in run.cells if row.verdict != "undecided"]
    ours = sum(row.contradicts(row.truth) for row in run.cells)
    shipped = sum(row.contradicts(row.shipped) for row in run.cells)
    told = run.told
    return [
        f"- {told.requests:,} prompts went through the gateway to `{INCUMBENT}` with the official `openai` client, "
        f"sync and async, {told.streams:,} of them streamed",
        f"- margin {100 * MARGIN:g} points, alpha {100 * ALPHA:g} %, seed {SEED}; run of {datetime.now(UTC):%Y-%m-%d}, "
        f"{run.minutes:.0f} minutes on {os.cpu_count()} cores, Python {platform.python_version()}",
        f"- verdicts that contradict the truth: **{ours} of {len(decided)}** decided (our graders), {shipped} (shipped "
        f"labels); allowed: alpha of them, {ALPHA * len(decided):.1f}",
        f"- intervals (level {100 * (1 - 2 * ALPHA):g} %) that do not hold the truth: "
        f"{sum(row.missed for row in run.cells)} of {len(run.cells)}; allowed: {2 * ALPHA * len(run.cells):.1f}",
        f"- the same cells decided again in {run.orders} orders each: {run.again[0]} contradictions in "
        f"{run.again[1]:,} decisions ({100 * run.again[0] / max(1, run.again[1]):.2f} %)",
        f"- our graders and the shipped labels agree on {run.same[0]:,} of {run.same[1]:,} answers "
        f"({100 * run.same[0] / max(1, run.same[1]):.2f} %)",
        f"- afterwards `weighbridge verify` said: {run.verified}",
    ]


def _verdicts(run: Run) -> list[str]:
    lines = [
        "`truth` is the mean difference over all recorded answers that both models have, in points. `pairs` is how",
        "many of them the trial compared before it decided.",
        "",
        "| candidate | task | verdict | pairs | of | measured (interval) | truth, our graders | truth, shipped labels "
        "| |",
        "|---|---|---|---:|---:|---|---:|---:|---|",
    ]
    for row in run.cells:
        shown = "unknown" if row.interval is None else f"{points(row.interval[0])} to {points(row.interval[1])}"
        note = row.reasons[0] if row.verdict == "undecided" and row.reasons else ""
        if row.contradicts(row.truth):
            note = "contradicts the truth"
        elif row.contradicts(row.shipped):
            note = "contradicts the shipped labels only"
        lines.append(
            f"| {row.candidate} | {TASKS.get(row.task, '**all traffic**')} | {row.verdict} | {row.n:,} | {row.items:,} "
            f"| {points(row.difference)} ({shown}) | {points(row.truth)} | {points(row.shipped)} | {note} |"
        )
    tried = {(row.candidate, row.task) for row in run.cells}
    absent = [f"{name} on {TASKS[task]}" for name in LISTED for task in TASKS if (name, task) not in tried]
    return [*lines, "", f"Not recorded, so not tried: {', '.join(absent)}."] if absent else lines


def _bill(run: Run) -> list[str]:
    lines = [
        "## Usage and cost against the provider's bill",
        "",
        "Every exchange that the provider finished, user traffic and replays together. The provider counts for itself;",
        "the cost is checked by pricing the usage of each exchange again.",
        "",
        "| model | requests, log / bill | input tokens, log / bill | output tokens, log / bill | cost in the log "
        "| price |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for model, own in sorted(run.log.items()):
        billed, price = run.bill.get(model, {}), run.prices.get(model)
        cost = f"${own.cost_nanousd / 1e9:,.6f}" if not own.cost_unknown else f"unknown for {own.cost_unknown:,}"
        lines.append(
            f"| {model} | {own.requests:,} / {billed.get('requests', 0):,} "
            f"| {own.prompt_tokens:,} / {billed.get('input_tokens', 0):,} "
            f"| {own.completion_tokens:,} / {billed.get('output_tokens', 0):,} | {cost} "
            f"| {price.version if price is not None else 'none stated, so unknown'} |"
        )
    found = mismatches(run.log, run.bill, run.told)
    return [*lines, "", *(f"- **{one}**" for one in found)] if found else [*lines, "", "No mismatch."]
