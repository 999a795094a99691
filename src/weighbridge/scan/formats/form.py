"""What a format is: how it is recognised, and where our columns are in it."""

from collections.abc import Callable
from typing import Literal

import msgspec

from weighbridge.scan.source import Source

Grain = Literal["request", "bucket", "meter"]
"""`request`: a row is one call. `bucket`: it sums calls of an hour or a day. `meter`: one class of their tokens."""


class Format(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    title: str
    schema: str
    """Where its columns are published, and the day they were read."""
    recognise: Callable[[Source], bool]
    leaves: tuple[str, ...]
    columns: dict[str, str]
    """Column -> SQL over the leaves, each written as a quoted identifier of its dotted path."""
    unnest: tuple[str, ...] = ()
    """Lists on the way from a document to its rows: leaves below them are dotted paths too."""
    typed: dict[str, str] = {}
    """Leaf -> its DuckDB type, where it is not text."""
    passes: tuple[tuple[str, str], ...] = ()
    """(what the row is instead, SQL): rows that the file is right to hold and that are no use of a model."""
    refuses: tuple[tuple[str, str], ...] = ()
    """(reason, SQL): rows of the format that cannot be used."""
    grain: Grain = "request"
    counted: bool = True
    """A row that does not say how many requests it sums is one. False: then their number is unknown."""


def leaf(path: str) -> str:
    return '"' + path.replace('"', '""') + '"'


def first_of(*paths: str) -> str:
    return f"coalesce({', '.join(f'nullif({leaf(path)}, {chr(39)}{chr(39)})' for path in paths)})"


def has(*fields: str) -> Callable[[Source], bool]:
    """Case matters in JSON; in a table's headings it does not."""

    def recognise(source: Source) -> bool:
        if source.shape in ("table", "parquet"):
            return {field.lower() for field in fields} <= {field.lower() for field in source.fields}
        return set(fields) <= set(source.fields)

    return recognise


def in_json(column: str, *paths: str) -> str:
    """The first of some paths inside a leaf that holds JSON, as text; the leaf may hold anything."""
    valid = f"CASE WHEN json_valid({leaf(column)}) THEN {leaf(column)} END"
    inner = [f"json_extract_string({valid}, '$.{path}')" for path in paths]
    return f"coalesce({', '.join(inner)})"
