"""Reading JSON objects so that nothing is dropped unseen: a field that nobody asked for becomes a loss."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec

from weighbridge.wire.conversation import Loss
from weighbridge.wire.refusal import BadRequest

Raw = msgspec.Raw
T = TypeVar("T")

NOTHING = Raw(b"")
"""A field that is not there."""

_object = msgspec.json.Decoder(dict[str, Raw]).decode
_rows = msgspec.json.Decoder(list[Raw]).decode
_text = msgspec.json.Decoder(str).decode
_texts = msgspec.json.Decoder(list[str]).decode
_flag = msgspec.json.Decoder(bool).decode
_count = msgspec.json.Decoder(int).decode
_number = msgspec.json.Decoder(int | float).decode
encode = msgspec.json.Encoder().encode

_UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)


class Fields:
    """A JSON object that is being read. Each getter takes its field; `close()` turns what is left into losses.

    A missing field and `null` are both `None`. Raises `BadRequest`, naming the place, for a value of the wrong type.
    """

    __slots__ = ("_left", "at", "losses")

    def __init__(self, raw: bytes | Raw, at: str, losses: list[Loss]) -> None:
        self.at, self.losses = at, losses
        try:
            self._left = _object(raw)
        except _UNREADABLE:
            raise BadRequest(
                f"{at or 'the body'} must be a JSON object, not {shown(raw)}", param=at or None, code="invalid_type"
            ) from None

    def place(self, name: str) -> str:
        return f"{self.at}.{name}" if self.at else name

    def raw(self, name: str) -> Raw | None:
        value = self._left.pop(name, None)
        return None if value is None or bytes(value) == b"null" else value

    def peek(self, name: str) -> Raw | None:
        """The value, left for whoever takes it."""
        value = self._left.get(name)
        return None if value is None or bytes(value) == b"null" else value

    def _take(self, name: str, decode: Callable[[Raw], T], expected: str) -> T | None:
        value = self.raw(name)
        if value is None:
            return None
        try:
            return decode(value)
        except _UNREADABLE:
            at = self.place(name)
            raise BadRequest(f"{at!r} must be {expected}, not {shown(value)}", param=at, code="invalid_type") from None

    def text(self, name: str) -> str | None:
        return self._take(name, _text, "a string")

    def needed(self, name: str) -> str:
        value = self.text(name)
        if value is None:
            at = self.place(name)
            raise BadRequest(f"the field {at!r} is missing", param=at, code="missing_required_parameter")
        return value

    def texts(self, name: str) -> list[str] | None:
        return self._take(name, _texts, "a list of strings")

    def flag(self, name: str) -> bool | None:
        return self._take(name, _flag, "true or false")

    def count(self, name: str) -> int | None:
        return self._take(name, _count, "a whole number")

    def number(self, name: str) -> int | float | None:
        return self._take(name, _number, "a number")

    def fields(self, name: str) -> "Fields | None":
        value = self.raw(name)
        return None if value is None else Fields(value, self.place(name), self.losses)

    def rows(self, name: str) -> list[Raw] | None:
        return self._take(name, _rows, "a list")

    def objects(self, name: str) -> "Iterator[Fields]":
        for place, row in enumerate(self.rows(name) or ()):
            yield Fields(row, f"{self.place(name)}[{place}]", self.losses)

    def lose(self, feature: str, name: str = "") -> None:
        self.losses.append(Loss(feature, self.place(name) if name else self.at))

    def drop(self, *names: str) -> None:
        """Fields that say nothing that another dialect would have to say."""
        for name in names:
            self._left.pop(name, None)

    def drop_default(self, **defaults: bytes) -> None:
        """Fields that are dropped only where they have the value that holds anyway."""
        for name, value in defaults.items():
            if name in self._left and bytes(self._left[name]) == value:
                del self._left[name]

    def lose_each(self, features: dict[str, str]) -> None:
        """`{field: feature}`: each that is set is a loss."""
        for name, feature in features.items():
            if self.raw(name) is not None:
                self.lose(feature, name)

    def close(self) -> None:
        for name, value in self._left.items():
            if bytes(value) != b"null":
                self.lose("unknown_field", name)
        self._left = {}


def given(raw: Raw) -> bool:
    """Whether an answer has the field, and not as `null`."""
    return bytes(raw) not in (b"", b"null")


def is_text(raw: Raw) -> bool:
    return bytes(raw)[:1] == b'"'


def text_of(raw: Raw) -> str:
    return _text(raw)


def shown(raw: bytes | Raw) -> str:
    return bytes(raw)[:40].decode(errors="replace")


def is_object(text: str) -> bool:
    """Whether arguments are what a function takes: one JSON object."""
    try:
        _object(text)
    except (*_UNREADABLE, UnicodeEncodeError):
        return False
    return True
