"""When the money ends: daily spend continued, with bands from how wrong the same method was before.

Model. Daily spend y_t (UTC days) is a weekday profile times a level times growth:

    y_t = s[weekday(t)] * l * exp(g * (t - T)) + error

`s` is each weekday's mean over the last `SEASON_WEEKS` over the mean of all, shrunk to one by n / (n + `SEASON_PRIOR`)
where n weeks were seen. `l` is the exponentially weighted sum of y over that of s (`LEVEL_RATE` a day), on the scale of
money and not of logs, so that days without spend count as what they are. `g` is the least-squares slope of the logs of
weekly sums over the last `TREND_WEEKS`, shrunk by g^2 / (g^2 + its variance) and damped by `DAMPING` a day (Gardner and
McKenzie 1985, "Forecasting trends in time series": an undamped line runs away).

Bands. No distribution is assumed. The forecast is made again from past days with enough history before them, and the
errors of the *cumulative* log spend at each distance are kept (split conformal; Vovk, Gammerman and Shafer 2005). A
path of the future is the forecast times one past path of errors. Neighbouring origins share most of their days: what
counts is how often the distance fits into the history that was tested, n. Errors are widened by 1 + `WIDEN` / n for
that, with n no less than `WIDEN_N_MIN`; beyond the farthest distance that was tested they grow in proportion to the
distance, for what grows there is the error of the growth.

Assumption: the future differs from the forecast as the past did. A change that the past never had is not in the band;
known dated changes (prices, a ramp) are the caller's to apply. Beside it stand the two usual methods, seasonal-naive
and a straight line, and the back-test says of each how wrong it was (`bench/forecast.py`).
"""

from datetime import date, timedelta
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Method = Literal["profile", "seasonal_naive", "straight_line"]

HISTORY_DAYS_MIN = 28
"""Four weeks: with fewer, a weekday was seen three times at most and there is nothing to test a band on."""
SEASON_WEEKS = 12
SEASON_PRIOR = 2.0
LEVEL_RATE = 0.12
TREND_WEEKS = 8
DAMPING = 0.99
ORIGINS_MAX = 60
"""Past days from which the forecast is made again, spread over the history."""
PATHS_MIN = 8
WIDEN = 2.5
WIDEN_N_MIN = 0.75


class NotEnough(msgspec.Struct, frozen=True):
    """No forecast, and why."""

    why: str


class Future(msgspec.Struct, frozen=True, kw_only=True):
    """The days after the history. Arrays by day, cumulative from the first of them; `paths` is (paths, days)."""

    first: date
    expected: Floats
    paths: Floats

    def quantile(self, share: float) -> Floats:
        return np.asarray(np.quantile(self.paths, share, axis=0), dtype=np.float64)


def future(spend: Floats, last: date, days: int, method: Method = "profile") -> Future | NotEnough:
    """`spend`: daily amounts, one per day without gaps, the last of them on `last`. `days`: how far ahead."""
    spend = np.asarray(spend, dtype=np.float64)
    started = int(np.argmax(spend > 0)) if np.any(spend > 0) else len(spend)
    spend = spend[started:]
    if len(spend) < HISTORY_DAYS_MIN:
        return NotEnough(f"not enough history: {len(spend)} days with spend, {HISTORY_DAYS_MIN} are needed")
    expected = np.cumsum(point(spend, last, days, method))
    errors = _errors(spend, last, days, method)
    if len(errors) < PATHS_MIN:
        return NotEnough(f"not enough history: {len(errors)} past forecasts to learn from, {PATHS_MIN} are needed")
    paths = np.maximum.accumulate(expected * np.exp(errors), axis=1)
    return Future(first=last + timedelta(days=1), expected=expected, paths=paths)


def point(spend: Floats, last: date, days: int, method: Method) -> Floats:
    """Expected spend of each of the next days; shape (days,)."""
    if method == "seasonal_naive":
        return np.asarray(np.resize(spend[-7:], days), dtype=np.float64)
    if method == "straight_line":
        t = np.arange(len(spend), dtype=np.float64)
        slope, start = np.polyfit(t, spend, 1)
        return np.asarray(np.maximum(0.0, start + slope * (len(spend) + np.arange(days))), dtype=np.float64)
    return _profile(spend, last, days)


def _profile(spend: Floats, last: date, days: int) -> Floats:
    weekdays = (last.weekday() - np.arange(len(spend) - 1, -1, -1)) % 7
    season = _season(spend[-7 * SEASON_WEEKS :], weekdays[-7 * SEASON_WEEKS :])
    weights = (1 - LEVEL_RATE) ** np.arange(len(spend) - 1, -1, -1)
    weights /= weights.sum()
    growth = _growth(spend)
    # The weighted mean is as old as its weights say: growth carries it to the last day.
    age = float(np.dot(weights, np.arange(len(spend) - 1, -1, -1)))
    level = float(np.dot(weights, spend) / np.dot(weights, season[weekdays])) * float(np.exp(growth * age))
    ahead = np.arange(1, days + 1)
    drift = growth * DAMPING * (1 - DAMPING**ahead) / (1 - DAMPING)
    return np.asarray(season[(last.weekday() + ahead) % 7] * level * np.exp(drift), dtype=np.float64)


def _season(spend: Floats, weekdays: NDArray[np.int64]) -> Floats:
    """What a weekday is to the mean day; their mean is one, and none is less than a twentieth."""
    whole = len(spend) // 7 * 7
    if whole < 14 or not np.any(spend[-whole:]):
        return np.ones(7)
    # By week, so that growth is not taken for a weekday.
    weeks = spend[-whole:].reshape(-1, 7)
    sums = weeks.sum(axis=1, keepdims=True)
    shares = (weeks / np.where(sums > 0, sums / 7, 1.0))[sums[:, 0] > 0]
    weight = len(shares) / (len(shares) + SEASON_PRIOR)
    found = np.ones(7)
    found[weekdays[-7:]] = np.maximum(0.05, 1 + weight * (shares.mean(axis=0) - 1))
    return np.asarray(found / found.mean(), dtype=np.float64)


def _growth(spend: Floats) -> float:
    """Log growth a day."""
    weeks = min(TREND_WEEKS, len(spend) // 7)
    sums = spend[len(spend) - 7 * weeks :].reshape(weeks, 7).sum(axis=1) if weeks else np.empty(0)
    sums = sums[np.argmax(sums > 0) :] if np.any(sums > 0) else np.empty(0)
    if len(sums) < 3:
        return 0.0
    logs = np.log(np.maximum(sums, 0.01 * sums.mean()))
    t = np.arange(len(logs), dtype=np.float64) - (len(logs) - 1) / 2
    slope = float(np.dot(t, logs) / np.dot(t, t))
    rest = logs - logs.mean() - slope * t
    variance = float(np.dot(rest, rest)) / max(1, len(logs) - 2) / float(np.dot(t, t))
    return 0.0 if slope == 0 else slope * slope * slope / (slope * slope + variance) / 7


def _errors(spend: Floats, last: date, days: int, method: Method) -> Floats:
    """Log of true over expected cumulative spend, by past origin and distance; shape (origins, days)."""
    first = HISTORY_DAYS_MIN // 2
    reach = min(days, (len(spend) - first) * 2 // 3)
    """As far as is tested: a third of the days at least are left to begin from."""
    possible = np.arange(first, len(spend) - reach + 1)
    if len(possible) < PATHS_MIN:
        return np.empty((0, days))
    chosen = possible[np.linspace(0, len(possible) - 1, min(ORIGINS_MAX, len(possible))).astype(int)]
    table = np.empty((len(chosen), days))
    for row, origin in enumerate(chosen):
        made = np.cumsum(point(spend[:origin], last - timedelta(days=int(len(spend) - origin)), reach, method))
        true = np.cumsum(spend[origin : origin + reach])
        floor = max(1e-9, 1e-3 * float(made[-1]))
        table[row, :reach] = np.log((true + floor) / (made + floor))
    tested = len(spend) - first
    fits = np.maximum(WIDEN_N_MIN, tested / np.arange(1, reach + 1))
    table[:, :reach] *= 1 + WIDEN / fits
    table[:, reach:] = table[:, reach - 1 : reach] * (np.arange(reach + 1, days + 1) / reach)
    return table


class Ends(msgspec.Struct, frozen=True, kw_only=True):
    """When a budget is used up. A day that is `None`: not within the days that were looked at, `through`."""

    p10: date | None
    """One in ten of the paths is over by then: the early side."""
    p50: date | None
    p90: date | None
    through: date
    reached: float
    """The share of paths that use it up by then."""


def ends(made: Future, left: float) -> Ends:
    """The day on which what is `left` is used up, over all paths."""
    days = made.paths.shape[1]
    over = made.paths >= left * (1 - 1e-9)  # sums of floats: the day that division says is the day
    first = np.where(over.any(axis=1), over.argmax(axis=1), days)
    ordered = np.sort(first)

    def day(share: float) -> date | None:
        at = int(ordered[min(len(ordered) - 1, int(np.ceil(share * len(ordered))) - 1)])
        return None if at >= days else made.first + timedelta(days=at)

    return Ends(
        p10=day(0.1),
        p50=day(0.5),
        p90=day(0.9),
        through=made.first + timedelta(days=days - 1),
        reached=float(np.mean(over.any(axis=1))),
    )
