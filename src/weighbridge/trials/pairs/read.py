"""A file of pairs, read and checked."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from weighbridge.errors import WeighbridgeError
from weighbridge.stats.bets import FloatArray, IntArray
from weighbridge.stats.judged import LABEL_PROBABILITY_MIN
from weighbridge.trials.pairs.columns import LABEL_PROBABILITY, WEIGHT, Columns, find, printable
from weighbridge.trials.pairs.rows import ALL, SLICES_MAX, Broken, Pairs, Raw, checked, first_labels
from weighbridge.trials.pairs.source import Source, opened

_SCORE = (0.0, 1.0)
_PROBABILITY = (LABEL_PROBABILITY_MIN, 1.0)
_WEIGHT = (5e-324, 1.7e308)
_VALUE_CHARS_MAX = 80
_ID = re.compile(
    r"(^|_)(task|item|question|problem|prompt|conversation|session|thread|example|case|request|instance|sample)"
    r"(_?(id|key|no|number|index|hash|sha256))?$|^q?id$"
)
_REPEATS = 0.9
_ROWS_PER_VALUE_MAX = 64


@dataclass(frozen=True, slots=True)
class PairsFile:
    """A file that was read: its name, the SHA-256 of its bytes, its columns and its rows."""

    name: str
    sha256: str
    columns: Columns
    pairs: Pairs
    repeats: tuple[tuple[str, int], ...] = ()
    """Unused columns that look like the ids of what was asked, with how many values they have: fewer than rows."""


def read(path: Path, slice_column: str | None = None, cluster_column: str | None = None) -> PairsFile:
    """Read a jsonl, csv or parquet file (by its suffix, else its content; also gzipped).

    Columns: `columns.KNOWN`; slice_column and cluster_column name others for `slice` and `cluster`. WeighbridgeError
    names the row (from 1, a header not counted), the value and the rule; UsageError for a column that is not there.
    """
    with opened(path) as source:
        columns = find(source.name, source.columns, slice_column, cluster_column)
        raw = _raw(source, columns)
        found = checked(raw)
        if isinstance(found, Broken):
            raise WeighbridgeError(_told(source, found))
        repeats = () if columns.cluster is not None else _repeats(source, columns, found.n)
        return PairsFile(source.name, source.sha256, columns, found, repeats)


def _repeats(source: Source, columns: Columns, rows: int) -> tuple[tuple[str, int], ...]:
    """Columns left unused whose values come back a few times each: runs of one task, turns of one conversation.

    A column with few values for many rows is a kind of request, not an id, and one that hardly repeats says nothing.
    """
    found = []
    for name in columns.unused:
        if _ID.search(name.strip().lower().replace("-", "_").replace(" ", "_")) is None:
            continue
        text = source.text(name)
        row = source.query(f"SELECT approx_count_distinct({text}) FROM {source.relation}").fetchone()  # noqa: S608
        values = 0 if row is None else int(row[0])
        if values and rows / _ROWS_PER_VALUE_MAX <= values <= _REPEATS * rows:
            found.append((name, values))
    return tuple(found)


def _raw(source: Source, columns: Columns) -> Raw:
    # Keys first and by themselves: what they need while they become numbers must not stand beside the scores.
    slices: tuple[str, ...] = (ALL,)
    slice_ids = clusters = None
    if columns.slice is not None:
        slices, slice_ids = _slices(source, columns.slice)
    if columns.cluster is not None:
        hashes = _fetch(source, [_key(source, columns.cluster)])[0]
        clusters = np.where(hashes == 0, np.int64(-1), first_labels(hashes))
    names = [name for pair in columns.scores for name in pair]
    scores = [_floats(column) for column in _fetch(source, [_ranged(source, name, _SCORE) for name in names])]
    if not scores[0].size:
        raise WeighbridgeError(f"{source.name} has columns but no rows: allowed is a row or more of pairs")
    extra = [(WEIGHT, columns.weight, _WEIGHT), (LABEL_PROBABILITY, columns.label_probability, _PROBABILITY)]
    weight, probability = (
        _floats(_fetch(source, [_ranged(source, name, allowed)])[0]) if there else None
        for name, there, allowed in extra
    )
    return Raw(
        scores={pair: (scores[2 * i], scores[2 * i + 1]) for i, pair in enumerate(columns.scores)},
        slices=slices,
        slice_ids=np.zeros(scores[0].size, dtype=np.int64) if slice_ids is None else slice_ids,
        clusters=clusters,
        weight=weight,
        probability=probability,
        slice_column=columns.slice,
        cluster_column=columns.cluster,
    )


def _fetch(source: Source, expressions: list[str]) -> list[NDArray[np.generic]]:
    """Columns of SQL over all rows, in their order, shape (n,) each."""
    # SQL is put together from our own expressions; names out of the file are quoted where they are made.
    listed = ", ".join(f"{sql} AS v{i}" for i, sql in enumerate(expressions))
    values = source.query(f"SELECT {listed} FROM {source.relation}").fetchnumpy()  # noqa: S608
    return [np.ma.getdata(values.pop(f"v{i}")) for i in range(len(expressions))]


def _floats(values: NDArray[np.generic]) -> FloatArray:
    return np.asarray(values, dtype=np.float64)


def _ranged(source: Source, name: str, allowed: tuple[float, float]) -> str:
    """NaN where empty, infinity where not allowed: NaN compares as the largest number of all in SQL."""
    low, high = allowed
    number = source.number(name)
    return (
        f"CASE WHEN {source.empty(name)} THEN 'nan'::DOUBLE "
        f"WHEN {number} BETWEEN {low!r}::DOUBLE AND {high!r}::DOUBLE THEN {number} ELSE 'inf'::DOUBLE END"
    )


def _key(source: Source, name: str) -> str:
    """64 bits that stand for a text, 0 for an empty one: a million names need not come through Python."""
    return f"CASE WHEN {source.empty(name)} THEN 0::UBIGINT ELSE hash({source.text(name)}) END"


def _slices(source: Source, column: str) -> tuple[tuple[str, ...], IntArray]:
    text = source.text(column)
    rows = source.query(
        f"SELECT DISTINCT {text}, hash({text}) FROM {source.relation} WHERE NOT ({source.empty(column)}) "  # noqa: S608
        f"ORDER BY 1 LIMIT {SLICES_MAX + 1}"
    ).fetchall()
    if len(rows) > SLICES_MAX:
        raise WeighbridgeError(
            f"{source.name}: column {column!r} has more than {SLICES_MAX:,} different values: a slice is a kind of "
            "request that is judged on its own; name a column with fewer by --slice"
        )
    known = np.array([key for _, key in rows], dtype=np.uint64)
    order = np.argsort(known)
    hashes = _fetch(source, [_key(source, column)])[0]
    ids = np.full(hashes.size, -1, dtype=np.int64)
    filled = hashes != 0
    ids[filled] = order[np.searchsorted(known[order], hashes[filled])]
    return tuple(name for name, _ in rows), ids


def _told(source: Source, broken: Broken) -> str:
    """The broken rule with the values as they stand in the file."""
    said = f"{source.name}, row {broken.row + 1}: {_values(source, broken, broken.row)}"
    if broken.other is not None:
        said += f", but row {broken.other + 1}: {_values(source, broken, broken.other)}"
    more = f" ({broken.count - 1:,} more rows break this rule)" if broken.count > 1 else ""
    return f"{said}: {broken.rule}{more}"


def _values(source: Source, broken: Broken, row: int) -> str:
    listed = ", ".join(source.text(name) for name in broken.columns)
    values = source.query(f"SELECT {listed} FROM {source.relation} LIMIT 1 OFFSET {row}").fetchone() or ()  # noqa: S608
    return ", ".join(f"{name} is {_shown(value)}" for name, value in zip(broken.columns, values, strict=True))


def _shown(value: str | None) -> str:
    if value is None:
        return "empty"
    return printable(value if len(value) <= _VALUE_CHARS_MAX else f"{value[:_VALUE_CHARS_MAX]}…")
