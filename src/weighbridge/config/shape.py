"""Unknown keys and wrong types, said in our words: file, key, value, what is allowed."""

import difflib
import re
import types
import typing
from typing import Any, Union, get_args, get_origin

import msgspec

from weighbridge.errors import ConfigError

REFERENCES = ("api_key", "secret", "encrypt_key", "base_url", "token", "headers", "otlp")
"""Keys whose value may hold a secret, where somebody wrote it in the wrong place."""


def _struct_in(kind: Any) -> type[msgspec.Struct] | None:
    """The Struct inside an annotation such as `tuple[X, ...]` or `X | None`."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind
    if get_origin(kind) in (tuple, list, Union, types.UnionType):
        return next((found for part in get_args(kind) if (found := _struct_in(part))), None)
    return None


def refuse_unknown(file: str, where: str, value: Any, kind: type[msgspec.Struct]) -> None:
    if not isinstance(value, dict):
        return  # a wrong type: the conversion says so
    known = typing.get_type_hints(kind)
    for name, inner in value.items():
        key = f"{where}.{name}" if where else name
        if name not in known or name.startswith("_"):
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ConfigError(file, key, f"unknown key; {hint}known here: {', '.join(sorted(known))}")
        struct = _struct_in(known[name])
        if struct is None:
            continue
        if isinstance(inner, list):
            for index, row in enumerate(inner):
                refuse_unknown(file, f"{key}[{_row_name(row, index)}]", row, struct)
        else:
            refuse_unknown(file, key, inner, struct)


def _row_name(row: Any, index: int) -> str:
    """Rows are known by name where they have one: `endpoint[openai]`."""
    name = row.get("name") if isinstance(row, dict) else None
    return name if isinstance(name, str) else str(index)


def converted(file: str, tree: Any, error: msgspec.ValidationError) -> ConfigError:
    """msgspec says `Expected `int`, got `str` - at `$.server.workers``: give that in our words, with the value."""
    message, _, path = str(error).partition(" - at `$")
    steps = path.rstrip("`").replace("[", ".[").split(".") if path else []
    key, value = "", tree
    for step in filter(None, steps):
        if step.startswith("["):
            index = int(step[1:-1]) if step[1:-1].isdigit() else 0
            value = value[index] if isinstance(value, list) and index < len(value) else None
            key += f"[{_row_name(value, index)}]"
        else:
            value = value.get(step) if isinstance(value, dict) else None
            key += f".{step}" if key else step
    # Of what should be a reference the value is not shown: it may be the secret itself.
    hidden = isinstance(value, dict | list) or key.rpartition(".")[2] in REFERENCES
    return ConfigError(file, key or "file", _in_words(message), value=None if hidden else value)


_MISMATCH = re.compile(r"Expected `([^`]+)`, got `([^`]+)`")
_TYPES = {
    "str": "a text in quotes", "int": "a whole number", "float": "a number", "bool": "true or false",
    "array": "a list [...]", "object": "a table", "datetime": "a date and time", "date": "a date", "time": "a time",
}  # fmt: skip


def _in_words(message: str) -> str:
    """``Expected `str | null`, got `int` `` -> `must be a text in quotes, not a whole number`."""
    found = _MISMATCH.fullmatch(message)
    if found is None:
        return message[0].lower() + message[1:]
    wanted = (_TYPES.get(name, name) for name in found[1].split(" | ") if name != "null")
    return f"must be {' or '.join(wanted)}, not {_TYPES.get(found[2], found[2])}"
