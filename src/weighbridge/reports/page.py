"""The first page and the dossier as records: what a buyer signs, and every line behind it. Renderings only format."""

from typing import Literal

import msgspec

State = Literal["pass", "warn", "fail", "unknown"]
"""`unknown`: nobody has the fact; the line says what would find it out."""
FigureName = Literal["saving", "decided", "worst slice", "cost per accepted task", "exposure"]
Chapter = Literal[
    "Cost", "Quality", "Support", "Governance", "Intellectual property", "Operational reliability", "Ramps",
]  # fmt: skip
Kind = Literal["stay", "optimise in place", "cheapest closed", "open API", "own GPUs"]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Base of every part."""


class Line(Row, frozen=True, kw_only=True):
    claim: str
    evidence: str
    """What it rests on, and where that can be looked up."""
    on: str | None
    """The date of the evidence, ISO; `None` where there is none."""
    state: State
    next_step: str = ""
    """What would settle it, where it is not settled."""


class Section(Row, frozen=True, kw_only=True):
    chapter: Chapter
    lines: tuple[Line, ...]


class Figure(Row, frozen=True, kw_only=True):
    """One of the five. `value`, `low` and `high` are in `unit`; `None` is unknown."""

    name: FigureName
    title: str
    shown: str
    says: str
    state: State
    next_step: str
    unit: Literal["nanousd a year", "share", "difference", "nanousd a task", "requests"]
    value: float | None
    low: float | None = None
    high: float | None = None


class Spent(Row, frozen=True, kw_only=True):
    """Known spend of the route's log, by the answer of the slice it belongs to."""

    move_nanousd: int
    stay_nanousd: int
    undecided_nanousd: int

    @property
    def whole(self) -> int:
        return self.move_nanousd + self.stay_nanousd + self.undecided_nanousd


class Alternative(Row, frozen=True, kw_only=True):
    """One way to run the route for a year, against staying as it is; `net_nanousd` `None`: nobody tried it."""

    kind: Kind
    arm: str | None
    net_nanousd: int | None
    says: str


class Exact(Row, frozen=True, kw_only=True):
    """What exactly was tried. `None` is unknown."""

    arm: str
    model: str
    weights_hash: str | None
    host: str
    precision: str | None
    region: str | None
    prompt: str


class FirstPage(Row, frozen=True, kw_only=True):
    since: str | None
    until: str | None
    covered: float | None
    """Share of the route's requests in slices that have a verdict."""
    expires: str | None
    """The day after which no verdict of this page allows a move, ISO."""
    exact: tuple[Exact, ...]
    spent: Spent
    flips: tuple[str, ...]
    figures: tuple[Figure, ...]
    alternatives: tuple[Alternative, ...]
    relies: tuple[tuple[str, str], ...]
    """(who signs, what that person relies on)."""
