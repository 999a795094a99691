"""The confidence sequence of one comparison: how the interval narrowed, and where on the page each point lies.

Only geometry; the template draws it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from weighbridge.records.evidence import Pair
from weighbridge.reports.model import SliceReport, TracePoint
from weighbridge.stats.sequential import PairTest

POINTS = 60

Scale = Callable[[float], float]


def unit_differences(pairs: Sequence[Pair]) -> list[float]:
    """One difference per cluster (its mean), in the order in which the clusters were complete.

    Pairs are in the trial's order; a cluster steps the test when its last pair is there.
    """
    sums: dict[str, list[float]] = {}
    for pair in pairs:
        # Moving the cluster to the end at each of its pairs leaves the dict in order of completion.
        differences = sums.pop(pair.cluster, [])
        differences.append(pair.candidate - pair.incumbent)
        sums[pair.cluster] = differences
    return [max(-1.0, min(1.0, math.fsum(ds) / len(ds))) for ds in sums.values()]


def trace(pairs: Sequence[Pair], margin: float, alpha: float) -> tuple[TracePoint, ...]:
    """The estimate and its interval at about sixty sample sizes, from the stored pairs of one slice."""
    test = PairTest(margin, alpha)
    test.update_many(unit_differences(pairs))
    return tuple(TracePoint(n=p.n, mean=p.mean, low=p.low, high=p.high) for p in test.trace(POINTS))


@dataclass(frozen=True, slots=True)
class Tick:
    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Decision:
    x: float
    text_x: float
    anchor: str
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Coordinates in user units of a `width` x `height` view box. Paths are SVG path data."""

    width: int
    height: int
    left: float
    right: float
    top: float
    bottom: float
    band: str
    mean: str
    zero_y: float
    margin_y: float
    margin_label: str
    margin_label_y: float
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    decision: Decision | None
    title: str
    description: str
    unit: str
    """What the horizontal axis counts."""
    clip: str
    """Id of the clip path, unique in the page."""


WIDTH, HEIGHT = 360, 196
LEFT, RIGHT, TOP, BOTTOM = 34.0, 348.0, 12.0, 166.0


def chart(row: SliceReport) -> Chart | None:
    """The drawing of one row; `None` without pairs."""
    if not row.trace:
        return None
    last = row.trace[-1]
    n_max = max(last.n, 2)
    reach = _reach(row)

    def x(n: float) -> float:
        return LEFT + (RIGHT - LEFT) * n / n_max

    def y(value: float) -> float:
        return TOP + (BOTTOM - TOP) * (reach - value) / (2 * reach)

    upper = [f"{x(p.n):.1f},{y(p.high):.1f}" for p in row.trace]
    lower = [f"{x(p.n):.1f},{y(p.low):.1f}" for p in reversed(row.trace)]
    mean = [f"{x(p.n):.1f},{y(p.mean):.1f}" for p in row.trace]
    return Chart(
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        right=RIGHT,
        top=TOP,
        bottom=BOTTOM,
        band=f"M{' L'.join(upper + lower)} Z",
        mean=f"M{' L'.join(mean)}",
        zero_y=y(0.0),
        margin_y=y(-row.margin),
        margin_label=f"margin −{100 * row.margin:g}",
        # On the side of the line that the estimate is not on.
        margin_label_y=y(-row.margin) + (12.0 if last.mean > -row.margin else -5.0),
        x_ticks=tuple(Tick(x(n), f"{n:,}") for n in _ticks(n_max)),
        y_ticks=tuple(Tick(y(v), _signed(v)) for v in (-reach, -reach / 2, 0.0, reach / 2, reach)),
        decision=_decision(row, x, n_max),
        title=f"How the interval narrowed: {row.slice}, {row.candidate}",
        description=_describe(row, last),
        unit="pairs compared" if row.n == row.clusters else "conversations compared",
        clip=f"clip-{sha256(f'{row.trial}/{row.candidate}/{row.slice}'.encode()).hexdigest()[:12]}",
    )


def _reach(row: SliceReport) -> float:
    """Half the height of the plot: the margin and the last interval stay well inside; the wide start is cut off."""
    last = row.trace[-1]
    need = max(2.5 * row.margin, 1.3 * abs(last.low), 1.3 * abs(last.high), 0.05)
    for step in (0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8):
        if need <= step:
            return step
    return 1.0


def _decision(row: SliceReport, x: Scale, n_max: int) -> Decision | None:
    if row.decided_at is None:
        return None
    at = x(min(row.decided_at, n_max))
    word = "not worse" if row.verdict == "non_inferior" else "worse"
    late = at > 0.6 * RIGHT
    return Decision(
        x=at,
        text_x=at - 5 if late else at + 5,
        anchor="end" if late else "start",
        label=f"{word}, at {row.decided_at:,}",
    )


def _ticks(n_max: int) -> list[int]:
    """Round numbers, three to six of them, and the end where nothing stands close to it."""
    scale = 10 ** math.floor(math.log10(n_max))
    step = next((size for f in (1, 0.5, 0.25, 0.2, 0.1) if n_max / (size := max(1, round(scale * f))) >= 3), 1)
    while n_max / step > 6:
        step *= 2
    ticks = list(range(0, n_max + 1, step))
    if n_max - ticks[-1] > 0.5 * step:
        return [*ticks, n_max]
    return [*ticks[:-1], n_max] if len(ticks) > 1 else ticks


def _signed(value: float) -> str:
    text = f"{abs(100 * value):g}"
    return text if value == 0 else f"{'+' if value > 0 else '−'}{text}"


def _describe(row: SliceReport, last: TracePoint) -> str:
    decided = (
        f"Decided as {row.verdict.replace('_', ' ')} after {row.decided_at} units."
        if row.decided_at
        else "Not decided."
    )
    return (
        f"Running interval of the difference between candidate and incumbent over {last.n} units, in points. "
        f"At the end it runs from {_signed(round(last.low, 3))} to {_signed(round(last.high, 3))} around "
        f"{_signed(round(last.mean, 3))}; the margin is at {_signed(-row.margin)}. {decided}"
    )
