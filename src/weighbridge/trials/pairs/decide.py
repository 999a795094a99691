"""From pairs to the states of all slices and the whole. Pure.

Where no row needs a judge this is `stats.batch`; else slices with a judge are streams of `stats.judged_arrays` in the
same family, and the whole is one such stream.

A unit of slice s has the weight w_s C / U_s in the whole (U_s units there, C clusters in all), so that the whole is the
mean over clusters of what their units weigh together: a cluster is one step of the whole however many slices it
touches.
"""

from dataclasses import dataclass

import numpy as np

from weighbridge.stats.batch import (
    NEVER,
    certified_at,
    decide_arrays,
    slice_paths,
    slice_state,
    slice_states,
    whole_state,
)
from weighbridge.stats.bets import FloatArray, IntArray, check_alpha, check_margin
from weighbridge.stats.judged_arrays import JudgedRows, JudgedStream
from weighbridge.stats.sequential import interval_of
from weighbridge.stats.verdict import SliceState
from weighbridge.trials.pairs.labels import Labelled, Labels, label
from weighbridge.trials.pairs.rows import Pairs
from weighbridge.trials.pairs.units import Units, units_of

OVERALL = "overall"


@dataclass(frozen=True, slots=True)
class Row:
    """One slice, or the whole.

    pairs: rows of the file. state: where its tests stand; undecided where `labels.blind`. variance: of the differences
    over units, for planning, None where unknown. correlation: of judge and human differences. differences: of the units
    in order where no judge is needed and all weigh the same, else None.
    """

    name: str
    pairs: int
    state: SliceState
    labels: Labels
    variance: float | None
    correlation: float | None = None
    differences: FloatArray | None = None


@dataclass(frozen=True, slots=True)
class Decided:
    """What a file of pairs says at a margin and an error level.

    seed: of the shuffle, None where rows stand as in the file. comparisons: slices in the family. clusters: None where
    each row is its own; crossing: those that lie in several slices. sizes: rows of the smallest and the largest unit.
    weights: traffic share of each slice. uniform: the label probability was not given.
    """

    margin: float
    alpha: float
    seed: int | None
    rows: tuple[Row, ...]
    overall: Row
    comparisons: int
    clusters: int | None
    crossing: int
    sizes: tuple[int, int]
    weights: tuple[float, ...]
    uniform: bool


def decide(pairs: Pairs, margin: float, alpha: float, seed: int | None = 0) -> Decided:
    """The states of every slice and the whole. seed: of the shuffle of whole clusters; None: the order of the file.

    Errors: ValueError for a margin, alpha or seed outside its range.
    """
    margin, alpha = check_margin(margin), check_alpha(alpha)
    traffic = np.bincount(pairs.slice_ids, minlength=len(pairs.slices)) if pairs.weights is None else pairs.weights
    weights = np.asarray(traffic, dtype=np.float64)
    weights = weights / weights.sum()
    units = units_of(pairs, seed)
    sizes = (int(units.sizes.min()), int(units.sizes.max()))
    clusters, crossing = None if pairs.clusters is None else int(units.clusters.size), units.crossing
    labelled = None
    if pairs.scored.all():
        d, ids, parts = units.means(pairs.score), units.slice_ids, units.clusters if crossing else None
        del units  # a million rows: what is not needed any more must not stand beside the tests
        rows, overall = _checked(pairs, d, ids, parts, weights, margin, alpha)
    else:
        labelled = label(pairs)
        rows, overall = _Mixed(pairs, units, labelled, weights, margin, alpha).decided()
    return Decided(
        margin=margin,
        alpha=alpha,
        seed=seed,
        rows=rows,
        overall=overall,
        comparisons=sum(row.labels.blind is None for row in rows),
        clusters=clusters,
        crossing=crossing,
        sizes=sizes,
        weights=tuple(weights.tolist()),
        uniform=labelled is not None and labelled.uniform,
    )


def _checked(
    pairs: Pairs,
    d: FloatArray,
    ids: IntArray,
    clusters: IntArray | None,
    weights: FloatArray,
    margin: float,
    alpha: float,
) -> tuple[tuple[Row, ...], Row]:
    """d, ids: difference and slice of each unit in order. clusters: first unit of each, where some cross slices."""
    count, checks = len(pairs.slices), Labels("check", None, 0, 0)
    per_slice = np.bincount(ids, minlength=count)
    given: list[float] | None = None
    if clusters is not None:
        slices = slice_states(d, ids, count, margin, alpha)
        weight = (weights * clusters.size / per_slice)[ids]
        a, s = np.add.reduceat(weight, clusters), np.add.reduceat(weight * d, clusters)
        del weight
        whole = whole_state(s, a, float(a.max()), margin, alpha)
        variance = _variance(s)
    else:
        shares = per_slice / d.size
        # Units in the shares of the traffic need no weights, and no slice can then run dry.
        given = None if np.allclose(shares, weights, rtol=1e-9, atol=0.0) else weights.tolist()
        states = decide_arrays(d, ids, margin, alpha, given, count)
        slices, whole = states.slices, states.overall
        variance = _variance(d if given is None else (weights / shares)[ids] * d)
    grouped = d[np.argsort(ids, kind="stable")]
    parts = np.split(grouped, np.cumsum(per_slice)[:-1])
    sizes = np.bincount(pairs.slice_ids, minlength=count).tolist()
    rows = tuple(
        Row(name, size, state, checks, _variance(part), None, part)
        for name, size, state, part in zip(pairs.slices, sizes, slices, parts, strict=True)
    )
    plain = d if clusters is None and given is None else None
    return rows, Row(OVERALL, pairs.n, whole, checks, variance, None, plain)


def _variance(d: FloatArray) -> float | None:
    return float(np.var(d, ddof=1)) if d.size > 1 else None


@dataclass(frozen=True, slots=True)
class _Mixed:
    pairs: Pairs
    units: Units
    labels: Labelled
    weights: FloatArray
    margin: float
    alpha: float

    def decided(self) -> tuple[tuple[Row, ...], Row]:
        rows = self._slices()
        if len(rows) == 1:
            one = rows[0]
            whole = Row(OVERALL, one.pairs, one.state, one.labels, one.variance, one.correlation, one.differences)
            return rows, whole
        return rows, self._whole()

    def _slices(self) -> tuple[Row, ...]:
        ids, count = self.units.slice_ids, len(self.pairs.slices)
        order = np.argsort(ids, kind="stable")
        bounds = np.concatenate(([0], np.cumsum(np.bincount(ids, minlength=count))))
        of_rows = self.pairs.slice_ids[self.units.rows]
        tests = [
            _Slice(self, s, self.units.rows[of_rows == s], self.units.sizes[order[bounds[s] : bounds[s + 1]]])
            for s in range(count)
        ]
        # The family holds the slices that can be decided: which they are, the columns say, and never an outcome.
        deciding = np.array([test.labels.blind is None for test in tests], dtype=np.bool_)
        certify = np.zeros(ids.size)
        for s in np.flatnonzero(deciding).tolist():
            certify[order[bounds[s] : bounds[s + 1]]] = tests[s].certify
        within = deciding[ids]
        number = np.cumsum(deciding) - 1
        kept = number[ids[within]]
        at = certified_at(certify[within], kept, np.argsort(kept, kind="stable"), int(deciding.sum()), self.alpha)
        return tuple(tests[s].row(at[int(number[s])] if deciding[s] else NEVER) for s in range(count))

    def _whole(self) -> Row:
        units, labels = self.units, self.labels.overall
        per_slice = np.bincount(units.slice_ids, minlength=len(self.pairs.slices))
        scale = self.weights * units.clusters.size / per_slice
        weight = np.repeat(scale[units.slice_ids] / units.sizes, units.sizes)
        if labels.blind is not None:
            values = self.labels.judge[units.rows]
            if np.isnan(values).any():
                return Row(OVERALL, self.pairs.n, _NOTHING, labels, None)
            d = np.add.reduceat(weight * values, units.starts[units.clusters])
            seen = _seen(units.clusters.size, float(d.mean()), None)
            return Row(OVERALL, self.pairs.n, seen, labels, None)
        stream = JudgedStream(
            _judged_rows(self.labels, self.labels.whole, units.rows, weight, units.starts[units.clusters]),
            self.margin,
            self.alpha,
        )
        return Row(OVERALL, self.pairs.n, stream.state(), labels, stream.variance, stream.correlation)


class _Slice:
    """One slice of a file that holds judges, labels or clusters across slices."""

    def __init__(self, mixed: _Mixed, number: int, rows: IntArray, sizes: IntArray) -> None:
        self.labels = mixed.labels.slices[number]
        self._name = mixed.pairs.slices[number]
        self._margin, self._alpha = mixed.margin, mixed.alpha
        self._pairs = rows.size
        starts = np.cumsum(sizes) - sizes
        self._stream: JudgedStream | None = None
        self._d: FloatArray | None = None
        self.certify = np.zeros(sizes.size)
        if self.labels.blind is None and (mixed.labels.probability[rows] < 1.0).any():
            weight = np.repeat(1.0 / sizes, sizes)
            self._stream = JudgedStream(
                _judged_rows(mixed.labels, mixed.labels.probability, rows, weight, starts), mixed.margin, mixed.alpha
            )
            self.certify = self._stream.certify
            return
        values = mixed.labels.truth if self.labels.blind is None else mixed.labels.judge
        self._d = np.asarray(np.add.reduceat(values[rows], starts) / sizes, dtype=np.float64)
        if self.labels.blind is None:
            self.certify, self._ends = slice_paths(self._d, mixed.margin, mixed.alpha)

    def row(self, certified: int) -> Row:
        if self._stream is not None:
            stream = self._stream
            return Row(
                self._name, self._pairs, stream.state(certified), self.labels, stream.variance, stream.correlation
            )
        d = self._d
        assert d is not None  # noqa: S101 (one of the two is there)
        if self.labels.blind is None:
            state = slice_state(d, self._ends, certified, self._margin, self._alpha)
            return Row(self._name, self._pairs, state, self.labels, _variance(d), None, d)
        if np.isnan(d).any():
            return Row(self._name, self._pairs, _NOTHING, self.labels, None)
        seen = _seen(d.size, float(d.mean()), interval_of(d, self._margin, self._alpha))
        return Row(self._name, self._pairs, seen, self.labels, _variance(d))


_NOTHING = SliceState(0, None, (-1.0, 1.0), "undecided", None, 0.0, 0.0)


def _seen(n: int, mean: float, interval: tuple[float, float] | None) -> SliceState:
    """What the judge alone says: a figure, never a decision."""
    return SliceState(n, mean, interval or (-1.0, 1.0), "undecided", None, 0.0, 0.0)


def _judged_rows(
    labels: Labelled, probability: FloatArray, rows: IntArray, weight: FloatArray, starts: IntArray
) -> JudgedRows:
    judge = np.nan_to_num(labels.judge[rows])  # without a judge the human labels stand alone: f = 0
    return JudgedRows(judge, labels.truth[rows], probability[rows], weight, starts)
