"""What several sources say of one price, side by side. Where they disagree, the difference is shown.

Beside the operator's rows and the installed book, tables of others can be read from a file: LiteLLM's
`model_prices_and_context_window.json` and the answer of OpenRouter's models API.
"""

from datetime import datetime
from decimal import Decimal
from pathlib import Path

import msgspec

from weighbridge.config.tree import ArmSection, EndpointSection
from weighbridge.errors import UsageError
from weighbridge.ledger.book import book_version, look_up
from weighbridge.ledger.prices import Terms
from weighbridge.ledger.stated import for_arm, lay_over
from weighbridge.records.usage import NANOUSD, Price

DIMENSIONS = ("input", "output", "cache_read", "cache_write", "cache_write_1h")
_LITELLM = {
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "cache_read": "cache_read_input_token_cost",
    "cache_write": "cache_creation_input_token_cost",
    "cache_write_1h": "cache_creation_input_token_cost_above_1hr",
}
_OPENROUTER = {
    "input": "prompt",
    "output": "completion",
    "cache_read": "input_cache_read",
    "cache_write": "input_cache_write",
}
NOISE = Decimal("0.000000001")
"""USD per million tokens: floats of a table differ by less without meaning it."""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    usd: dict[str, str]
    """USD per million tokens, by dimension; one that the source does not price is absent."""
    why: str | None
    """Why it has none."""


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    provider: str
    model: str
    sources: tuple[Source, ...]
    disagree: dict[str, dict[str, str]]
    """Dimension -> source -> USD. A source without the dimension says nothing about it, and disagrees with nobody."""


def compared(provider: str, model: str, at: datetime, terms: Terms, tables: tuple[Path, ...] = ()) -> Compared:
    """Raises `UsageError` for a table that cannot be read."""
    sources = [_own(provider, model, at, terms), _book(provider, model, at)]
    sources += [_table(path, provider, model) for path in tables]
    disagree: dict[str, dict[str, str]] = {}
    for name in DIMENSIONS:
        said = {source.name: source.usd[name] for source in sources if name in source.usd}
        amounts = [Decimal(amount) for amount in said.values()]
        if amounts and max(amounts) - min(amounts) > NOISE:
            disagree[name] = said
    return Compared(provider=provider, model=model, sources=tuple(sources), disagree=disagree)


def _own(provider: str, model: str, at: datetime, terms: Terms) -> Source:
    arm = ArmSection(name=model, endpoint=provider, model=model)
    rows = for_arm(
        terms.rows, arm, EndpointSection(name=provider, base_url="https://unused.invalid", provider=provider)
    )
    laid = lay_over(rows, None, at)
    if laid is None:
        return Source(name="stated", usd={}, why="no dated price of yours holds")
    return Source(name="stated", usd=_said(laid.price), why=None)


def _book(provider: str, model: str, at: datetime) -> Source:
    try:
        found = look_up(provider, "", model, at)
    except ValueError as error:
        return Source(name=book_version(), usd={}, why=str(error))
    if found is None:
        return Source(name=book_version(), usd={}, why=f"it knows no {model!r} of {provider!r}")
    return Source(name=book_version(), usd=_said(found.price), why=None)


def _said(price: Price) -> dict[str, str]:
    rates = {name: getattr(price, name) for name in DIMENSIONS}
    return {name: _plain(Decimal(rate) / NANOUSD) for name, rate in rates.items() if rate is not None}


class _Routed(msgspec.Struct, frozen=True):
    id: str
    pricing: dict[str, str | int | float | None] = {}


class _Router(msgspec.Struct, frozen=True):
    data: list[_Routed]


class _Listed(msgspec.Struct, frozen=True):
    litellm_provider: str | None = None
    input_cost_per_token: float | None = None
    output_cost_per_token: float | None = None
    cache_read_input_token_cost: float | None = None
    cache_creation_input_token_cost: float | None = None
    cache_creation_input_token_cost_above_1hr: float | None = None


def _table(path: Path, provider: str, model: str) -> Source:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    amounts: dict[str, Decimal] | None = None
    try:
        routed = msgspec.json.decode(raw, type=_Router)
    except msgspec.MsgspecError:
        amounts = _of_litellm(path, raw, provider, model)
    else:
        row = next((one for one in routed.data if one.id in (model, f"{provider}/{model}")), None)
        if row is not None:
            said = {name: row.pricing.get(key) for name, key in _OPENROUTER.items()}
            amounts = {name: Decimal(str(amount)) for name, amount in said.items() if amount is not None}
    if amounts is None:
        return Source(name=path.name, usd={}, why=f"it knows no {model!r} of {provider!r}")
    return Source(name=path.name, usd={name: _plain(amount * 10**6) for name, amount in amounts.items()}, why=None)


def _of_litellm(path: Path, raw: bytes, provider: str, model: str) -> dict[str, Decimal] | None:
    try:
        table = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        found = next((table[name] for name in (f"{provider}/{model}", model) if name in table), None)
        row = None if found is None else msgspec.json.decode(found, type=_Listed)
    except msgspec.MsgspecError as error:
        raise UsageError(
            f"{path} is neither LiteLLM's table of prices nor OpenRouter's list of models: {error}"
        ) from None
    if row is None:
        return None
    said = {name: getattr(row, key) for name, key in _LITELLM.items()}
    return {name: Decimal(repr(amount)) for name, amount in said.items() if amount is not None}


def _plain(amount: Decimal) -> str:
    return format(amount.normalize(), "f")
