"""What a trial would take, before anything is spent: pairs, money, time, and the share of spend it would decide."""

from datetime import datetime

import msgspec

from weighbridge.config import Loaded
from weighbridge.config.tree import RouteSection
from weighbridge.grading.book import GraderBook
from weighbridge.grading.gold import GoldBook
from weighbridge.ledger.prices import PriceFound, compile_price
from weighbridge.records.evidence import LabelSource
from weighbridge.records.trial import Split
from weighbridge.records.usage import NANOUSD, Price, Usage, cost_nanousd
from weighbridge.stats.planner import VARIANCE_DEFAULT, plan
from weighbridge.store.control import ControlClient
from weighbridge.trials.frame import TUNED_ON, Frame, SliceTraffic
from weighbridge.trials.log import TrialLog
from weighbridge.trials.plan import Settings, plans_of
from weighbridge.trials.prepare import frame_of, nothing_usable, route_of, split_of_arm, unjudged_slices
from weighbridge.trials.reasons import NEVER_CERTIFIES

QUOTE_SCHEMA = "quote/1"


class SliceQuote(msgspec.Struct, frozen=True, kw_only=True):
    """One slice. `None` is unknown, never 0."""

    slice: str
    traffic_share: float
    spend_share: float | None
    """Of the route's known spend in the span."""
    exchanges: int
    usable: int
    left_out: dict[str, int]
    label_source: LabelSource
    pairs_50: int | None
    """Half of all trials of an equal candidate decide with so many pairs; `None`: no verdict is possible."""
    pairs_80: int | None
    replays: int
    """What a run would send at most: the 80% figure or what is usable."""
    usd: float | None
    minutes: float
    reasons: tuple[str, ...]


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """The documented JSON shape of `trial quote --json`."""

    schema: str
    route: str
    incumbent: str
    candidate: str
    margin: float
    alpha: float
    slices: tuple[SliceQuote, ...]
    replays: int
    usd: float | None
    minutes: float
    concurrency: int
    spend_decided: float | None
    """Share of the span's known spend in slices whose usable exchanges cover the 80% figure."""
    price: str | None
    """Where the candidate's price comes from; `None` where it is unknown."""
    assumptions: tuple[str, ...]
    note: str
    split: Split | None
    """`b`: a prompt was tuned on split A of this route, so that only half of the conversations can be used."""


def make_quote(
    loaded: Loaded,
    control: ControlClient,
    log: TrialLog,
    gold: GoldBook,
    settings: Settings,
    *,
    concurrency: int,
    now: datetime,
    variance: float = VARIANCE_DEFAULT,
) -> Quote:
    """Quote a trial. Raises `WeighbridgeError` where there is no traffic to quote from."""
    route = route_of(loaded, settings.route, settings.candidate)
    graders = GraderBook(loaded, route.name)
    settings = msgspec.structs.replace(settings, route=route.name)
    # The same half that a run would be held to, by what the store remembers as well.
    split = split_of_arm(loaded, control, log.layout, settings, plans_of(control, log.layout, settings))
    frame = frame_of(loaded, log, route, graders, gold, settings.only_slice, split=split)
    arm = loaded.arm(settings.candidate)
    endpoint = loaded.endpoint(arm.endpoint)
    found = compile_price(arm, endpoint, now)
    price = found if isinstance(found, PriceFound) else None
    unknown = "" if isinstance(found, PriceFound) else f"the candidate's price is unknown: {found.why}"
    note = nothing_usable(frame, loaded.config.capture.bodies)
    source = None if price is None else f"{price.version} ({price.source})"
    return quote_of(
        frame,
        route,
        graders,
        settings,
        None if price is None else price.price,
        concurrency=concurrency,
        variance=variance,
        price_source=source,
        note=note or unknown,
        split=split,
    )


def quote_of(
    frame: Frame,
    route: RouteSection,
    graders: GraderBook,
    settings: Settings,
    price: Price | None,
    *,
    concurrency: int,
    variance: float,
    price_source: str | None,
    note: str,
    split: Split | None = None,
) -> Quote:
    """The quote of a frame. Pure."""
    unjudged = unjudged_slices(frame, graders)
    comparisons = max(1, len(frame.traffic) - len(unjudged))
    planned = plan(settings.margin, settings.alpha, comparisons, 0.0, variance)
    spend = [row.cost_nanousd for row in frame.traffic]
    total = None if None in spend else sum(cost or 0 for cost in spend)
    rows = []
    for row in frame.traffic:
        grader = graders.of(row.slice)
        share = None if total in (None, 0) or row.cost_nanousd is None else row.cost_nanousd / (total or 1)
        if row.slice in unjudged or grader is None:
            rows.append(_silent(row, share, "none" if grader is None else grader.label_source, unjudged[row.slice]))
            continue
        certifies = grader.label_source not in NEVER_CERTIFIES
        replays = min(row.usable, planned.n80 or row.usable, settings.sample or row.usable)
        reasons = []
        if not certifies:
            reasons.append(NEVER_CERTIFIES[grader.label_source])
        if planned.n50 is not None and row.usable < planned.n50:
            needed = f"about {planned.n50:,} needed: capture more traffic or widen the margin"
            reasons.append(f"{row.usable:,} usable, {needed}")
        rows.append(
            SliceQuote(
                slice=row.slice,
                traffic_share=row.weight,
                spend_share=share,
                exchanges=row.exchanges,
                usable=row.usable,
                left_out=row.left_out,
                label_source=grader.label_source,
                pairs_50=planned.n50 if certifies else None,
                pairs_80=planned.n80 if certifies else None,
                replays=replays,
                usd=_usd(row, replays, price),
                minutes=_minutes(row, replays, concurrency),
                reasons=tuple(reasons),
            )
        )
    money = [row.usd for row in rows if row.replays]
    decided = [row.spend_share for row in rows if row.pairs_80 is not None and row.usable >= row.pairs_80]
    return Quote(
        schema=QUOTE_SCHEMA,
        route=route.name,
        incumbent=route.incumbent,
        candidate=settings.candidate,
        margin=settings.margin,
        alpha=settings.alpha,
        slices=tuple(rows),
        replays=sum(row.replays for row in rows),
        usd=None if None in money else sum(cost or 0.0 for cost in money),
        minutes=sum(row.minutes for row in rows),
        concurrency=concurrency,
        spend_decided=None if total is None or None in decided else sum(share or 0.0 for share in decided),
        price=price_source,
        assumptions=(
            f"the candidate is as good as the incumbent; the variance of paired differences is {variance:g}; "
            f"{comparisons} slices share alpha",
            "the candidate reads and writes as many tokens as the incumbent did, at its own price without caching",
            f"a call takes as long as the incumbent's did, {concurrency} at a time",
            *_held_to(split, frame),
        ),
        note=note,
        split=split,
    )


def _held_to(split: Split | None, frame: Frame) -> list[str]:
    if split != "b":
        return []
    left = frame.left_out.get(TUNED_ON, 0)
    return [
        f"a prompt was tuned on split A of this route: pairs come from split B alone, {left:,} "
        "answered requests of split A are left out; cost and shares are those of all traffic"
    ]


def _silent(row: SliceTraffic, share: float | None, source: LabelSource, reason: str) -> SliceQuote:
    return SliceQuote(
        slice=row.slice,
        traffic_share=row.weight,
        spend_share=share,
        exchanges=row.exchanges,
        usable=row.usable,
        left_out=row.left_out,
        label_source=source,
        pairs_50=None,
        pairs_80=None,
        replays=0,
        usd=0.0,
        minutes=0.0,
        reasons=(reason,),
    )


def _usd(row: SliceTraffic, replays: int, price: Price | None) -> float | None:
    """Dollars of so many replays at the slice's mean token counts."""
    if price is None or row.input_tokens is None or row.output_tokens is None:
        return None
    # The sum over many calls is no call: neither context tiers nor the price per request apply to it.
    flat = msgspec.structs.replace(price, input_tokens_max=None, per_request_nanousd=0)
    cost = cost_nanousd(Usage(input=row.input_tokens, output=row.output_tokens), flat)
    if cost is None:
        return None
    return replays * (cost / row.exchanges + price.per_request_nanousd) / NANOUSD


def _minutes(row: SliceTraffic, replays: int, concurrency: int) -> float:
    return replays * row.duration_ns / row.exchanges / 60e9 / concurrency
