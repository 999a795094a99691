"""Alerts: what is raised now, what was raised lately, and every kind there is, each with its runbook."""

import msgspec

from weighbridge.admin.pages.sources import Sources
from weighbridge.records.alerts import ALERTS, BY_NAME, AlertKind
from weighbridge.store.alerts import AlertEvent, read_alerts, runbook, still_raised

LATELY = 50


class Raised(msgspec.Struct, frozen=True, kw_only=True):
    kind: AlertKind
    event: AlertEvent


class Alerts(msgspec.Struct, frozen=True, kw_only=True):
    now: tuple[Raised, ...]
    lately: tuple[Raised, ...]
    """Newest first, those that are raised now left out."""
    kinds: tuple[AlertKind, ...]


class Runbook(msgspec.Struct, frozen=True, kw_only=True):
    kind: AlertKind
    text: str | None
    """Markdown; `None` where this kind has none."""


def standing(sources: Sources) -> tuple[Raised, ...]:
    """What is raised now, the worst first."""
    events = still_raised(read_alerts(sources.layout))
    found = [Raised(kind=BY_NAME[event.alert], event=event) for event in events]
    return tuple(sorted(found, key=lambda one: (one.kind.severity != "page", -one.event.time_ns)))


def alerts(sources: Sources) -> Alerts:
    events = read_alerts(sources.layout)
    now = standing(sources)
    known = [one.event for one in now]
    lately = [event for event in reversed(events) if event.state == "raised" and event not in known][:LATELY]
    return Alerts(
        now=now, lately=tuple(Raised(kind=BY_NAME[event.alert], event=event) for event in lately), kinds=ALERTS
    )  # fmt: skip


def runbook_of(name: str) -> Runbook | None:
    kind = BY_NAME.get(name)
    if kind is None:
        return None
    try:
        return Runbook(kind=kind, text=runbook(name))
    except OSError:
        return Runbook(kind=kind, text=None)
