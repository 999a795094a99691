"""Exchanges: a search form read into what is wanted, one exchange with its bodies, two beside each other."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

import msgspec

from weighbridge.admin.pages import words
from weighbridge.admin.pages.sources import Sources
from weighbridge.errors import UsageError
from weighbridge.exchanges.bodystore import BodyReader
from weighbridge.exchanges.export import body_json
from weighbridge.exchanges.search import ID, Page, Wanted, find, search
from weighbridge.records.exchange import Exchange
from weighbridge.records.frames import BodyRef, Outcome, Purpose

SHOWN_CHARS_MAX = 200_000
PAGE_ROWS = 50
FIELDS = (
    "id",
    "route",
    "arm",
    "team",
    "user",
    "slice",
    "conversation",
    "trial",
    "purpose",
    "outcome",
    "since",
    "until",
)
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
_AGO = re.compile(r"(\d{1,6})([mhdw])")
_MINUTES = {"m": 1, "h": 60, "d": 1440, "w": 10_080}


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in the form, and what it found."""

    form: dict[str, str]
    page: Page | None
    problem: str | None
    """Why the form cannot be answered, in words."""
    next: str | None
    """The `after` of the next page."""


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """`text` is `None` where there is none to show; then `why` says why."""

    text: str | None
    why: str
    cut: int = 0
    """Characters that are not shown."""


class ExchangeView(msgspec.Struct, frozen=True, kw_only=True):
    exchange: Exchange
    request: Body
    response: Body


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One fact of two exchanges beside each other."""

    name: str
    left: str
    right: str

    @property
    def differs(self) -> bool:
        return self.left != self.right


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    left: ExchangeView
    right: ExchangeView
    lines: tuple[Line, ...]


def searched(sources: Sources, given: Mapping[str, str], teams: Sequence[str] | None, now_ns: int) -> Search:
    form = {name: given.get(name, "").strip()[:200] for name in FIELDS}
    try:
        wanted = _wanted(form, given.get("after", ""), teams, now_ns)
    except UsageError as error:
        return Search(form=form, page=None, problem=str(error), next=None)
    daily = sources.daily()
    page = search(daily.kept, wanted, daily.spans())
    last = page.rows[-1] if page.rows and page.more else None
    return Search(
        form=form, page=page, problem=None, next=None if last is None else f"{last.time.isoformat()}~{last.id}"
    )


def _wanted(form: Mapping[str, str], after: str, teams: Sequence[str] | None, now_ns: int) -> Wanted:
    def text(name: str) -> str | None:
        return form[name] or None

    if form["id"] and ID.fullmatch(form["id"]) is None:
        raise UsageError(f"id {form['id']!r}: it is 16 hex digits, a dash and hex digits, as x-weighbridge-id says it")
    for name, allowed in (("purpose", PURPOSES), ("outcome", OUTCOMES)):
        if form[name] and form[name] not in allowed:
            raise UsageError(f"{name} {form[name]!r}: allowed are {', '.join(allowed)}")
    return Wanted(
        id=text("id"), route=text("route"), arm=text("arm"), team=text("team"), user=text("user"), slice=text("slice"),
        conversation=text("conversation"), trial=text("trial"), purpose=text("purpose"), outcome=text("outcome"),
        since=moment("since", form["since"], now_ns), until=moment("until", form["until"], now_ns),
        teams=None if teams is None else tuple(teams), after=_after(after), limit=PAGE_ROWS,
    )  # fmt: skip


def moment(name: str, given: str, now_ns: int) -> datetime | None:
    """`3d` (ago), a date or a time, UTC unless it says otherwise. Raises `UsageError`."""
    if not given:
        return None
    now = datetime.fromtimestamp(now_ns // 1_000_000_000, UTC).replace(tzinfo=None)
    ago = _AGO.fullmatch(given)
    try:
        if ago is not None:
            return now - timedelta(minutes=int(ago[1]) * _MINUTES[ago[2]])
        found = datetime.fromisoformat(given)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{name} {given!r}: write a date or time (2026-11-25T08:00, UTC) or an age (90m, 2h, 3d, 4w)"
        ) from None
    return found if found.tzinfo is None else found.astimezone(UTC).replace(tzinfo=None)


def _after(given: str) -> tuple[datetime, str] | None:
    time, _, identity = given.partition("~")
    if ID.fullmatch(identity) is None:
        return None
    try:
        return datetime.fromisoformat(time), identity
    except ValueError:
        return None


def exchange_view(sources: Sources, identity: str, teams: Sequence[str] | None, *, bodies: bool) -> ExchangeView | None:
    """`None` where there is none that these teams may see. bodies: whoever asks may read what was said."""
    found = find(sources.kept(), identity)
    if found is None or (teams is not None and found.team not in teams):
        return None
    reader = sources.bodies() if bodies else None
    return ExchangeView(
        exchange=found,
        request=_body(found.request, reader, may=bodies),
        response=_body(found.response, reader, may=bodies),
    )


def _body(ref: BodyRef | None, reader: BodyReader | None, *, may: bool) -> Body:
    if ref is None:
        return Body(text=None, why="not captured")
    if not may:
        return Body(text=None, why="captured; reading it takes the role of an operator")
    state = None if reader is None else reader.get(ref)
    if state is None:
        return Body(text=None, why="captured, but it cannot be found; `weighbridge verify` says more")
    if isinstance(state, str):
        return Body(text=None, why="erased")
    text = pretty(state)
    return Body(text=text[:SHOWN_CHARS_MAX], why="", cut=max(0, len(text) - SHOWN_CHARS_MAX))


def pretty(body: bytes) -> str:
    try:
        return msgspec.json.format(body_json(body), indent=2).decode()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return body.decode(errors="replace")


def compared(
    sources: Sources, left: str, right: str, teams: Sequence[str] | None, *, bodies: bool
) -> Compared | Literal["left", "right"]:
    """Both beside each other, or which of them is not there."""
    one = exchange_view(sources, left, teams, bodies=bodies)
    if one is None:
        return "left"
    other = exchange_view(sources, right, teams, bodies=bodies)
    if other is None:
        return "right"
    facts = list(zip(facts_of(one.exchange), facts_of(other.exchange), strict=True))
    return Compared(left=one, right=other, lines=tuple(Line(name=a[0], left=a[1], right=b[1]) for a, b in facts))


def facts_of(one: Exchange) -> list[tuple[str, str]]:
    """What the log says of it, as people read it."""
    usage = one.usage
    endpoint = one.attempts[-1] if one.attempts else None
    return [
        ("time (UTC)", words.when(one.time_ns)),
        ("route", one.route),
        ("arm", one.arm or "none was asked"),
        ("model", endpoint.model if endpoint else "none was asked"),
        ("endpoint", endpoint.endpoint if endpoint else "none was asked"),
        ("purpose", one.purpose),
        ("slice", one.slice),
        ("outcome", words.plain(one.outcome)),
        ("status", words.UNKNOWN if one.status is None else str(one.status)),
        ("attempts", str(len(one.attempts))),
        ("fallback", "yes" if any(attempt.fallback for attempt in one.attempts) else "no"),
        ("cost", words.money(one.cost_nanousd)),
        ("input tokens", words.count(None if usage is None else usage.input_total)),
        ("of them read from a cache", words.count(None if usage is None else usage.cache_read)),
        ("output tokens", words.count(None if usage is None else usage.output + usage.reasoning)),
        ("first byte", words.seconds(one.first_byte_ns)),
        ("whole answer", words.seconds(one.duration_ns)),
        ("finish reason", (endpoint.finish_reason if endpoint else None) or words.UNKNOWN),
        ("error", one.error or "none"),
        ("team", one.team or "none"),
        ("key", one.key),
        ("user", one.user or "not stated"),
        ("conversation", one.conversation),
        ("route table", str(one.table)),
        ("trial", one.trial or "none"),
    ]
