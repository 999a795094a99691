"""A file as it lies there: lines of JSON, one JSON document, a table with headings. Looks at its first bytes."""

import csv
import gzip
import json
from pathlib import Path
from typing import Literal

import duckdb
import msgspec

from weighbridge.errors import UsageError

HEAD_BYTES = 4 << 20
"""How much of a file is looked at to recognise it; a first record longer than that is not recognised."""

Shape = Literal["lines", "array", "document", "table", "parquet"]


class Source(msgspec.Struct, frozen=True, kw_only=True):
    path: Path
    shape: Shape
    fields: tuple[str, ...]
    """Keys of the first record (dotted for objects inside it), or the headings of a table."""
    values: dict[str, str]
    """Short text values of the first record's keys, to tell formats apart by what they say of themselves."""
    delimiter: str = ","
    compressed: bool = False


def look(path: Path) -> Source:
    """Raises `UsageError` with what is there instead, for a file that holds no records."""
    head, compressed = _head(path)
    if head.startswith(b"PAR1"):
        return Source(path=path, shape="parquet", fields=_parquet(path), values={})
    text = head.decode("utf-8-sig", errors="replace").lstrip()
    if not text:
        raise UsageError(f"{path} is empty. Give a usage export or a log file; docs/scan.md lists the formats.")
    if text[0] in "{[":
        return _json(path, text, compressed)
    if "\x00" in text[:4096]:
        raise UsageError(
            f"{path} is neither text nor gzip. Export it as CSV, JSON or JSON lines; docs/scan.md lists the formats."
        )
    return _table(path, text, compressed)


def _head(path: Path) -> tuple[bytes, bool]:
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    if not compressed:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES), False
    try:
        with gzip.open(path) as file:
            return file.read(HEAD_BYTES), True
    except (EOFError, gzip.BadGzipFile) as error:
        raise UsageError(f"{path} begins like gzip and cannot be unpacked: {error}. Export it again.") from None


def _parquet(path: Path) -> tuple[str, ...]:
    with duckdb.connect() as connection:
        try:
            found = connection.execute("SELECT * FROM read_parquet(?) LIMIT 0", [str(path)]).description
        except duckdb.Error as error:
            raise UsageError(f"{path} begins like Parquet and cannot be read: {str(error).splitlines()[0]}") from None
    return tuple(str(column[0]) for column in found or ())


def _json(path: Path, text: str, compressed: bool) -> Source:
    decoder = json.JSONDecoder()
    shape: Shape = "lines"
    start = 0
    if text[0] == "[":
        shape, start = "array", text.find("{")
        if start < 0:
            raise UsageError(f"{path} is a JSON array without objects in it. Give one object for each row of usage.")
    first: object = None
    # The first line may be the broken one: look on until a record can be read.
    for offset in _starts(text, start, shape):
        try:
            first, end = decoder.raw_decode(text, offset)
        except ValueError:
            continue
        if isinstance(first, dict):
            if shape == "lines" and "\n" in text[offset:end]:
                shape = "document"
            break
    if not isinstance(first, dict):
        if len(text) >= HEAD_BYTES // 4 and text[0] == "{":
            return Source(path=path, shape="document", fields=_marks(text), values={}, compressed=compressed)
        raise UsageError(
            f"{path} begins like JSON and no object in it can be read. Give one JSON object a line, or one document."
        )
    fields, values = _fields(first)
    return Source(path=path, shape=shape, fields=tuple(fields), values=values, compressed=compressed)


def _starts(text: str, start: int, shape: Shape) -> list[int]:
    if shape == "array":
        return [start]
    starts, at = [0], 0
    while len(starts) < 1000 and (at := text.find("\n{", at)) >= 0:
        at += 1
        starts.append(at)
    return starts


def _marks(text: str) -> tuple[str, ...]:
    """Of one document that is longer than what is looked at: the key that it begins with."""
    end = text.find('"', 2)
    return (text[text.find('"') + 1 : end],)


def _fields(record: dict[str, object], prefix: str = "", depth: int = 0) -> tuple[list[str], dict[str, str]]:
    fields: list[str] = []
    values: dict[str, str] = {}
    for key, value in record.items():
        name = f"{prefix}{key}"
        fields.append(name)
        inner = value[0] if isinstance(value, list) and value else value
        if isinstance(inner, dict) and depth < 5:
            more, said = _fields(inner, f"{name}.", depth + 1)
            fields += more
            values |= said
        elif isinstance(value, str) and len(value) <= 80:
            values[name] = value
    return fields, values


def _table(path: Path, text: str, compressed: bool) -> Source:
    line = text.splitlines()[0]
    delimiter = max(",;\t|", key=line.count)
    headings = next(csv.reader([line], delimiter=delimiter), [])
    if len(headings) < 2:
        raise UsageError(
            f"{path}: the first line has no headings ({line[:60]!r}). Give a CSV with a first line of headings, "
            "or one JSON object a line; docs/scan.md lists the formats."
        )
    return Source(
        path=path,
        shape="table",
        fields=tuple(one.strip() for one in headings),
        values={},
        delimiter=delimiter,
        compressed=compressed,
    )
