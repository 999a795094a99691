"""Red flags of an open candidate: licence, hosts and their data terms, price changes, an announced end."""

from collections.abc import Sequence
from datetime import datetime, time, timedelta
from typing import Literal

import msgspec

from weighbridge.ledger import book
from weighbridge.ledger.providers import known_providers
from weighbridge.licenses import catalogue
from weighbridge.licenses.finding import finding
from weighbridge.licenses.profile import EMPTY, Profile
from weighbridge.records.evidence import LicenseWord
from weighbridge.records.table import Weights
from weighbridge.scan.alternatives import OpenChoice, served_by

Colour = Literal["red", "amber", "none"]
_YEAR = timedelta(days=365)
_FEW_HOSTS = 3


class Flag(msgspec.Struct, frozen=True, kw_only=True):
    colour: Colour
    about: Literal["licence", "hosts", "data_terms", "price_changes", "retirement"]
    text: str
    source: str


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    license: LicenseWord
    hosts: tuple[str, ...]
    """Providers in the price book that serve it, resellers and the maker included."""
    country: str | None
    """Of the maker."""
    flags: tuple[Flag, ...]


class _Arm(msgspec.Struct, frozen=True):
    name: str
    model: str
    weights: Weights | None = "open"
    terms: str | None = None


_LICENSE_COLOUR: dict[str, Colour] = {"allowed": "none", "allowed_with_duties": "amber", "unclear": "amber"}


def candidate(choice: OpenChoice, now: datetime, profile: Profile = EMPTY) -> Candidate:
    found = finding(_Arm(choice.model, choice.model), now.date().isoformat(), profile)
    model = catalogue.find(choice.model)
    maker = None if model is None else catalogue.makers().get(model.maker or "")
    hosts = tuple(provider for provider, _ in served_by(choice.model))
    reason = found.reasons[0] if found.reasons else "no reason is recorded"
    flags = [
        Flag(
            colour=_LICENSE_COLOUR.get(found.verdict, "red"),
            about="licence",
            text=f"{found.terms or 'no recorded terms'}: {found.verdict.replace('_', ' ')}. {reason}",
            source="licence records of this version; `weighbridge license check` asks for what is missing",
        ),
        Flag(
            colour="none" if len(hosts) >= _FEW_HOSTS else "amber" if hosts else "red",
            about="hosts",
            text=f"{len(hosts)} providers in the price book serve it: {', '.join(hosts) or 'none'}.",
            source="installed price book",
        ),
        _data_terms(choice.provider),
        *_other_hosts(choice.provider, hosts),
        *_prices(choice, now),
    ]
    return Candidate(
        model=choice.model,
        license=found.verdict,
        hosts=hosts,
        country=None if maker is None else maker.country,
        flags=tuple(flags),
    )


def _data_terms(provider: str) -> Flag:
    row = next((one for one in known_providers().values() if one.price_book == provider), None)
    if row is None:
        return Flag(
            colour="amber",
            about="data_terms",
            source="provider records of this version",
            text=f"Region, retention and training terms of {provider} are not recorded: ask before any prompt is sent.",
        )
    said = {
        "region": row.region,
        "retention": None if row.retention_days is None else f"{row.retention_days} days",
        "trains on customer data": None if row.trains_on_data is None else ("yes" if row.trains_on_data else "no"),
    }
    text = ", ".join(f"{name} {value or 'unknown'}" for name, value in said.items())
    colour: Colour = "red" if row.trains_on_data else "amber" if None in said.values() else "none"
    return Flag(colour=colour, about="data_terms", text=f"{row.title}: {text}.", source=f"{row.source}, {row.read}")


def _other_hosts(provider: str, hosts: Sequence[str]) -> list[Flag]:
    """What is recorded of the other hosts, who may be the reason to take an open model: a region, no retention."""
    others = [host for host in hosts if host != provider]
    if not others:
        return []
    recorded = {one.price_book: one for one in known_providers().values()}
    said = []
    for host in others:
        row = recorded.get(host)
        if row is not None:
            kept = "retention unknown" if row.retention_days is None else f"keeps {row.retention_days} days"
            trains = {None: "training unknown", True: "trains on it", False: "does not train on it"}[row.trains_on_data]
            said.append(f"{row.title} ({row.region or 'region unknown'}, {kept}, {trains})")
    rest = len(others) - len(said)
    if rest:
        said.append(f"nothing is recorded of {rest} more")
    return [
        Flag(
            colour="none" if not rest else "amber",
            about="data_terms",
            text=f"Other hosts: {'; '.join(said)}.",
            source="provider records of this version",
        )
    ]


def _prices(choice: OpenChoice, now: datetime) -> list[Flag]:
    info = book.listed(choice.provider, choice.id)
    if info is None:
        return []
    changes = info.changes
    past = [day for day in changes if now - _YEAR <= datetime.combine(day, time(), now.tzinfo) <= now]
    coming = [day for day in changes if datetime.combine(day, time(), now.tzinfo) > now]
    said = []
    if past:
        said.append(f"{len(past)} in the last 12 months ({', '.join(day.isoformat() for day in past)})")
    if coming:
        said.append(f"announced for {', '.join(day.isoformat() for day in coming)}")
    flags = [
        Flag(
            colour="amber" if said else "none",
            about="price_changes",
            text=f"Price changes at {choice.provider}: {'; '.join(said) or 'none recorded in the last 12 months'}.",
            source="installed price book, dated rows; it does not record every past change",
        )
    ]
    if info.deprecated:
        flags.append(
            Flag(
                colour="red",
                about="retirement",
                source="installed price book",
                text=f"{choice.provider} has marked {info.id} as deprecated.",
            )
        )
    return flags
