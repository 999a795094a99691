"""From what people write to recorded terms: a terms id, a model's name, an SPDX expression, a file's sha256, a stack.

Nothing is guessed. What cannot be resolved comes back as `Unknown`, with what to do next, and makes the finding
`unclear`.
"""

import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from license_expression import ExpressionError, Licensing, get_spdx_licensing

from weighbridge.errors import UsageError
from weighbridge.licenses import catalogue, hosted, load
from weighbridge.licenses.model import Confidence, Terms
from weighbridge.licenses.rules import Reason
from weighbridge.licenses.standard import standard_terms

HUB_PREFIX = "hf:"
"""A model card on the Hugging Face Hub: `hub` reads it, and only where somebody asks for it."""

_NOT_A_LICENCE = frozenset({"other", "unknown", "none", "proprietary", "custom", "noassertion"})


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """Recorded terms, and how well it is known that they are the ones."""

    terms: Terms
    model: catalogue.Model | None = None
    confidence: Confidence = "read"
    """Of the statement that the model came under these terms; `read` where the terms themselves were named."""
    may_only_restrict: bool = False
    """A further text that is said to apply: nothing is permitted on its account."""
    said: Reason | None = None
    """By what the terms were found, where it was neither their name nor a recorded model: a card, a licence file."""


class Service(msgspec.Struct, frozen=True):
    """The terms of a hosted service."""

    ident: str
    terms: hosted.Hosted


class Unknown(msgspec.Struct, frozen=True):
    """Terms that are not recorded: what was asked for, why it leads nowhere, what to do."""

    asked: str
    why: str
    next_step: str
    looked_in: str = "the shipped records"


Part = Recorded | Service | Unknown

_NEXT = (
    "find the licence text that came with the very files in use and check it by its terms id or SPDX id "
    "(`weighbridge license check ID`), or let counsel read it"
)


def resolve(query: str) -> tuple[Part, ...]:
    """The parts that `query` names; several are joined by ` + `. Raises `UsageError` where it names nothing."""
    found: list[Part] = []
    for name in names_of(query):
        found.extend(part for part in _one(name) if part not in found)
    return tuple(found)


def names_of(query: str) -> tuple[str, ...]:
    """The names in a stack. Raises `UsageError` where one is empty."""
    names = [name.strip() for name in re.split(r"(?:^|\s)\+(?=\s|$)", query)]
    if not all(names):
        raise UsageError(f"{query!r} names no model or terms; write for instance kimi-k3, or 'qwen-2024 + llama-3.1'")
    return tuple(names)


def _one(name: str) -> tuple[Part, ...]:
    lower = name.lower()
    if lower in load.ids():
        return (Recorded(terms=load.terms(lower)),)
    if lower.startswith(hosted.PREFIX):
        ident = hosted.find(lower)
        if ident is None:
            known = ", ".join(f"{hosted.PREFIX}{one}" for one in hosted.providers())
            return (Unknown(name, "the terms of this provider are not recorded", f"recorded are: {known}"),)
        return (Service(ident, hosted.providers()[ident]),)
    if lower.startswith(HUB_PREFIX):
        step = f"`weighbridge license check {name}` reads it; then write the terms id that it finds here"
        return (Unknown(name, "a model card is read only where somebody asks for it", step),)
    if re.fullmatch(r"(sha256:)?[0-9a-f]{64}", lower):
        return (_by_hash(name, lower.removeprefix("sha256:")),)
    model = catalogue.find(name)
    if model is not None:
        return _of_model(name, model)
    if lower in _NOT_A_LICENCE:
        return (Unknown(name, f"{name!r} says only that the licence is a custom one; it names no text", _NEXT),)
    return _expression(name)


def _of_model(name: str, model: catalogue.Model) -> tuple[Part, ...]:
    if not model.terms:
        note = model.note or "its licence is not recorded"
        return (Unknown(name, f"{model.name}: {note}", _NEXT),)
    own = [Recorded(terms=load.terms(one), model=model, confidence=model.confidence) for one in model.terms]
    more = [
        Recorded(terms=load.terms(one), model=model, confidence="reported", may_only_restrict=True)
        for one in model.also_reported
    ]
    return (*own, *more)


@cache
def _by_sha256() -> dict[str, str]:
    return {digest: record.id for record in load.everything() for digest in record.text_sha256}


def _by_hash(asked: str, digest: str) -> Part:
    if digest in _by_sha256():
        return Recorded(terms=load.terms(_by_sha256()[digest]))
    why = "no recorded text has this sha256: nobody has read this text, or this version of it, yet"
    return Unknown(asked, why, _NEXT)


def by_file(content: bytes) -> str | None:
    """The terms id of a licence file: known byte for byte, or a standard text whoever holds the copyright."""
    return _by_sha256().get(hashlib.sha256(content).hexdigest()) or standard_terms(content)


def of_file(file: Path) -> str:
    """How to ask for the terms of a licence file: their id where it is known, else its sha256. Raises `OSError`."""
    content = file.read_bytes()
    return by_file(content) or f"sha256:{hashlib.sha256(content).hexdigest()}"


@cache
def _licensing() -> Licensing:
    # Reads the SPDX list that ships with the library: 60 ms, no network.
    return get_spdx_licensing()


@cache
def _by_spdx() -> dict[str, str]:
    """SPDX id or LicenseRef, lower case -> terms id. Standard texts win where a model's terms only build on one."""
    found: dict[str, str] = {}
    for ident in load.ids():
        record = load.terms(ident)
        if record.family == "standard" or record.spdx.lower() not in found:
            found[record.spdx.lower()] = ident
    return found


def _expression(name: str) -> tuple[Part, ...]:
    direct = _by_spdx().get(name.lower())
    if direct is not None:
        return (Recorded(terms=load.terms(direct)),)
    try:
        expression = _licensing().parse(name, validate=True, strict=True)
    except ExpressionError:
        expression = None
    if expression is None:
        alike = catalogue.near(name)
        hint = f"recorded names that look alike: {', '.join(alike)}; " if alike else ""
        return (Unknown(name, f"{name!r} is no recorded model, terms id or SPDX expression", f"{hint}{_NEXT}"),)
    return tuple(_symbol_part(name, one) for one in _choice(expression))


def _choice(expression: Any) -> tuple[Any, ...]:
    """The licences to keep to: all of an AND; of an OR the licensee chooses, here the first that is recorded."""
    if isinstance(expression, _licensing().OR):
        ways = [_choice(one) for one in expression.args]
        return next((way for way in ways if all(_key(one) in _by_spdx() for one in way)), ways[0])
    if isinstance(expression, _licensing().AND):
        return tuple(dict.fromkeys(symbol for one in expression.args for symbol in _choice(one)))
    return (expression,)


def _key(symbol: Any) -> str:
    # A licence with an exception is a symbol of its own, and none is recorded.
    return str(getattr(symbol, "key", symbol)).lower()


def _symbol_part(asked: str, symbol: Any) -> Part:
    ident = _by_spdx().get(_key(symbol))
    if ident is None:
        return Unknown(
            asked,
            f"{symbol} is a known licence, but its terms are not recorded here",
            "let counsel read it for this use",
        )
    return Recorded(terms=load.terms(ident))
