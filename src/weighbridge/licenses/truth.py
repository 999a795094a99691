"""Three-valued truth: a condition holds, does not hold, or cannot be told; then it says which facts would tell."""

from collections.abc import Iterable

import msgspec


class Ask(msgspec.Struct, frozen=True):
    """A missing fact: the profile's field (or what else would settle it) and why it matters."""

    field: str
    why: str = ""


class Truth(msgspec.Struct, frozen=True):
    value: bool | None
    """`None`: it depends on `asks`."""
    asks: tuple[Ask, ...] = ()


YES, NO = Truth(True), Truth(False)


def known(value: bool) -> Truth:
    return YES if value else NO


def unknown(*fields: str, why: str = "") -> Truth:
    return Truth(None, tuple(Ask(field, why) for field in fields))


def both(parts: Iterable[Truth]) -> Truth:
    """True if all are, False if one is: what is False already needs no answer to the rest."""
    asks: tuple[Ask, ...] = ()
    for part in parts:
        if part.value is False:
            return NO
        asks += part.asks
    return Truth(None, asks) if asks else YES


def either(parts: Iterable[Truth]) -> Truth:
    asks: tuple[Ask, ...] = ()
    for part in parts:
        if part.value is True:
            return YES
        asks += part.asks
    return Truth(None, asks) if asks else NO


def negated(truth: Truth) -> Truth:
    return truth if truth.value is None else known(not truth.value)
