"""The FinOps Open Cost and Usage Specification (FOCUS), version 1.3, as CSV: a row per day, owner and token class.

What FOCUS has no column for stands in `x_` columns, as it allows: route, arm, purpose, model, token class, cache
lifetime, service tier, price version. Savings are no rows: they are money that nobody paid. Fees for requests and
searches are rows of their own. A cost whose classes cannot be told apart any more is one row with the class `all`;
amounts that nobody knows are no rows, and the export says how many attempts that leaves out.
"""

import csv
import json
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TextIO

import duckdb
import msgspec

from weighbridge.config import Loaded
from weighbridge.ledger.postings import CLASSES
from weighbridge.ledger.statement import Committed, Month, Statement

VERSION = "1.3"

COLUMNS = (
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingAccountType", "BillingCurrency",
    "BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency",
    "ChargePeriodEnd", "ChargePeriodStart", "ConsumedQuantity", "ConsumedUnit", "ContractedCost",
    "ContractedUnitPrice", "EffectiveCost", "HostProviderName", "InvoiceId", "InvoiceIssuerName", "ListCost",
    "ListUnitPrice",
    "PricingCategory", "PricingCurrency", "PricingQuantity", "PricingUnit", "ProviderName", "PublisherName",
    "RegionId", "RegionName", "ResourceId", "ResourceName", "ResourceType", "ServiceCategory", "ServiceName",
    "ServiceProviderName", "ServiceSubcategory", "SkuId", "SkuMeter", "SkuPriceDetails", "SkuPriceId", "SubAccountId",
    "SubAccountName", "SubAccountType", "Tags", "x_RouteId", "x_ArmId", "x_Purpose", "x_KeyId", "x_UserId", "x_Model",
    "x_TokenClass", "x_CacheTtl", "x_ServiceTier", "x_PriceVersion", "x_Estimated",
)  # fmt: skip
"""Columns of the specification that are only for what we never have (zones, capacity reservations, commitment
discounts) are left out, as it allows. `InvoiceId` stays empty: no row is of an invoice yet."""

METERS = {
    "input": "input tokens", "output": "output tokens", "cache_read": "cache read tokens",
    "cache_write": "cache write tokens", "cache_write_1h": "cache write tokens, one hour",
    "reasoning": "reasoning tokens", "audio_input": "audio input tokens", "audio_output": "audio output tokens",
    "image_input": "image input tokens", "image_output": "image output tokens", "web_searches": "web searches",
    "request": "requests", "all": "tokens of all classes",
}  # fmt: skip
"""Token class (or unit) -> what a bill calls it."""
UNITS = {"web_searches": "searches", "request": "requests"}
_TTL = {"cache_write_1h": "1h", "cache_write": "default"}
_MICRO = Decimal(10) ** 15
"""Millionths of a nano-dollar in a dollar."""


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """What went into an export."""

    rows: int
    billed_nanousd: int
    unknown: int
    """Attempts whose cost nobody knows: no rows."""


class _Group(msgspec.Struct, frozen=True, kw_only=True):
    """Postings of a day that differ in nothing that FOCUS tells apart."""

    day: date
    team: str | None
    key: str
    user: str | None
    route: str
    purpose: str
    arm: str
    endpoint: str
    model: str
    service_tier: str | None
    price_version: str | None
    estimated: bool
    is_split: bool
    attempts: int
    posted: int
    adjusted: int
    tokens: int
    counts: dict[str, int]
    micro: dict[str, int]


def export(sql: duckdb.DuckDBPyConnection, loaded: Loaded, month: Month, said: Statement, out: TextIO) -> Exported:
    """Write a month as CSV. The rows of what requests cost sum to the statement's lines, to the nano-dollar; each
    commitment's unused part is one row. `sql` has the view `split` (`rates.put_rates`)."""
    writer = csv.DictWriter(out, COLUMNS, restval="")
    writer.writeheader()
    rows, billed = 0, Decimal(0)
    for row in _rows(sql, loaded, month, said.commitments):
        billed += Decimal(row["BilledCost"])
        rows += 1
        writer.writerow(row)
    return Exported(rows=rows, billed_nanousd=int(billed * 10**9), unknown=said.unknown)


def _rows(
    sql: duckdb.DuckDBPyConnection, loaded: Loaded, month: Month, commitments: tuple[Committed, ...]
) -> Iterator[Mapping[str, str]]:
    for group in _groups(sql, month):
        yield from _of_group(group, loaded, month)
    for one in commitments:
        if one.unused_nanousd:
            yield _unused(one, loaded, month)


def _groups(sql: duckdb.DuckDBPyConnection, month: Month) -> Iterator[_Group]:
    names = (*CLASSES, "web_searches")
    counts = ", ".join(f"'{name}': sum({name})" for name in names)
    micro = ", ".join(f"'{name}': coalesce(sum({name}_micro), 0)" for name in (*names, "request"))
    found = sql.execute(
        'SELECT time::DATE AS day, team, key, "user", route, purpose, arm, endpoint, model, service_tier, '  # noqa: S608 (our own text)
        "price_version, estimated, is_split, count(*) AS attempts, "
        "coalesce(sum(posted_nanousd), 0)::HUGEINT AS posted, sum(adjusted_nanousd)::HUGEINT AS adjusted, "
        f"sum(tokens) AS tokens, {{{counts}}} AS counts, {{{micro}}} AS micro "
        "FROM split WHERE time >= ? AND time < ? AND cost_nanousd IS NOT NULL GROUP BY ALL ORDER BY ALL",
        [month.since.replace(tzinfo=None), month.until.replace(tzinfo=None)],
    )
    while row := found.fetchone():
        yield msgspec.convert(dict(zip(_Group.__struct_fields__, row, strict=True)), _Group)


def _of_group(group: _Group, loaded: Loaded, month: Month) -> Iterator[dict[str, str]]:
    common = _common(loaded, month, group.endpoint, group.model) | _owner(group) | _charged(group, month)
    if group.is_split:
        amounts = {name: micro for name, micro in group.micro.items() if micro or group.counts.get(name)}
        # Each posting was rounded up once, by less than a nano-dollar; that lands on the group's largest part.
        rest = group.posted * 10**6 - sum(amounts.values())
        if rest and amounts:
            largest = max(amounts, key=lambda name: amounts[name])
            amounts[largest] += rest
        for name, micro in amounts.items():
            count = group.attempts if name == "request" else group.counts[name]
            yield common | _priced(group, name, micro, count, Decimal(group.micro[name]))
    elif group.posted:
        yield common | _priced(group, "all", group.posted * 10**6, group.tokens, None)
    if group.adjusted:
        yield common | _priced(group, "all", group.adjusted * 10**6, None, None) | {
            "ChargeCategory": "Adjustment", "PricingCategory": "", "PricingQuantity": "", "PricingUnit": "",
            "ChargeDescription": f"Correction of the price of {group.model}",
        }  # fmt: skip


def _priced(group: _Group, name: str, micro: int, count: int | None, exact: Decimal | None) -> dict[str, str]:
    cost = _plain(Decimal(micro) / _MICRO)
    unit = UNITS.get(name, "tokens")
    price = "" if exact is None or not count else _plain(exact / _MICRO / count)
    quantity = "" if count is None else f"{count}.0"  # a reader of CSV must not take a decimal for a whole number
    version = group.price_version or "unknown"
    details = {"x_Model": group.model, "x_TokenType": METERS[name]}
    if name in _TTL:
        details["x_CacheTtl"] = _TTL[name]
    return {
        "BilledCost": cost, "ContractedCost": cost, "EffectiveCost": cost, "ListCost": cost, "ListUnitPrice": price,
        "ContractedUnitPrice": price, "ConsumedQuantity": quantity, "ConsumedUnit": unit if quantity else "",
        "PricingQuantity": quantity, "PricingUnit": unit, "PricingCategory": "Standard",
        "SkuId": f"{group.endpoint}/{group.model}/{name}", "SkuMeter": METERS[name],
        "SkuPriceId": f"{group.endpoint}/{group.model}/{name}/{group.service_tier or 'standard'}/{version}",
        "SkuPriceDetails": json.dumps(details), "ChargeCategory": "Usage",
        "ChargeDescription": f"{METERS[name]} of {group.model}", "x_TokenClass": name, "x_CacheTtl": _TTL.get(name, ""),
    }  # fmt: skip


def _owner(group: _Group) -> dict[str, str]:
    team = group.team or "unattributed"
    tags = {"route": group.route, "arm": group.arm, "purpose": group.purpose, "key": group.key}
    return {
        "SubAccountId": team, "SubAccountName": team, "SubAccountType": "team", "Tags": json.dumps(tags),
        "x_RouteId": group.route, "x_ArmId": group.arm, "x_Purpose": group.purpose, "x_KeyId": group.key,
        "x_UserId": group.user or "",
    }  # fmt: skip


def _charged(group: _Group, month: Month) -> dict[str, str]:
    # Days are UTC days; the first and the last of a month in another zone are cut at its ends.
    start = max(_midnight(group.day), month.since.replace(tzinfo=None))
    end = min(_midnight(group.day + timedelta(days=1)), month.until.replace(tzinfo=None))
    return {
        "ChargePeriodStart": _moment(start), "ChargePeriodEnd": _moment(end), "ChargeFrequency": "Usage-Based",
        "x_ServiceTier": group.service_tier or "", "x_PriceVersion": group.price_version or "",
        "x_Estimated": "true" if group.estimated else "false",
    }  # fmt: skip


def _common(loaded: Loaded, month: Month, endpoint: str, model: str) -> dict[str, str]:
    row = next((one for one in loaded.config.endpoint if one.name == endpoint), None)
    provider = (row.provider if row is not None else None) or endpoint
    region = (row.region if row is not None else None) or ""
    return {
        "BillingAccountId": endpoint, "BillingAccountName": endpoint, "BillingAccountType": "endpoint",
        "BillingCurrency": "USD", "BillingPeriodStart": _moment(month.since.replace(tzinfo=None)),
        "BillingPeriodEnd": _moment(month.until.replace(tzinfo=None)), "PricingCurrency": "USD",
        "InvoiceIssuerName": provider, "ServiceProviderName": provider, "HostProviderName": provider,
        "ProviderName": provider, "PublisherName": provider, "ServiceCategory": "AI and Machine Learning",
        "ServiceSubcategory": "Generative AI", "ServiceName": f"{provider} inference", "RegionId": region,
        "RegionName": region, "ResourceId": f"{endpoint}/{model}", "ResourceName": model, "ResourceType": "model",
        "x_Model": model,
    }  # fmt: skip


def _unused(one: Committed, loaded: Loaded, month: Month) -> dict[str, str]:
    cost = _plain(Decimal(one.unused_nanousd) / 10**9)
    period = {
        "ChargePeriodStart": _moment(month.since.replace(tzinfo=None)),
        "ChargePeriodEnd": _moment(month.until.replace(tzinfo=None)),
    }
    return _common(loaded, month, one.endpoint, one.name) | period | {
        "BilledCost": cost, "ContractedCost": cost, "EffectiveCost": cost, "ListCost": cost,
        "ChargeCategory": "Usage", "ChargeFrequency": "Recurring", "PricingCategory": "Committed",
        "PricingQuantity": "1.0", "PricingUnit": "months", "ListUnitPrice": cost, "ContractedUnitPrice": cost,
        "ChargeDescription": f"{one.kind} {one.name}: paid, and used by no request", "SkuId": one.name,
        "SkuMeter": "commitment", "SkuPriceId": one.name, "SubAccountId": "unattributed",
        "SubAccountName": "unattributed", "SubAccountType": "team", "Tags": "{}", "x_TokenClass": "unused",
    }  # fmt: skip


def _plain(amount: Decimal) -> str:
    return format(amount.normalize(), "f")


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day)


def _moment(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
