"""Files into one table of usage, streamed through DuckDB, with an account of what was read and what was not.

The database is a file in a private temporary folder that goes when the scan ends; its memory is bounded.
"""

import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import msgspec

from weighbridge.errors import UsageError
from weighbridge.scan.columns import NAMES, NEEDED
from weighbridge.scan.formats import FORMATS, charges_only, missing, own_schema
from weighbridge.scan.formats.form import Format, leaf
from weighbridge.scan.source import Source, look

MEMORY = "384MB"
"""What DuckDB may hold; past it, it works on disk."""

_EXAMPLES_MAX = 5
_EXAMPLE_LINES_MAX = 300_000
_LINE_BYTES_MAX = 32 << 20
"""Also what DuckDB reads of a table at once: left to itself it takes sixteen times as much, more than it may hold."""


class Skipped(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that were not read, with the reason they share."""

    reason: str
    rows: int
    lines: tuple[int, ...] = ()
    """Where the first of them stand, counted from 1, as far as known."""


class FileAccount(msgspec.Struct, frozen=True, kw_only=True):
    file: str
    format: str | None
    """`None`: not recognised, nothing read."""
    title: str
    rows_read: int
    skipped: tuple[Skipped, ...]
    """Rows that should have been read and could not be."""
    passed_over: tuple[Skipped, ...]
    """Rows that are no use of a model, as the format says."""
    absent: tuple[str, ...]
    """Columns that no row of the file fills: figures over them are unknown or missing."""
    problem: str | None = None
    """Why nothing, or nothing more, was read."""

    @property
    def rows_skipped(self) -> int:
        return sum(one.rows for one in self.skipped)


@contextmanager
def usage_database() -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty database in a private folder, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="weighbridge-scan-") as folder:
        connection = duckdb.connect(str(Path(folder) / "usage.duckdb"))
        try:
            connection.execute(f"SET memory_limit = '{MEMORY}'")
            connection.execute("SET preserve_insertion_order = false")
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute("SET enable_progress_bar = false")
            connection.execute(f"SET temp_directory = '{folder}'")
            connection.execute(
                "CREATE TABLE raw (file INTEGER, bucket BOOLEAN, bad VARCHAR, moment TIMESTAMP, application VARCHAR, "
                'team VARCHAR, "user" VARCHAR, provider VARCHAR, model VARCHAR, requests BIGINT, fresh BIGINT, '
                "cache_read BIGINT, cache_write BIGINT, cache_write_1h BIGINT, output BIGINT, reasoning BIGINT, "
                "stated_nanousd HUGEINT, batch BOOLEAN, service_tier VARCHAR, failed BOOLEAN, latency_ms DOUBLE, "
                "request_key UBIGINT)"
            )
            yield connection
        finally:
            connection.close()


def load(
    connection: duckdb.DuckDBPyConnection, paths: Sequence[Path], mapping: dict[str, str]
) -> tuple[FileAccount, ...]:
    """Append the rows of `paths` to `raw`. Raises `UsageError` where nothing at all could be read."""
    accounts: list[FileAccount] = []
    seen: dict[str, Path] = {}
    for number, path in enumerate(paths):
        mark = _mark(path)
        if mark in seen:
            accounts.append(_unread(path, f"has the same content as {seen[mark]} and was counted once"))
            continue
        seen[mark] = path
        accounts.append(_load_one(connection, number, path, mapping))
    if not any(account.rows_read for account in accounts):
        raise UsageError("\n".join(_why(account) for account in accounts))
    return tuple(accounts)


def _why(account: FileAccount) -> str:
    if account.problem is not None:
        return f"{account.file}: {account.problem}"
    reasons = "; ".join(f"{one.rows:,} rows: {one.reason}" for one in account.skipped) or "it has no rows"
    return f"{account.file}: read as {account.title}, and no row could be used ({reasons})."


def _mark(path: Path) -> str:
    """Equal for files with equal content, for all practical purposes: size, and a digest of what is looked at."""
    with path.open("rb") as file:
        first = file.read(1 << 20)
        size = file.seek(0, 2)
        file.seek(max(0, size - (1 << 20)))
        return f"{size}:{hashlib.sha256(first + file.read()).hexdigest()}"


def _unread(path: Path, problem: str) -> FileAccount:
    return FileAccount(
        file=str(path), format=None, title="", rows_read=0, skipped=(), passed_over=(), absent=(), problem=problem
    )


def recognise(source: Source, mapping: dict[str, str]) -> Format | None:
    """What the content says it is; with a mapping, the documented schema as mapped."""
    if not mapping:
        for known in FORMATS:
            if known.recognise(source):
                return known
    return own_schema(source, mapping)


def _load_one(connection: duckdb.DuckDBPyConnection, number: int, path: Path, mapping: dict[str, str]) -> FileAccount:
    try:
        source = look(path)
    except UsageError as error:
        return _unread(path, str(error).removeprefix(f"{path}").lstrip(": "))
    found = recognise(source, mapping)
    charges = charges_only(source)
    if found is None and charges is not None:
        return _unread(path, f"holds charges and no tokens, so nothing can be compared: it is {charges}")
    if found is None:
        lacking = ", ".join(missing(source, mapping))
        fields = ", ".join(source.fields[:30]) + (", ..." if len(source.fields) > 30 else "")
        return _unread(
            path,
            f"no column found for {lacking}. It has: {fields}. Say which is which, for example "
            f"--map model={source.fields[0]!r}; docs/scan.md lists formats and columns.",
        )
    problem = None
    connection.execute("DROP TABLE IF EXISTS reject_errors; DROP TABLE IF EXISTS reject_scans")
    try:
        connection.execute(_insert(connection, number, source, found))
    except duckdb.Error as error:
        problem = f"reading as {found.title} failed: {str(error).splitlines()[0][:300]}"
    return _account(connection, number, source, found, problem)


def _account(
    connection: duckdb.DuckDBPyConnection, number: int, source: Source, found: Format, problem: str | None
) -> FileAccount:
    rows = connection.execute(
        "SELECT bad, count(*) FROM raw WHERE file = ? GROUP BY bad ORDER BY 2 DESC, 1", [number]
    ).fetchall()
    read = next((count for bad, count in rows if bad is None), 0)
    skipped = [Skipped(reason=bad, rows=count) for bad, count in rows if bad is not None and not bad.startswith(_OTHER)]
    passed = [Skipped(reason=bad[1:], rows=count) for bad, count in rows if bad is not None and bad.startswith(_OTHER)]
    if source.shape == "lines":
        skipped = [_with_lines(one, source) for one in skipped]
    if source.shape == "table":
        skipped += _rejected(connection)
    counts = ", ".join(f"count({_FILLED[name]})" for name in NAMES)
    filled = connection.execute(f"SELECT {counts} FROM raw WHERE file = ? AND bad IS NULL", [number]).fetchone()  # noqa: S608 (our own names)
    absent = [name for name, count in zip(NAMES, filled or (), strict=False) if not count] if read else []
    return FileAccount(
        file=str(source.path),
        format=found.name,
        title=found.title,
        rows_read=read,
        skipped=tuple(skipped),
        passed_over=tuple(passed),
        absent=tuple(absent),
        problem=problem,
    )


_FILLED = {
    "time": "moment",
    "application": "application",
    "team": "team",
    "user": '"user"',
    "provider": "provider",
    "model": "model",
    "requests": "requests",
    "input_tokens": "fresh",
    "cached_input_tokens": "cache_read",
    "cache_write_tokens": "cache_write",
    "cache_write_1h_tokens": "cache_write_1h",
    "output_tokens": "output",
    "reasoning_tokens": "reasoning",
    "cost_usd": "stated_nanousd",
    "batch": "batch",
    "service_tier": "service_tier",
    "status": "failed",
    "latency_ms": "latency_ms",
    "request_key": "request_key",
}

_OTHER = "~"
"""Marks rows that are right to be in the file and no use of a model."""

NOT_A_RECORD = "not a record of this format (broken JSON, or another shape)"


def _with_lines(skipped: Skipped, source: Source) -> Skipped:
    """Where the broken JSON stands: only looked for where there is some, and not without end."""
    if skipped.reason != NOT_A_RECORD or source.compressed:
        return skipped
    lines: list[int] = []
    with source.path.open("rb") as file:
        for line, text in enumerate(file, 1):
            if len(lines) == _EXAMPLES_MAX or line > _EXAMPLE_LINES_MAX:
                break
            if not text.strip():
                continue
            try:
                if not isinstance(json.loads(text), dict):
                    lines.append(line)
            except ValueError:
                lines.append(line)
    return msgspec.structs.replace(skipped, lines=tuple(lines))


def _rejected(connection: duckdb.DuckDBPyConnection) -> list[Skipped]:
    there = connection.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = 'reject_errors'").fetchone()
    if there is None:
        return []
    rows = connection.execute(
        "SELECT lower(replace(any_value(error_type)::VARCHAR, '_', ' ')), line FROM reject_errors GROUP BY line"
    ).fetchall()
    reasons: dict[str, list[int]] = {}
    for reason, line in rows:
        reasons.setdefault(f"not a row of this table: {reason}", []).append(line)
    return [
        Skipped(reason=reason, rows=len(lines), lines=tuple(sorted(lines)[:_EXAMPLES_MAX]))
        for reason, lines in sorted(reasons.items())
    ]


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _insert(connection: duckdb.DuckDBPyConnection, number: int, source: Source, found: Format) -> str:
    columns = ", ".join(f"{found.columns.get(name, 'NULL::VARCHAR')} AS c_{name}" for name in NAMES)
    bucket = "false" if found.grain == "request" else "true"
    once = "1" if found.counted else "NULL::BIGINT"
    why = "".join(
        f"WHEN {condition} THEN {_text(mark + reason)} "
        for mark, rules in ((_OTHER, found.passes), ("", found.refuses))
        for reason, condition in rules
    )
    columns += f", CASE {why}END AS c_why" if why else ", NULL::VARCHAR AS c_why"
    # Names are quoted identifiers, texts quoted literals; the expressions are our own.
    rows = _reader(source, found)
    return f"INSERT INTO raw {_TYPED.format(file=number, bucket=bucket, once=once, columns=columns, rows=rows)}"


def _whole(name: str) -> str:
    """A number of tokens as text -> BIGINT, NULL where it is none. `5.0` is five, `1.7` is nothing."""
    number = f"TRY_CAST(c_{name} AS DOUBLE)"
    return f"CASE WHEN {number} >= 0 AND {number} < 9e15 AND {number} = floor({number}) THEN {number}::BIGINT END"


def _unusable(name: str, said: str) -> str:
    return f"WHEN c_{name} IS NOT NULL AND n_{name} IS NULL THEN '{said} is not a whole number of 0 or more'"


_TOKENS = (
    "input_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "reasoning_tokens",
    "requests",
)

_TYPED = (  # noqa: S608 (our own text)
    "SELECT {{file}}, {{bucket}}, CASE "
    "WHEN c_why IS NOT NULL THEN c_why "
    "WHEN {nothing} THEN '{not_a_record}' "
    "WHEN c_model IS NULL THEN 'no model' "
    "WHEN c_input_tokens IS NULL THEN 'no input tokens' "
    "WHEN c_output_tokens IS NULL THEN 'no output tokens' "
    "{unusable} "
    "WHEN c_time IS NOT NULL AND moment IS NULL THEN 'the time cannot be read' "
    "WHEN c_cost_usd IS NOT NULL AND cost IS NULL THEN 'the cost is not a number' "
    "WHEN fresh < 0 THEN 'more cached tokens than input tokens' "
    "WHEN seen < 0 THEN 'more reasoning tokens than output tokens' "
    "END, moment, c_application, c_team, c_user, c_provider, c_model, coalesce(n_requests, {{once}}), fresh, "
    "coalesce(n_cached_input_tokens, 0), n_cache_write_tokens, n_cache_write_1h_tokens, seen, "
    "n_reasoning_tokens, (cost * 1000000000)::HUGEINT, "
    "coalesce(TRY_CAST(c_batch AS BOOLEAN), CASE WHEN lower(c_service_tier) = 'batch' THEN true END), "
    "CASE WHEN lower(c_service_tier) NOT IN ('standard', 'default', 'batch') THEN lower(c_service_tier) END, "
    "CASE WHEN c_status IS NULL THEN NULL WHEN TRY_CAST(c_status AS INTEGER) IS NOT NULL "
    "THEN c_status::INTEGER >= 400 ELSE lower(c_status) IN ('error', 'failure', 'failed') END, "
    "TRY_CAST(c_latency_ms AS DOUBLE), hash(c_request_key) "
    "FROM (SELECT *, "
    "n_input_tokens - coalesce(n_cached_input_tokens, 0) - coalesce(n_cache_write_tokens, 0) "
    "- coalesce(n_cache_write_1h_tokens, 0) AS fresh, n_output_tokens - coalesce(n_reasoning_tokens, 0) AS seen "
    "FROM (SELECT *, {numbers}, TRY_CAST(c_cost_usd AS DECIMAL(38, 9)) AS cost, "
    "(CASE WHEN TRY_CAST(c_time AS DOUBLE) IS NULL THEN TRY_CAST(c_time AS TIMESTAMPTZ) "
    "WHEN TRY_CAST(c_time AS DOUBLE) BETWEEN 1e8 AND 1e11 THEN to_timestamp(c_time::DOUBLE) "
    "WHEN TRY_CAST(c_time AS DOUBLE) BETWEEN 1e11 AND 1e14 THEN to_timestamp(c_time::DOUBLE / 1000) "
    "END)::TIMESTAMP AS moment "
    "FROM (SELECT {{columns}} FROM {{rows}})))"
).format(
    nothing=" AND ".join(f"c_{name} IS NULL" for name in NEEDED),
    not_a_record=NOT_A_RECORD,
    unusable=" ".join(_unusable(name, name.replace("_", " ")) for name in _TOKENS),
    numbers=", ".join(f"{_whole(name)} AS n_{name}" for name in _TOKENS),
)


def _reader(source: Source, found: Format) -> str:
    path = _text(str(source.path))
    compression = "gzip" if source.compressed else "none"
    if source.shape in ("table", "parquet"):
        headings = _distinct(source.fields)
        leaves = dict.fromkeys(found.leaves)
        columns = ", ".join(f"{_text(name)}: 'VARCHAR'" for name in headings)
        # A table may lack columns that the format knows; they are NULL, as absent keys of JSON are.
        there = {name.lower() for name in headings}
        chosen = ", ".join(
            f"CAST({leaf(name)} AS VARCHAR) AS {leaf(name)}"
            if name.lower() in there
            else f"NULL::VARCHAR AS {leaf(name)}"
            for name in leaves
        )
        if source.shape == "parquet":
            return f"(SELECT {chosen} FROM read_parquet({path}))"  # noqa: S608 (quoted identifiers)
        table = (
            f"read_csv({path}, auto_detect = false, header = true, columns = {{{columns}}}, "
            f"delim = {_text(source.delimiter)}, quote = '\"', escape = '\"', nullstr = '', "
            f"store_rejects = true, rejects_limit = 0, compression = '{compression}', "
            f"max_line_size = {_LINE_BYTES_MAX}, buffer_size = {_LINE_BYTES_MAX})"
        )
        return f"(SELECT {chosen} FROM {table})"  # noqa: S608 (quoted identifiers)
    tree: dict[str, object] = {}
    for path_of in found.leaves:
        _plant(tree, path_of.split("."))
    lists = set(found.unnest)
    kinds = ", ".join(f"{_text(key)}: {_text(_type(node, key, lists, found.typed))}" for key, node in tree.items())
    mode = {"lines": "newline_delimited", "array": "array"}.get(source.shape, "unstructured")
    size = _LINE_BYTES_MAX
    if source.shape != "lines":
        size = max(size, min(source.path.stat().st_size * (20 if source.compressed else 2), 2 << 30))
    errors = ", ignore_errors = true" if source.shape == "lines" else ""
    rows = (
        f"read_json({path}, format = '{mode}', columns = {{{kinds}}}, maximum_object_size = {size}, "
        f"compression = '{compression}'{errors})"
    )
    return f"(SELECT {_leaves(found)} FROM {_unnested(rows, found)})"  # noqa: S608 (quoted identifiers)


def _distinct(fields: tuple[str, ...]) -> list[str]:
    """Headings as column names: an empty or repeated one gets a number of its own."""
    names: list[str] = []
    lower: set[str] = set()
    for number, field in enumerate(fields):
        name = field if field and field.lower() not in lower else f"{field}#{number}"
        lower.add(name.lower())
        names.append(name)
    return names


def _plant(tree: dict[str, object], path: list[str]) -> None:
    node = tree
    for key in path[:-1]:
        inner = node.setdefault(key, {})
        if not isinstance(inner, dict):
            inner = node[key] = {}
        node = inner
    node.setdefault(path[-1], None)


def _type(node: object, path: str, lists: set[str], typed: dict[str, str]) -> str:
    if not isinstance(node, dict):
        return typed.get(path, "VARCHAR")
    inner = ", ".join(f"{leaf(key)} {_type(value, f'{path}.{key}', lists, typed)}" for key, value in node.items())
    return f"STRUCT({inner})" + ("[]" if path in lists else "")


def _unnested(rows: str, found: Format) -> str:
    """Each list on the way becomes rows; the row of list `a.b` is called `r_a_b`.

    A list that is not there becomes one row of nothing: else a broken record would go unnoticed.
    """
    text = rows
    for path in found.unnest:
        listed = f"coalesce({_access(path, found.unnest)}, [NULL])"
        text = f"(SELECT *, unnest({listed}) AS {_row(path)} FROM {text})"  # noqa: S608 (quoted identifiers)
    return text


def _row(path: str) -> str:
    return leaf("r_" + path.replace(".", "_"))


def _access(path: str, lists: Sequence[str]) -> str:
    """The SQL that reaches a dotted path, from the innermost list that holds it."""
    holder = max((one for one in lists if path.startswith(f"{one}.")), key=len, default="")
    rest = path.removeprefix(f"{holder}.").split(".") if holder else path.split(".")
    steps = [_row(holder), *map(leaf, rest)] if holder else [leaf(step) for step in rest]
    return ".".join(steps)


def _leaves(found: Format) -> str:
    return ", ".join(f"{_access(path, found.unnest)} AS {leaf(path)}" for path in dict.fromkeys(found.leaves))
