"""Why a verdict is what it is, in plain words. Every figure comes from the tests; nothing is decided here."""

import math

from weighbridge.records.evidence import Finding
from weighbridge.stats.planner import plan
from weighbridge.stats.verdict import SliceState
from weighbridge.trials.outcome import Unjudged
from weighbridge.trials.replay import Stopped
from weighbridge.trials.walk import Walk

AGREEMENT = "agreement with the incumbent's answers measures likeness, not quality, and never certifies"
JUDGE_ALONE = (
    "a judge's labels alone never certify; let people label a sample (`weighbridge label`), then `weighbridge verdict` "
    "corrects the judge by them"
)
NEVER_CERTIFIES = {"agreement": AGREEMENT, "judge": JUDGE_ALONE}
NO_HELP = "more pairs will not help"


def points(value: float) -> str:
    """A difference of scores as points: -0.034 is `-3.4 points`."""
    return f"{100 * value:+.1f} points"


def decided(state: SliceState, margin: float) -> str:
    low, high = state.interval
    if state.verdict == "non_inferior":
        return f"the interval's lower end ({points(low)}) lies above the margin ({points(-margin)})"
    return f"the interval's upper end ({points(high)}) lies below the margin ({points(-margin)})"


def undecided_slice(walk: Walk, name: str, state: SliceState, stopped: Stopped) -> list[str]:
    """What is missing for one certifying slice."""
    assert walk.decider is not None  # noqa: S101 (a certifying slice has one)
    margin = walk.plan.settings.margin
    per_unit = walk.pairs_of(name) / state.n if state.n else _per_unit(walk, name)
    needed = walk.decider.still_needed(name, walk.candidate)
    if needed is not None:
        reasons = [f"needs about {_pairs(needed, per_unit)} more pairs, if it goes on as it did"]
        if stopped == "exhausted":
            reasons.append("all usable exchanges of the span are used; capture more traffic and run the trial again")
        return reasons
    reasons = [_no_help(state, margin)]
    halt = walk.decider.until_halt(name, walk.candidate)
    if halt is not None:
        reasons.append(f"about {_pairs(halt, per_unit)} more pairs would show it to be inferior")
    return reasons


def _per_unit(walk: Walk, name: str) -> float:
    units = [unit for unit in walk.plan.units if unit.slice == name]
    return sum(len(unit.items) for unit in units) / len(units) if units else 1.0


def _pairs(units: int, per_unit: float) -> str:
    return f"{max(1, math.ceil(units * per_unit)):,}"


def _no_help(state: SliceState, margin: float) -> str:
    if state.difference is not None and state.difference <= -margin:
        where = f"the estimate ({points(state.difference)}) is at or below the margin ({points(-margin)})"
    else:
        where = "at the present estimate a certificate is out of reach"
    return f"{NO_HELP}: {where}"


def undecided_whole(walk: Walk, state: SliceState, stopped: Stopped) -> list[str]:
    """What is missing for the traffic-weighted whole."""
    settings = walk.plan.settings
    if state.difference is not None and state.difference <= -settings.margin:
        return [_no_help(state, settings.margin)]
    rows = [
        draw.weight * sum(one.candidate - one.incumbent for one in scored) / len(scored)
        for draw, scored in walk.whole_taken
    ]
    mean = sum(rows) / len(rows) if rows else 0.0
    variance = sum((row - mean) ** 2 for row in rows) / (len(rows) - 1) if len(rows) > 1 else 0.15
    planned = plan(settings.margin, settings.alpha, 1, state.difference or 0.0, min(1.0, variance))
    missing = None if planned.n50 is None else max(1, planned.n50 - state.n)
    reasons = [NO_HELP if missing is None else f"the whole needs about {missing:,} more units, if it goes on as it did"]
    if stopped == "exhausted":
        reasons.append(
            "a slice ran out of usable exchanges, and the whole cannot speak without it; capture more traffic"
        )
    return reasons


def failed(rows: list[Unjudged]) -> str:
    """Replays that could not be judged, counted, with what was said most often."""
    said = [row.reason for row in rows]
    most = max(set(said), key=lambda reason: (said.count(reason), reason))
    more = f"{said.count(most)} times" if len(set(said)) > 1 else ("once" if len(rows) == 1 else "each time")
    return f"{len(rows)} replays could not be judged; said {more}: {most}"


def stopped_early(stopped: Stopped, last_broken: str) -> list[str]:
    """What ended the trial before its tests had decided."""
    if stopped == "budget":
        return [
            "stopped by --max-usd: the next replay might have exceeded it; run it again with more, it goes on from here"
        ]
    if stopped == "endpoint":
        return [
            f"given up: too many replays in a row could not be judged ({last_broken}); mend it and run the trial again"
        ]
    return []


def license_line(finding: Finding) -> str | None:
    """What the licence adds to a verdict; `None` where it is plainly allowed."""
    if finding.verdict == "allowed":
        return None
    return (
        f"licence {finding.verdict.replace('_', ' ')}: {finding.reasons[0] if finding.reasons else 'no reason given'}"
    )
