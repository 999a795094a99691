"""What the installed price book says of a model beside its price: who lists it, since when it costs what it does.

The book is loaded at the first question (2,000 models), so the import is cheap.
"""

from datetime import date

import msgspec


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """One model in the book. `changes` are the dates from which another price holds, past and announced, in order."""

    id: str
    deprecated: bool
    changes: tuple[date, ...]


def providers() -> frozenset[str]:
    """Ids of all providers in the book."""
    from genai_prices.data_snapshot import get_snapshot

    return frozenset(one.id for one in get_snapshot().providers)


def listed(provider: str, model: str) -> Listed | None:
    """A provider's model as the book matches its name; `None` where the provider or the model is not there."""
    from genai_prices.data_snapshot import get_snapshot
    from genai_prices.types import ModelPrice, StartDateConstraint

    for one in get_snapshot().providers:
        if one.id != provider:
            continue
        info = next((row for row in one.models if row.is_match(model)), None)
        if info is None:
            return None
        dated = [] if isinstance(info.prices, ModelPrice) else [row.constraint for row in info.prices]
        starts = (constraint.start_date for constraint in dated if isinstance(constraint, StartDateConstraint))
        return Listed(id=info.id, deprecated=bool(info.deprecated), changes=tuple(sorted(starts)))
    return None
