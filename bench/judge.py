"""A real judge that prefers the answer it reads first, alone and corrected by labels on a quarter of the rows.

    scripts/bench judge               40 orders of each cell, under a minute
    scripts/bench judge --orders 200 --write
                                      also docs/evidence/judge.md

A large model compared the answers of seven systems on 953 prompts, in both orders. The *judge* is one order only, with
the candidate always first, or always second; the *truth* of a prompt is the mean of both orders, where the preference
for a place cancels. A cell is an ordered pair of systems, a place and a margin. In each order of the rows a quarter of
them, drawn at random, is labelled with the truth. Nothing of the answers is printed.

Needs the recorded judgements (`--shared`, default: a folder `shared` beside the repository).
"""

import argparse
import math
import sys
import time
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path

import duckdb
import numpy as np

from weighbridge.stats.batch import decision, first_crossing, slice_paths
from weighbridge.stats.bets import FloatArray
from weighbridge.stats.judged_arrays import JudgedRows, JudgedStream
from weighbridge.stats.seeds import ranks, uniforms

REPOSITORY = Path(__file__).resolve().parent.parent
EVIDENCE = REPOSITORY / "docs" / "evidence" / "judge.md"
ALPHA, LABELLED = 0.05, 0.25
MARGINS = (0.02, 0.03, 0.05, 0.10)
_TIE, _FIRST, _SECOND = 3, 1, 2


@dataclass
class Sums:
    """Of one margin and place: all orders of all pairs of systems."""

    orders: int = 0
    cells: int = 0
    alone_wrong: int = 0
    alone_worst: float = 0.0
    corrected_wrong: int = 0
    corrected_worst: float = 0.0
    corrected_decided: int = 0
    people_decided: int = 0
    ratios: list[float] = field(default_factory=list)
    """Labels to the verdict with the judge over without, where both decide."""
    correlations: list[float] = field(default_factory=list)


def judgements(folder: Path) -> dict[tuple[str, str], dict[str, float]]:
    """(first, second) -> prompt -> how much better the first was: 1, 0 or -1; invalid judgements are left out."""
    sql = "SELECT first, second, question_id, score FROM read_parquet(?) WHERE bench = 'oa' AND score > 0 ORDER BY ALL"
    rows = duckdb.execute(sql, [str(folder / "qlora_pairwise" / "judgments.parquet")]).fetchall()
    value = {_FIRST: 1.0, _SECOND: -1.0, _TIE: 0.0}
    found: dict[tuple[str, str], dict[str, float]] = {}
    for first, second, prompt, score in rows:
        found.setdefault((first, second), {})[prompt] = value[score]
    return found


def cell(judge: FloatArray, truth: FloatArray, margin: float, orders: int, sums: Sums) -> None:
    mean, n = float(truth.mean()), truth.size
    alone = corrected = 0
    pi, ones, units = np.full(n, LABELLED), np.ones(n), np.arange(n)
    for seed in range(orders):
        order = ranks("order", seed, n)
        f, y = judge[order], truth[order]
        human = np.where(uniforms("labels", seed, n) < LABELLED, y, np.nan)
        certify, ends = slice_paths(f, margin, ALPHA)
        alone += _wrong(decision(first_crossing(certify, -math.log(ALPHA)), ends.halted)[0], mean, margin)
        with_judge = JudgedStream(JudgedRows(f, human, pi, ones, units), margin, ALPHA)
        people = JudgedStream(JudgedRows(np.zeros(n), human, pi, ones, units), margin, ALPHA)
        labels = np.cumsum(~np.isnan(human))
        stops = []
        for stream in (with_judge, people):
            verdict, at = decision(stream.crossed, stream.halted)
            stops.append(None if at is None else int(labels[at - 1]))
            if stream is with_judge:
                corrected += _wrong(verdict, mean, margin)
        sums.corrected_decided += stops[0] is not None
        sums.people_decided += stops[1] is not None
        if stops[0] is not None and stops[1]:
            sums.ratios.append(stops[0] / stops[1])
    sums.orders += orders
    sums.cells += 1
    sums.alone_wrong += alone
    sums.alone_worst = max(sums.alone_worst, alone / orders)
    sums.corrected_wrong += corrected
    sums.corrected_worst = max(sums.corrected_worst, corrected / orders)
    sums.correlations.append(float(np.corrcoef(judge, truth)[0, 1]))


def _wrong(verdict: str, mean: float, margin: float) -> bool:
    return (verdict == "non_inferior" and mean <= -margin) or (verdict == "inferior" and mean > -margin)


def measured(folder: Path, orders: int) -> dict[tuple[str, float], Sums]:
    found = judgements(folder)
    systems = sorted({name for pair in found for name in pair})
    sums: dict[tuple[str, float], Sums] = {}
    for incumbent, candidate in permutations(systems, 2):
        first, second = found[candidate, incumbent], found[incumbent, candidate]
        prompts = sorted(first.keys() & second.keys())
        leads = np.array([first[prompt] for prompt in prompts])
        follows = -np.array([second[prompt] for prompt in prompts])
        for place, judge in (("first", leads), ("second", follows)):
            for margin in MARGINS:
                one = sums.setdefault((place, margin), Sums())
                cell(judge, 0.5 * (leads + follows), margin, orders, one)
    return sums


def three_sigma(runs: int) -> float:
    return ALPHA + 3.0 * math.sqrt(ALPHA * (1.0 - ALPHA) / runs)


def page(sums: dict[tuple[str, float], Sums], orders: int, cpu_s: float) -> list[str]:
    limit = three_sigma(orders)
    cells = sum(one.cells for one in sums.values())
    runs = sum(one.orders for one in sums.values())
    lines = [
        "# A judge that prefers a place, and what labels on a quarter of the rows do about it",
        "",
        f"Written by `scripts/bench judge --orders {orders} --write`: {cells:,} cells (ordered pair of systems x place "
        f"of the candidate x margin), {orders} orders each; alpha = {ALPHA:g}; {cpu_s:.0f} s of CPU.",
        "",
        "The judge sees the candidate in one place only; the truth is the mean over both places. *Wrong*: a verdict on "
        "the other side of the truth's mean over all rows.",
        "",
        "| candidate is read | margin | judge alone: wrong | worst cell | corrected: wrong | worst cell | decided "
        "| by people alone | labels with judge / without | correlation |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for (place, margin), one in sorted(sums.items()):
        ratio = f"{np.median(one.ratios):.2f}" if one.ratios else "-"
        lines.append(
            f"| {place} | {100 * margin:g} | {one.alone_wrong / one.orders:.0%} | {one.alone_worst:.0%} "
            f"| {one.corrected_wrong / one.orders:.2%} | {one.corrected_worst:.1%} "
            f"| {one.corrected_decided / one.orders:.0%} "
            f"| {one.people_decided / one.orders:.0%} | {ratio} | {np.median(one.correlations):.2f} |"
        )
    wrong, worst = sum(one.corrected_wrong for one in sums.values()), max(one.corrected_worst for one in sums.values())
    alone = max(one.alone_worst for one in sums.values())
    fails = _word(alone > limit)
    lines += [
        "",
        "| what | measured | allowed | |",
        "|---|---:|---:|---|",
        f"| corrected, wrong, pooled | {wrong / runs:.2%} | <= {ALPHA:.0%} | {_word(wrong <= ALPHA * runs)} |",
        f"| the same, worst cell | {worst:.1%} | <= {limit:.1%} | {_word(worst <= limit)} |",
        f"| must fail: the judge alone taken at its word, worst cell | {alone:.0%} | > {limit:.1%} | {fails} |",
    ]
    return lines


def _word(holds: bool) -> str:
    return "holds" if holds else "MISSED"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=REPOSITORY.parent / "shared")
    parser.add_argument("--orders", type=int, default=40, help="orders of each cell (default: 40)")
    parser.add_argument("--write", action="store_true", help=f"write {EVIDENCE.relative_to(REPOSITORY)}")
    options = parser.parse_args()
    data = options.shared / "data"
    if not data.is_dir():
        print(f"judge: there are no recorded judgements in {data}; --shared names the folder", file=sys.stderr)
        return 64
    began = time.process_time()
    lines = page(measured(data, options.orders), options.orders, time.process_time() - began)
    print("\n".join(lines))
    if options.write:
        EVIDENCE.write_text("\n".join(lines) + "\n")
    return int(any("MISSED" in line for line in lines))


if __name__ == "__main__":
    sys.exit(main())
