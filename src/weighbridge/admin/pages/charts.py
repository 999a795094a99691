"""What a chart is made of: the numbers, and the same numbers as a table for who does not see or print it."""

from collections.abc import Sequence
from typing import Literal

import msgspec

Unit = Literal["usd", "points", "percent", "count"]


class Series(msgspec.Struct, frozen=True, kw_only=True):
    label: str
    values: tuple[float | None, ...]
    tone: str
    """One of the colours of pages.css: closed, open, unknown, good, bad, limit, band."""
    fill: bool = False
    """Fill the area to the series before it (a band), or to zero (the first)."""
    dash: bool = False
    width: float = 2.0


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """`x`: seconds since 1970 where `time`, else a count."""

    title: str
    x: tuple[float, ...]
    series: tuple[Series, ...]
    unit: Unit
    time: bool = True
    stacked: bool = False
    x_label: str = ""
    log_x: bool = False
    bands: tuple[tuple[int, int], ...] = ()
    """Pairs of series (upper, lower), numbered from 1, with the space between them filled."""

    @property
    def data(self) -> str:
        """For the script that draws it; JSON, escaped by the template like any text."""
        return msgspec.json.encode(self).decode()


def stacked(rows: Sequence[Sequence[float]]) -> list[tuple[float, ...]]:
    """Each row added to those before it."""
    total = [0.0] * (len(rows[0]) if rows else 0)
    found = []
    for row in rows:
        total = [one + more for one, more in zip(total, row, strict=True)]
        found.append(tuple(total))
    return found
