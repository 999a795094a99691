"""`license profile`: only the questions whose answer changes a verdict, the most telling first."""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from weighbridge.config.shape import converted
from weighbridge.config.tree import OrganizationSection
from weighbridge.errors import ConfigError, UsageError
from weighbridge.licenses.answer import overall
from weighbridge.licenses.check import parts_of
from weighbridge.licenses.profile import Profile, profile
from weighbridge.licenses.words import FIELD_MEANING
from weighbridge.records.evidence import LicenseWord

PREFIX = "organization."


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A field of `[organization]` that is missing, and the models (or terms) whose verdict waits for it."""

    field: str
    text: str
    decides: tuple[str, ...]


class Open(msgspec.Struct, frozen=True, kw_only=True):
    """The documented JSON of `license profile`."""

    verdicts: dict[str, LicenseWord]
    questions: tuple[Question, ...]


def questions(names: Iterable[str], who: Profile, on: str) -> Open:
    """What to ask for the verdicts of `names` (models, terms ids, stacks). Fields that change nothing are not asked."""
    verdicts: dict[str, LicenseWord] = {}
    waiting: dict[str, list[str]] = {}
    for name in names:
        parts = parts_of(name, who, on)
        verdicts[name] = overall(parts)[0]
        if verdicts[name] != "unclear":
            continue
        for field in dict.fromkeys(ask.field for part in parts for ask in part.asks):
            if field.startswith(PREFIX):
                waiting.setdefault(field, []).append(name)
    # The roles first: they decide which of the rest matters at all. Then what the most verdicts wait for.
    order = sorted(waiting, key=lambda field: (field != "organization.roles", -len(waiting[field]), field))
    return Open(
        verdicts=verdicts,
        questions=tuple(
            Question(field=field, text=FIELD_MEANING[field], decides=tuple(waiting[field])) for field in order
        ),
    )


def organization_of(file: Path) -> dict[str, Any]:
    """`[organization]` of a configuration or profile that was checked before, as it is written there."""
    found = tomllib.loads(file.read_bytes().decode()).get("organization", {})
    return dict(found)


def answered(tree: Mapping[str, Any], field: str, text: str) -> dict[str, Any]:
    """`[organization]` as a tree with the answer `text` put into `field`. Raises `UsageError` for an unusable one."""
    steps = field.removeprefix(PREFIX).split(".")
    value = _value(field, text.strip())
    copy: dict[str, Any] = {key: dict(inner) if isinstance(inner, dict) else inner for key, inner in tree.items()}
    at = copy
    for step in steps[:-1]:
        at = at.setdefault(step, {})
    at[steps[-1]] = value
    try:
        section = msgspec.convert(copy, OrganizationSection, strict=True)
        profile(section, "answer")
    except msgspec.ValidationError as error:
        raise UsageError(str(converted("answer", copy, error))) from None
    except ConfigError as error:
        raise UsageError(str(error)) from None
    return copy


def _value(field: str, text: str) -> Any:
    """What a person types, as TOML would hold it: `yes`, `DE, US`, `2500000`, `0-20000000`."""
    name = field.rsplit(".", 1)[-1]
    if name in ("roles", "established_in", "users_in", "businesses"):
        return [] if text in ("", "none", "[]") else [part.strip().strip("\"'") for part in text.strip("[]").split(",")]
    if name in ("commercial", "publishes_derivatives"):
        if text.lower() in ("yes", "y", "true"):
            return True
        if text.lower() in ("no", "n", "false"):
            return False
        raise UsageError(f"{field}: {text!r} is not an answer; allowed are yes and no")
    if name == "via":
        return text
    if name == "all_products_on":
        try:
            return tomllib.loads(f"x = {text}")["x"]
        except tomllib.TOMLDecodeError:
            raise UsageError(f'{field}: {text!r} is not a table of days; write {{ "2025-04-05" = 1200000 }}') from None
    return _figure(field, text.replace("_", "").replace(",", "").removeprefix("US$").removeprefix("$"))


def _figure(field: str, text: str) -> Any:
    ends = [end.strip() for end in text.split("-")]
    try:
        numbers = [float(end) for end in ends]
    except ValueError:
        numbers = []
    if len(numbers) == 1:
        return int(numbers[0]) if numbers[0].is_integer() else numbers[0]
    if len(numbers) == 2:
        return ends
    raise UsageError(f"{field}: {text!r} is not a figure; write one (2500000) or a band (0-20000000)")


def as_toml(tree: Mapping[str, Any]) -> str:
    """`[organization]` as TOML, ready to be put into weighbridge.toml."""
    lines = ["[organization]"]
    tables = {name: inner for name, inner in tree.items() if isinstance(inner, dict)}
    lines += [f"{name} = {_toml(value)}" for name, value in tree.items() if name not in tables]
    for name, inner in tables.items():
        lines += [f"[organization.{name}]", *(f"{key} = {_toml(value)}" for key, value in inner.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{ " + ", ".join(f'"{key}" = {_toml(inner)}' for key, inner in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(one) for one in value) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)


__all__ = ["Open", "OrganizationSection", "Question", "answered", "as_toml", "organization_of", "questions"]
