"""Do the verdicts keep their promises? Errors under peeking, stopping points, label savings, speed; prints one table.

    python -m bench.stats                    under a minute
    python -m bench.stats --long             the real thing, several minutes
    python -m bench.stats --long --write     the same, into docs/evidence/statistics.md
    ... --recorded FOLDER                    also shuffles of recorded answers, FOLDER/zeroeval/outputs.parquet

Every row has its allowance beside it; a row that misses makes the exit status 1. Rows under "must fail" are methods
that break the promise: they pass when the harness catches them.
"""

import argparse
import math
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.harness import sequential as peer
from weighbridge.stats.batch import decide_arrays
from weighbridge.stats.bets import FloatArray, log_path, second_moments
from weighbridge.stats.clusters import cluster_means, order
from weighbridge.stats.family import Family
from weighbridge.stats.judged import JudgedTest, choose_labels
from weighbridge.stats.overall import OverallTest, default_probabilities
from weighbridge.stats.sequential import PairTest

EVIDENCE = Path(__file__).resolve().parent.parent / "docs" / "evidence" / "statistics.md"
ALPHA = 0.05
THRESHOLD = -math.log(ALPHA)
# One-sided 5% and 80% power: the fixed-n test that stopping points are compared with.
FIXED_N = (1.6449 + 0.8416) ** 2


@dataclass(frozen=True)
class Row:
    group: str
    what: str
    figure: str
    allowed: str
    good: bool


def three_sigma(runs: int, alpha: float = ALPHA) -> float:
    return alpha + 3.0 * math.sqrt(alpha * (1.0 - alpha) / runs)


def rate_row(group: str, what: str, errors: int, runs: int) -> Row:
    limit = three_sigma(runs)
    return Row(group, what, f"{errors / runs:.1%} of {runs:,}", f"<= {limit:.1%}", errors / runs <= limit)


def control_row(what: str, errors: int, runs: int) -> Row:
    limit = three_sigma(runs)
    return Row("must fail", what, f"{errors / runs:.1%} of {runs:,}", f"> {limit:.1%}", errors / runs > limit)


def paths(d: FloatArray, margin: float) -> tuple[FloatArray, FloatArray]:
    """Log e-values of certify and halt after each pair."""
    rate = margin / (second_moments(d * d) + margin**2)
    x = d + margin
    return log_path(x, rate, 1.0 - margin)[0], log_path(-x, rate, 1.0 + margin)[0]


def ever(path: FloatArray) -> bool:
    return bool(path.max() >= THRESHOLD)


def first(path: FloatArray) -> float:
    above = path >= THRESHOLD
    return float(np.argmax(above)) + 1.0 if above.any() else math.inf


def peeked_z(d: FloatArray, margin: float) -> bool:
    """A one-sided z-test of the mean, looked at after each pair from the 30th."""
    n = np.arange(1, d.size + 1)
    mean = np.cumsum(d) / n
    variance = np.cumsum(d * d) / n - mean**2
    known = variance[29:] > 0.0  # a careful user waits for the first pair that differs
    score = (mean + margin)[29:][known] * np.sqrt(n[29:][known] / variance[29:][known])
    return bool((score >= 1.6449).any())


def three_point(rng: np.random.Generator, mean: float, discordance: float, size: int) -> FloatArray:
    """Differences of graders that say 0 or 1: -1, 0, 1 with this mean and share of non-zeros."""
    up = 0.5 * (discordance + mean)
    u = rng.random(size)
    return np.where(u < up, 1.0, np.where(u < discordance, -1.0, 0.0))


SHAPES = ((0.005, 0.003), (0.04, 0.02), (0.15, 0.03), (0.40, 0.03))


def errors_at_the_margin(runs: int, n: int) -> Iterable[Row]:
    for discordance, margin in SHAPES:
        up = round(n * 0.5 * (discordance - margin))
        down = up + round(n * margin)
        frame = np.concatenate((np.ones(up), -np.ones(down), np.zeros(n - up - down)))
        certified = halted = z = fresh = fresh_z = 0
        rng = np.random.default_rng(1)
        for seed in range(runs):
            d = frame[order(n, seed)]
            certify, halt = paths(d, margin)
            certified, halted, z = certified + ever(certify), halted + ever(halt), z + peeked_z(d, margin)
            d = three_point(rng, -margin, discordance, n)
            fresh, fresh_z = fresh + ever(paths(d, margin)[0]), fresh_z + peeked_z(d, margin)
        name = f"discordance {discordance:.1%}, margin {margin}"
        yield rate_row("truth at the margin", f"{name}: certified, shuffles of a frame exactly at it", certified, runs)
        yield rate_row("truth at the margin", f"{name}: certified, fresh pairs", fresh, runs)
        yield rate_row("truth at the margin", f"{name}: halted, shuffles", halted, runs)
        yield control_row(f"{name}: z-test looked at after each pair, shuffles", z, runs)
        yield control_row(f"{name}: z-test looked at after each pair, fresh pairs", fresh_z, runs)


def errors_of_clusters_and_drift(runs: int) -> Iterable[Row]:
    rng = np.random.default_rng(2)
    tasks, as_units, as_means, in_time, shuffled = 400, 0, 0, 0, 0
    keys = np.repeat(np.arange(tasks), 4).tolist()
    drift = np.linspace(0.2, -0.2, 1_500) - 0.05
    for seed in range(runs):
        task = rng.choice([-1.0, 0.0, 1.0], p=[0.35, 0.4, 0.25], size=tasks)
        agreeing = rng.random((tasks, 4)) < 0.95
        other = rng.choice([-1.0, 0.0, 1.0], p=[0.35, 0.4, 0.25], size=(tasks, 4))
        rows = np.where(agreeing, task[:, None], other).ravel()
        as_units += ever(paths(rows[order(keys, seed)], 0.1)[0])
        as_means += ever(paths(cluster_means(rows, keys)[order(tasks, seed)], 0.1)[0])
        d = _drifting(rng, drift)
        in_time += ever(paths(d, 0.05)[0])
        shuffled += ever(paths(d[order(d.size, seed)], 0.05)[0])
    yield rate_row("truth at the margin", "clusters of four correlated runs, as cluster means", as_means, runs)
    yield rate_row("truth at the margin", "a drifting log, shuffled", shuffled, runs)
    yield control_row("four correlated runs counted as four units", as_units, runs)
    yield control_row("a drifting log read in time order", in_time, runs)


def _drifting(rng: np.random.Generator, means: FloatArray) -> FloatArray:
    u, up = rng.random(means.size), 0.5 * (0.4 + means)
    return np.where(u < up, 1.0, np.where(u < 0.4, -1.0, 0.0))


def errors_of_intervals(runs: int) -> Iterable[Row]:
    """The null value that equals the truth, away from the margin: where it is rejected, the interval misses."""
    rng = np.random.default_rng(10)
    for mean in (0.0, 0.1):
        below = above = 0
        for _ in range(runs):
            d = three_point(rng, mean, 0.15, 1_500)
            rate = 0.03 / (second_moments(d * d) + 0.03**2)
            below += ever(log_path(d - mean, rate, 1.0 + mean)[0])
            above += ever(log_path(mean - d, rate, 1.0 - mean)[0])
        yield rate_row("interval at all times", f"truth {mean}, margin 0.03: below the lower limit", below, runs)
        yield rate_row("interval at all times", f"truth {mean}, margin 0.03: above the upper limit", above, runs)


def errors_of_the_whole(runs: int) -> Iterable[Row]:
    """Two slices on either side of the margin, their weighted mean at it."""
    weights, means = {"a": 0.2, "b": 0.8}, {"a": -0.3, "b": -0.05}
    q = default_probabilities(weights)
    rng = np.random.default_rng(3)
    wrong = 0
    for _ in range(runs):
        test = OverallTest(0.1, ALPHA, weights)
        for name in np.where(rng.random(800) < q["a"], "a", "b").tolist():
            up = 0.5 * (0.4 + means[name])
            u = rng.random()
            test.update(name, 1.0 if u < up else -1.0 if u < 0.4 else 0.0)
            if test.certify >= THRESHOLD:
                wrong += 1
                break
    yield rate_row("truth at the margin", "traffic-weighted whole of two unequal slices", wrong, runs)


def errors_of_families(runs: int) -> Iterable[Row]:
    """Ten comparisons that share items, all at the margin: any certificate is false."""
    rng = np.random.default_rng(4)
    wrong = alone = 0
    for _ in range(runs):
        common = rng.random((500, 1)) < 0.5
        own = three_point(rng, -0.1, 0.4, 5_000).reshape(500, 10)
        shared = three_point(rng, -0.1, 0.4, 500)[:, None]
        d = np.where(common, shared, own)
        logs = np.stack([paths(column, 0.1)[0] for column in d.T])
        alone += bool(logs.max() >= THRESHOLD)
        wrong += _family_certifies(logs)
    yield rate_row("truth at the margin", "family of ten correlated comparisons, any certificate", wrong, runs)
    yield control_row("ten comparisons, each certified at alpha on its own", alone, runs)


def _family_certifies(logs: FloatArray) -> bool:
    """Whether closed testing after each item certifies anything; logs has shape (K, n)."""
    for step in np.flatnonzero(logs.max(axis=0) >= THRESHOLD).tolist():
        if Family[int](ALPHA).update(dict(enumerate(logs[:, step].tolist()))):
            return True
    return False


def judged_errors(runs: int) -> Iterable[Row]:
    def unsure(f: FloatArray) -> FloatArray:
        return np.where(np.abs(f) > 0.5, 0.25, 0.6)

    shapes: tuple[tuple[str, Callable[[FloatArray], FloatArray], bool], ...] = (
        ("judge too kind by 0.4", lambda y: np.clip(y + 0.4, -1, 1), False),
        ("judge too harsh by 0.4", lambda y: np.clip(y - 0.4, -1, 1), False),
        ("judge reversed", lambda y: -y, False),
        ("judge too kind, labels where it is unsure", lambda y: np.clip(y + 0.4, -1, 1), True),
    )
    rng = np.random.default_rng(5)
    for name, judge, uneven in shapes:
        wrong = 0
        for seed in range(runs):
            y = three_point(rng, -0.1, 0.4, 800)
            f = judge(np.where(rng.random(800) < 0.7, y, three_point(rng, -0.1, 0.4, 800)))
            pi = unsure(f) if uneven else np.full(800, 0.25)
            chosen = choose_labels(pi, seed)
            test = JudgedTest(0.1, ALPHA, 0.25)
            for f_t, y_t, labelled, pi_t in zip(f.tolist(), y.tolist(), chosen.tolist(), pi.tolist(), strict=True):
                test.update(f_t, y_t if labelled else None, pi_t)
                if test.certify >= THRESHOLD:
                    wrong += 1
                    break
        yield rate_row("truth at the margin", f"judge and human labels: {name}", wrong, runs)


def stop_row(what: str, stops: list[float], fixed: float, allowed: tuple[float, float]) -> Row:
    median, late = (float(np.quantile(stops, q, method="higher")) / fixed for q in (0.5, 0.8))
    good = median <= allowed[0] and late <= allowed[1]
    figure = f"{median:.2f} / {late:.2f} ({len(stops):,} runs)"
    return Row("stopping point over fixed-n, median / 80%", what, figure, f"<= {allowed[0]} / {allowed[1]}", good)


def stopping_points(runs: int) -> Iterable[Row]:
    rng = np.random.default_rng(6)

    def stops(mean: float, discordance: float, margin: float, fixed: float, side: int) -> list[float]:
        size = math.ceil(7 * fixed)
        return [first(paths(three_point(rng, mean, discordance, size), margin)[side]) for _ in range(runs)]

    m = 0.03
    cases = (
        ("difference 0, discordance 40%", 0.0, 0.40, 0, (1.1, 2.0)),
        ("difference 0, discordance 15%", 0.0, 0.15, 0, (1.1, 2.0)),
        ("difference 0, discordance 4%", 0.0, 0.04, 0, (1.3, 2.2)),
        ("halt at -2 margins, discordance 40%", -2 * m, 0.40, 1, (1.1, 2.0)),
        ("halt at -2 margins, discordance 15%", -2 * m, 0.15, 1, (1.1, 2.0)),
        ("halt at -2 margins, discordance 6.5%", -2 * m, 0.065, 1, (1.1, 2.0)),
        ("truth at half the margin, discordance 40%", -m / 2, 0.40, 0, (1.2, 2.4)),
        ("truth at half the margin, discordance 15%", -m / 2, 0.15, 0, (1.2, 2.4)),
    )
    for what, mean, discordance, side, allowed in cases:
        fixed = FIXED_N * (discordance - mean**2) / (mean + m) ** 2
        yield stop_row(what, stops(mean, discordance, m, fixed, side), fixed, allowed)
    fixed = THRESHOLD / m
    yield stop_row(
        "difference 0, discordance 0.5%, over ln(1/alpha)/m", stops(0.0, 0.005, m, fixed, 0), fixed, (1.6, 2.4)
    )
    fixed = FIXED_N * 0.15 / m**2
    thirty = [_stop_among(rng, 30, m, 0.15, math.ceil(7 * fixed)) for _ in range(max(20, runs // 5))]
    yield stop_row("one good among 30, discordance 15%", thirty, fixed, (2.7, 4.0))


def peers(runs: int) -> Iterable[Row]:
    """Other sequential tests on the same pairs, and a z-test that may peek: shown, not held to our promises."""
    rng = np.random.default_rng(8)
    m = 0.03
    tests = {"ville": peer.ville_stop, "statgate": peer.statgate_stop}
    same = all(peer.same_as_statgate(three_point(rng, mean, 0.15, 800), m, ALPHA) for mean in (-m, 0.0, m) * 3)
    yield Row(
        "beside peers", "statgate's own object stops where its formula does", "yes" if same else "no", "yes", same
    )
    for mean, discordance in ((0.0, 0.40), (0.0, 0.15), (0.0, 0.04), (-m / 2, 0.15)):
        fixed = FIXED_N * (discordance - mean**2) / (mean + m) ** 2
        units = [three_point(rng, mean, discordance, math.ceil(7 * fixed)) for _ in range(runs)]
        ours = [first(paths(d, m)[0]) for d in units]
        found = {"this": ours, **{name: [stop(d, m, ALPHA) for d in units] for name, stop in tests.items()}}
        figure = "; ".join(
            f"{name} {np.quantile(stops, 0.5, method='higher') / fixed:.2f} / "
            f"{np.quantile(stops, 0.8, method='higher') / fixed:.2f}"
            for name, stops in found.items()
        )
        what = f"stopping point over fixed-n, median / 80%: difference {100 * mean:+.1f}, discordance {discordance:.0%}"
        yield Row("beside peers", what, f"{figure} ({runs:,} runs)", "shown only", True)
    for discordance in (0.04, 0.15, 0.40):
        units = [three_point(rng, -m, discordance, 2_000) for _ in range(4 * runs)]
        wrong = {name: sum(math.isfinite(stop(d, m, ALPHA)) for d in units) for name, stop in tests.items()}
        wrong = {"this": sum(ever(paths(d, m)[0]) for d in units), **wrong}
        wrong["peeked z-test"] = sum(peeked_z(d, m) for d in units)
        figure = "; ".join(f"{name} {count / len(units):.1%}" for name, count in wrong.items())
        what = f"false certificates at the margin, looked at after each of 2,000 pairs, discordance {discordance:.0%}"
        yield Row("beside peers", what, f"{figure} ({len(units):,} runs)", "shown only", True)


def _stop_among(rng: np.random.Generator, count: int, m: float, discordance: float, size: int) -> float:
    """Certificate of one equal candidate among others two margins down, closed testing after each item."""
    logs = np.stack([paths(three_point(rng, 0.0 if k == 0 else -2 * m, discordance, size), m)[0] for k in range(count)])
    e = np.exp(np.minimum(logs, 50.0))
    needed = 1.0 / ALPHA + np.maximum(1.0 / ALPHA - e[1:], 0.0).sum(axis=0)
    reached = e[0] >= needed
    return float(np.argmax(reached)) + 1.0 if reached.any() else math.inf


def label_savings(runs: int) -> Iterable[Row]:
    group = "human labels with judge over human-only, median"
    rng = np.random.default_rng(7)
    for rho, allowed in ((0.0, 1.05), (0.3, 1.05), (0.6, 0.85), (0.9, 0.6)):
        labels: dict[bool, list[int]] = {True: [], False: []}
        for seed in range(runs):
            y = three_point(rng, 0.0, 0.3, 40_000)
            # A judge that copies the human with probability rho and else answers alike on its own: correlation rho.
            f = np.where(rng.random(y.size) < rho, y, three_point(rng, 0.0, 0.3, y.size))
            chosen = choose_labels(np.full(y.size, 0.15), seed)
            for judge, found in labels.items():
                test = JudgedTest(0.06, ALPHA, 0.15, judge=judge)
                for f_t, y_t, labelled in zip(f.tolist(), y.tolist(), chosen.tolist(), strict=True):
                    test.update(f_t, y_t if labelled else None)
                    if labelled and test.certify >= THRESHOLD:
                        break
                found.append(test.labels)
        ratio = float(np.median(labels[True]) / np.median(labels[False]))
        yield Row(group, f"correlation {rho}", f"{ratio:.2f} ({runs:,} runs)", f"<= {allowed}", ratio <= allowed)


def speed() -> Iterable[Row]:
    code = "import sys; from bench.stats import arrays_once; arrays_once()"
    here = Path(__file__).resolve().parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True, text=True, check=True)
    seconds, megabytes = (float(part) for part in done.stdout.split())
    what = "10^6 pairs, 100 slices: both tests at every peek, family, limits, weighted whole"
    yield Row("speed", what, f"{seconds:.2f} s CPU", "<= 2 s", seconds <= 2.0)
    yield Row("speed", "the same, peak memory of the process", f"{megabytes:.0f} MB", "< 200 MB", megabytes < 200)
    d = three_point(np.random.default_rng(8), 0.0, 0.15, 20_000)
    test, start = PairTest(0.03, ALPHA), time.process_time()
    for value in d.tolist():
        test.update(value)
        _ = test.certify >= THRESHOLD or test.halt >= THRESHOLD
    streaming = (time.process_time() - start) / d.size * 1e6
    yield Row(
        "speed", "a pair, both tests, streaming and looked at", f"{streaming:.1f} us", "<= 10 us", streaming <= 10
    )
    many, start = PairTest(0.03, ALPHA), time.process_time()
    for _ in range(10):
        many.update_many(d)
    batched = (time.process_time() - start) / many.n * 1e6
    yield Row("speed", "a pair, both tests, in batches", f"{batched:.2f} us", "<= 1 us", batched <= 1)


def arrays_once() -> None:
    rng = np.random.default_rng(9)
    d = rng.integers(0, 100, 1_000_000).astype(np.float32)
    pairs = np.where(d < 7, 1.0, np.where(d < 15, -1.0, 0.0))
    ids = rng.integers(0, 100, 1_000_000)
    del d
    start = time.process_time()
    decide_arrays(pairs, ids, 0.03, ALPHA, list(range(1, 101)))
    sys.stdout.write(f"{time.process_time() - start} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}\n")


def recorded(folder: Path, shuffles: int) -> Iterable[Row]:
    """Seeded shuffles of recorded pairs: verdicts on the wrong side of the mean over all rows."""
    import duckdb

    incumbents = ("gpt-4o-2024-08-06", "claude-3-5-sonnet-20240620")
    source = str(folder / "zeroeval" / "outputs.parquet")
    rows = duckdb.execute("SELECT task, model, id, correct FROM read_parquet(?) ORDER BY 1, 2, 3", [source]).fetchall()
    scores: dict[tuple[str, str], dict[str, int]] = {}
    for task, model, item, correct in rows:
        scores.setdefault((task, model), {})[item] = correct
    verdicts = wrong = cells = 0
    worst = 0.0
    for (task, model), candidate in scores.items():
        for incumbent in incumbents:
            reference = scores.get((task, incumbent), {})
            common = sorted(candidate.keys() & reference.keys())
            if model == incumbent or len(common) < 400:
                continue
            d = np.array([candidate[item] - reference[item] for item in common], dtype=np.float64)
            for margin in (0.02, 0.03, 0.05, 0.10):
                missed = 0
                for seed in range(shuffles):
                    certify, halt = paths(d[order(d.size, seed)], margin)
                    up, down = first(certify), first(halt)
                    if math.isfinite(min(up, down)):
                        verdicts += 1
                        missed += (d.mean() <= -margin) if up < down else (d.mean() > -margin)
                wrong, cells, worst = wrong + missed, cells + 1, max(worst, missed / shuffles)
    runs = cells * shuffles
    group = f"recorded answers, {cells:,} cells (pair x task x margin) x {shuffles} shuffles"
    yield Row(
        group, "verdict on the wrong side of the mean of all rows", f"{wrong / runs:.2%}", "<= 5%", wrong <= 0.05 * runs
    )
    limit = three_sigma(shuffles)
    yield Row(group, "the same, worst cell", f"{worst:.1%}", f"<= {limit:.1%}", worst <= limit)
    yield Row(group, "shuffles that decide", f"{verdicts / runs:.0%}", "shown only", True)


def rows(long: bool, folder: Path | None) -> Iterable[Row]:
    yield from errors_at_the_margin(2_000 if long else 500, 2_000 if long else 1_000)
    yield from errors_of_clusters_and_drift(2_000 if long else 400)
    yield from errors_of_intervals(2_000 if long else 400)
    yield from errors_of_the_whole(2_000 if long else 150)
    yield from errors_of_families(1_000 if long else 200)
    yield from judged_errors(2_000 if long else 150)
    yield from stopping_points(1_000 if long else 150)
    yield from peers(200 if long else 30)
    yield from label_savings(300 if long else 60)
    yield from speed()
    if folder is not None:
        yield from recorded(folder, 200 if long else 20)


def table(found: list[Row]) -> str:
    lines = []
    for group in dict.fromkeys(row.group for row in found):
        lines += ["", f"**{group}**", "", "| what | measured | allowed | |", "|---|---|---|---|"]
        lines += [
            f"| {row.what} | {row.figure} | {row.allowed} | {'holds' if row.good else '**MISSED**'} |"
            for row in found
            if row.group == group
        ]
    return "\n".join(lines[1:])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", action="store_true", help="the full number of runs")
    parser.add_argument("--write", action="store_true", help=f"write {EVIDENCE.name} under docs/evidence")
    parser.add_argument("--recorded", type=Path, metavar="FOLDER", help="folder with zeroeval/outputs.parquet")
    options = parser.parse_args()
    if options.recorded is not None and not (options.recorded / "zeroeval" / "outputs.parquet").is_file():
        parser.error(f"{options.recorded} has no zeroeval/outputs.parquet: name the folder of recorded answers")
    start, found = time.process_time(), []
    for row in rows(options.long, options.recorded):
        found.append(row)
        print(f"{'  ' if row.good else '! '}{row.group}: {row.what}: {row.figure} (allowed {row.allowed})", flush=True)
    missed = [row for row in found if not row.good]
    seconds = time.process_time() - start
    print(f"{len(found)} rows, {len(missed)} missed, {seconds:.0f} s CPU")
    if options.write:
        command = "python -m bench.stats" + (" --long" if options.long else "") + " --write"
        command += " --recorded FOLDER" if options.recorded else ""
        head = (
            "# Do the verdicts keep their promises?\n\n"
            f"Written by `{command}`: {len(found)} rows, {len(missed)} missed, {seconds:.0f} s of CPU, one thread, "
            f"Python {platform.python_version()}, numpy {np.__version__}. alpha = {ALPHA}; an error rate may exceed it "
            "by three sigma of its number of runs. Verdicts are looked at after each pair throughout. Rows under *must "
            "fail* are methods that break the promise, and hold when this harness catches them.\n\n"
        )
        EVIDENCE.parent.mkdir(parents=True, exist_ok=True)
        EVIDENCE.write_text(head + table(found) + "\n")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
