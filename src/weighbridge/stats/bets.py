"""The five-bet mixture that every e-process of this room uses, and the rules its inputs obey.

A step has an outcome X whose mean is at most 0 under the null and which never falls below -lo. With v a second moment
estimated from the past and g the mean of X that the test is designed for (the margin, in outcome units):

    bet_k = min(kappa_k * g / v,  c_k / lo)        W_k *= 1 + bet_k * X        E = sum_k w_k W_k

The factor is at least 1 - c_k > 0 and has mean at most 1 under the null, so E is an e-process (Waudby-Smith and Ramdas
2024). kappa = 1 is the growth-optimal bet when the truth lies one margin from the null; the other four insure against
other truths, and the caps c keep early bets, made while v is still a guess, from ruining the wealth.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

KAPPA = (0.25, 0.5, 1.0, 2.0, 4.0)
WEIGHT = (0.1, 0.2, 0.4, 0.2, 0.1)
CAP = (0.5, 0.5, 0.5, 0.9, 0.9)
LOG_WEIGHT = tuple(math.log(w) for w in WEIGHT)

# The second moment starts as four imagined outcomes of size 1/2: a coin-flip grader, soon outvoted by the data.
PRIOR_COUNT = 4.0
PRIOR_SUM = 1.0

_KAPPA = np.array(KAPPA)[:, None]
_CAP = np.array(CAP)[:, None]
_LOG_WEIGHT = np.array(LOG_WEIGHT)
# Products of this many factors stay far inside the range of a double, so that a logarithm is needed per block only.
_BLOCK = 32
# Factors of one pass: five rows of this length stay in the second-level cache.
_CHUNK = 256 * _BLOCK


def check_margin(margin: float) -> float:
    """The margin, if it is a number strictly between 0 and 1; else ValueError."""
    if not 0.0 < margin < 1.0:
        raise ValueError(
            f"margin is {margin!r}: allowed is a number above 0 and below 1 (0.03 means three points of score); "
            "choose it before looking at any outcome"
        )
    return float(margin)


def check_alpha(alpha: float) -> float:
    """The error level, if it is a number strictly between 0 and 1/2; else ValueError."""
    if not 0.0 < alpha < 0.5:
        raise ValueError(f"alpha is {alpha!r}: allowed is a number above 0 and below 0.5, usually 0.05")
    return float(alpha)


def check_difference(d: float, what: str = "difference") -> float:
    """One paired difference in [-1, 1]; NaN, infinities and anything outside raise ValueError."""
    if not -1.0 <= d <= 1.0:
        raise ValueError(
            f"{what} is {d!r}: allowed is a number from -1 to 1 (candidate minus incumbent score, in [0, 1]); "
            "rescale the scores or leave the pair out of the frame before it is shuffled"
        )
    return float(d)


def check_differences(values: ArrayLike, what: str = "difference") -> FloatArray:
    """An array of paired differences, shape (n,), each in [-1, 1]; ValueError names the first position that is not."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"{what} has shape {array.shape}: allowed is one dimension, one number per unit")
    bad = ~((array >= -1.0) & (array <= 1.0))
    if bad.any():
        position = int(np.argmax(bad))
        check_difference(float(array[position]), f"{what} at position {position}")
    return array


def check_weights(weights: Sequence[float], names: Sequence[str]) -> FloatArray:
    """Traffic weights as shares that sum to 1, shape (S,); each must be positive and finite, else ValueError."""
    if not names:
        raise ValueError("no slices: allowed is at least one slice with a positive traffic weight")
    array = np.asarray(weights, dtype=np.float64)
    for name, weight in zip(names, array.tolist(), strict=True):
        if not 0.0 < weight < math.inf:
            raise ValueError(
                f"weight of slice {name!r} is {weight!r}: allowed is a number above 0; leave out slices without traffic"
            )
    return np.asarray(array / array.sum(), dtype=np.float64)


def log_mix(log_wealth: Sequence[float]) -> float:
    """log sum_k w_k W_k from the five log W_k."""
    terms = [a + b for a, b in zip(LOG_WEIGHT, log_wealth, strict=True)]
    top = max(terms)
    return top + math.log(math.fsum(math.exp(t - top) for t in terms))


def second_moments(squares: FloatArray, prior_sum: float = PRIOR_SUM, done: int = 0) -> FloatArray:
    """v_t = (prior_sum + sum of past squares) / (4 + t - 1) before each step, shape (n,); uses the past only.

    `prior_sum` holds the sum so far, `done` the number of steps it covers beyond the prior.
    """
    before = np.empty(squares.size)
    if before.size:
        np.cumsum(squares[:-1], out=before[1:])
        before[1:] += prior_sum
        before[0] = prior_sum
    first = PRIOR_COUNT + done
    before /= np.arange(first, first + squares.size)
    return before


def log_path(
    x: FloatArray, rate: FloatArray, lo: FloatArray | float, start: FloatArray | None = None
) -> tuple[FloatArray, FloatArray]:
    """The log e-value after each step, and the five log wealths at the end.

    x: outcomes, shape (n,). rate: g / v_t, shape (n,). lo: the largest loss, a number or shape (n,). start: log W_k so
    far, shape (5,). Returns shapes (n,) and (5,).
    """
    wealth = np.zeros(len(KAPPA)) if start is None else start.copy()
    path = np.empty(x.size)
    space = _Space(min(x.size, _CHUNK))
    for begin in range(0, x.size, _CHUNK):
        end = min(begin + _CHUNK, x.size)
        cube = space.factors(x[begin:end], rate[begin:end], lo[begin:end] if isinstance(lo, np.ndarray) else lo)
        np.cumprod(cube, axis=2, out=cube)
        after = wealth[:, None] + np.cumsum(np.log(cube[:, :, -1]), axis=1)
        weighted = _LOG_WEIGHT[:, None] + np.concatenate((wealth[:, None], after[:, :-1]), axis=1)
        shift = weighted.max(axis=0)
        cube *= np.exp(weighted - shift)[:, :, None]
        path[begin:end] = (np.log(cube.sum(axis=0)) + shift[:, None]).reshape(-1)[: end - begin]
        wealth = after[:, -1].copy()
    return path, wealth


def log_end(x: FloatArray, rate: FloatArray, lo: FloatArray | float) -> float:
    """The log e-value after the last step only: what inverting the e-process evaluates again and again."""
    wealth = np.zeros(len(KAPPA))
    space = _Space(min(x.size, _CHUNK))
    for begin in range(0, x.size, _CHUNK):
        end = min(begin + _CHUNK, x.size)
        cube = space.factors(x[begin:end], rate[begin:end], lo[begin:end] if isinstance(lo, np.ndarray) else lo)
        # Factors far apart are multiplied with each other, so that the inner loop runs over contiguous memory.
        products = np.multiply.reduce(cube.reshape(len(KAPPA), _BLOCK, -1), axis=1)
        wealth += np.log(products).sum(axis=1)
    terms = _LOG_WEIGHT + wealth
    top = float(terms.max())
    return top + math.log(float(np.exp(terms - top).sum()))


class _Space:
    """Room for the factors of one chunk, filled up with ones to whole blocks; reused, since allocating costs more."""

    def __init__(self, size: int) -> None:
        room = -(-size // _BLOCK) * _BLOCK
        self._factors = np.empty((len(KAPPA), room))
        self._caps = np.empty((len(KAPPA), room))

    def factors(self, x: FloatArray, rate: FloatArray, lo: FloatArray | float) -> FloatArray:
        """1 + bet_k * x as shape (5, blocks, 32); overwritten by the next call."""
        room = -(-x.size // _BLOCK) * _BLOCK
        padded = self._factors[:, :room]
        if room < self._factors.shape[1]:
            padded = np.empty((len(KAPPA), room))  # the last, shorter chunk: its blocks must be contiguous
        out = padded[:, : x.size]
        np.multiply(_KAPPA, rate, out=out)
        if isinstance(lo, np.ndarray):
            np.minimum(out, np.multiply(_CAP, 1.0 / lo, out=self._caps[:, : x.size]), out=out)
        else:
            np.minimum(out, _CAP / lo, out=out)
        out *= x
        out += 1.0
        padded[:, x.size :] = 1.0
        return padded.reshape(len(KAPPA), -1, _BLOCK)
