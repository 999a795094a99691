"""What so many units could have shown: the other side of an undecided verdict."""

import math

from weighbridge.stats.bets import PRIOR_COUNT, PRIOR_SUM
from weighbridge.stats.planner import VARIANCE_DEFAULT, plan
from weighbridge.trials.pairs.decide import Decided, Row
from weighbridge.trials.pairs.labels import Labels

_STEPS = 16
# Units that nobody will gather: as in `stats.planner`.
_LOOK_AHEAD = 100_000


def smallest_margin(row: Row, comparisons: int, alpha: float) -> float | None:
    """The smallest margin at which an equal candidate is certified in four of five cases with this row's units.

    The smallest difference that the data could have shown, at the spread (and the judge's correlation) that was
    measured. None where no margin below 1 would do, or nothing may be decided.
    """
    if row.labels.blind is not None:
        return None
    variance, (fraction, correlation) = _variance(row), _judge(row)

    def enough(margin: float) -> bool:
        n80 = plan(margin, alpha, comparisons, 0.0, variance, fraction, correlation).n80
        return n80 is not None and n80 <= row.state.n

    low, high = 0.0, math.nextafter(1.0, 0.0)
    if not enough(high):
        return None
    for _ in range(_STEPS):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def resolutions(decided: Decided) -> tuple[float | None, ...]:
    """`smallest_margin` of every slice, and last of the whole."""
    family = max(1, decided.comparisons)
    slices = [smallest_margin(row, family, decided.alpha) for row in decided.rows]
    single = len(decided.rows) == 1
    return (*slices, slices[0] if single else smallest_margin(decided.overall, 1, decided.alpha))


def units_left(row: Row, margin: float, missing: float) -> int | None:
    """More units until a log e-value that misses `missing` is there, at the present estimate; None: out of reach.

    The best bet's growth a unit is gap^2 / (2 (s2 + gap^2)), as in `stats.planner`; a judge makes units of labels.
    """
    if row.state.difference is None:
        return None
    gap = row.state.difference + margin
    if abs(gap) < 1e-12:
        return None
    fraction, correlation = _judge(row)
    units = 2.0 * missing * (_variance(row) + gap * gap) / (gap * gap)
    units = max(units, missing / math.log1p(0.9 * margin / (1.0 - margin)))
    if fraction is not None and correlation is not None:
        units *= (1.0 - (1.0 - fraction) * max(correlation, 0.0) ** 2) / fraction
    return max(1, math.ceil(units)) if units <= _LOOK_AHEAD else None


def labels_enough(row: Row, comparisons: int, margin: float, alpha: float, correlation: float) -> tuple[int, int]:
    """Human labels for an equal candidate, median and 80% quantile, where there are none or too few.

    The spread of people's differences is not known yet: the planner's default, or the judge's where that is larger.
    """
    variance = max(VARIANCE_DEFAULT, min(row.variance or 0.0, 1.0))
    alone = plan(margin, alpha, comparisons, 0.0, variance)
    assert alone.n50 is not None  # noqa: S101 (an equal candidate is not at the margin)
    assert alone.n80 is not None  # noqa: S101
    fraction = min(1.0, alone.n80 / max(row.labels.rows, 1))
    judged = plan(margin, alpha, comparisons, 0.0, variance, fraction, correlation)
    assert judged.labels50 is not None  # noqa: S101 (asked for with a label fraction)
    assert judged.labels80 is not None  # noqa: S101
    return judged.labels50, judged.labels80


def _variance(row: Row) -> float:
    """The spread of differences over units, drawn towards that of a coin-flip grader as the tests' own guesses are."""
    units = row.labels.labelled if row.labels.rows else row.state.n
    known = 0 if row.variance is None else units
    return min(1.0, (PRIOR_SUM + known * (row.variance or 0.0)) / (PRIOR_COUNT + known))


def _judge(row: Row) -> tuple[float | None, float | None]:
    """Label fraction and correlation for the planner; None each where every unit has its truth."""
    labels: Labels = row.labels
    truths = row.pairs - labels.rows + labels.labelled
    if not row.pairs or truths >= row.pairs or not truths:
        return None, None
    return truths / row.pairs, row.correlation or 0.0
