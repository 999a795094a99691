"""Models by roles: what each recorded model would mean for the organisation in each role."""

from collections.abc import Iterable

import msgspec

from weighbridge.config.tree import ROLES
from weighbridge.licenses import catalogue
from weighbridge.licenses.answer import overall
from weighbridge.licenses.check import answers_of
from weighbridge.licenses.profile import Profile
from weighbridge.licenses.resolve import Part, Recorded, resolve
from weighbridge.records.evidence import LicenseWord


class Cell(msgspec.Struct, frozen=True):
    verdict: LicenseWord
    if_confirmed: LicenseWord | None


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One model (or one text) and its verdict in each role."""

    name: str
    terms: tuple[str, ...]
    roles: dict[str, Cell]


class Matrix(msgspec.Struct, frozen=True, kw_only=True):
    """The documented JSON of `license matrix`."""

    on: str
    roles: tuple[str, ...]
    rows: tuple[Row, ...]


def in_role(profile: Profile, role: str) -> Profile:
    """The same organisation in another role; personal use is not for gain, whatever the organisation does."""
    if role == "personal":
        return msgspec.structs.replace(profile, roles=frozenset({role}), commercial=False)
    return msgspec.structs.replace(profile, roles=frozenset({role}))


def matrix(profile: Profile, on: str, names: Iterable[str] = (), roles: Iterable[str] = ROLES) -> Matrix:
    """Verdicts of `names` (default: every recorded model) in `roles` for an organisation whose other facts hold."""
    columns = tuple(roles)
    who = {role: in_role(profile, role) for role in columns}
    known: dict[object, tuple[tuple[str, ...], dict[str, Cell]]] = {}
    rows = []
    for name in tuple(names) or tuple(model.name for model in catalogue.models()):
        parts = resolve(name)
        alike = tuple(_likeness(part) for part in parts)
        if alike not in known:
            known[alike] = _cells(parts, who, on)
        terms, cells = known[alike]
        rows.append(Row(name=name, terms=terms, roles=cells))
    return Matrix(on=on, roles=columns, rows=tuple(rows))


def _cells(parts: tuple[Part, ...], who: dict[str, Profile], on: str) -> tuple[tuple[str, ...], dict[str, Cell]]:
    terms: tuple[str, ...] = ()
    cells = {}
    for role, profile in who.items():
        answers = answers_of(parts, profile, on)
        cells[role] = Cell(*overall(answers))
        terms = tuple(dict.fromkeys(answer.terms for answer in answers))
    return terms, cells


def _likeness(part: Part) -> object:
    """Equal for parts that mean the same to everybody: many models share one text."""
    if not isinstance(part, Recorded):
        return part
    dated = any(line.as_of == "model_release_date" for line in part.terms.threshold)
    model = part.model
    return (
        part.terms.id,
        part.confidence,
        part.may_only_restrict,
        model.days if dated and model is not None else None,
        model.multimodal if model is not None else None,
    )
