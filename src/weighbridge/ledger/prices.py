"""What an arm costs at a moment: from whom, since when, until when, and why it is unknown where it is.

The first that knows wins: the arm's own `price`, then the operator's dated rows (`[[price]]` and `price set`), then a
commitment that pays for the endpoint in another way (a token plan, own GPUs), then the installed price book. Rows for
service tiers, hours and context lengths alone are laid over the book's price. Sources are never averaged: what another
one says is shown by `price compare`.

`compile_price` answers for one moment. `compile_schedule` is for the route table: the price now, and every change of
the next days as moments in UTC, so that a worker needs no clock zones and no book.
"""

import re
from datetime import UTC, datetime, timedelta

import msgspec

from weighbridge.config.tree import ArmSection, CommitmentSection, EndpointSection, PriceRowSection
from weighbridge.ledger.book import BookPrice, book_version, listed_models, look_up
from weighbridge.ledger.stated import commitment_change, committed_price, for_arm, lay_over, next_change, price_of
from weighbridge.records.canonical import canonical, digest
from weighbridge.records.usage import Price, PriceFrom

__all__ = [
    "NO_TERMS", "PriceAnswer", "PriceFound", "PriceUnknown", "Terms", "book_version", "compile_price",
    "compile_schedule", "listed_models",
]  # fmt: skip

SCHEDULE_DAYS = 4
"""How far ahead a route table knows prices. The keeper compiles it anew each day; past that a price is unknown."""


class PriceFound(msgspec.Struct, frozen=True, kw_only=True, tag="found"):
    price: Price
    version: str
    """Stored with every cost, e.g. `genai-prices 0.2.3 openai/gpt-4o` or `config:1f0c9a2b`."""
    source: str
    """For people: the file and key, a contract, or the provider's pricing page that the book names."""
    date: str | None
    """The day since when this price is known to hold, ISO; `None` where nobody says."""
    until_ns: int | None
    """When another price may hold (a dated change or a time of day); `None` if no change is known."""
    later: tuple[PriceFrom, ...] = ()
    """Of a schedule: the changes that come, in order."""


class PriceUnknown(msgspec.Struct, frozen=True, tag="unknown"):
    why: str
    until_ns: int | None = None


PriceAnswer = PriceFound | PriceUnknown


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator states beside the arms: dated rows and commitments."""

    rows: tuple[PriceRowSection, ...] = ()
    commitments: tuple[CommitmentSection, ...] = ()


NO_TERMS = Terms()


def compile_price(arm: ArmSection, endpoint: EndpointSection, at: datetime, terms: Terms = NO_TERMS) -> PriceAnswer:
    """The price of an arm at a moment (with a time zone), or why it is unknown. Never raises for an unknown model."""
    if arm.price is not None:
        version = f"config:{digest(canonical(arm.price))[:8]}"
        return _found(price_of(arm.price), version, f"arm[{arm.name}].price", None, None)
    rows = for_arm(terms.rows, arm, endpoint)
    change = _earliest(next_change(rows, at), commitment_change(terms.commitments, endpoint.name, at))
    laid = lay_over(rows, None, at)
    if laid is not None:
        first = laid.rows[0]
        return _found(laid.price, laid.version, first.source, first.since, change)
    committed = committed_price(terms.commitments, endpoint.name, at)
    if committed is not None:
        price, commitment = committed
        version = f"commitment:{digest(canonical(commitment))[:8]}"
        base: PriceAnswer = _found(price, version, commitment.source, commitment.since, change)
    else:
        base = _from_book(arm, endpoint, at)
    until = _earliest(change, None if base.until_ns is None else _moment(base.until_ns))
    if isinstance(base, PriceFound) and (laid := lay_over(rows, base.price, at)) is not None:
        sources = "; ".join(dict.fromkeys([base.source, *(row.source for row in laid.rows)]))
        return _found(laid.price, f"{base.version} + {laid.version}", sources, base.date, until)
    return msgspec.structs.replace(base, until_ns=_ns(until))


def compile_schedule(arm: ArmSection, endpoint: EndpointSection, now: datetime, terms: Terms = NO_TERMS) -> PriceAnswer:
    """The price now and its changes in the next `SCHEDULE_DAYS`. `until_ns` is when to compile again: the next UTC
    midnight where a change is known, `None` where none is."""
    first = compile_price(arm, endpoint, now, terms)
    if isinstance(first, PriceUnknown) or first.until_ns is None:
        return first
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    end_ns = _exact_ns(midnight + timedelta(days=SCHEDULE_DAYS))
    later: list[PriceFrom] = []
    before: tuple[Price | None, str | None] = first.price, first.version
    at_ns = first.until_ns
    while at_ns < end_ns:
        answer = compile_price(arm, endpoint, _moment(at_ns), terms)
        holds: tuple[Price | None, str | None] = None, None
        if isinstance(answer, PriceFound):
            holds = answer.price, answer.version
        if holds != before:
            later.append(PriceFrom(from_ns=at_ns, price=holds[0], version=holds[1]))
            before = holds
        if answer.until_ns is None:
            break
        at_ns = answer.until_ns
    else:
        # A keeper that is gone for days must not leave an old price behind as the one of then.
        later.append(PriceFrom(from_ns=at_ns, price=None, version=None))
    return msgspec.structs.replace(first, until_ns=_exact_ns(midnight + timedelta(days=1)), later=tuple(later))


def _found(price: Price, version: str, source: str, date: str | None, until: datetime | None) -> PriceFound:
    return PriceFound(price=price, version=version, source=source, date=date, until_ns=_ns(until))


def _from_book(arm: ArmSection, endpoint: EndpointSection, at: datetime) -> PriceAnswer:
    if endpoint.provider is None and _own_address(endpoint.base_url):
        return PriceUnknown(
            f"endpoint {endpoint.name!r} has an own address and arm {arm.name!r} states no price; "
            f"state `price` for the arm, or `provider` for the endpoint"
        )
    try:
        found = look_up(endpoint.provider, endpoint.base_url, arm.model, at)
    except ValueError as error:
        return PriceUnknown(f"{error}; state `price` for the arm")
    if found is None:
        asked = f"provider {endpoint.provider!r}" if endpoint.provider else f"base URL {endpoint.base_url!r}"
        return PriceUnknown(f"{book_version()} knows no model {arm.model!r} for {asked}; state `price` for the arm")
    since = None if found.since is None else found.since.isoformat()
    return _found(found.price, _book_words(found), found.source, since, found.until)


def _book_words(found: BookPrice) -> str:
    named = f"{book_version()} {found.provider}/{found.model}"
    if found.since is not None:
        named += f" {found.since.isoformat()}"
    return named if found.hours is None else f"{named} {found.hours}"


def _own_address(base_url: str) -> bool:
    """An IP literal or `localhost`: some own server, whose costs no price book knows."""
    return re.match(r"https?://(localhost|\d+(\.\d+){3}|\[[0-9a-fA-F:.]+\])([:/]|$)", base_url) is not None


def _earliest(*moments: datetime | None) -> datetime | None:
    return min((moment for moment in moments if moment is not None), default=None)


def _exact_ns(moment: datetime) -> int:
    return round(moment.timestamp()) * 1_000_000_000


def _ns(moment: datetime | None) -> int | None:
    return None if moment is None else _exact_ns(moment)


def _moment(ns: int) -> datetime:
    return datetime.fromtimestamp(ns // 1_000_000_000, UTC)
