"""The whole of a scan: files in, one frozen record out, which every rendering shows."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from weighbridge.ledger.prices import book_version
from weighbridge.licenses.profile import EMPTY, Profile
from weighbridge.scan import assumptions as assumed
from weighbridge.scan.alternatives import (
    Alternative,
    Kind,
    Prices,
    choices,
    open_models,
    own_gpus,
    siblings,
    stay,
)
from weighbridge.scan.assumptions import Assumption, Assumptions
from weighbridge.scan.bill import Bill, make_bill
from weighbridge.scan.figure import Figure, unknown
from weighbridge.scan.flags import Candidate, candidate
from weighbridge.scan.price import Rate, at_price
from weighbridge.scan.quote import Quote, make_quote
from weighbridge.scan.read import FileAccount, load, usage_database
from weighbridge.scan.traffic import Traffic, traffic_of
from weighbridge.scan.waste import Waste, waste_of

SCHEMA = "scan/1"
APPLICATIONS_MAX = 20
"""So many applications get alternatives and a quote, the dearest first; the bill has all of them."""


class Application(msgspec.Struct, frozen=True, kw_only=True):
    name: str | None
    requests: int | None
    cost_nanousd: int | None
    """`None`: the cost of some of its requests is unknown."""
    alternatives: tuple[Alternative, ...]
    """Stay first; then the cheaper sibling, open models, own GPUs."""
    reading: str
    """The alternatives in one sentence."""


class Scan(msgspec.Struct, frozen=True, kw_only=True):
    """The documented JSON shape of `scan --json`. Money is integer nano-dollars (1 USD = 10^9) or a range of them."""

    schema: str
    made: str
    """When, ISO 8601 UTC: prices and licences are those of this day."""
    price_book: str
    files: tuple[FileAccount, ...]
    bill: Bill
    rates: tuple[Rate, ...]
    applications: tuple[Application, ...]
    left_out: int
    """Applications of the bill without alternatives: only the dearest have them."""
    waste: tuple[Waste, ...]
    candidates: tuple[Candidate, ...]
    quote: Quote
    assumptions: dict[str, Assumption]
    """Every row that was there, by id."""


def scan(
    paths: Sequence[Path],
    now: datetime,
    *,
    mapping: dict[str, str] | None = None,
    rows: Assumptions | None = None,
    profile: Profile = EMPTY,
) -> Scan:
    """Read usage files and say what they cost, what is wasted, and what else there is. Nothing leaves the machine.

    `now` has a zone. Raises `UsageError` where no row could be read, with the account of every file.
    """
    used = assumed.load() if rows is None else rows
    with usage_database() as connection:
        files = load(connection, paths, mapping or {})
        pricing = at_price(connection, now)
        bill = make_bill(connection)
        prices = Prices(now)
        traffic = traffic_of(connection, APPLICATIONS_MAX)
        found: list[Application] = []
        waste: list[Waste] = []
        best: list[tuple[Traffic, Alternative | None]] = []
        for one in traffic:
            cheaper = siblings(one, prices, used)
            opened = open_models(one, prices, used)
            sibling = cheaper[0].cost_nanousd if cheaper else None
            wasted = waste_of(connection, one, prices, used, sibling)
            waste += wasted
            gpus = own_gpus(one, bill.days, used, all_rows=assumed.load())
            others = (stay(one), *_in_place(one, wasted), *cheaper, *opened, *gpus)
            found.append(
                Application(
                    name=one.application,
                    requests=one.requests,
                    cost_nanousd=one.cost_nanousd,
                    alternatives=others,
                    reading=reading(one.cost_nanousd, opened),
                )
            )
            cheapest = opened[0] if opened and opened[0].cost_nanousd.value is not None else None
            best.append((one, cheapest))
    everything = len(bill.by["application"])
    return Scan(
        schema=SCHEMA,
        made=now.isoformat(timespec="seconds"),
        price_book=book_version(),
        files=files,
        bill=bill,
        rates=pricing.rates,
        applications=tuple(found),
        left_out=everything - len(found),
        waste=tuple(sorted(waste, key=lambda one: -(one.saving_nanousd.value or 0.0))),
        candidates=tuple(candidate(choice, now, profile) for choice in choices().open),
        quote=make_quote(best, bill.total.cost_nanousd, used),
        assumptions=dict(used.rows),
    )


def _in_place(traffic: Traffic, wasted: Sequence[Waste]) -> list[Alternative]:
    """The same model, used better: what caching and batch calls would leave of today's cost."""
    now = traffic.cost_nanousd
    kinds: dict[str, tuple[Kind, str]] = {
        "uncached_prefix": ("caching", "Stay, with the shared beginning of prompts cached"),
        "batch": ("batch", "Stay, with bursts as batch calls"),
    }
    found = []
    for one in wasted:
        if one.rule not in kinds:
            continue
        kind, title = kinds[one.rule]
        saving = one.saving_nanousd
        cost = (
            unknown(saving.why or "today's cost is unknown", saving.uses)
            if now is None or saving.value is None or saving.low is None or saving.high is None
            else Figure(
                low=now - saving.high,
                value=now - saving.value,
                high=now - saving.low,
                uses=saving.uses,
                driver=saving.driver,
            )
        )
        main = traffic.main
        found.append(
            Alternative(
                kind=kind,
                title=title,
                model=main.model,
                provider=main.provider,
                cost_nanousd=cost,
                price=None,
                note=one.says,
            )
        )
    return found


def reading(now: int | None, opened: Sequence[Alternative]) -> str:
    """What the open candidates' costs say, and no more: quality is for a trial."""
    known = [one for one in opened if one.cost_nanousd.value is not None]
    if now is None:
        return "Unknown: the cost of some requests is unknown, so nothing can be compared with it."
    if not known:
        return "Unknown: no open candidate has a known cost."
    sure = [one for one in known if (one.cost_nanousd.high or 0.0) < now]
    if sure:
        return (
            f"Worth a trial: {len(sure)} of {len(known)} open candidates cost less over the whole range; "
            f"{sure[0].title} the least. Whether its answers are good enough, only a trial shows."
        )
    maybe = [one for one in known if (one.cost_nanousd.low or 0.0) < now]
    if maybe:
        return (
            f"Open: {len(maybe)} of {len(known)} open candidates may cost less, none does over the whole range. "
            "A small trial would measure the token counts that decide it."
        )
    return "Do not move for the price: every open candidate costs more over its whole range."
