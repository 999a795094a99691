"""The ramp's controller with faults put in: what users see before it goes back, and how often it does so wrongly.

    scripts/bench ramp                 100 runs a cell: a minute
    scripts/bench ramp --long --write  1,000 runs a cell; also docs/evidence/ramp.md
    scripts/bench ramp --live --write  5 ramps of each fault through a real gateway, into the same page (40 minutes);
                                       `--only WORDS`: those faults alone, the others stay as they were measured

Faults of a stage are found by the product's own alarms and thresholds, all runs of a cell at once (`bench.ramp_runs`; a
test holds them against `Monitor` and `decide`), beside what gateways offer today: a fixed threshold over a window, and
a z-test of both arms that is looked at after every event. Quality scores are those of real models on the same items,
shifted to an exact difference; errors and latencies are drawn at the stated rates. Requests without any event change no
alarm of a stage with a control, so only their number is drawn.

Needs the recorded answers (`--shared`, default: a folder `shared` beside the repository).
"""

import argparse
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench import ramp_live
from bench.ramp_page import Page
from bench.ramp_runs import (
    BLOCK,
    NEVER,
    PEEK_FROM,
    WINDOW,
    Bools,
    Floats,
    Ints,
    Traffic,
    Z,
    at,
    first_control,
    first_fall,
    first_rate,
    peeked,
    traffic,
    windows,
)  # fmt: skip
from bench.verdicts import zeroeval
from weighbridge.ramp.streams import (
    BOUND_PART,
    SHADOW_SHARE,
    SLOW,
    guardrail_level,
    planned_of,
    quality_levels,
)  # fmt: skip
from weighbridge.records.ramp import Guardrail, RampPlan, Stage, StageTerms
from weighbridge.stats.alarms import ControlAlarm, PairAlarm, RateAlarm
from weighbridge.stats.rare import exact_interval

REPOSITORY = Path(__file__).resolve().parent.parent
EVIDENCE = REPOSITORY / "docs" / "evidence" / "ramp.md"
PAGE = Page(EVIDENCE, ramp_live.about(5))
ALPHA = 0.05
MARGIN = 0.03
PAIR_SHARE = 0.1
SHARES: dict[Stage, int] = {"shadow": 0, "canary": 100, "few": 500, "quarter": 2500, "half": 5000, "all": 10_000}
# Of an equal ramp: candidate requests and judged pairs of each stage, 20,000 and 2,000 in all.
WHOLE: dict[Stage, tuple[int, int]] = {
    "canary": (500, 100), "few": (2000, 300), "quarter": (5000, 600), "half": (6500, 500), "all": (6000, 500),
}  # fmt: skip
RATES: dict[Guardrail, float] = {
    "errors": 0.01, "refusals": 0.005, "broken": 0.005, "tools": 0.005,
    "first_byte": 0.10, "latency": 0.10, "cost": 0.10, "tokens": 0.10,
}  # fmt: skip
"""Eight guardrails, and how often each counts a request of the incumbent."""
HALF_REQUESTS = 6500
"""Of the incumbent in `half`: what `all` is held against."""
REQUESTS_MAX = 60_000
PAIRS_MAX = 20_000

PLAN = RampPlan(
    stages=tuple(
        StageTerms(stage=stage, basis_points=share, hold_s=0.0, conversations_min=0, pairs_min=0)
        for stage, share in SHARES.items()
    ),
    alpha=ALPHA, margin=MARGIN, guardrails=tuple(RATES), events_planned=1000, slow_planned=3000, pairs_planned=2000,
    quality="pairs", ratio=1.0, shadow_basis_points=0, pair_basis_points=round(PAIR_SHARE * 10_000),
    copies_nanousd=None, approvals=1, stick_by="conversation", verdict_s_max=1e9, candidate_per_minute=1,
    incumbent_per_minute=1,
)  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """The candidate's rate of one guardrail goes from `low`, which is the incumbent's, to `high`."""

    name: str
    guardrail: Guardrail
    low: float
    high: float
    targets: tuple[int, int] | None = None
    """At a share of 5% and of 25%."""
    drift: int = 0
    """Candidate requests over which it grows from nothing."""

    def target(self, stage: Stage) -> int | None:
        place = {"few": 0, "quarter": 1}.get(stage)
        return None if self.targets is None or place is None else self.targets[place]


FAULTS = (
    Fault("errors 1% to 50%", "errors", 0.01, 0.5, (15, 30)),
    Fault("errors 1% to 10%", "errors", 0.01, 0.1, (100, 180)),
    Fault("errors 1% to 3%", "errors", 0.01, 0.03, (900, 1400)),
    Fault("errors 5% to 25%", "errors", 0.05, 0.25, (70, 100)),
    Fault("latency x2 (above the incumbent's p90: 10% to 50%)", "latency", 0.1, 0.5, (35, 60)),
    Fault("cost x2 (above the incumbent's p90: 10% to 50%)", "cost", 0.1, 0.5),
    Fault("slow drift: errors 1% to 10% over 2,000 candidate requests", "errors", 0.01, 0.1, drift=2000),
    Fault("one host of four: errors 1% to 50% there", "errors", 0.01, 0.01 + 0.25 * 0.49),
    Fault("one slice of four: errors 1% to 50% there", "errors", 0.01, 0.01 + 0.25 * 0.49),
)


@dataclass(frozen=True)
class Found:
    """Units until each went off, by run; endless where it did not."""

    ours: Floats
    window: Floats
    peeked: Floats


def control_alarms(stage: Stage, names: tuple[Guardrail, ...]) -> tuple[list[ControlAlarm], list[tuple[int, float]]]:
    share = SHADOW_SHARE if stage == "shadow" else SHARES[stage] / 10_000
    plans = [(planned_of(PLAN, name), guardrail_level(PLAN)) for name in names]
    return [ControlAlarm(share, planned, level, PLAN.ratio) for planned, level in plans], plans


def one_fault(stage: Stage, fault: Fault, runs: int, seed: int) -> Found:
    """Of a fault only its own guardrail is drawn: the others add false alarms, which would flatter the delays."""
    chance = np.random.default_rng(seed)
    if stage == "all":
        return _without_control(fault, runs, chance)
    share = SHADOW_SHARE if stage == "shadow" else SHARES[stage] / 10_000
    base, bad = np.array([fault.low]), np.array([fault.high])
    seen: Traffic | None = None
    alarms, plans = control_alarms(stage, (fault.guardrail,))
    while True:
        seen = traffic(chance, runs, BLOCK, share, base, bad, fault.drift, seen)
        first, _ = first_control(seen.stream, seen.candidate, alarms, plans)
        if (first != NEVER).all() or seen.candidate_requests[:, -1].min() > REQUESTS_MAX:
            break
    return Found(at(seen.candidate_requests, first), windows(seen, base), peeked(seen, 1))


def baselines(chance: np.random.Generator, names: tuple[Guardrail, ...], rates: list[float], runs: int) -> Floats:
    """[runs, streams]: upper bounds as `Monitor.baseline` takes them out of `half`."""
    counted = chance.binomial(HALF_REQUESTS, rates, (runs, len(names)))
    level = BOUND_PART * guardrail_level(PLAN)
    known = {int(count): exact_interval(int(count), HALF_REQUESTS, level)[1] for count in np.unique(counted)}
    bounds: Floats = np.vectorize(known.__getitem__, otypes=[float])(counted)
    return bounds


def rate_alarms(names: tuple[Guardrail, ...], bounds: Floats) -> tuple[list[list[RateAlarm]], list[tuple[int, float]]]:
    plans = [(planned_of(PLAN, name), guardrail_level(PLAN) * (1.0 - BOUND_PART)) for name in names]
    return [
        [RateAlarm(float(bound), planned, level) for bound, (planned, level) in zip(row, plans, strict=True)]
        for row in bounds
    ], plans


def _without_control(fault: Fault, runs: int, chance: np.random.Generator) -> Found:
    names = (fault.guardrail,)
    alarms, plans = rate_alarms(names, baselines(chance, names, [fault.low], runs))
    requests = max(4000, 4 * fault.drift)
    grown = np.minimum(1.0, np.arange(requests) / fault.drift) if fault.drift else np.ones(requests)
    bad: Bools = (chance.random((runs, requests)) < fault.low + grown * (fault.high - fault.low))[:, :, None]
    first, _ = first_rate(bad, alarms, plans)
    counts = np.arange(1, requests + 1)[None, :].repeat(runs, axis=0)
    seen = Traffic(np.where(bad[:, :, 0], 0, -1), np.ones((runs, requests), dtype=np.bool_), counts, 0 * counts)
    # Without the other arm the z-test takes the rate of the stage before as if it were exactly known.
    total = np.cumsum(bad[:, :, 0], axis=1) / counts
    z = (total - fault.low) / np.sqrt(fault.low * (1 - fault.low) / counts)
    hit = (z > Z) & (counts >= PEEK_FROM) & bad[:, :, 0]
    z_first = np.where(hit.any(axis=1), hit.argmax(axis=1), NEVER)
    return Found(at(counts, first), windows(seen, np.array([fault.low])), at(counts, z_first))


# --- quality ----------------------------------------------------------------------------------------------------------


def recorded(shared: Path) -> list[Floats]:
    """Pairs of real models whose means differ by a point at most: [items, 2], candidate and incumbent."""
    found = []
    for pair in zeroeval(shared / "data"):
        gap = float(pair.candidate.mean() - pair.incumbent.mean())
        if abs(gap) <= 0.01 and float(pair.incumbent.mean()) >= 0.85:
            found.append(np.stack((pair.candidate, pair.incumbent), axis=1).astype(np.float64))
    return found


def shifted(chance: np.random.Generator, pairs: Floats, drops: Floats) -> Floats:
    """One pair drawn for each of `drops`, the candidate's mean moved to exactly that much below the incumbent's."""
    right, gap = pairs[:, 0].mean(), pairs[:, 0].mean() - pairs[:, 1].mean() + drops
    lose, win = np.maximum(0.0, gap) / right, np.maximum(0.0, -gap) / max(1e-9, 1 - right)
    drawn = pairs[chance.integers(len(pairs), size=len(drops))]
    luck, was = chance.random(len(drops)), drawn[:, 0] >= 0.5
    drawn[was & (luck < lose), 0] = 0.0
    drawn[~was & (luck < win), 0] = 1.0
    return drawn


def draws(
    chance: np.random.Generator, models: list[Floats], drop: float, runs: int, count: int, slices: int, *, answers: bool
) -> tuple[Floats, Ints]:
    """Differences [runs, count] and slices; with several slices one alone is bad. `answers`: of different requests."""
    found, places = np.empty((runs, count)), chance.integers(slices, size=(runs, count))
    for run in range(runs):
        pairs = models[run % len(models)]
        drawn = shifted(chance, pairs, np.where(places[run] == 0, drop, 0.0))
        other = pairs[chance.integers(len(pairs), size=count), 1] if answers else drawn[:, 1]
        found[run] = drawn[:, 0] - other
    return found, places


def pair_alarms(slices: int) -> tuple[list[PairAlarm], list[tuple[int, float]]]:
    names = tuple(f"s{place}" for place in range(slices)) if slices > 1 else ()
    plan = PLAN if not names else _sliced(names)
    plans = [(PLAN.pairs_planned, level) for level in quality_levels(plan).values()]
    return [PairAlarm(MARGIN, planned, level) for planned, level in plans], plans


def _sliced(names: tuple[str, ...]) -> RampPlan:
    import msgspec

    return msgspec.structs.replace(PLAN, slices=names)


def one_fall(
    models: list[Floats], drop: float, runs: int, seed: int, *, answers: bool = False, slices: int = 1
) -> Found:
    chance = np.random.default_rng(seed)
    count = PAIRS_MAX if drop * (1 if slices == 1 else 0.5) < 0.08 else 6000
    d, places = draws(chance, models, drop, runs, count, slices, answers=answers)
    alarms, plans = pair_alarms(slices)
    first, _ = first_fall(d, places, alarms, plans)
    counts = np.arange(1, count + 1)[None, :].repeat(runs, axis=0)
    return Found(at(counts, first), at(counts, _window_fall(d)), at(counts, _peeked_fall(d)))


def _window_fall(d: Floats) -> Ints:
    """The mean of the last 100 is below the margin."""
    total = np.cumsum(d, axis=1)
    last = total[:, 100:] - total[:, :-100]
    hit = np.concatenate((total[:, 99:100], last), axis=1) / 100 < -MARGIN
    return np.where(hit.any(axis=1), hit.argmax(axis=1) + 99, NEVER)


def _peeked_fall(d: Floats) -> Ints:
    counts = np.arange(1, d.shape[1] + 1)
    mean, square = np.cumsum(d, axis=1) / counts, np.cumsum(d * d, axis=1) / counts
    hit = (mean + MARGIN) / np.sqrt(np.maximum(1e-9, square - mean * mean) / counts) < -Z
    hit[:, : PEEK_FROM - 1] = False
    return np.where(hit.any(axis=1), hit.argmax(axis=1), NEVER)


def exposed(pairs: Floats, stage: Stage, seed: int) -> Floats:
    """Users' requests that the candidate answered until so many pairs were judged: copies are drawn of all requests."""
    share, chance = SHARES[stage] / 10_000, np.random.default_rng(seed)
    known = np.where(np.isinf(pairs), 1, pairs).astype(np.int64)
    requests = known + chance.negative_binomial(known, PAIR_SHARE)
    return np.where(np.isinf(pairs), math.inf, chance.binomial(requests, share))


# --- an equal candidate -----------------------------------------------------------------------------------------------


def equal(models: list[Floats], runs: int, seed: int) -> tuple[Bools, Bools, Bools]:
    """Whole ramps of an equal candidate: does each of the three go back?"""
    chance = np.random.default_rng(seed)
    names, rates = tuple(RATES), np.array(list(RATES.values()))
    used = np.zeros((runs, len(names)), dtype=np.int64)
    judged = np.zeros((runs, 1), dtype=np.int64)
    ours, window, z = (np.zeros(runs, dtype=np.bool_) for _ in range(3))
    for stage, (requests, pairs) in WHOLE.items():
        if stage == "all":
            alarms, rate_plans = rate_alarms(names, baselines(chance, names, list(RATES.values()), runs))
            bad = chance.random((runs, requests, len(names))) < rates
            first, _ = first_rate(bad, alarms, rate_plans, used)
        else:
            controls, plans = control_alarms(stage, names)
            seen = _so_many(chance, runs, requests, SHARES[stage] / 10_000, rates)
            first, used = first_control(seen.stream, seen.candidate, controls, plans, used)
            window |= np.isfinite(windows(seen, rates))
            z |= np.isfinite(peeked(seen, len(names)))
        ours |= first != NEVER
        d, places = draws(chance, models, 0.0, runs, pairs, 1, answers=False)
        falls, fall_plans = pair_alarms(1)
        first, judged = first_fall(d, places, falls, fall_plans, judged)
        ours |= first != NEVER
        window |= _window_fall(d) != NEVER
        z |= _peeked_fall(d) != NEVER
    return ours, window, z


def _so_many(chance: np.random.Generator, runs: int, requests: int, share: float, rates: Floats) -> Traffic:
    """Traffic of at least so many candidate requests in each run; what came after them is no event of any stream."""
    seen: Traffic | None = None
    while seen is None or seen.candidate_requests[:, -1].min() < requests:
        seen = traffic(chance, runs, 4 * BLOCK, share, rates, rates, 0, seen)
    kept = np.where(seen.candidate_requests <= requests, seen.stream, -1)
    return Traffic(kept, seen.candidate, seen.candidate_requests, seen.control_requests)


# --- the page ---------------------------------------------------------------------------------------------------------


def figure(values: Floats) -> str:
    """The median, runs without an alarm counted as endless."""
    middle = float(np.median(values))
    return "not within the run" if math.isinf(middle) else f"{middle:,.0f}"


def row(name: str, found: Found, target: int | None) -> str:
    verdict = "" if target is None else f"{target:,}, {'met' if np.median(found.ours) <= target else 'NOT met'}"
    late = float(np.quantile(np.where(np.isinf(found.ours), 1e18, found.ours), 0.9))
    nine = "-" if late >= 1e17 else f"{late:,.0f}"
    return f"| {name} | {figure(found.ours)} | {nine} | {verdict} | {figure(found.window)} | {figure(found.peeked)} |"


HEAD = [
    "| injected | this controller | nine of ten runs | target | window threshold | peeked z-test |",
    "|---|---|---|---|---|---|",
]
FALLS = ((0.05, None, None), (0.10, 600, 700), (0.20, 200, 200))


def equal_lines(models: list[Floats], runs: int) -> list[str]:
    parts = [equal(models, min(250, runs - start), 1_000_003 + start) for start in range(0, runs, 250)]
    ours, window, z = (float(np.mean(np.concatenate([part[place] for part in parts]))) for place in range(3))
    bound = ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / runs)
    return [
        "## Equal candidates, whole ramps of 20,000 candidate requests and 2,000 judged pairs", "",
        "| | goes back | |", "|---|---|---|",
        f"| this controller | {ours:.1%} | <= {ALPHA:.0%} promised; {bound:.1%} with three standard errors |",
        f"| twice the incumbent's rate within {WINDOW} requests | {window:.1%} | |",
        f"| a z-test looked at after every event | {z:.1%} | |", "",
        "The peers are fast because they cry wolf: compare their delays below with the share of equal candidates that "
        "they take back. (In the last stage, which has no control, they were not even asked about guardrails.)", "",
    ]  # fmt: skip


def fault_lines(runs: int) -> list[str]:
    found: list[str] = []
    for number, (stage, share) in enumerate(SHARES.items()):
        title = {
            "shadow": "## Shadow: copies alone, no user has an answer of the candidate (figures in copies)",
            "all": f"## At 100%, held against {HALF_REQUESTS:,} requests of the incumbent in the stage before",
        }.get(stage, f"## Live control at {share / 100:g}%")
        found += [title, "", *HEAD]
        for place, fault in enumerate(FAULTS):
            found.append(row(fault.name, one_fault(stage, fault, runs, 1000 * number + place), fault.target(stage)))
        found.append("")
    return found


def quality_lines(models: list[Floats], runs: int) -> list[str]:
    found = ["## Quality, in judged pairs or answers", "", *HEAD]
    pairs: dict[str, Callable[[int], Found]] = {}
    for drop, with_pairs, with_answers in FALLS:
        name = f"-{100 * drop:.0f} points"
        for answers, target in ((False, with_pairs), (True, with_answers)):
            seed = 17 + round(1000 * drop) + answers
            some = one_fall(models, drop, runs, seed, answers=answers)
            found.append(row(f"{name}, {'answers' if answers else 'pairs'}", some, target))
        pairs[name] = lambda seed, drop=drop: one_fall(models, drop, runs, seed)  # type: ignore[misc]
    one = "-20 points in one slice of four"
    found.append(row(f"{one}, pairs", one_fall(models, 0.2, runs, 99, slices=4), None))
    pairs[one] = lambda seed: one_fall(models, 0.2, runs, seed, slices=4)
    found += [
        "", "Judged pairs are copies of requests drawn from all traffic, so what users see of a fall until it is found "
        f"depends on the stage. With a `pair_share` of {PAIR_SHARE:.0%}, in requests that the candidate answered, each "
        "stage on its own:", "",
        "| injected | " + " | ".join(f"{share / 100:g}%" for stage, share in SHARES.items() if share) + " |",
        "|---" * len(SHARES) + "|",
    ]  # fmt: skip
    for number, (name, again) in enumerate(pairs.items()):
        cells = [
            figure(exposed(again(7000 + 100 * number + place).ours, stage, 8000 + place))
            for place, stage in enumerate(SHARES)
            if SHARES[stage]
        ]
        found.append(f"| {name} | " + " | ".join(cells) + " |")
    return [*found, "", "In `shadow` every judged pair is a copy, and no user sees any of it.", ""]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=REPOSITORY.parent / "shared")
    parser.add_argument("--runs", type=int, help="of each cell")
    parser.add_argument("--long", action="store_true", help="1,000 runs of each cell")
    parser.add_argument("--live", action="store_true", help="only the runs through a real gateway: 5 of each fault")
    parser.add_argument("--write", action="store_true", help=f"also write {EVIDENCE.relative_to(REPOSITORY)}")
    parser.add_argument(
        "--only", metavar="WORDS", action="append", default=[],
        help="with --live: faults that have these words in `NAME at SHARE`; may be given several times, for an order",
    )  # fmt: skip
    given = parser.parse_args()
    if given.live:
        ramp_live.measure(given.shared, PAGE, given.runs or 5, given.only, write=given.write)
        return 0
    measure(recorded(given.shared), given.runs or (1000 if given.long else 100), write=given.write, long=given.long)
    return 0


def measure(models: list[Floats], runs: int, *, write: bool, long: bool) -> None:
    began = time.monotonic()
    lines = [
        "# The ramp: exposure until detection, and false rollbacks",
        "",
        f"Written by `scripts/bench ramp{' --long' if long else ''} --write`: {runs:,} runs a cell, with the product's",
        "own alarms and thresholds, all runs at once; `tests/bench/test_ramp_runs.py` holds that against `Monitor` and",
        "`decide`, request by request. Figures are medians in candidate requests (for quality in judged pairs). Half",
        "of alpha = 5% belongs to quality, the other half to eight guardrails:",
        ", ".join(RATES) + ".",
        f"Quality is that of {len(models)} pairs of recorded real models, means within one point of each other,",
        f"at 85% or more, shifted to the difference named; the margin is {MARGIN:.0%}.",
        f"Guardrails of time, cost and size ({', '.join(name for name in SLOW if name in RATES)}) count what lies",
        "above the incumbent's 90th percentile.",
        "",
    ]  # fmt: skip
    print("\n".join(lines), flush=True)
    parts: tuple[Callable[[], list[str]], ...] = (
        lambda: equal_lines(models, runs), lambda: fault_lines(runs), lambda: quality_lines(models, runs),
    )  # fmt: skip
    for part in parts:
        made = part()
        print("\n".join(made), flush=True)
        lines += made
    lines += [f"Took {max(1, round((time.monotonic() - began) / 60))} minutes.", ""]
    if write:
        PAGE.write(lines)


if __name__ == "__main__":
    sys.exit(main())
