"""How wrong the forecast is, on series whose structure is known, beside two plain methods.

    scripts/bench forecast             prints the tables
    scripts/bench forecast --write     also writes docs/evidence/forecast.md

Each series is made from a seed: level, weekday profile, growth, noise that carries over from day to day, and for some a
step, a holiday or days without spend. The forecast never sees what made it. From each origin it is asked for the spend
of the next 7, 30 and 90 days together; the truth follows. Coverage is the share of cases in which the truth lies
between P10 and P90; 80 % is what is claimed.
"""

import argparse
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from weighbridge.ledger.forecast import Future, Method, NotEnough, future

EVIDENCE = Path(__file__).resolve().parent.parent / "docs" / "evidence" / "forecast.md"
Floats = NDArray[np.float64]
DISTANCES = (7, 30, 90)
METHODS: tuple[Method, ...] = ("profile", "seasonal_naive", "straight_line")
WEEK = np.array([1.1, 1.15, 1.15, 1.1, 1.0, 0.35, 0.3])
START = date(2025, 1, 6)
HISTORIES = (60, 120, 240)
FRESH = 1_000
"""The constants of the method were chosen on seeds below this."""


def made(rng: np.random.Generator, days: int, *, growth: float = 0.0, noise: float = 0.15, carry: float = 0.5,
         week: Floats = WEEK) -> Floats:  # fmt: skip
    """Spend of `days` days from a Monday on: 100 a day, times what the arguments say."""
    shocks = rng.normal(0, noise, days)
    wander = np.zeros(days)
    for t in range(1, days):
        wander[t] = carry * wander[t - 1] + shocks[t]
    at = np.arange(days)
    return np.asarray(100 * np.exp(growth * at + wander) * np.resize(week, days), dtype=np.float64)


def stepped(rng: np.random.Generator, days: int) -> Floats:
    series = made(rng, days)
    series[int(rng.integers(days // 4, days * 3 // 4)) :] *= rng.uniform(1.3, 2.0)
    return series


def with_holidays(rng: np.random.Generator, days: int) -> Floats:
    series = made(rng, days, growth=0.001)
    for _ in range(max(1, days // 60)):
        at = int(rng.integers(0, days - 5))
        series[at : at + 5] *= 0.3
    return series


def sparse(rng: np.random.Generator, days: int) -> Floats:
    return np.asarray(made(rng, days, noise=0.5, carry=0.2) * (rng.random(days) < 0.7), dtype=np.float64)


def slowing(rng: np.random.Generator, days: int) -> Floats:
    series = made(rng, days)
    return np.asarray(series * 3 / (1 + 2 * np.exp(-np.arange(days) / 80)), dtype=np.float64)


def wandering(rng: np.random.Generator, days: int) -> Floats:
    return made(rng, days, noise=0.06, carry=1.0)


SERIES: dict[str, Callable[[np.random.Generator, int], Floats]] = {
    "weekdays, no growth": lambda rng, days: made(rng, days),
    "weekdays, 1 % a week": lambda rng, days: made(rng, days, growth=0.01 / 7),
    "weekdays, 5 % a week": lambda rng, days: made(rng, days, growth=0.05 / 7),
    "no weekdays, noisy": lambda rng, days: made(rng, days, noise=0.4, carry=0.3, week=np.ones(7)),
    "growth that slows": slowing,
    "a step up": stepped,
    "holidays": with_holidays,
    "days without spend": sparse,
    "a random walk": wandering,
}


class Score:
    def __init__(self) -> None:
        self.covered: list[bool] = []
        self.errors: list[float] = []
        self.asked = 0

    def add(self, answer: Future | NotEnough, true: Floats, distance: int) -> None:
        self.asked += 1
        if isinstance(answer, NotEnough):
            return
        total = float(true[:distance].sum())
        low, high = (float(answer.quantile(share)[distance - 1]) for share in (0.1, 0.9))
        self.covered.append(low <= total <= high)
        self.errors.append(abs(float(answer.expected[distance - 1]) / total - 1))

    @property
    def coverage(self) -> float:
        return float(np.mean(self.covered))

    @property
    def error(self) -> float:
        return float(np.median(self.errors))


Scores = dict[tuple[str, int, int, Method], Score]


def back_test(seeds: int, histories: tuple[int, ...] = HISTORIES) -> Scores:
    """By series, length of history, distance and method."""
    scores: Scores = {}
    for number, (name, make) in enumerate(SERIES.items()):
        for history in histories:
            for seed in range(seeds):
                # The origin falls on each weekday in turn.
                length = history + seed % 7
                series = make(np.random.default_rng((number, history, FRESH + seed)), length + max(DISTANCES))
                last = START + timedelta(days=length - 1)
                for method in METHODS:
                    answer = future(series[:length], last, max(DISTANCES), method)
                    for distance in DISTANCES:
                        key = (name, history, distance, method)
                        scores.setdefault(key, Score()).add(answer, series[length:], distance)
    return scores


def pooled(scores: Scores, distance: int, method: Method, history: int | None = None) -> Score:
    total = Score()
    for (_, own, far, how), score in scores.items():
        if far == distance and how == method and history in (None, own):
            total.covered += score.covered
            total.errors += score.errors
    return total


def page(scores: Scores, seeds: int) -> str:
    lines = [
        "# Forecast: how wrong it is",
        "",
        f"Made by `scripts/bench forecast --seeds {seeds} --write`. {len(SERIES)} kinds of series, structure known,",
        f"{seeds} seeds each, histories of {', '.join(map(str, HISTORIES))} days. There is no real daily series of",
        "spend at hand, so none is here. The constants of the method were chosen on other seeds. Coverage is the",
        "share of cases in which the truth lay between P10 and P90 (80 % claimed);",
        "the error is the median of |expected / true - 1| for the sum over the distance.",
        "",
        "| distance | method | coverage of P10-P90 | median error |",
        "|---|---|---|---|",
    ]
    for distance in DISTANCES:
        for method in METHODS:
            score = pooled(scores, distance, method)
            lines.append(f"| {distance} days | {method.replace('_', ' ')} | {score.coverage:.1%} | {score.error:.1%} |")
    lines += [
        "",
        "The forecast (`profile`) by length of history:",
        "",
        "| history | 7 days | 30 days | 90 days |",
        "|---|---|---|---|",
    ]
    for history in HISTORIES:
        cells = [pooled(scores, distance, "profile", history) for distance in DISTANCES]
        lines.append(
            f"| {history} days | " + " | ".join(f"{one.coverage:.1%} ({one.error:.1%})" for one in cells) + " |"
        )
    lines += [
        "",
        "By kind of series, all histories: coverage (median error)",
        "",
        "| series | 7 days | 30 days | 90 days |",
        "|---|---|---|---|",
    ]
    for name in SERIES:
        own = {key: score for key, score in scores.items() if key[0] == name}
        cells = [pooled(own, distance, "profile") for distance in DISTANCES]
        lines.append(f"| {name} | " + " | ".join(f"{one.coverage:.0%} ({one.error:.1%})" for one in cells) + " |")
    lines += [
        "",
        "Where the past holds no error of the kind that comes, no band knows it: a step or a turn of growth after the",
        "origin is outside at the rate that the table shows.",
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=70, help="series of each kind and history (default: 70)")
    parser.add_argument("--write", action="store_true", help="also write docs/evidence/forecast.md")
    options = parser.parse_args()
    text = page(back_test(options.seeds), options.seeds)
    print(text)
    if options.write:
        EVIDENCE.write_text(text, "utf-8")
        print(f"forecast: wrote {EVIDENCE.name}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
