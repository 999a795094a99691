"""Day zero and the last day: what in the world says that a trial would be worth it now. Proposes, never starts.

A new open model, a candidate nobody has tried as it is now, a price that is another one than at the last verdict, an
announced rise or retirement of the incumbent. Reads the configuration, the signed log and the published tables; the
quote of each proposal is made by whoever shows it, because that reads the traffic.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Literal

import msgspec

from weighbridge.config import Loaded
from weighbridge.config.tree import ArmSection, RouteSection
from weighbridge.config.vectors import serves_embeddings
from weighbridge.exchanges.chain import Chain
from weighbridge.ledger.book import listed
from weighbridge.ledger.prices import PriceFound, Terms, compile_price
from weighbridge.ledger.stored import terms_of
from weighbridge.licenses import catalogue, finding, profile
from weighbridge.records.canonical import parse
from weighbridge.records.evidence import Evidence, Verdict
from weighbridge.records.table import RouteTable
from weighbridge.records.trial import trial_id
from weighbridge.records.usage import Price
from weighbridge.store.database import published_tables
from weighbridge.store.layout import Layout

AHEAD_DAYS = 180
"""How far ahead an announced retirement or rise is told of."""
NEW_DAYS = 90
"""Of a route without a verdict: models of the last so many days are new."""
MODELS_MAX = 5
CHANGES_MAX = 20

Why = Literal["new_model", "untried", "price_changed", "price_rise", "retirement"]


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """A trial that somebody should think about."""

    route: str
    why: Why
    said: str
    """The reason, in one sentence with its figures and its source."""
    candidate: str | None
    """`None`: no arm for it is configured yet."""
    slices: tuple[str, ...]
    """Those concerned; empty: all of the route."""
    command: str
    """What to type; it asks for the price before anything is spent."""
    news: bool
    """The world has changed, and not what somebody has just configured: worth an alert."""

    @property
    def key(self) -> str:
        """Equal for proposals that are the same news."""
        return f"{self.route}|{self.why}|{self.candidate}|{self.said}"


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """The newest verdict of a candidate as it is now."""

    created_ns: int
    table: int
    passed: tuple[str, ...]
    failed: tuple[str, ...]
    """Slices that were certified, and those that were not."""


def proposals(loaded: Loaded, layout: Layout, now: datetime) -> tuple[Proposal, ...]:
    """All of them, route by route. Raises `WeighbridgeError` or `OSError` where the store cannot be read."""
    terms, tried = terms_of(loaded, layout), _tried(loaded, layout)
    tables = _tables(layout, {row.table for rows in tried.values() for row in rows.values()})
    found: list[Proposal] = []
    for route in loaded.config.route:
        rows = tried.get(route.name, {})
        found += _incumbent(loaded, terms, route, rows, now)
        found += _prices(loaded, terms, route, rows, tables, now)
        found += _untried(loaded, route, rows)
        if not serves_embeddings(loaded.config, route):
            found += _models(loaded, route, rows, now)
    return tuple(found)


# --- what was tried ---------------------------------------------------------------------------------------------------


def _tried(loaded: Loaded, layout: Layout) -> dict[str, dict[str, Tried]]:
    """Route -> candidate -> its newest verdict. One about another arm under the same name is none."""
    found: dict[str, dict[str, Tried]] = {}
    for entry in Chain(layout).snapshot().objects:
        if entry.kind != "verdict":
            continue
        verdict = parse(layout.object(entry.digest).read_bytes(), Verdict)
        if verdict.candidate is None or verdict.route is None or verdict.evidence is None:
            continue
        evidence = parse(layout.object(verdict.evidence).read_bytes(), Evidence)
        identity = _identity(loaded, verdict.candidate)
        named = trial_id(
            verdict.route, identity or "", evidence.span.digest, verdict.margin, verdict.alpha, verdict.seed
        )
        if identity is None or named != verdict.trial:
            continue
        passed = tuple(row.slice for row in verdict.verdicts if row.verdict == "non_inferior")
        failed = tuple(row.slice for row in verdict.verdicts if row.verdict != "non_inferior")
        found.setdefault(verdict.route, {})[verdict.candidate] = Tried(
            created_ns=verdict.created_ns, table=evidence.table, passed=passed, failed=failed
        )
    return found


def _identity(loaded: Loaded, arm: str) -> str | None:
    if all(row.name != arm for row in loaded.config.arm):
        return None
    try:
        return loaded.arm_identity(arm)
    except OSError:
        return None


def _tables(layout: Layout, numbers: set[int]) -> dict[int, RouteTable]:
    found = {}
    for number, body in published_tables(layout.database) if numbers else ():
        if number in numbers:
            try:
                found[number] = parse(body, RouteTable)
            except ValueError:
                continue  # of a version that wrote tables in another form
    return found


# --- the incumbent's last day -----------------------------------------------------------------------------------------


def _incumbent(
    loaded: Loaded, terms: Terms, route: RouteSection, rows: Mapping[str, Tried], now: datetime
) -> Iterable[Proposal]:
    arm = loaded.arm(route.incumbent)
    said = _retirement(loaded, arm, now)
    if said is not None:
        yield from _each(loaded, route, rows, "retirement", said)
    rise = _rise(loaded, terms, arm, now)
    if rise is not None:
        yield from _each(loaded, route, rows, "price_rise", rise)


def _retirement(loaded: Loaded, arm: ArmSection, now: datetime) -> str | None:
    if arm.retires_on is not None:
        day = date.fromisoformat(arm.retires_on)
        left = (day - now.date()).days
        if left <= AHEAD_DAYS:
            when = f"in {left} days" if left > 0 else "already" if left < 0 else "today"
            return f"{arm.name} is withdrawn on {arm.retires_on}, {when} (arm[{arm.name}].retires_on)"
    provider = loaded.endpoint(arm.endpoint).provider
    known = None if provider is None else listed(provider, arm.model)
    if known is not None and known.deprecated:
        return f"{provider} has marked {known.id} as deprecated (price book)"
    return None


def _rise(loaded: Loaded, terms: Terms, arm: ArmSection, now: datetime) -> str | None:
    """The first dated change that makes a token dearer than now."""
    endpoint = loaded.endpoint(arm.endpoint)
    first = answer = compile_price(arm, endpoint, now, terms)
    for _ in range(CHANGES_MAX):
        if not isinstance(first, PriceFound) or answer.until_ns is None:
            return None
        at = datetime.fromtimestamp(answer.until_ns // 1_000_000_000, UTC) + timedelta(seconds=1)
        if at > now + timedelta(days=AHEAD_DAYS):
            return None
        answer = compile_price(arm, endpoint, at, terms)
        if isinstance(answer, PriceFound) and _daily(loaded, terms, arm, at) and _dearer(first.price, answer.price):
            change = _change(first.price, answer.price)
            return f"{arm.name} gets dearer on {at.date().isoformat()}: {change} ({answer.source})"
    return None


def _daily(loaded: Loaded, terms: Terms, arm: ArmSection, at: datetime) -> bool:
    """A dated change, not an hour of the day: a day later it still holds."""
    there = compile_price(arm, loaded.endpoint(arm.endpoint), at, terms)
    later = compile_price(arm, loaded.endpoint(arm.endpoint), at + timedelta(hours=12), terms)
    return isinstance(there, PriceFound) and isinstance(later, PriceFound) and there.price == later.price


def _dearer(then: Price, now: Price) -> bool:
    return now.input > then.input or now.output > then.output


def _change(then: Price, now: Price) -> str:
    return (
        f"${then.input / 1e9:g} to ${now.input / 1e9:g} in, ${then.output / 1e9:g} to ${now.output / 1e9:g} out, a "
        "million tokens"
    )


# --- prices, candidates, models ---------------------------------------------------------------------------------------


def _prices(
    loaded: Loaded,
    terms: Terms,
    route: RouteSection,
    rows: Mapping[str, Tried],
    tables: Mapping[int, RouteTable],
    now: datetime,
) -> Iterable[Proposal]:  # fmt: skip
    """What costs another amount than when a candidate was tried, in the direction that makes the move worth more."""
    for candidate, row in rows.items():
        table = tables.get(row.table)
        if table is None or candidate not in route.candidates:
            continue
        for name in (route.incumbent, candidate):
            then = next((arm.price for arm in table.arms if arm.name == name), None)
            answer = compile_price(loaded.arm(name), loaded.endpoint(loaded.arm(name).endpoint), now, terms)
            if then is None or not isinstance(answer, PriceFound) or then == answer.price:
                continue
            if _dearer(then, answer.price) if name == route.incumbent else _dearer(answer.price, then):
                change = f"{_change(then, answer.price)} ({answer.source})"
                said = f"{name} costs another price than at the last verdict: {change}"
                yield _proposal(route, "price_changed", said, candidate, row.failed)


def _untried(loaded: Loaded, route: RouteSection, rows: Mapping[str, Tried]) -> Iterable[Proposal]:
    for candidate in route.candidates:
        if candidate not in rows and candidate != route.incumbent and not _prohibited(loaded, loaded.arm(candidate)):
            said = f"{candidate} has no verdict as it is configured now (model, endpoint, precision, prompt)"
            yield _proposal(route, "untried", said, candidate, ())


def _models(loaded: Loaded, route: RouteSection, rows: Mapping[str, Tried], now: datetime) -> Iterable[Proposal]:
    """Models of the catalogue that came out since the route was last looked at, newest first."""
    newest_ns = max((row.created_ns for row in rows.values()), default=None)
    since = (
        now.date() - timedelta(days=NEW_DAYS)
        if newest_ns is None
        else datetime.fromtimestamp(newest_ns // 1_000_000_000, UTC).date()
    )
    configured = {known.name for arm in loaded.config.arm if (known := catalogue.find(arm.model)) is not None}
    fresh = [
        (days[0], model)
        for model in catalogue.models()
        if (days := model.days) is not None
        and since.isoformat() <= days[0] <= now.date().isoformat()
        and model.name not in configured
    ]
    fresh.sort(key=lambda row: row[0], reverse=True)
    shown = 0
    for day, model in fresh:
        arm = ArmSection(name=model.name, endpoint="", model=model.name, weights="open")
        if shown < MODELS_MAX and not _prohibited(loaded, arm, now):
            shown += 1
            said = f"{model.name} came out on {day} ({model.source}), after the route was last looked at"
            yield Proposal(
                route=route.name, why="new_model", said=said, candidate=None, slices=(), news=bool(rows),
                command=f"add an [[arm]] for {model.name} to the candidates of {route.name}, then quote its trial",
            )  # fmt: skip


def _prohibited(loaded: Loaded, arm: ArmSection, now: datetime | None = None) -> bool:
    """Unknown terms are no reason to be silent: the trial's own gate asks."""
    if arm.weights == "closed":
        return False
    today = (now or datetime.now(UTC)).date().isoformat()
    return finding(arm, today, profile(loaded.config.organization, loaded.file)).verdict == "prohibited"


def _each(loaded: Loaded, route: RouteSection, rows: Mapping[str, Tried], why: Why, said: str) -> Iterable[Proposal]:
    """One for each candidate that may take over; one without any where there is none."""
    names = [name for name in route.candidates if not _prohibited(loaded, loaded.arm(name))]
    for name in names:
        row = rows.get(name)
        yield _proposal(route, why, said, name, () if row is None else row.failed)
    if not names:
        step = f"add an [[arm]] to the candidates of {route.name}, then quote its trial"
        if serves_embeddings(loaded.config, route):
            step = f"vectors do not move in steps: build the index anew with another one on a route beside {route.name}"
        yield Proposal(
            route=route.name, why=why, said=said, candidate=None, slices=(), news=True, command=step,
        )  # fmt: skip


def _proposal(route: RouteSection, why: Why, said: str, candidate: str, slices: tuple[str, ...]) -> Proposal:
    return Proposal(
        route=route.name, why=why, said=said, candidate=candidate, slices=slices, news=why != "untried",
        command=f"weighbridge trial quote --route {route.name} --candidate {candidate}",
    )  # fmt: skip
