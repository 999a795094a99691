"""One file of pairs as columns of text, through duckdb. What a column means is not known here.

The file is opened once and duckdb reads it through its descriptor: a name with `*`, `?`, `[` or `://` in it is a name,
never a pattern or an address, and nothing is fetched from anywhere.
"""

import csv
import gzip
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import IO, Literal

import duckdb

from weighbridge.errors import WeighbridgeError

Format = Literal["jsonl", "csv", "parquet"]
SUFFIXES: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_DESCRIPTORS = "/proc/self/fd/"
_GZIP = b"\x1f\x8b"
_DELIMITERS = (",", "\t", ";", "|")
_NUMERIC = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "HUGEINT",
            "FLOAT", "DOUBLE", "BOOLEAN")  # fmt: skip
# The JSON reader's largest line, 16 MB: rows may carry whole prompts beside their scores.
_LINE_BYTES_MAX = 16 * 1024 * 1024
# Each thread holds buffers of its own; two read a million pairs in half a second and stay below 200 MB.
_THREADS = 2


@dataclass(frozen=True, slots=True)
class Source:
    """An open file. relation: SQL that yields its rows in order. columns: their names, in order, maybe doubled.

    text, number, empty: SQL over the relation for a column: its text (NULL where empty), its number as DOUBLE (NULL
    where empty or not a number; true and false are 1 and 0), and whether it is empty.
    """

    name: str
    sha256: str
    format: Format
    connection: duckdb.DuckDBPyConnection
    relation: str
    columns: tuple[str, ...]
    text: Callable[[str], str]
    number: Callable[[str], str]
    empty: Callable[[str], str]

    def query(self, sql: str) -> duckdb.DuckDBPyConnection:
        """Run SQL over the relation. WeighbridgeError where the file breaks its own format."""
        try:
            return self.connection.execute(sql)
        except duckdb.Error as error:
            raise WeighbridgeError(_unreadable(self.name, self.format, error)) from error


@contextmanager
def opened(path: Path) -> Iterator[Source]:
    """The file as a `Source`. WeighbridgeError where it is missing, empty, or not what its suffix says."""
    if not path.is_file():
        what = "is not a plain file" if path.exists() else "does not exist"
        raise WeighbridgeError(f"{path} {what}: --pairs takes one jsonl, csv or parquet file")
    with path.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
        kind = _format(path, file)
        config: dict[str, str | bool | int | float | list[str]] = {
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "temp_directory": tempfile.gettempdir(),  # else it would be a folder where the command is run
            "threads": _THREADS,
        }
        with duckdb.connect(":memory:", config=config) as connection:
            descriptor = f"{_DESCRIPTORS}{file.fileno()}"
            make = {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}[kind]
            try:
                yield make(path.name, digest, connection, descriptor, file)
            except duckdb.Error as error:
                raise WeighbridgeError(_unreadable(path.name, kind, error)) from error


def _format(path: Path, file: IO[bytes]) -> Format:
    file.seek(0)
    head = file.read(4)
    if not head:
        raise WeighbridgeError(f"{path.name} is empty: allowed is a row or more of pairs")
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    if suffixes and suffixes[-1] in SUFFIXES:
        return SUFFIXES[suffixes[-1]]
    if head == b"PAR1":
        return "parquet"
    try:
        first = _first_line(file)[1].lstrip()
    except (UnicodeDecodeError, gzip.BadGzipFile) as error:
        raise WeighbridgeError(
            f"{path.name} is neither jsonl, csv nor parquet, by its name or its content ({error}): "
            "export it as one of them"
        ) from error
    return "jsonl" if first[:1] in ("{", "[") else "csv"


def _first_line(file: IO[bytes]) -> tuple[int, str]:
    """The first line with anything on it, and its number from 1; what is wrong further on is found by its reader."""
    reader = gzip.open if _compression(file) == "gzip" else open
    # A descriptor's own path opens the same file once more, from its beginning.
    with reader(f"{_DESCRIPTORS}{file.fileno()}", "rb") as lines:
        number, line = next(((i, line) for i, line in enumerate(lines, 1) if line.strip()), (1, b""))
        return number, line.decode("utf-8-sig").strip("\r\n")


def _compression(file: IO[bytes]) -> str:
    file.seek(0)
    return "gzip" if file.read(2) == _GZIP else "none"


def _csv(name: str, digest: str, connection: duckdb.DuckDBPyConnection, place: str, file: IO[bytes]) -> Source:
    """Nothing of a CSV is guessed but its delimiter: a guessed header or a skipped row would change the verdict."""
    try:
        number, first = _first_line(file)
        delimiter = max(_DELIMITERS, key=first.count)
        header = [cell.strip() for cell in next(csv.reader([first], delimiter=delimiter, strict=True), [])]
    except (UnicodeDecodeError, csv.Error, gzip.BadGzipFile) as error:
        raise WeighbridgeError(
            f"{name}: its first line is not a header in UTF-8 ({error}): "
            "allowed is one line with the names of the columns"
        ) from error
    if not header or "" in header:
        raise WeighbridgeError(
            f"{name}: its first line names {len([cell for cell in header if cell])} of {len(header)} columns: allowed "
            "is a header with a name for each"
        )
    places = {column: f"c{i}" for i, column in enumerate(header)}
    columns = ", ".join(f"'c{i}': 'VARCHAR'" for i in range(len(header)))
    relation = (
        f"read_csv('{place}', delim='{_sql(delimiter)}', quote='\"', escape='\"', header=false, skip={number}, "
        f"auto_detect=false, strict_mode=true, null_padding=false, max_line_size={_LINE_BYTES_MAX}, "
        f"compression='{_compression(file)}', columns={{{columns}}})"
    )

    def text_of(column: str) -> str:
        return f"NULLIF(TRIM({places[column]}), '')"

    return _texts(name, digest, "csv", connection, relation, header, text_of)


def _jsonl(name: str, digest: str, connection: duckdb.DuckDBPyConnection, place: str, file: IO[bytes]) -> Source:
    try:
        array = _first_line(file)[1].lstrip().startswith("[")
    except (UnicodeDecodeError, gzip.BadGzipFile) as error:
        raise WeighbridgeError(f"{name} is not JSON in UTF-8 ({error})") from error
    relation = (
        f"read_json_objects('{place}', format='{'array' if array else 'newline_delimited'}', "
        f"compression='{_compression(file)}', maximum_object_size={_LINE_BYTES_MAX})"
    )
    shapes = connection.execute(
        f"SELECT keys, count(*), min(place) FROM (SELECT json_keys(json) AS keys, json_type(json) = 'OBJECT' AS fine, "  # noqa: S608
        f"row_number() OVER () AS place FROM {relation}) GROUP BY keys, fine ORDER BY min(place)"
    ).fetchall()
    names: dict[str, None] = {}
    for keys, _, at in shapes:
        if not keys:
            raise WeighbridgeError(
                f"{name}, row {at}: this is not an object with columns: allowed is one JSON object a row, "
                '{"incumbent": 1, "candidate": 0.5}'
            )
        doubled = next((key for key in keys if keys.count(key) > 1), None)
        if doubled is not None:
            raise WeighbridgeError(
                f"{name}, row {at}: column {doubled!r} is there more than once: allowed is each name once in a row"
            )
        names.update(dict.fromkeys(keys))

    def text_of(column: str) -> str:
        pointer = "/" + column.replace("~", "~0").replace("/", "~1")
        return f"NULLIF(TRIM(json_extract_string(json, '{_sql(pointer)}')), '')"

    return _texts(name, digest, "jsonl", connection, relation, list(names), text_of)


def _parquet(name: str, digest: str, connection: duckdb.DuckDBPyConnection, place: str, file: IO[bytes]) -> Source:
    del file
    relation = f"read_parquet('{place}')"
    described = connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()  # noqa: S608
    # duckdb renames doubled columns; the file's own schema has the names as they are.
    names = _top_names(connection.execute(f"SELECT name, num_children FROM parquet_schema('{place}')").fetchall())  # noqa: S608
    places = {column: (row[0], row[1]) for column, row in zip(names, described, strict=True)}

    def text_of(column: str) -> str:
        return f"NULLIF(TRIM(CAST({_quoted(places[column][0])} AS VARCHAR)), '')"

    def typed(column: str) -> bool:
        kind = places[column][1]
        return kind in _NUMERIC or kind.startswith("DECIMAL")

    def number_of(column: str) -> str:
        return f"TRY_CAST({_quoted(places[column][0])} AS DOUBLE)" if typed(column) else _number(text_of(column))

    def empty(column: str) -> str:
        return f"{_quoted(places[column][0])} IS NULL" if typed(column) else f"{text_of(column)} IS NULL"

    return Source(name, digest, "parquet", connection, relation, tuple(names), text_of, number_of, empty)


def _texts(
    name: str,
    digest: str,
    kind: Format,
    connection: duckdb.DuckDBPyConnection,
    relation: str,
    columns: list[str],
    text: Callable[[str], str],
) -> Source:
    """A source whose every value is text."""

    def number(column: str) -> str:
        return _number(text(column))

    def empty(column: str) -> str:
        return f"{text(column)} IS NULL"

    return Source(name, digest, kind, connection, relation, tuple(columns), text, number, empty)


def _top_names(schema: list[tuple[str, int | None]]) -> list[str]:
    """The names of the columns, from a schema tree written root first."""
    names: list[str] = []
    inside = 0
    for name, children in schema[1:]:
        if inside:
            inside += (children or 0) - 1
        else:
            names.append(name)
            inside = children or 0
    return names


def _number(text: str) -> str:
    return (
        f"CASE LOWER({text}) WHEN 'true' THEN 1.0::DOUBLE WHEN 'false' THEN 0.0::DOUBLE "
        f"ELSE TRY_CAST({text} AS DOUBLE) END"
    )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _sql(text: str) -> str:
    return text.replace("'", "''")


def _unreadable(name: str, kind: Format, error: duckdb.Error) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = lines[0].partition(" Error: ")[2] or lines[0]
    told = [line for line in lines[1:] if line.startswith(("Original Line", "Expected Number", "Invalid unicode"))]
    said = "; ".join([first, *told]).replace("\ufffd", "?")
    return f"{name} cannot be read as {kind}: {_without_descriptor(said, name)[:500]}"


def _without_descriptor(said: str, name: str) -> str:
    start = said.find(_DESCRIPTORS)
    if start < 0:
        return said
    end = start + len(_DESCRIPTORS)
    while end < len(said) and said[end].isdigit():
        end += 1
    return said[:start] + name + said[end:]
