"""The rules of `records.alerts`, looked at in the metrics of this gateway. Pure: time and figures are handed in.

Prometheus gets the same rules as expressions and is not needed for any of this; it is for what only somebody outside
can see, for history, and for many gateways.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from weighbridge.records.alerts import ALERTS, AlertKind, Grew, Labels, Level, Share
from weighbridge.store.alerts import State

Series = tuple[str, Labels]
Case = tuple[str, Labels]
"""An alert's name and the labels that tell this case from others."""

POINTS: Final = 30
"""Of a counter's past within a window. So exact is the moment at which something has passed out of it."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    alert: str
    state: State
    labels: dict[str, str]
    says: str
    """The figure, as a line of the message."""


class _Past:
    """What counters stood at, over one window."""

    def __init__(self, within_s: float) -> None:
        self._within_s = within_s
        self._points: deque[tuple[float, tuple[float, ...]]] = deque()

    def grown(self, now_s: float, values: tuple[float, ...]) -> tuple[float, ...]:
        points = self._points
        if not points:
            # A counter that was not there before has counted from 0 since the last look.
            points += ((now_s, (0.0,) * len(values)), (now_s, values))
        while len(points) > 1 and points[1][0] <= now_s - self._within_s:
            points.popleft()
        before = points[0][1]
        if now_s - points[-1][0] >= self._within_s / POINTS:
            points.append((now_s, values))
        return tuple(max(0.0, value - was) for value, was in zip(values, before, strict=True))


class Watch:
    """`raised`: cases of an earlier life that had not ended; they end here unless they go on."""

    def __init__(self, raised: Iterable[Case] = (), kinds: tuple[AlertKind, ...] = ALERTS) -> None:
        self._kinds = tuple(kind for kind in kinds if isinstance(kind.rule, Level | Grew | Share))
        self._names = frozenset(kind.rule.metric for kind in self._kinds if isinstance(kind.rule, Level | Grew | Share))
        self._raised = set(raised)
        self._since: dict[Case, float] = {}
        self._past: dict[Case, _Past] = {}

    def look(self, now_s: float, series: Mapping[Series, float]) -> tuple[Change, ...]:
        """What is to be told now. `now_s` is of a clock that never goes back."""
        rows: dict[str, list[tuple[dict[str, str], float]]] = {}
        for (name, labels), value in series.items():
            if name in self._names:
                rows.setdefault(name, []).append((dict(labels), value))
        true: dict[Case, str] = {}
        for kind in self._kinds:
            for labels, says in self._true(kind, now_s, rows):
                true[kind.name, labels] = says
        ended = sorted(self._raised - true.keys())
        begun = sorted(true.keys() - self._raised)
        self._raised = set(true)
        return (
            *(Change(alert=name, state="ended", labels=dict(labels), says="") for name, labels in ended),
            *(Change(alert=case[0], state="raised", labels=dict(case[1]), says=true[case]) for case in begun),
        )

    def _true(
        self, kind: AlertKind, now_s: float, rows: Mapping[str, list[tuple[dict[str, str], float]]]
    ) -> Iterator[tuple[Labels, str]]:
        rule = kind.rule
        if isinstance(rule, Level):
            for labels, values in _grouped(rows.get(rule.metric, []), rule.where, rule.by).items():
                if self._lasts(kind.name, labels, rule, now_s, [value for _, value in values]):
                    figures = [value for _, value in values]
                    worst = max(figures) if rule.below is None else min(figures)
                    yield labels, f"{rule.metric} is {worst:,.0f}"
        elif isinstance(rule, Grew):
            for labels, values in _grouped(rows.get(rule.metric, []), rule.where, rule.by).items():
                (grown,) = self._grown(kind.name, labels, rule.within_s, now_s, (sum(v for _, v in values),))
                if grown > rule.more_than:
                    yield labels, f"{rule.metric} grew by {grown:g} within {rule.within_s} s"
        elif isinstance(rule, Share):
            for labels, values in _grouped(rows.get(rule.metric, []), rule.where, rule.by).items():
                bad = sum(value for told, value in values if told.get(rule.label) in rule.bad)
                good = sum(value for told, value in values if told.get(rule.label) in rule.good)
                worse, better = self._grown(kind.name, labels, rule.within_s, now_s, (bad, good))
                whole = worse + better
                if whole >= rule.at_least and worse > rule.above * whole:
                    yield labels, f"{worse:g} of {whole:g} within {rule.within_s} s"

    def _lasts(self, name: str, labels: Labels, rule: Level, now_s: float, values: list[float]) -> bool:
        over = rule.above is not None and any(value > rule.above for value in values)
        under = rule.below is not None and any(value < rule.below for value in values)
        if not (over or under):
            self._since.pop((name, labels), None)
            return False
        return now_s - self._since.setdefault((name, labels), now_s) >= rule.for_s

    def _grown(
        self, name: str, labels: Labels, within_s: float, now_s: float, values: tuple[float, ...]
    ) -> tuple[float, ...]:
        past = self._past.get((name, labels))
        if past is None:
            past = self._past[name, labels] = _Past(within_s)
        return past.grown(now_s, values)


def _grouped(
    rows: Iterable[tuple[dict[str, str], float]], where: Labels, by: tuple[str, ...]
) -> dict[Labels, list[tuple[dict[str, str], float]]]:
    found: dict[Labels, list[tuple[dict[str, str], float]]] = {}
    wanted = dict(where)
    for labels, value in rows:
        if wanted.items() <= labels.items():
            case = tuple(sorted((label, labels.get(label, "")) for label in by))
            found.setdefault(case, []).append((labels, value))
    return found
