"""Verdicts on recorded answers of real models, decided again in hundreds of orders, beside all rows.

    scripts/bench verdicts                        every 20th pair of models, 50 orders: a minute
    scripts/bench verdicts --every 1 --orders 200 --write
                                                  all pairs; also docs/evidence/verdicts.md (about a quarter of an hour)

A cell is an incumbent (a closed model), a candidate (any other), a task and a margin, with at least 400 items that both
answered. Every order is one that `weighbridge verdict --pairs --seed N` would use, and the same functions decide; on
some cells the command's own function is called and must agree. The reference is what a test of fixed size says from all
rows at once.

Needs the recorded answers (`--shared`, default: a folder `shared` beside the repository). Only sums are printed.
"""

import argparse
import math
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np

from weighbridge.stats.batch import decision, first_crossing, slice_paths
from weighbridge.stats.bets import FloatArray, IntArray
from weighbridge.trials.pairs.decide import decide
from weighbridge.trials.pairs.rows import from_scores
from weighbridge.trials.pairs.units import units_of

REPOSITORY = Path(__file__).resolve().parent.parent
EVIDENCE = REPOSITORY / "docs" / "evidence" / "verdicts.md"
SPEED = "## Speed"
ALPHA = 0.05
MARGINS = (0.02, 0.03, 0.05, 0.10)
ITEMS_MIN = 400
_Z = 1.6448536269514722  # the normal quantile of 1 - ALPHA
_PEEK_FROM = 30  # a person peeking at a z-test waits for so many pairs at least
_CLOSED = re.compile(r"^(gpt|o1|o3|o4|claude|gemini|google-gemini|grok)", re.IGNORECASE)
_CHECKED_EVERY = 40


@dataclass(frozen=True)
class PairOfModels:
    """Scores of two models on the items that both answered."""

    task: str
    incumbent: FloatArray
    candidate: FloatArray


@dataclass
class Sums:
    """What all orders of all cells of one task and margin gave."""

    cells: int = 0
    orders: int = 0
    decided: int = 0
    opposite: int = 0
    wrong: int = 0
    worst_opposite: float = 0.0
    worst_wrong: float = 0.0
    reference_decides: int = 0
    peeked_wrong: int = 0
    worst_peeked: float = 0.0
    stops: list[float] = field(default_factory=list)
    """Share of the items at the decision, one median a cell that decides in at least half of its orders."""

    def add(self, other: "Sums") -> None:
        for name in ("cells", "orders", "decided", "opposite", "wrong", "reference_decides", "peeked_wrong"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("worst_opposite", "worst_wrong", "worst_peeked"):
            setattr(self, name, max(getattr(self, name), getattr(other, name)))
        self.stops += other.stops


def zeroeval(folder: Path) -> Iterator[PairOfModels]:
    sql = "SELECT task, model, open_weights, id, correct FROM read_parquet(?) ORDER BY 1, 2, 4"
    rows = duckdb.execute(sql, [str(folder / "zeroeval" / "outputs.parquet")]).fetchall()
    yield from _crossed(
        [(f"zeroeval {task}", model, not opened, item, score) for task, model, opened, item, score in rows]
    )


def livecodebench(folder: Path) -> Iterator[PairOfModels]:
    sql = "SELECT model, question_id, pass1 / 100 FROM read_parquet(?) ORDER BY 1, 2"
    rows = duckdb.execute(sql, [str(folder / "livecodebench" / "generation.parquet")]).fetchall()
    yield from _crossed(
        [("livecodebench", model, bool(_CLOSED.match(model)), item, score) for model, item, score in rows]
    )


def routellm(folder: Path) -> Iterator[PairOfModels]:
    for task, by in (("mmlu", "subject, idx"), ("gsm8k", "idx")):
        sql = f"SELECT strong_correct, weak_correct FROM read_parquet(?) ORDER BY {by}"  # noqa: S608 (no input)
        rows = np.array(
            duckdb.execute(sql, [str(folder / "routellm" / f"{task}.parquet")]).fetchall(), dtype=np.float64
        )
        yield PairOfModels(f"routellm {task}", rows[:, 0], rows[:, 1])


def _crossed(rows: list[tuple[str, str, bool, str, float]]) -> Iterator[PairOfModels]:
    """Every closed model against every other on the items that both answered."""
    scores: dict[tuple[str, str], dict[str, float]] = {}
    closed: set[tuple[str, str]] = set()
    for task, model, is_closed, item, score in rows:
        scores.setdefault((task, model), {})[item] = float(score)
        if is_closed:
            closed.add((task, model))
    for task, incumbent in sorted(closed):
        for (other_task, candidate), theirs in sorted(scores.items()):
            ours = scores[task, incumbent]
            if other_task != task or candidate == incumbent or len(ours.keys() & theirs.keys()) < ITEMS_MIN:
                continue
            items = sorted(ours.keys() & theirs.keys())
            yield PairOfModels(task, np.array([ours[i] for i in items]), np.array([theirs[i] for i in items]))


class Orders:
    """The orders of the command's seeds, once for each number of rows."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._known: dict[int, list[IntArray]] = {}

    def of(self, n: int) -> list[IntArray]:
        if n not in self._known:
            some = from_scores(np.zeros(n), np.zeros(n))
            self._known[n] = [units_of(some, seed).rows for seed in range(self._count)]
        return self._known[n]


def cell(pair: PairOfModels, margin: float, orders: list[IntArray], *, check: bool) -> Sums:
    d = pair.candidate - pair.incumbent
    mean, error = float(d.mean()), float(d.std(ddof=1)) / math.sqrt(d.size)
    reference = "undecided"
    if mean - _Z * error > -margin:
        reference = "non_inferior"
    elif mean + _Z * error < -margin:
        reference = "inferior"
    found, peeked, stops = [], 0, []
    for seed, order in enumerate(orders):
        ordered = d[order]
        certify, ends = slice_paths(ordered, margin, ALPHA)
        verdict, at = decision(first_crossing(certify, -math.log(ALPHA)), ends.halted)
        found.append(verdict)
        if at is not None:
            stops.append(at / d.size)
        peeked += _wrong(_peeked(ordered, margin), mean, margin)
        if check and seed < 2:
            state = decide(from_scores(pair.incumbent, pair.candidate), margin, ALPHA, seed).overall.state
            assert (state.verdict, state.decided_at) == (verdict, at), (state, verdict, at)
    opposite = sum({verdict, reference} == {"non_inferior", "inferior"} for verdict in found)
    wrong = sum(_wrong(verdict, mean, margin) for verdict in found)
    n = len(orders)
    return Sums(
        cells=1,
        orders=n,
        decided=len(stops),
        opposite=opposite,
        wrong=wrong,
        worst_opposite=opposite / n,
        worst_wrong=wrong / n,
        reference_decides=int(reference != "undecided"),
        peeked_wrong=peeked,
        worst_peeked=peeked / n,
        stops=[float(np.median(stops))] if 2 * len(stops) >= n else [],
    )


def _wrong(verdict: str, mean: float, margin: float) -> bool:
    return (verdict == "non_inferior" and mean <= -margin) or (verdict == "inferior" and mean > -margin)


def _peeked(d: FloatArray, margin: float) -> str:
    """The method that must fail: a z-test looked at after each pair."""
    n = np.arange(1, d.size + 1)
    mean = np.cumsum(d) / n
    error = np.sqrt(np.maximum(np.cumsum(d * d) / n - mean * mean, 0.0) / n)
    up, down = mean - _Z * error > -margin, mean + _Z * error < -margin
    up[:_PEEK_FROM] = down[:_PEEK_FROM] = False
    first_up, first_down = (int(np.argmax(hit)) if hit.any() else d.size for hit in (up, down))
    if first_up == first_down:
        return "undecided"
    return "non_inferior" if first_up < first_down else "inferior"


def three_sigma(runs: int) -> float:
    return ALPHA + 3.0 * math.sqrt(ALPHA * (1.0 - ALPHA) / runs)


def speed() -> tuple[float, float, int]:
    """CPU seconds from Parquet to verdicts, of the whole process, and its peak memory in MB: 10^6 pairs, 100 slices."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pairs.parquet"
        with duckdb.connect(":memory:") as connection:
            connection.execute(
                "COPY (SELECT CAST(hash(i) % 5 > 0 AS DOUBLE) AS incumbent, CAST(hash(i + 7) % 5 > 0 AS DOUBLE) AS candidate, "  # noqa: S608, E501
                f"'slice ' || hash(i + 3) % 100 AS slice FROM range(1000000) t(i)) TO '{file}'"
            )
        code = (
            "import sys, time\nfrom pathlib import Path\n"
            "from weighbridge.trials.pairs.conclude import conclude\nfrom weighbridge.trials.pairs.read import read\n"
            "began = time.process_time()\nconclude(read(Path(sys.argv[1])), 0.03, 0.05)\n"
            "print(time.process_time() - began)\n"
        )
        told = subprocess.run([sys.executable, "-c", code, str(file)], check=True, capture_output=True, text=True)
        # A small process in between: a child's peak begins with what its parent had when it was forked.
        command = [sys.executable, "-m", "weighbridge", "verdict", "--pairs", str(file), "--json"]
        between = (
            "import resource, subprocess, sys\nsubprocess.run(sys.argv[1:], check=False, stdout=subprocess.DEVNULL)\n"
            "u = resource.getrusage(resource.RUSAGE_CHILDREN)\nprint(u.ru_utime + u.ru_stime, u.ru_maxrss)\n"
        )
        used = subprocess.run([sys.executable, "-c", between, *command], check=True, capture_output=True, text=True)
    cpu, kilobytes = used.stdout.split()
    return float(told.stdout), float(cpu), int(kilobytes) // 1024


def table(sums: dict[tuple[str, float], Sums], orders: int) -> list[str]:
    limit = three_sigma(orders)
    lines = [
        "| task | margin | cells | decided | stops at | opposite to all rows | worst cell | wrong side of the mean "
        "| worst cell | fixed size decides |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for (task, margin), one in sorted(sums.items()):
        stop = f"{np.median(one.stops):.0%}" if one.stops else "-"
        lines.append(
            f"| {task} | {100 * margin:g} | {one.cells:,} | {one.decided / one.orders:.0%} | {stop} "
            f"| {one.opposite / one.orders:.2%} | {one.worst_opposite:.1%} | {one.wrong / one.orders:.2%} "
            f"| {one.worst_wrong:.1%} | {one.reference_decides / one.cells:.0%} |"
        )
    pooled = Sums()
    for one in sums.values():
        pooled.add(one)
    rows = [
        ("opposite to the verdict from all rows, pooled", pooled.opposite / pooled.orders, f"<= {ALPHA:.0%}",
         pooled.opposite <= ALPHA * pooled.orders),
        ("the same, worst cell", pooled.worst_opposite, f"<= {limit:.1%}", pooled.worst_opposite <= limit),
        ("wrong side of the mean of all rows, pooled", pooled.wrong / pooled.orders, f"<= {ALPHA:.0%}",
         pooled.wrong <= ALPHA * pooled.orders),
        ("the same, worst cell", pooled.worst_wrong, f"<= {limit:.1%}", pooled.worst_wrong <= limit),
        ("must fail: a z-test looked at after each pair, wrong side, worst cell", pooled.worst_peeked, f"> {limit:.1%}",
         pooled.worst_peeked > limit),
    ]  # fmt: skip
    lines += ["", "| what | measured | allowed | |", "|---|---:|---:|---|"]
    lines += [
        f"| {what} | {value:.2%} | {allowed} | {'holds' if holds else 'MISSED'} |"
        for what, value, allowed, holds in rows
    ]
    return lines


def speed_lines() -> list[str]:
    decided_s, process_s, peak_mb = speed()
    rows = [
        ("from Parquet to verdicts", f"{decided_s:.2f} s CPU", "<= 2 s", decided_s <= 2.0),
        ("the whole command, with its start", f"{process_s:.2f} s CPU", "", None),
        ("peak memory of the command", f"{peak_mb} MB", "< 200 MB", peak_mb < 200),
    ]
    words = {True: "holds", False: "MISSED", None: "shown only"}
    return [
        SPEED,
        "",
        "10^6 pairs over 100 slices; by itself: `scripts/bench verdicts --speed --write`.",
        "",
        "| what | measured | allowed | |",
        "|---|---:|---:|---|",
        *(f"| {what} | {value} | {allowed} | {words[holds]} |" for what, value, allowed, holds in rows),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=REPOSITORY.parent / "shared")
    parser.add_argument("--every", type=int, default=20, help="use every n-th pair of models (default: 20)")
    parser.add_argument("--orders", type=int, default=50, help="orders of each cell (default: 50)")
    parser.add_argument("--write", action="store_true", help=f"write {EVIDENCE.relative_to(REPOSITORY)}")
    parser.add_argument(
        "--speed", action="store_true", help="measure only the speed; with --write, that part of the page"
    )
    options = parser.parse_args()
    if options.speed:
        lines = speed_lines()
        print("\n".join(lines))
        if options.write:
            before = EVIDENCE.read_text().partition(SPEED)[0]
            EVIDENCE.write_text(before + "\n".join(lines) + "\n")
        return int(any("MISSED" in line for line in lines))
    data = options.shared / "data"
    if not data.is_dir():
        print(f"verdicts: there are no recorded answers in {data}; --shared names the folder", file=sys.stderr)
        return 64
    began = time.process_time()
    orders, sums = Orders(options.orders), dict[tuple[str, float], Sums]()
    models = [*zeroeval(data), *livecodebench(data), *routellm(data)]
    used = [pair for i, pair in enumerate(models) if i % options.every == 0 or pair.task.startswith("routellm")]
    for i, pair in enumerate(used):
        for margin in MARGINS:
            check = i % _CHECKED_EVERY == 0
            found = cell(pair, margin, orders.of(pair.candidate.size), check=check)
            sums.setdefault((pair.task, margin), Sums()).add(found)
        if i % 200 == 0:
            print(f"[{time.process_time() - began:5.0f} s] {i:,} of {len(used):,} pairs", file=sys.stderr, flush=True)
    lines = [
        "# Do verdicts from a file hold, whatever the order of its rows?",
        "",
        f"Written by `scripts/bench verdicts --every {options.every} --orders {options.orders} --write`: {len(used):,} "
        f"of {len(models):,} pairs of an incumbent (a closed model) and another model with at least {ITEMS_MIN} items "
        f"that both answered, at margins of 2, 3, 5 and 10 points, {options.orders} orders each; alpha = {ALPHA:g}; "
        f"{time.process_time() - began:.0f} s of CPU.",
        "",
        "Each order is that of `weighbridge verdict --pairs FILE --seed N`, looked at after every pair; the verdict of "
        "an order is what its first crossing says. *Fixed size* is a one-sided z-test each way from all rows at once: "
        "what an analyst would say who looks once. *Opposite* is non-inferior against inferior. *Stops at*: the median "
        "share of the rows at the decision, over cells that decide in at least half of their orders.",
        "",
        *table(sums, options.orders),
        "",
        *speed_lines(),
    ]
    print("\n".join(lines))
    if options.write:
        EVIDENCE.write_text("\n".join(lines) + "\n")
    return int(any("MISSED" in line for line in lines))


if __name__ == "__main__":
    sys.exit(main())
