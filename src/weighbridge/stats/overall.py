"""The traffic-weighted whole: one importance-weighted stream over all slices.

The slice of each item is drawn by us with a known probability q_s before anything of the item is seen, and counts with
weight w_s / q_s, w the frozen traffic shares:

    X = (w_s / q_s)(D + m),  lo = (1 -/+ m) max_s w_s / q_s,  v_t = (1 + sum_{i<t} X_i^2) / (4 + t - 1)

so that E[X] = sum_s w_s (mu_s + m) whatever q is. q may change from item to item by anything that is known before the
item, never by its outcome. Default q = w/2 + 1/(2S): weights stay at most 2 and small slices fill. (A weighted sum of
per-slice confidence sequences takes 20 times the sample for 10 slices; compare Spertus et al. 2024.)

Finite frames. The rule of `draw_order`: a slice is drawn at its default q until half of its items are used, from then
on at most in proportion to its share of the items left. q then depends on counts alone, the weights stay near 2
(larger in the last tenth of the frame), and no slice runs dry long before the frame does. **Once a slice with traffic
has run dry, the whole stops**: the slices left could only be re-normalised to a mean without it, which is another null
hypothesis (a bad slice used up early would be forgotten, see the tests). Later draws are marked `whole=False`; they
serve the slices' own verdicts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weighbridge.stats.bets import FloatArray, IntArray, check_difference, check_weights
from weighbridge.stats.seeds import uniforms
from weighbridge.stats.weighted import WeightedTest

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Draw:
    """Which slice an item comes from, with what known probability.

    weight = w_s / q_s, weight_max = max over slices of the same at this step; both 0 where `whole` is False, for a
    draw that says nothing about the whole because some slice has no items left.
    """

    slice: str
    probability: float
    weight: float
    weight_max: float
    whole: bool


def default_probabilities(weights: Mapping[str, float]) -> dict[str, float]:
    """q = w/2 + 1/(2S) for traffic weights w (any positive numbers; they are normalised). Errors: ValueError."""
    names = list(weights)
    shares = check_weights(list(weights.values()), names)
    return {name: 0.5 * w + 0.5 / len(names) for name, w in zip(names, shares.tolist(), strict=True)}


def draw_order(weights: Mapping[str, float], frame: Mapping[str, int], seed: int, *, fill: bool = True) -> list[Draw]:
    """The slices of all items of a frame in the order they are to be replayed, each with its known probability.

    weights: traffic weight of each slice, positive. frame: items available in each slice of `weights` (the items of a
    slice must be in an order of their own that was shuffled by a seed). fill: draw small slices more often than their
    traffic, so that they decide earlier; False draws in proportion to the items left, which is a plain shuffle of the
    whole frame. The list depends on the arguments only, so a resumed trial finds the same order.
    """
    names = list(weights)
    shares = check_weights(list(weights.values()), names)
    if set(frame) != set(names):
        raise ValueError(
            f"frame has slices {sorted(frame)}, weights have {sorted(names)}: allowed is the same set; "
            "a slice without items stands in the frame with 0"
        )
    total = np.array([frame[name] for name in names], dtype=np.int64)
    if (total < 0).any():
        raise ValueError(f"frame is {dict(frame)!r}: allowed are numbers of items, 0 or more")
    preferred = 0.5 * shares + 0.5 / len(names)
    uniform = uniforms("slices", seed, int(total.sum()))
    left = total.copy()
    draws: list[Draw] = []
    for u in uniform.tolist():
        q = _probabilities(preferred, left, total) if fill else left / left.sum()
        whole = bool(left.all())
        index = min(int(np.searchsorted(np.cumsum(q), u, side="right")), len(names) - 1)
        while not left[index]:  # rounding at the very end of the cumulative sum
            index -= 1
        if whole:
            ratios = shares / q
            draws.append(Draw(names[index], float(q[index]), float(ratios[index]), float(ratios.max()), True))
        else:
            draws.append(Draw(names[index], float(q[index]), 0.0, 0.0, False))
        left[index] -= 1
    return draws


def shuffled_draws(slices: Sequence[str], weights: Mapping[str, float]) -> list[Draw]:
    """The draws of items already in hand, whose whole frame was put into this order by a seeded shuffle.

    slices: the slice of each item, in order. The next slice then has the known probability of its share of the items
    left, and the frame is all of `slices`. Errors: ValueError for a slice without a weight.
    """
    names = list(weights)
    shares = check_weights(list(weights.values()), names)
    index = {name: i for i, name in enumerate(names)}
    unknown = set(slices) - set(names)
    if unknown:
        raise ValueError(f"slices {sorted(unknown)} have no weight: allowed are {sorted(names)}")
    ids = np.fromiter((index[name] for name in slices), dtype=np.int64, count=len(slices))
    probability, weight, weight_max, whole = shuffled_weights(ids, shares)
    rows = zip(slices, probability.tolist(), weight.tolist(), weight_max.tolist(), whole.tolist(), strict=True)
    return [Draw(name, q, w, top, True) if on else Draw(name, q, 0.0, 0.0, False) for name, q, w, top, on in rows]


def shuffled_weights(ids: IntArray, shares: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, BoolArray]:
    """`shuffled_draws` from arrays: slice numbers in order, shape (n,), and traffic shares, shape (S,).

    Returns probability, weight, weight_max and whole, each of shape (n,).
    """
    counts = np.bincount(ids, minlength=shares.size)
    grouped = np.argsort(ids, kind="stable")
    rank = np.empty(ids.size, dtype=np.int64)
    rank[grouped] = np.arange(ids.size) - np.repeat(np.cumsum(counts) - counts, counts)
    left = counts[ids] - rank
    left_all = ids.size - np.arange(ids.size)
    # max_s w_s / left_s never falls as items are used up: the running maximum over the slices that were drawn.
    with np.errstate(divide="ignore"):
        after = shares[ids] / (left - 1)
        start = float((shares / counts).max())
    scarcest = np.maximum.accumulate(np.concatenate(([start], after[:-1]))) if ids.size else after
    whole = np.isfinite(scarcest)
    probability = left / left_all
    return probability, shares[ids] / probability, np.where(whole, left_all * scarcest, 0.0), whole


def _probabilities(preferred: FloatArray, left: IntArray, total: IntArray) -> FloatArray:
    q = np.where(left > 0, preferred, 0.0)
    used = 2 * left <= total
    if used.any():
        q = np.where(used, np.minimum(q, left / left.sum()), q)
        free = q[~used].sum()
        if free > 0.0:
            q[~used] *= (1.0 - q[used].sum()) / free
    return np.asarray(q / q.sum())


class OverallTest(WeightedTest):
    """The whole of one candidate.

    margin, alpha: as in `sequential.PairTest`; the whole has its own alpha, outside the family of the slices. weights:
    traffic weight of each slice, positive, normalised here. q: the probability with which each slice is drawn,
    positive, normalised here; default w/2 + 1/(2S). Draws of `draw_order` bring their own. Errors: ValueError.
    """

    __slots__ = ("_ratio", "_ratio_max")

    def __init__(
        self, margin: float, alpha: float, weights: Mapping[str, float], q: Mapping[str, float] | None = None
    ) -> None:
        super().__init__(margin, alpha)
        names = list(weights)
        shares = check_weights(list(weights.values()), names)
        chosen = default_probabilities(weights) if q is None else q
        if set(chosen) != set(names):
            raise ValueError(f"q has slices {sorted(chosen)}, weights have {sorted(names)}: allowed is the same set")
        probabilities = check_weights([chosen[name] for name in names], names)
        self._ratio = dict(zip(names, (shares / probabilities).tolist(), strict=True))
        self._ratio_max = max(self._ratio.values())

    def update(self, slice_name: str, d: float, draw: Draw | None = None) -> None:
        """Step by one complete unit with difference d in [-1, 1]; a draw with `whole=False` is passed over."""
        d = check_difference(d)
        if slice_name not in self._ratio:
            raise ValueError(f"slice {slice_name!r} has no weight: allowed are {sorted(self._ratio)}")
        if draw is None:
            self._step(self._ratio[slice_name] * d, self._ratio[slice_name], self._ratio_max)
        elif draw.slice != slice_name:
            raise ValueError(
                f"unit of slice {slice_name!r}, draw of slice {draw.slice!r}: allowed is the draw's own slice"
            )
        elif draw.whole:
            self._step(draw.weight * d, draw.weight, draw.weight_max)
