"""The ramp's controller with faults put in: what users see before it goes back, and how often it does so wrongly.

    scripts/bench ramp                 40 runs a cell: a minute or two
    scripts/bench ramp --long --write  500 runs a cell; also docs/evidence/ramp.md (half an hour on one core)

Runs the product's own `Monitor` and `decide`, one stage at a time, beside what gateways offer today: a fixed threshold
over a window, and a z-test of both arms that is looked at after every event. Quality scores are those of real models on
the same items, shifted to an exact difference; errors and latencies are drawn at the stated rates. Requests without any
event change no alarm, so only their number is drawn.

Needs the recorded answers (`--shared`, default: a folder `shared` beside the repository).
"""

import argparse
import math
import random
import sys
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import msgspec

from bench.verdicts import zeroeval
from weighbridge.ramp.controller import decide
from weighbridge.ramp.stages import LADDER
from weighbridge.ramp.streams import Monitor, Sight
from weighbridge.records.ramp import (
    RAMP_SCHEMA,
    Approval,
    Guardrail,
    RampPlan,
    RampState,
    Stage,
    StageTerms,
)

REPOSITORY = Path(__file__).resolve().parent.parent
EVIDENCE = REPOSITORY / "docs" / "evidence" / "ramp.md"
ALPHA = 0.05
MARGIN = 0.03
SHARES: dict[Stage, int] = {"shadow": 0, "canary": 100, "few": 500, "quarter": 2500, "half": 5000, "all": 10_000}
# Of an equal ramp: candidate requests and judged pairs of each stage, 20,000 and 2,000 in all.
WHOLE: dict[Stage, tuple[int, int]] = {
    "canary": (500, 100),
    "few": (2000, 300),
    "quarter": (5000, 600),
    "half": (12_500, 1000),
}
RATES: dict[Guardrail, float] = {
    "errors": 0.01, "refusals": 0.005, "broken": 0.005, "tools": 0.005,
    "first_byte": 0.10, "latency": 0.10, "cost": 0.10, "tokens": 0.10,
}  # fmt: skip
"""Eight guardrails, and how often each counts a request of the incumbent."""
WINDOW = 200
"""Of the fixed threshold: candidate requests; it goes off at twice the incumbent's rate."""
Z = 1.6448536269514722
PEEK_FROM = 30
REQUESTS_MAX = 60_000

PLAN = RampPlan(
    stages=tuple(
        StageTerms(stage=stage, basis_points=share, hold_s=0.0, conversations_min=0, pairs_min=0)
        for stage, share in SHARES.items()
    ),
    alpha=ALPHA, margin=MARGIN, guardrails=tuple(RATES), events_planned=1000, slow_planned=3000, pairs_planned=2000,
    quality="pairs", ratio=1.0, shadow_basis_points=0, pair_basis_points=1000, copies_nanousd=None, approvals=1,
    stick_by="conversation", verdict_s_max=1e9, candidate_per_minute=1, incumbent_per_minute=1,
)  # fmt: skip
STATE = RampState(
    schema=RAMP_SCHEMA, ramp="r", route="assistant", incumbent="old", candidate="new", identities=("a", "b"),
    prices=(None, None), verdict="v", finding=None, proposed_by="bench", plan=PLAN, revision=1, stage="proposed",
    came_from=None, time_ns=0, approvals=(Approval(by="bench", time_ns=0, up_to=LADDER[-1]),),
)  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """What is put in. `rates` replace the candidate's; `before` replaces both arms' rates before and after."""

    name: str
    rates: dict[Guardrail, float]
    base: dict[Guardrail, float]
    targets: dict[Stage, int]
    drift: int = 0
    """Candidate requests over which it grows from nothing."""


def rate(name: str, low: float, high: float, at_5: int | None, at_25: int | None, drift: int = 0) -> Fault:
    targets: dict[Stage, int] = {}
    if at_5 is not None and at_25 is not None:
        targets = {"few": at_5, "quarter": at_25}
    return Fault(name, {"errors": high}, {"errors": low}, targets, drift)


FAULTS = (
    rate("errors 1% to 50%", 0.01, 0.5, 15, 30),
    rate("errors 1% to 10%", 0.01, 0.1, 100, 180),
    rate("errors 1% to 3%", 0.01, 0.03, 900, 1400),
    rate("errors 5% to 25%", 0.05, 0.25, 70, 100),
    Fault("latency x2 (above the incumbent's p90: 10% to 50%)", {"latency": 0.5}, {}, {"few": 35, "quarter": 60}),
    Fault("cost x2 (above the incumbent's p90: 10% to 50%)", {"cost": 0.5}, {}, {}),
    rate("slow drift: errors 1% to 10% over 2,000 candidate requests", 0.01, 0.1, None, None, drift=2000),
    rate("one host of four: errors 1% to 50% there", 0.01, 0.01 + 0.25 * 0.49, None, None),
)


class Peers:
    """A fixed threshold over a window, and a z-test that is looked at after every event; of one guardrail."""

    def __init__(self, base: float) -> None:
        self._limit = max(3, math.ceil(2 * base * WINDOW))
        self._recent: deque[float] = deque()
        self._counts = [0, 0]
        self.window: float | None = None
        self.peeked: float | None = None

    def event(self, *, candidate: bool, requests: float, control: float) -> None:
        self._counts[candidate] += 1
        if not candidate:
            return
        self._recent.append(requests)
        while self._recent[0] < requests - WINDOW:
            self._recent.popleft()
        if self.window is None and len(self._recent) >= self._limit:
            self.window = requests
        n, m, bad, others = requests, max(control, 1.0), self._counts[1], self._counts[0]
        if self.peeked is None and n >= PEEK_FROM:
            pooled = (bad + others) / (n + m)
            error = math.sqrt(max(1e-12, pooled * (1 - pooled) * (1 / n + 1 / m)))
            if (bad / n - others / m) / error > Z:
                self.peeked = requests


@dataclass
class Run:
    """Candidate requests until each went off; `None`: never."""

    ours: float | None = None
    window: float | None = None
    peeked: float | None = None


def live(stage: Stage, fault: Fault | None, requests_max: int, seed: int, used: dict[str, int]) -> tuple[Run, Monitor]:
    """One stage until the controller goes back, or for so many candidate requests."""
    chance = random.Random(seed)
    share = SHARES[stage] / 10_000
    base = RATES | (fault.base if fault is not None else {})
    bad = base | (fault.rates if fault is not None else {})
    drift = fault.drift if fault is not None else 0
    # Of a fault only its own guardrail is drawn: the others add false alarms, which would flatter the delays.
    names = tuple(base) if fault is None else tuple(fault.rates)
    state = msgspec.structs.replace(STATE, stage=stage, used=used)
    monitor = Monitor(state)
    peers = {name: Peers(base[name]) for name in names}
    run = Run()
    candidate_requests = control_requests = 0.0
    conversation = 0
    while candidate_requests < requests_max:
        grown = 1.0 if not drift else min(1.0, candidate_requests / drift)
        now = {name: base[name] + grown * (bad[name] - base[name]) for name in names}
        weights = [share * now[name] + (1 - share) * base[name] for name in names]
        total = sum(weights)
        requests = math.log(1.0 - chance.random()) / math.log1p(-min(0.999, total))
        candidate_requests += requests * share
        control_requests += requests * (1 - share)
        name = chance.choices(names, weights)[0]
        candidate = chance.random() < share * now[name] / (share * now[name] + (1 - share) * base[name])
        conversation += 1
        monitor.take(Sight(conversation, candidate, "all", (name,), ()))
        peers[name].event(candidate=candidate, requests=candidate_requests, control=control_requests)
        if run.ours is None and monitor.alarmed:
            assert decide(state, monitor.evidence(0.0), ()).target == "rolled_back"
            run.ours = candidate_requests
        if fault is not None and run.ours is not None and candidate_requests > 3 * run.ours:
            break
    run.window = min((peer.window for peer in peers.values() if peer.window is not None), default=None)
    run.peeked = min((peer.peeked for peer in peers.values() if peer.peeked is not None), default=None)
    return run, monitor


Pairs = list[tuple[float, float]]


def recorded(shared: Path) -> list[tuple[str, Pairs]]:
    """Pairs of real models whose means differ by a point at most, as (candidate, incumbent) scores item by item."""
    found = []
    for pair in zeroeval(shared / "data"):
        gap = float(pair.candidate.mean() - pair.incumbent.mean())
        if abs(gap) <= 0.01 and float(pair.incumbent.mean()) >= 0.85:
            found.append((pair.task, list(zip(pair.candidate.tolist(), pair.incumbent.tolist(), strict=True))))
    return found


def shifted(pairs: Pairs, drop: float, chance: random.Random) -> Iterator[tuple[float, float]]:
    """Pairs drawn without end, the candidate's mean moved to exactly `drop` below the incumbent's."""
    gap = sum(c - i for c, i in pairs) / len(pairs) + drop
    right = sum(c for c, _ in pairs) / len(pairs)
    lose, win = max(0.0, gap) / right, max(0.0, -gap) / max(1e-9, 1 - right)
    while True:
        c, i = chance.choice(pairs)
        if c >= 0.5 and chance.random() < lose:
            c = 0.0
        elif c < 0.5 and chance.random() < win:
            c = 1.0
        yield c, i


def quality(
    pairs: Pairs, drop: float, seed: int, pairs_max: int, *, answers: bool, slices: int = 1, used: dict[str, int]
) -> tuple[Run, Monitor]:
    """Judged pairs (or judged answers of each arm) until the controller goes back. With `slices`, one alone is bad."""
    chance = random.Random(seed)
    plan = msgspec.structs.replace(
        PLAN, quality="answers" if answers else "pairs",
        slices=tuple(f"s{n}" for n in range(slices)) if slices > 1 else (),
    )  # fmt: skip
    state = msgspec.structs.replace(STATE, stage="few", plan=plan, used=used)
    monitor = Monitor(state)
    bad, good = shifted(pairs, drop, chance), shifted(pairs, 0.0, chance)
    run = Run()
    total = square = 0.0
    recent: deque[float] = deque(maxlen=100)
    for count in range(1, pairs_max + 1):
        at = chance.randrange(slices)
        candidate, incumbent = next(bad if at == 0 else good)
        if answers:
            _, incumbent = chance.choice(pairs)
            monitor.judged_answer(f"s{at}", candidate, candidate=True)
            monitor.judged_answer(f"s{at}", incumbent, candidate=False)
        else:
            monitor.judged_pair(f"s{at}", candidate, incumbent)
        d = candidate - incumbent
        total, square = total + d, square + d * d
        recent.append(d)
        if run.window is None and len(recent) == 100 and sum(recent) / 100 < -MARGIN:
            run.window = count
        if run.peeked is None and count >= PEEK_FROM:
            error = math.sqrt(max(1e-9, square / count - (total / count) ** 2) / count)
            if (total / count + MARGIN) / error < -Z:
                run.peeked = count
        if run.ours is None and monitor.alarmed:
            run.ours = count
        if drop > MARGIN and run.ours is not None and count >= 2 * run.ours:
            break
    return run, monitor


def one_fault(stage: Stage, fault: Fault, seed: int) -> Run:
    return live(stage, fault, REQUESTS_MAX, 7919 * seed + 1, {})[0]


def one_fall(pairs: list[tuple[str, Pairs]], drop: float, answers: bool, slices: int, seed: int) -> Run:
    rows = pairs[seed % len(pairs)][1]
    return quality(rows, drop, 31 * seed + 5, 20_000, answers=answers, slices=slices, used={})[0]


def figure(values: list[float | None]) -> str:
    """The median, runs without an alarm counted as endless."""
    middle = median(math.inf if value is None else value for value in values)
    return "not within the run" if math.isinf(middle) else f"{middle:,.0f}"


def row(name: str, runs: list[Run], target: int | None, unit: str) -> list[str]:
    """One line of a table. Peers that went off earlier than ours are counted up to ours only."""
    ours = figure([run.ours for run in runs])
    verdict = ""
    if target is not None:
        met = median(math.inf if run.ours is None else run.ours for run in runs) <= target
        verdict = f"{target:,}, {'met' if met else 'NOT met'}"
    return [
        f"| {name} | {ours} {unit} | {verdict} | {figure([run.window for run in runs])} | "
        f"{figure([run.peeked for run in runs])} |"
    ]


def whole_ramp(pairs: list[tuple[str, Pairs]], seed: int) -> tuple[bool, bool, bool]:
    """A whole ramp of an equal candidate: does each of the three go back?"""
    used: dict[str, int] = {}
    hit = [False, False, False]
    rows = pairs[seed % len(pairs)][1]
    for at, (stage, (requests, judged)) in enumerate(WHOLE.items()):
        run, monitor = live(stage, None, requests, seed * 10 + at, used)
        used |= {name: seen for name, seen in monitor.used().items() if name in RATES}
        score, watched = quality(rows, 0.0, seed * 10 + at, judged, answers=False, used=used)
        used |= {name: seen for name, seen in watched.used().items() if name not in RATES}
        for one in (run, score):
            for place, value in enumerate((one.ours, one.window, one.peeked)):
                hit[place] = hit[place] or value is not None
    return hit[0], hit[1], hit[2]


def equal(pairs: list[tuple[str, Pairs]], runs: int, pool: Executor) -> list[str]:
    """Whole ramps of an equal candidate: how often each goes back."""
    hits = list(pool.map(partial(whole_ramp, pairs), range(runs), chunksize=5))
    ours, windows, peeked = (sum(hit[place] for hit in hits) for place in range(3))
    bound = ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / runs)
    return [
        f"| this controller | {ours / runs:.1%} | <= {ALPHA:.0%} promised; {bound:.1%} with three standard errors |",
        f"| twice the incumbent's rate within {WINDOW} requests | {windows / runs:.1%} | |",
        f"| a z-test looked at after every event | {peeked / runs:.1%} | |",
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=REPOSITORY.parent / "shared")
    parser.add_argument("--runs", type=int, help="of each cell")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--long", action="store_true", help="500 runs of each cell")
    parser.add_argument("--write", action="store_true", help=f"also write {EVIDENCE.relative_to(REPOSITORY)}")
    given = parser.parse_args()
    runs = given.runs or (500 if given.long else 40)
    with ProcessPoolExecutor(given.jobs) as pool:
        measure(recorded(given.shared), runs, pool, write=given.write)
    return 0


def measure(pairs: list[tuple[str, Pairs]], runs: int, pool: Executor, *, write: bool) -> None:
    began = time.monotonic()
    flag = " --long" if runs >= 500 else ""
    lines = [
        "# The ramp: exposure until detection, and false rollbacks",
        "",
        f"Written by `scripts/bench ramp{flag} --write`: {runs} runs a cell, with the product's",
        "own `Monitor` and `decide`. Figures are medians in candidate requests (for quality in judged pairs). Half of",
        "alpha = 5% belongs to quality, the other half to eight guardrails:",
        ", ".join(RATES) + ".",
        f"Quality is that of {len(pairs)} pairs of recorded real models, means within one point of each other,",
        f"at 85% or more, shifted to the difference named; the margin is {MARGIN:.0%}.",
        "",
        "## Equal candidates, whole ramps of 20,000 candidate requests and 2,000 judged pairs",
        "",
        "| | goes back | |", "|---|---|---|", *equal(pairs, runs, pool), "",
        "The peers are fast because they cry wolf: compare their delays below with the share of equal candidates that "
        "they take back.",
        "",
    ]  # fmt: skip
    print("\n".join(lines), flush=True)
    head = ["| injected | this controller | target | window threshold | peeked z-test |", "|---|---|---|---|---|"]
    for stage in ("canary", "few", "quarter", "half"):
        section = [f"## Live control at {SHARES[stage] / 100:g}%", "", *head]
        for fault in FAULTS:
            some = list(pool.map(partial(one_fault, stage, fault), range(runs), chunksize=25))
            section += row(fault.name, some, fault.targets.get(stage), "requests")
        print("\n".join([*section, ""]), flush=True)
        lines += [*section, ""]
    section = ["## Quality", "", *head]
    for answers, kind in ((False, "pairs"), (True, "answers")):
        for drop, target in ((0.05, None), (0.10, 700 if answers else 600), (0.20, 200)):
            some = list(pool.map(partial(one_fall, pairs, drop, answers, 1), range(runs), chunksize=10))
            section += row(f"{-100 * drop:.0f} points, {kind}", some, target, f"judged {kind}")
    some = list(pool.map(partial(one_fall, pairs, 0.20, False, 4), range(runs), chunksize=10))
    section += row("-20 points in one slice of four, pairs", some, None, "judged pairs")
    print("\n".join([*section, ""]), flush=True)
    lines += [
        *section, "",
        "A fall of quality is found by its judged pairs alone, whatever the stage's share is.", "",
        f"Took {(time.monotonic() - began) / 60:.0f} minutes.", "",
    ]  # fmt: skip
    if write:
        EVIDENCE.write_text("\n".join(lines))


if __name__ == "__main__":
    sys.exit(main())
