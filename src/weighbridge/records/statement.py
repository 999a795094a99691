"""A statement for a licensor: metered tokens and attributed revenue by model and month, signed by the store's key."""

import msgspec

from weighbridge.records.frames import Purpose

STATEMENT_SCHEMA = "license-statement/1"
SIGNED_AS = b"weighbridge license-statement/1\n"
"""Goes before the bytes that are signed, so that no signature of a statement can pass for one of anything else."""


class Metered(msgspec.Struct, frozen=True, kw_only=True):
    """Calls of one model in one month (UTC, by the request's start) for one purpose, the sum of all attempts.

    Tokens are what providers counted, in disjoint classes. Calls without a count are in `calls_uncounted`, and nobody
    made a figure up for them: the tokens are then a lower bound.
    """

    month: str
    model: str
    arms: tuple[str, ...]
    terms: tuple[str, ...]
    purpose: Purpose
    calls: int
    calls_uncounted: int
    calls_estimated: int
    """Of the counted ones: counted by the gateway, because the provider's count did not arrive."""
    input: int
    output: int
    cache_read: int
    cache_write: int
    reasoning: int
    total: int


class Revenue(msgspec.Struct, frozen=True, kw_only=True):
    """Revenue that a person attributes to a model in a month, as a decimal; `None` is unknown, not nothing."""

    month: str
    model: str
    revenue_usd: str | None


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    schema: str
    created: str
    """UTC, ISO 8601."""
    store_key: str
    """The public half of the key that signs this, 64 hex digits."""
    first_month: str | None
    """The first month asked for; `None`: as far back as the log goes."""
    last_month: str | None
    models: tuple[str, ...]
    """Only these were asked for; empty: every model with open weights."""
    metered: tuple[Metered, ...]
    revenue: tuple[Revenue, ...]
    months_not_over: tuple[str, ...]
    notes: tuple[str, ...]


class SignedStatement(Statement, frozen=True, kw_only=True):
    """The file: one line of JSON. `signature` (Ed25519, 128 hex digits) covers `SIGNED_AS` and the bytes without it."""

    signature: str
