"""What an application's traffic would cost elsewhere: the same tokens, with every step of the way an assumption.

    tokens of the candidate = tokens now x tokens(candidate's family) / tokens(present family)
    output of the candidate = that x how much more such a model writes
    cached input            = that x the share of cache hits kept; the rest at the full input price
    cost                    = each class x the candidate's price, hour by hour where the price has hours

Own GPUs: whole nodes run day and night; break-even load is the load at which their cost equals today's.
"""

import math
import re
import tomllib
from datetime import datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Literal

import msgspec

from weighbridge.ledger.prices import PriceFound, listed_models
from weighbridge.licenses import catalogue
from weighbridge.records.usage import MILLION, NANOUSD, Price
from weighbridge.scan.assumptions import Assumptions, Reading
from weighbridge.scan.figure import Figure, exact, figure, unknown
from weighbridge.scan.price import price_of
from weighbridge.scan.traffic import Traffic

Kind = Literal["stay", "caching", "batch", "sibling", "open_api", "own_gpus"]


class OpenChoice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model: str
    """As the licence records call it."""
    provider: str
    id: str


class SiblingChoice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    provider: str
    id: str


class Choices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    open: tuple[OpenChoice, ...]
    sibling: tuple[SiblingChoice, ...]


class Slopes(msgspec.Struct, frozen=True, kw_only=True):
    """Nano-dollars before any assumption, for a page that computes again: by family of the present model."""

    family: str
    input: float
    """Of input that is not read from a cache."""
    cached: float
    """Of cached input at the price of a cache read."""
    uncached: float
    """Of the same input at the full price."""
    output: float
    dear_hours: bool | None = None
    """Where the hour of the requests is not known and the price depends on it: these are at the dearest hours' price
    (true), or at that of the others (false), and count for the share of requests made then."""


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """One provider of the price book that serves an open model."""

    provider: str
    id: str
    cost_nanousd: Figure
    price: str


class Alternative(msgspec.Struct, frozen=True, kw_only=True):
    kind: Kind
    title: str
    model: str | None
    provider: str | None
    cost_nanousd: Figure
    """For the same requests."""
    price: str | None
    """Version of the price, and where it comes from."""
    family: str | None = None
    growth: str | None = None
    """The assumption about output length."""
    slopes: tuple[Slopes, ...] = ()
    keeps_cache: bool = False
    """Same provider: no assumption about the cache."""
    note: str = ""
    break_even_load: Figure | None = None
    """Own GPUs: the share of full load at which they cost what the present model does for the same tokens."""
    load: Figure | None = None
    """Own GPUs: the share of full load that this traffic would be."""
    hosts: tuple[Host, ...] = ()
    """Open models: everyone in the price book who serves it, cheapest first, with the same assumptions."""


@cache
def choices() -> Choices:
    text = files("weighbridge.scan").joinpath("candidates.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), Choices)


@cache
def family(model: str) -> str:
    """Whose tokenizer a model counts with, as the assumptions name it."""
    plain = model.rsplit("/", 1)[-1].lower()
    if re.match(r"(gpt|chatgpt|o[1-9]|text-|davinci|codex)", plain):
        return "openai"
    return next((name for word, name in _FAMILIES if word in plain), "other")


_FAMILIES = (("claude", "anthropic"), ("deepseek", "deepseek"), ("qwen", "qwen"))


class Prices:
    """Prices of the day, by hour of the day where they have hours; each looked up once."""

    def __init__(self, now: datetime) -> None:
        self._midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        self._now = now
        self._found: dict[tuple[str, str], list[PriceFound] | str] = {}

    def hours(self, provider: str, model: str) -> list[PriceFound] | str:
        """24 prices, or why there are none."""
        key = (provider, model)
        if key not in self._found:
            self._found[key] = self._look_up(provider, model)
        return self._found[key]

    def _look_up(self, provider: str, model: str) -> list[PriceFound] | str:
        first = price_of(provider, model, self._now)
        if isinstance(first, str):
            return first
        if first.until_ns is None:
            return [first] * 24
        found = [price_of(provider, model, self._midnight + timedelta(hours=hour)) for hour in range(24)]
        return (
            [one for one in found if isinstance(one, PriceFound)]
            if all(isinstance(one, PriceFound) for one in found)
            else f"{model} has no price at some hours of the day"
        )


def elsewhere(
    traffic: Traffic,
    provider: str,
    model: str,
    prices: Prices,
    rows: Assumptions,
    *,
    kind: Kind,
    growth: str,
    title: str,
) -> Alternative:
    """The traffic on another model through its provider's API."""
    found = prices.hours(provider, model)
    own = f"tokens.{family(model)}"
    same = traffic.main.provider == provider
    if isinstance(found, str):
        return Alternative(
            kind=kind, title=title, model=model, provider=provider, cost_nanousd=unknown(found), price=None
        )
    per_request = found[0].price.per_request_nanousd
    held = _held(traffic, [one.price for one in found])
    if isinstance(held, str):
        none = unknown(held)
        return Alternative(kind=kind, title=title, model=model, provider=provider, cost_nanousd=none, price=None)
    slopes = _slopes(traffic, held)

    def cost(read: Reading) -> float:
        total = 0.0
        for slope in slopes:
            ratio = 1.0 if own == f"tokens.{slope.family}" else read(own) / read(f"tokens.{slope.family}")
            kept = 1.0 if same or slope.cached == slope.uncached == 0 else read("cache.kept")
            given = slope.input + kept * slope.cached + (1 - kept) * slope.uncached
            total += _weight(slope, read) * ratio * (given + read(growth) * slope.output)
        return total + per_request * (traffic.requests or 0)

    return Alternative(
        kind=kind,
        title=title,
        model=model,
        provider=provider,
        cost_nanousd=figure(cost, rows),
        price=f"{found[0].version} ({found[0].source})",
        family=family(model),
        growth=growth,
        slopes=slopes,
        keeps_cache=same,
        note="" if len({one.price for one in found}) == 1 else "its price depends on the hour (UTC)",
    )


def _held(traffic: Traffic, hours: list[Price]) -> list[Price] | str:
    """The prices that hold for a mean request of this traffic, or why they do not, or cannot be told."""
    limit = hours[0].input_tokens_max
    if traffic.requests is None:
        told = limit is None and not hours[0].per_request_nanousd
        return hours if told else "the files do not count requests, and its price depends on their length or number"
    mean = math.ceil(sum(part.input for part in traffic.parts) / max(1, traffic.requests))
    held = [price.at_length(mean) for price in hours]
    known = [price for price in held if price is not None]
    if len(known) < len(held):
        return f"its mean request has {mean:,} input tokens; past {limit:,} its price is not known"
    return known


def _weight(slope: Slopes, read: Reading) -> float:
    if slope.dear_hours is None:
        return 1.0
    return read("hours.dear") if slope.dear_hours else 1 - read("hours.dear")


def _slopes(traffic: Traffic, hours: list[Price]) -> tuple[Slopes, ...]:
    dearest = max(price.input for price in hours)
    dear = [price for price in hours if price.input == dearest]
    others = [price for price in hours if price.input != dearest]
    sums: dict[tuple[str, bool | None], list[float]] = {}
    for part in traffic.parts:
        at: tuple[tuple[bool | None, list[Price]], ...] = ((None, hours[:1]),)
        if others:
            at = ((True, dear), (False, others)) if part.hour is None else ((None, [hours[part.hour]]),)
        for when, prices in at:
            into = sums.setdefault((family(part.model), when), [0.0, 0.0, 0.0, 0.0])
            for price in prices:
                # Without a price for cache writes they are billed as input; without one for reads, nothing is saved.
                write = price.input if price.cache_write is None else price.cache_write
                read = price.input if price.cache_read is None else price.cache_read
                into[0] += (part.fresh * price.input + part.cache_write * write) / MILLION / len(prices)
                into[1] += part.cache_read * read / MILLION / len(prices)
                into[2] += part.cache_read * price.input / MILLION / len(prices)
                into[3] += part.output * price.output / MILLION / len(prices)
    return tuple(
        Slopes(family=name, input=one[0], cached=one[1], uncached=one[2], output=one[3], dear_hours=when)
        for (name, when), one in sorted(sums.items(), key=str)
    )


def stay(traffic: Traffic) -> Alternative:
    cost = traffic.cost_nanousd
    return Alternative(
        kind="stay",
        title=f"Stay on {traffic.main.model}",
        model=traffic.main.model,
        provider=traffic.main.provider,
        cost_nanousd=exact(cost) if cost is not None else unknown("the cost of some of its requests is unknown"),
        price=None,
    )


def siblings(traffic: Traffic, prices: Prices, rows: Assumptions) -> list[Alternative]:
    """Cheaper models of the same maker; the cheapest one alone."""
    main = traffic.main
    found = [
        elsewhere(
            traffic,
            one.provider,
            one.id,
            prices,
            rows,
            kind="sibling",
            growth="output.sibling",
            title=f"Cheapest model of the same provider: {one.id}",
        )
        for one in choices().sibling
        if one.provider == main.provider and one.id != main.model
    ]
    known = [one for one in found if one.cost_nanousd.value is not None]
    cheapest = min(known, key=lambda one: one.cost_nanousd.value or 0.0, default=None)
    if cheapest is None:
        return found
    now = traffic.cost_nanousd
    return [cheapest] if now is None or (cheapest.cost_nanousd.value or 0.0) < now else []


def open_models(traffic: Traffic, prices: Prices, rows: Assumptions) -> list[Alternative]:
    """Each open candidate at its provider, cheapest first; those with an unknown cost last."""

    def at(model: str, provider: str, ident: str) -> Alternative:
        return elsewhere(
            traffic, provider, ident, prices, rows, kind="open_api", growth="output.open",
            title=f"{model} through {provider}",
        )  # fmt: skip

    found = []
    for one in choices().open:
        if one.id == traffic.main.model:
            continue
        hosts = []
        for provider, ident in served_by(one.model):
            there = at(one.model, provider, ident)
            if there.price is not None:
                hosts.append(Host(provider=provider, id=ident, cost_nanousd=there.cost_nanousd, price=there.price))
        hosts.sort(key=lambda host: (host.cost_nanousd.value is None, host.cost_nanousd.value or 0.0, host.provider))
        found.append(msgspec.structs.replace(at(one.model, one.provider, one.id), hosts=tuple(hosts)))
    return sorted(found, key=lambda one: (one.cost_nanousd.value is None, one.cost_nanousd.value or 0.0))


@cache
def served_by(model: str) -> tuple[tuple[str, str], ...]:
    """(provider, its id of the model) of everyone in the price book who lists it, under any name on record for it."""
    meant = catalogue.find(model)
    if meant is None:
        return ()
    found: dict[str, str] = {}
    for provider, models in listed_models().items():
        for ident in models:
            known = catalogue.find(ident)
            if known is not None and known.name == meant.name:
                found.setdefault(provider, ident)
    return tuple(sorted(found.items()))


def own_gpus(traffic: Traffic, days: int | None, rows: Assumptions, *, all_rows: Assumptions) -> list[Alternative]:
    """Open candidates on GPUs of one's own, rented and owned, where a published throughput exists.

    `all_rows` says which figures there should be: one whose row was taken out is shown as unknown, not left away.
    """
    found = []
    for ident in all_rows.rows:
        if not ident.startswith("speed."):
            continue
        _, rest = ident.split(".", 1)
        model, gpu = rest.rsplit(".", 1)
        for how, word in (("rent", "rented"), ("own", "owned")):
            found.append(_gpus(traffic, days, rows, ident, model, gpu, f"gpu.{how}.{gpu}", word))
    return found


def _gpus(
    traffic: Traffic, days: int | None, rows: Assumptions, speed: str, model: str, gpu: str, rate: str, word: str
) -> Alternative:
    title = f"{model} on {word} {gpu}"
    now = traffic.cost_nanousd
    if days is None:
        none = unknown("the files state no times, so the hours to pay for are not known")
        return Alternative(kind="own_gpus", title=title, model=model, provider=None, cost_nanousd=none, price=None)
    hours = days * 24
    own = family(model)
    sums: dict[str, tuple[int, int]] = {}
    for part in traffic.parts:
        given, made = sums.get(family(part.model), (0, 0))
        sums[family(part.model)] = (given + part.input, made + part.output)

    def tokens(read: Reading) -> float:
        total = 0.0
        for theirs, (given, made) in sums.items():
            ratio = 1.0 if own == theirs else read(f"tokens.{own}") / read(f"tokens.{theirs}")
            total += ratio * (given + read("output.open") * made)
        return total

    def load(read: Reading) -> float:
        return tokens(read) / (read(speed) * read("gpu.node") * hours * 3600)

    def cost(read: Reading) -> float:
        nodes = max(1, math.ceil(load(read)))
        return nodes * read("gpu.node") * read(rate) * hours * NANOUSD

    def break_even(read: Reading) -> float:
        return load(read) * read("gpu.node") * read(rate) * hours * NANOUSD / (now or 1)

    return Alternative(
        kind="own_gpus",
        title=title,
        model=model,
        provider=None,
        cost_nanousd=figure(cost, rows),
        price=None,
        family=family(model),
        growth="output.open",
        note="without people to run them, and without spare servers",
        break_even_load=figure(break_even, rows) if now else unknown("today's cost is unknown"),
        load=figure(load, rows),
    )
