"""The A/A check: the incumbent against its own re-run. How noisy is the grader, and is the harness even-handed?

Both arms are the same, so the mean difference is 0 by construction. Its variance is the noise that every verdict has
to see through, and it sets the planner; an interval that leaves 0 out says that one side of the harness is favoured
(a judge that prefers the first answer, a cache, a drift between the runs), and then no verdict of this grader can be
trusted.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from weighbridge.stats.bets import FloatArray, check_alpha, check_margin
from weighbridge.stats.planner import Plan, plan
from weighbridge.stats.sequential import PairTest


@dataclass(frozen=True, slots=True)
class AACheck:
    """What the incumbent's own re-run says of the grader.

    n: units. difference, variance: of the paired differences. discordance: share of units with any difference.
    interval: for the mean difference, level 1 - 2 alpha / comparisons. even_handed: 0 lies in it. plan: pairs for an
    equal candidate at this noise. smallest_margin: the smallest margin that an equal candidate passes in n pairs in the
    median; None: not one below 1.
    """

    n: int
    difference: float
    variance: float
    discordance: float
    interval: tuple[float, float]
    even_handed: bool
    plan: Plan
    smallest_margin: float | None


def check(first: ArrayLike, second: ArrayLike, margin: float, alpha: float, comparisons: int = 1) -> AACheck:
    """Compare two gradings of the same units by the same arm.

    first, second: scores in [0, 1], shape (n,), n >= 2, in shuffled order, whole clusters as units. comparisons:
    slices times candidates of the trial to be planned. Errors: ValueError.
    """
    a, b = _scores(first, "first"), _scores(second, "second")
    if a.shape != b.shape:
        raise ValueError(f"{a.size} first and {b.size} second scores: allowed is the same units in both runs")
    return check_differences(b - a, margin, alpha, comparisons)


def check_differences(d: FloatArray, margin: float, alpha: float, comparisons: int = 1) -> AACheck:
    """The same from paired differences of units in [-1, 1], shape (n,), n >= 2, in shuffled order."""
    margin, alpha = check_margin(margin), check_alpha(alpha)
    if d.size < 2:
        raise ValueError(f"{d.size} units: allowed are 2 or more; 100 give a useful variance")
    # The checks of several slices share alpha, or one of many even-handed graders would look favoured by chance.
    test = PairTest(margin, alpha / max(1, comparisons))
    test.update_many(d)
    low, high = test.interval()
    variance = float(np.var(d, ddof=1))
    return AACheck(
        n=d.size,
        difference=float(d.mean()),
        variance=variance,
        discordance=float(np.mean(d != 0.0)),
        interval=(low, high),
        even_handed=low <= 0.0 <= high,
        plan=plan(margin, alpha, comparisons, 0.0, min(variance, 1.0)),
        smallest_margin=_smallest_margin(d.size, alpha, comparisons, min(variance, 1.0)),
    )


def _scores(values: ArrayLike, what: str) -> FloatArray:
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 1:
        raise ValueError(f"{what} scores have shape {scores.shape}: allowed is one dimension, one score per unit")
    bad = ~((scores >= 0.0) & (scores <= 1.0))
    if bad.any():
        position = int(np.argmax(bad))
        raise ValueError(f"{what} score at position {position} is {float(scores[position])!r}: allowed is 0 to 1")
    return scores


def _smallest_margin(n: int, alpha: float, comparisons: int, variance: float) -> float | None:
    def enough(margin: float) -> bool:
        needed = plan(margin, alpha, comparisons, 0.0, variance).n50
        return needed is not None and needed <= n

    low, high = 0.0, math.nextafter(1.0, 0.0)
    if not enough(high):
        return None
    while high - low > 1e-4:
        middle = 0.5 * (low + high)
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
