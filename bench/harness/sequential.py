"""Other people's sequential tests on the same pairs: `ville` (betting test) and `statgate` (mixture SPRT).

Both are asked what we ask: may the mean difference be at or below minus the margin? Looked at after each pair.
"""

import math

import numpy as np

from weighbridge.stats.bets import FloatArray


def ville_stop(d: FloatArray, margin: float, alpha: float) -> float:
    """When ville's betting test certifies; infinity where it does not."""
    import ville

    test = ville.BettingTest(-margin, bounds=(-1.0, 1.0), alternative="greater", alpha=alpha)
    log_e = np.asarray(test.fit(d).log_e_values_)
    reached = log_e >= -math.log(alpha)
    return float(np.argmax(reached)) + 1.0 if reached.any() else math.inf


def statgate_stop(d: FloatArray, margin: float, alpha: float) -> float:
    """When statgate's mixture SPRT decides that the mean lies above; infinity where it does not.

    Its test is two-sided around the margin. To look after each pair of thousands it is computed here from running sums
    by the formula of `statgate.core.sequential.MixtureSPRT` (tau from the first look); `same_as_statgate` compares.
    """
    n = np.arange(1, d.size + 1, dtype=np.float64)
    total, square = np.cumsum(d), np.cumsum(d * d)
    mean = total / n
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.maximum((square - n * mean * mean) / (n - 1.0), 1e-12)
    spread = np.maximum.accumulate(d) - np.minimum.accumulate(d)
    usable = (n >= 10) & (spread >= 1e-12)
    if not usable.any():
        return math.inf
    tau2 = max(float(variance[int(np.argmax(usable))]), 1e-12)
    denominator = variance + n * tau2
    log_lambda = 0.5 * np.log(variance / denominator) + n * n * tau2 * (mean + margin) ** 2 / (
        2 * variance * denominator
    )
    reached = usable & (np.maximum.accumulate(np.where(usable, log_lambda, 0.0)) >= -math.log(alpha))
    at = int(np.argmax(reached)) if reached.any() else -1
    return float(at + 1) if at >= 0 and mean[at] > -margin else math.inf


def same_as_statgate(d: FloatArray, margin: float, alpha: float) -> bool:
    """Does statgate itself, pair by pair, stop where `statgate_stop` says?"""
    from statgate.core.sequential import MixtureSPRT

    test = MixtureSPRT(theta0=-margin, alpha=alpha)
    stop = math.inf
    for number, value in enumerate(d.tolist(), 1):
        decision = test.update([value])
        if decision.decided:
            stop = float(number) if decision.direction > 0 else math.inf
            break
    return stop == statgate_stop(d, margin, alpha)
