"""Scores by row, as arrays, and every rule that a row can break."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from weighbridge.stats.bets import FloatArray, IntArray
from weighbridge.stats.judged import LABEL_PROBABILITY_MIN
from weighbridge.trials.pairs.columns import CANDIDATE, CLUSTER, INCUMBENT, LABEL_PROBABILITY, SCORES, SLICE, WEIGHT

ALL = "all"
"""The slice of a file without a column for it."""
SLICES_MAX = 10_000
BAD = np.inf
"""Stands in a raw column for a value that is there but not allowed; NaN stands for an empty one."""

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Checked rows. Differences are candidate minus incumbent, in [-1, 1], NaN where the row has none.

    slices: names, in order; slice_ids: numbers into them, shape (n,). clusters: labels 0 .. C - 1 in the order of their
    first rows, shape (n,); None where each row is its own. weights: traffic weight of each slice; None takes the rows
    as the traffic. score: from scores that were computed or checked. judge, human: None where the file has no such
    columns. probability: of being labelled, for rows without `score`; None where the file does not say.
    """

    slices: tuple[str, ...]
    slice_ids: IntArray
    clusters: IntArray | None
    weights: tuple[float, ...] | None
    score: FloatArray
    judge: FloatArray | None = None
    human: FloatArray | None = None
    probability: FloatArray | None = None

    @property
    def n(self) -> int:
        """Rows."""
        return int(self.score.size)

    @property
    def scored(self) -> BoolArray:
        """Rows whose scores need no judge and no label, shape (n,)."""
        return ~np.isnan(self.score)


@dataclass(frozen=True, slots=True)
class Raw:
    """Columns as read: NaN where empty, `BAD` where not allowed. slice_ids, clusters: -1 where empty.

    slice_column, cluster_column: their names in the file, None where it has none.
    """

    scores: dict[tuple[str, str], tuple[FloatArray, FloatArray]]
    slices: tuple[str, ...]
    slice_ids: IntArray
    clusters: IntArray | None
    weight: FloatArray | None
    probability: FloatArray | None
    slice_column: str | None = None
    cluster_column: str | None = None


@dataclass(frozen=True, slots=True)
class Broken:
    """A rule and the first row that breaks it (from 0), how many do, and the columns that show it.

    other: a second row that the rule compares it with.
    """

    row: int
    count: int
    columns: tuple[str, ...]
    rule: str
    other: int | None = None


_NUMBER = (
    "allowed is a number from 0 to 1 (true and false count as 1 and 0), empty where there is none; rescale the scores, "
    "and grade what is not a number"
)
_BOTH = "a pair needs both; fill it or remove the row from both arms before anything is decided"


def checked(raw: Raw) -> Pairs | Broken:
    """The rows, or the rule that is broken first (in the order of the rows)."""
    broken = [found for found in _rules(raw) if found is not None]
    if broken:
        return min(broken, key=lambda one: one.row)
    nothing = np.full(raw.slice_ids.size, np.nan)
    score, judge, human = (_difference(raw.scores.pop(pair, None)) for pair in SCORES)
    return Pairs(
        slices=raw.slices,
        slice_ids=raw.slice_ids,
        clusters=raw.clusters,
        weights=None if raw.weight is None else _weights(raw),
        score=nothing if score is None else score,
        judge=judge,
        human=human,
        probability=raw.probability,
    )


def _difference(pair: tuple[FloatArray, FloatArray] | None) -> FloatArray | None:
    if pair is None:
        return None
    incumbent, candidate = pair
    return np.subtract(candidate, incumbent, out=candidate)


def _rules(raw: Raw) -> list[Broken | None]:
    found: list[Broken | None] = []
    present: dict[tuple[str, str], BoolArray] = {}
    for pair, (incumbent, candidate) in raw.scores.items():
        for name, values in zip(pair, (incumbent, candidate), strict=True):
            found.append(_broken(np.isinf(values), (name,), _NUMBER))
        there, other = ~np.isnan(incumbent), ~np.isnan(candidate)
        found.append(_broken(there != other, pair, _BOTH))
        present[pair] = there & other
    found += _labels(raw, present)
    found.append(
        _broken(raw.slice_ids < 0, (raw.slice_column or SLICE,), "every row has a slice; name the ones without, too")
    )
    if raw.clusters is not None:
        rule = "every row has a cluster; give a row that stands alone a name of its own"
        found.append(_broken(raw.clusters < 0, (raw.cluster_column or CLUSTER,), rule))
    if raw.weight is not None:
        bad = ~np.isfinite(raw.weight)
        rule = (
            "allowed is a number above 0 on every row, the traffic weight of the row's slice; leave out slices without "
            "traffic"
        )
        found.append(_broken(bad, (WEIGHT,), rule))
        found.append(_unequal_weight(raw, bad))
    return found


def _labels(raw: Raw, present: dict[tuple[str, str], BoolArray]) -> list[Broken | None]:
    nowhere = np.zeros(raw.slice_ids.size, dtype=np.bool_)
    score, judge, human = (present.get(pair, nowhere) for pair in SCORES)
    found = [
        _broken(
            score & (judge | human),
            (INCUMBENT, CANDIDATE, *(name for pair in SCORES[1:] if pair in present for name in pair)),
            "one row has one kind of score: leave `incumbent` and `candidate` empty where judge or human scores are "
            "given",
        )
    ]
    if SCORES[1] in present:
        found.append(
            _broken(
                human & ~judge,
                (*SCORES[1], *SCORES[2]),
                "a human label corrects the judge of its row: give the judge's scores on every row that has no "
                "`incumbent` and `candidate`",
            )
        )
        found.append(_broken(~(score | judge | human), _names(present), "the row has no scores: fill or remove it"))
    elif SCORES[2] not in present:
        found.append(_broken(~score, _names(present), "the row has no scores: fill or remove it"))
    if raw.probability is not None:
        rule = f"allowed is a number from {LABEL_PROBABILITY_MIN} to 1 on every row without `incumbent` and `candidate`"
        pi = raw.probability
        found.append(_broken(np.isinf(pi) | (np.isnan(pi) & ~score), (LABEL_PROBABILITY,), rule))
        if SCORES[2] in present:
            found.append(
                _broken(
                    (pi == 1.0) & ~score & ~human,
                    (LABEL_PROBABILITY, *SCORES[2]),
                    "a row that was certain to be labelled has no label: give the label or the true probability",
                )
            )
    return found


def _names(present: dict[tuple[str, str], BoolArray]) -> tuple[str, ...]:
    return tuple(name for pair in present for name in pair)


def _broken(bad: BoolArray, columns: tuple[str, ...], rule: str) -> Broken | None:
    if not bad.any():
        return None
    return Broken(int(np.argmax(bad)), int(bad.sum()), columns, rule)


def _unequal_weight(raw: Raw, bad: BoolArray) -> Broken | None:
    assert raw.weight is not None  # noqa: S101 (asked by the caller)
    if bad.any() or (raw.slice_ids < 0).any():
        return None
    first = np.full(len(raw.slices), raw.slice_ids.size, dtype=np.int64)
    np.minimum.at(first, raw.slice_ids, np.arange(raw.slice_ids.size))
    unequal = raw.weight != raw.weight[first[raw.slice_ids]]
    if not unequal.any():
        return None
    row = int(np.argmax(unequal))
    return Broken(
        row,
        int(unequal.sum()),
        (WEIGHT,) if raw.slice_column is None else (raw.slice_column, WEIGHT),
        "all rows of a slice have the same weight, the slice's share of the traffic (not of the row)",
        int(first[raw.slice_ids[row]]),
    )


def _weights(raw: Raw) -> tuple[float, ...]:
    assert raw.weight is not None  # noqa: S101 (asked by the caller)
    by_slice = np.empty(len(raw.slices))
    by_slice[raw.slice_ids] = raw.weight
    return tuple(by_slice.tolist())


def first_labels(keys: NDArray[np.generic]) -> IntArray:
    """Labels 0 .. C - 1 in the order in which keys are first seen, shape (n,)."""
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    rank = np.empty(first.size, dtype=np.int64)
    rank[np.argsort(first, kind="stable")] = np.arange(first.size)
    return np.asarray(rank[inverse], dtype=np.int64)


def from_scores(
    incumbent: ArrayLike,
    candidate: ArrayLike,
    slices: Sequence[str] | None = None,
    clusters: Sequence[Hashable] | None = None,
    weights: dict[str, float] | None = None,
) -> Pairs:
    """Pairs from scores in hand: shape (n,) each, in [0, 1]; slice and cluster by row, traffic weight by slice.

    ValueError names the row (from 1), the value and the rule.
    """
    shown = (np.array(incumbent, dtype=np.float64), np.array(candidate, dtype=np.float64))
    n = shown[0].size
    for what, size in (
        ("candidate scores", shown[1].size),
        ("slices", n if slices is None else len(slices)),
        ("clusters", n if clusters is None else len(clusters)),
    ):
        if size != n:
            raise ValueError(f"{n} incumbent scores but {size} {what}: allowed is one for each row")
    if not n:
        raise ValueError("no pairs: allowed is one or more")
    first, second = (np.where((values >= 0.0) & (values <= 1.0), values, BAD) for values in shown)
    names = (ALL,) if slices is None else tuple(sorted(set(slices)))
    number = {name: i for i, name in enumerate(names)}
    ids = np.zeros(n, dtype=np.int64)
    if slices is not None:
        ids = np.fromiter((number[name] for name in slices), dtype=np.int64, count=n)
    weight = None
    if weights is not None:
        if set(weights) != set(names):
            raise ValueError(f"weights are of {sorted(weights)}, slices are {list(names)}: allowed is the same set")
        weight = np.array([weights[name] if 0.0 < weights[name] < BAD else BAD for name in names])[ids]
    found = checked(
        Raw({SCORES[0]: (first, second)}, names, ids, None if clusters is None else _labels_of(clusters), weight, None)
    )
    if isinstance(found, Pairs):
        return found
    values = [float(pair[found.row]) for pair, name in zip(shown, SCORES[0], strict=True) if name in found.columns]
    raise ValueError(f"row {found.row + 1}: {' and '.join(found.columns)} is {values}: {found.rule}")


def _labels_of(keys: Sequence[Hashable]) -> IntArray:
    seen: dict[Hashable, int] = {}
    return np.fromiter((seen.setdefault(key, len(seen)) for key in keys), dtype=np.int64, count=len(keys))
