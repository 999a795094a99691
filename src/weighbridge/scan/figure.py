"""A figure that rests on assumptions: a value with a range, which rows it used, and which one moves it most."""

from collections.abc import Callable

import msgspec

from weighbridge.scan.assumptions import Assumptions, MissingError, Reading

Formula = Callable[[Reading], float]


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """`None` is unknown, never 0; then `why` says why."""

    low: float | None
    value: float | None
    high: float | None
    uses: tuple[str, ...]
    """Ids of the assumptions behind it."""
    driver: str | None = None
    """The assumption that alone moves the figure most; `None` if none does."""
    why: str | None = None


def unknown(why: str, uses: tuple[str, ...] = ()) -> Figure:
    return Figure(low=None, value=None, high=None, uses=uses, why=why)


def exact(value: float) -> Figure:
    return Figure(low=value, value=value, high=value, uses=())


def figure(formula: Formula, rows: Assumptions) -> Figure:
    """The formula at the values of its assumptions, and between the ends of their ranges.

    The formula must be monotone in each assumption, so that the range lies between two corners. A missing row makes
    the figure unknown.
    """
    reading = Reading(rows)
    try:
        value = formula(reading)
        lows: dict[str, float] = {}
        highs: dict[str, float] = {}
        swings: list[tuple[float, str]] = []
        for ident in reading.used:
            row = rows.get(ident)
            at_low, at_high = (formula(Reading(rows, {ident: end})) for end in (row.low, row.high))
            lows[ident], highs[ident] = (row.low, row.high) if at_low <= at_high else (row.high, row.low)
            swings.append((abs(at_high - at_low), ident))
        low, high = formula(Reading(rows, lows)), formula(Reading(rows, highs))
    except MissingError as missing:
        return unknown(str(missing), tuple(reading.used))
    most = max(swings, default=(0.0, ""))
    return Figure(
        low=min(low, value),
        value=value,
        high=max(high, value),
        uses=tuple(reading.used),
        driver=most[1] if most[0] > 0 else None,
    )
