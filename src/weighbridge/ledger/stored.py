"""Prices that were stated with `price set`: objects in the signed log, never edited, each with its day and source.

A later statement about the same model wins from the moment on which it holds; the earlier one stays readable, so that a
cost of then can be explained. Together with the configuration's rows and commitments they are the operator's `Terms`.
"""

from collections.abc import Iterator

import msgspec

from weighbridge.config import Loaded
from weighbridge.config.tree import PriceRowSection
from weighbridge.errors import StoreError
from weighbridge.exchanges.chain import Chain
from weighbridge.ledger.prices import Terms
from weighbridge.records.canonical import canonical, digest, parse
from weighbridge.store.control import ControlClient, ObjectRow, PutObject
from weighbridge.store.layout import Layout

SCHEMA = "price/1"


class StoredPrice(msgspec.Struct, frozen=True, kw_only=True):
    """The object's exact content."""

    schema: str
    row: PriceRowSection
    stated_ns: int


class Stated(msgspec.Struct, frozen=True, kw_only=True):
    """A stored row with what the log says of it."""

    row: PriceRowSection
    stated_ns: int
    digest: str


def state_price(control: ControlClient, row: PriceRowSection, now_ns: int) -> ObjectRow:
    """Store a row. It holds once the keeper has compiled a new route table (`Reload`)."""
    body = canonical(StoredPrice(schema=SCHEMA, row=row, stated_ns=now_ns))
    return control.call(
        PutObject(kind="price", label=f"{row.provider or row.endpoint}/{row.model}", body=body), ObjectRow
    )


def stated_prices(layout: Layout) -> Iterator[Stated]:
    """Every row that was ever stored, in the order in which they were. Raises `StoreError` for one that was changed."""
    if not layout.chain.exists():
        return
    for entry in Chain(layout).snapshot().objects:
        if entry.kind != "price":
            continue
        path = layout.object(entry.digest)
        try:
            body = path.read_bytes()
        except OSError as error:
            raise StoreError(f"the stored price {entry.label} cannot be read: {path}: {error.strerror}") from None
        if digest(body) != entry.digest:
            raise StoreError(
                f"the stored price {entry.label} is not the one that was signed: {path}; `verify` says more"
            )
        try:
            stored = parse(body, StoredPrice)
        except ValueError as error:
            raise StoreError(f"the stored price {entry.label} cannot be read: {path}: {error}") from None
        yield Stated(row=stored.row, stated_ns=stored.stated_ns, digest=entry.digest)


def terms_of(loaded: Loaded, layout: Layout) -> Terms:
    """What the operator states: the configuration's rows first, then what was stored, so that the later one wins."""
    config = loaded.config
    return Terms(rows=(*config.price, *(one.row for one in stated_prices(layout))), commitments=config.commitment)
