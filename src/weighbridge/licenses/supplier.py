"""The supplier beside the licence: maker, law, hosts, API terms. What is absent is not recorded."""

from collections.abc import Collection, Mapping

import msgspec

from weighbridge.licenses import catalogue, hosted
from weighbridge.licenses.resolve import Recorded, resolve
from weighbridge.licenses.rules import Reason, cited


class Supplier(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about a model's maker and hosts; each sentence has its source."""

    model: str
    maker: str | None
    country: str | None
    """Of the maker, ISO code."""
    released: str | None
    total_params: str | None
    active_params: str | None
    hosts: tuple[str, ...]
    """Providers in the installed price book that list the model, the maker's own API included."""
    facts: tuple[Reason, ...]


def supplier(query: str, book: Mapping[str, Collection[str]]) -> Supplier | None:
    """The picture of the first recorded model that `query` names; `None` where it names none.

    `book`: provider id -> models that the price book lists there (`ledger.prices.listed_models`).
    """
    parts = [one for one in resolve(query) if isinstance(one, Recorded)]
    # A text and its only model often share a name (`kimi-k3`): then the text was found, and the model is meant too.
    model = next((one.model or catalogue.find(one.terms.id) for one in parts), None)
    if model is None:
        return None
    terms, facts = parts[0].terms, [_published(model)]
    home = catalogue.makers().get(model.maker or "")
    if home is not None:
        facts.append(cited(f"{model.maker} sits in {home.country}", None, home.source, None))
    for name, fact in (
        ("Law and courts", terms.facts.governing_law),
        ("Patents", terms.facts.patent),
        ("The licence ends", terms.facts.termination),
        ("The licensor may change it", terms.facts.licensor_can_change),
    ):
        if fact is not None:
            facts.append(cited(f"{name}: {fact.text}", fact.clause, fact.source, fact.confidence))
    ident = hosted.of_licensor(terms.licensor)
    if ident is not None:
        facts += _api(hosted.providers()[ident])
    if model.note is not None:
        facts.append(cited(f"{model.name}: {model.note}", None, model.source, model.confidence))
    return Supplier(
        model=model.name,
        maker=model.maker,
        country=None if home is None else home.country,
        released=model.released,
        total_params=model.total_params,
        active_params=model.active_params,
        hosts=hosts(model, book),
        facts=tuple(facts),
    )


def _published(model: catalogue.Model) -> Reason:
    when = f", released {model.released}" if model.released is not None else ""
    size = f", {model.total_params} parameters" if model.total_params is not None else ""
    active = f" ({model.active_params} active)" if model.active_params is not None else ""
    by = f" by {model.maker}" if model.maker is not None else " (maker not recorded)"
    return cited(f"{model.name}{by}{when}{size}{active}", None, model.source, model.confidence)


def _api(row: hosted.Hosted) -> list[Reason]:
    said = [
        f"The maker's API ({row.document}): training on customer data: {row.training_on_customer_data}; "
        f"retention: {row.retention}"
    ]
    if row.law is not None:
        said.append(f"Law of the maker's API: {row.law}")
    if row.change_notice is not None:
        said.append(f"Notice of changes: {row.change_notice}")
    if row.other is not None:
        said.append(row.other)
    return [cited(text, None, row.source, row.confidence) for text in said]


def hosts(model: catalogue.Model, book: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    """Providers of the price book that list `model` under a name which the catalogue takes for it."""
    return tuple(sorted(who for who, listed in book.items() if any(catalogue.find(name) is model for name in listed)))
