"""A file of pairs: the same rows from every format, and an error that names the row, the value and the rule."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.errors import UsageError, WeighbridgeError
from weighbridge.trials.pairs.read import PairsFile, read

ROWS: list[tuple[float, float, str, str]] = [
    (1.0, 0.0, "refund, urgent", "c1"),
    (0.25, 0.5, 'says "hi"', "c1"),
    (0.0, 1.0, "refund, urgent", "c2"),
    (1.0, 1.0, "ä", "c3"),
]
NAMES = ("incumbent", "candidate", "slice", "cluster")


def write_jsonl(path: Path) -> None:
    path.write_text("".join(json.dumps(dict(zip(NAMES, row, strict=True))) + "\n" for row in ROWS))


def write_array(path: Path) -> None:
    path.write_text(json.dumps([dict(zip(NAMES, row, strict=True)) for row in ROWS], indent=1))


def separated(delimiter: str, mark: str = "") -> Callable[[Path], None]:
    def write(path: Path) -> None:
        lines = [delimiter.join(NAMES)]
        for incumbent, candidate, group, cluster in ROWS:
            quoted = group.replace('"', '""')
            lines.append(delimiter.join((str(incumbent), str(candidate), f'"{quoted}"', cluster)))
        path.write_text(mark + "\n".join(lines) + "\n", encoding="utf-8")

    return write


def write_parquet(path: Path) -> None:
    with duckdb.connect(":memory:") as connection:
        connection.execute("CREATE TABLE t (incumbent FLOAT, candidate DECIMAL(4, 2), slice VARCHAR, cluster VARCHAR)")
        connection.executemany("INSERT INTO t VALUES (?, ?, ?, ?)", ROWS)
        connection.execute(f"COPY t TO '{path}' (FORMAT parquet)")


def write_zipped(path: Path) -> None:
    plain = path.with_suffix("")
    separated(",")(plain)
    path.write_bytes(gzip.compress(plain.read_bytes()))


FORMATS: dict[str, Callable[[Path], None]] = {
    "pairs.jsonl": write_jsonl,
    "pairs.ndjson": write_jsonl,
    "array.json": write_array,
    "pairs.csv": separated(","),
    "late.csv": separated(",", "\n\n"),
    "marked.csv": separated(",", "\ufeff"),
    "pairs.tsv": separated("\t"),
    "semicolons.csv": separated(";"),
    "pairs.parquet": write_parquet,
    "pairs.csv.gz": write_zipped,
    "lines": write_jsonl,
    "table": separated(","),
    "columns": write_parquet,
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_rows(name: str, tmp_path: Path) -> None:
    FORMATS[name](tmp_path / name)
    file = read(tmp_path / name)
    assert name == file.name
    assert ("refund, urgent", 'says "hi"', "ä") == file.pairs.slices
    assert [-1.0, 0.25, 1.0, 0.0] == file.pairs.score.tolist()
    assert [0, 1, 0, 2] == file.pairs.slice_ids.tolist()
    assert file.pairs.clusters is not None
    assert [0, 0, 1, 2] == file.pairs.clusters.tolist()


def of_text(folder: Path, text: str, name: str = "pairs.csv") -> PairsFile:
    (folder / name).write_text(text)
    return read(folder / name)


def test_a_name_with_a_pattern_or_an_address_in_it_is_a_name(tmp_path: Path) -> None:
    for name in ("run[1]*.csv", "a?b.csv", "it's.csv"):
        assert 1 == of_text(tmp_path, "incumbent,candidate\n1,0.5\n", name).pairs.n
    (tmp_path / "a1b.csv").write_text("incumbent,candidate\n1,1\n1,1\n")
    assert 1 == read(tmp_path / "a?b.csv").pairs.n


def test_the_order_of_a_large_file_is_kept_in_every_format(tmp_path: Path) -> None:
    """Readers with several threads must not mix blocks: --no-shuffle and row numbers depend on it."""
    with duckdb.connect(":memory:") as connection:
        connection.execute(
            "CREATE TABLE t AS SELECT (i % 1000) / 1000 AS incumbent, (i % 997) / 1000 AS candidate, "
            "'slice ' || i % 7 AS slice, 'a long text to fill blocks with ' || i AS prompt FROM range(300000) t(i)"
        )
        for name in ("t.csv", "t.jsonl", "t.parquet"):
            format_of = {"csv": "csv, HEADER", "jsonl": "json", "parquet": "parquet, ROW_GROUP_SIZE 20000"}
            connection.execute(f"COPY t TO '{tmp_path / name}' (FORMAT {format_of[name[2:]]})")
    i = np.arange(300_000)
    for name in ("t.csv", "t.jsonl", "t.parquet"):
        pairs = read(tmp_path / name).pairs
        np.testing.assert_allclose((i % 997 - i % 1000) / 1000, pairs.score, atol=1e-12)
        np.testing.assert_array_equal(i % 7, pairs.slice_ids)


def test_booleans_and_spaces_count_and_other_columns_are_passed_over(tmp_path: Path) -> None:
    file = of_text(tmp_path, "id, incumbent ,candidate\n7,true, 0.5\n8,FALSE,1e-1\n")
    assert [-0.5, 0.1] == file.pairs.score.tolist()
    assert ("id",) == file.columns.unused
    told = of_text(tmp_path, '{"incumbent": true, "candidate": "0.5", "notes": {"a": [1]}}\n', "pairs.jsonl")
    assert [-0.5] == told.pairs.score.tolist()


def test_slice_and_cluster_may_have_other_names(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("incumbent,candidate,slice,task/kind,conv\n1,0,x,a,1\n1,1,x,b,1\n")
    pairs = read(tmp_path / "p.csv", "task/kind", "conv").pairs
    assert ("a", "b") == pairs.slices
    assert pairs.clusters is not None
    assert [0, 0] == pairs.clusters.tolist()
    (tmp_path / "p.jsonl").write_text('{"incumbent": 1, "candidate": 0, "task/kind": "a", "x~y": 3}\n')
    pairs = read(tmp_path / "p.jsonl", "task/kind", "x~y").pairs
    assert ("a",) == pairs.slices


JUDGED = "incumbent_judge,candidate_judge,incumbent_human,candidate_human"
BROKEN = {
    "a score above 1": ("incumbent,candidate\n1,0\n0.5,1.3\n", "row 2: candidate is 1.3: allowed is a number"),
    "a score below 0": ("incumbent,candidate\n-0.1,0\n", "row 1: incumbent is -0.1: allowed is a number from 0 to 1"),
    "NaN": ("incumbent,candidate\n1,0\n1,0\nNaN,0\n", "row 3: incumbent is NaN: allowed is a number from 0 to 1"),
    "infinity": ("incumbent,candidate\ninf,0\n", "row 1: incumbent is inf: allowed is a number from 0 to 1"),
    "a word": ("incumbent,candidate\n1,good\n", "row 1: candidate is good: allowed is a number from 0 to 1"),
    "several": ("incumbent,candidate\n1,2\n1,3\n1,4\n", "(2 more rows break this rule)"),
    "the first row of all rules": ("incumbent,candidate\n1,\n1,3\n", "row 1: incumbent is 1, candidate is empty"),
    "a pair without a candidate": ("incumbent,candidate\n1,1\n0.5,\n", "row 2: incumbent is 0.5, candidate is empty:"),
    "a pair without an incumbent": ("incumbent,candidate\n,1\n", "row 1: incumbent is empty, candidate is 1: a"),
    "an empty pair": ("incumbent,candidate,slice\n1,1,a\n,,a\n", "row 2: incumbent is empty, candidate is empty: th"),
    "an empty slice": ("incumbent,candidate,slice\n1,1,a\n1,1,  \n", "row 2: slice is empty: every row has a slice"),
    "an empty cluster": ("incumbent,candidate,cluster\n1,1,\n", "row 1: cluster is empty: every row has a cluster"),
    "half a judgement": (f"{JUDGED}\n1,,,\n", "row 1: incumbent_judge is 1, candidate_judge is empty: a"),
    "half a label": (f"{JUDGED}\n1,1,,1\n", "row 1: incumbent_human is empty, candidate_human is 1: a pair needs both"),
    "a label without a judgement": (f"{JUDGED}\n1,1,1,1\n,,1,1\n", "row 2: incumbent_judge is empty"),
    "two kinds of score": (f"incumbent,candidate,{JUDGED}\n1,1,.5,.5,,\n", "one row has one kind of score"),
    "a weight that changes": (
        "incumbent,candidate,slice,weight\n1,1,a,2\n1,1,b,1\n1,1,b,1\n1,1,a,3\n",
        "row 4: slice is a, weight is 3, but row 1: slice is a, weight is 2: all rows of a slice have the same weight",
    ),
    "a weight that changes without slices": (
        "incumbent,candidate,weight\n1,1,2\n1,1,3\n",
        "row 2: weight is 3, but row 1: weight is 2: all rows of a slice have the same weight",
    ),
    "no weight": ("incumbent,candidate,weight\n1,1,\n", "row 1: weight is empty: allowed is a number above 0"),
    "a weight of 0": ("incumbent,candidate,weight\n1,1,0\n", "row 1: weight is 0: allowed is a number above 0"),
    "a label probability below 2%": (
        f"{JUDGED},label_probability\n1,1,1,1,0.019\n",
        "row 1: label_probability is 0.019: allowed is a number from 0.02 to 1",
    ),
    "no label probability": (f"{JUDGED},label_probability\n1,1,1,1,\n", "row 1: label_probability is empty"),
    "a certain label that is missing": (
        f"{JUDGED},label_probability\n1,1,1,1,1\n1,1,,,1\n",
        "row 2: label_probability is 1, incumbent_human is empty, candidate_human is empty: a row that was certain",
    ),
    "a column twice": ("incumbent,candidate,candidate\n1,1,0\n", "'candidate' is there more than once (columns 2, 3)"),
    "no candidate": ("incumbent,candidat\n1,1\n", "none 'candidate': pairs need both; it has incumbent, ca"),
    "no scores": ("prompt,answer\na,b\n", "there are no scores: allowed are columns `incumbent` and `candidate`"),
    "a near miss": ("incumbent,candidate,weights\n1,1,2\n", "unknown column 'weights': did you mean 'weight'?"),
    "another case": ("incumbent,candidate,Cluster\n1,1,2\n", "unknown column 'Cluster': did you mean 'cluster'?"),
    "too many cells": ("incumbent,candidate\n1,1\n1,1,1\n", "CSV Error on Line: 3; Original Line: 1,1,1"),
    "too few cells": ("incumbent,candidate,slice\n1,1\n", "CSV Error on Line: 2; Original Line: 1,1"),
    "no rows": ("incumbent,candidate\n", "has columns but no rows"),
    "a column without a name": ("incumbent,,candidate\n1,1,1\n", "its first line names 2 of 3 columns"),
    "nothing": ("", "pairs.csv is empty"),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_file_is_refused_with_the_row_the_value_and_the_rule(what: str, tmp_path: Path) -> None:
    text, said = BROKEN[what]
    with pytest.raises(WeighbridgeError) as refused:
        of_text(tmp_path, text)
    assert said in str(refused.value)
    assert "/proc" not in str(refused.value)
    assert 1 == refused.value.exit_code


BROKEN_JSON = {
    "NaN": ('{"incumbent": 1, "candidate": 1}\n{"incumbent": NaN, "candidate": 1}\n', "row 2: incumbent is NaN"),
    "a missing field": ('{"incumbent": 1, "candidate": 1}\n{"incumbent": 1}\n', "row 2: incumbent is 1, candidate"),
    "null": ('{"incumbent": null, "candidate": 1}\n', "row 1: incumbent is empty, candidate is 1"),
    "a list": ('{"incumbent": 1, "candidate": 1}\n[1, 1]\n', "row 2: this is not an object with columns"),
    "a field twice": ('{"incumbent": 1, "candidate": 1, "incumbent": 0}\n', "'incumbent' is there more than once"),
    "an object as a score": ('{"incumbent": {"a": 1}, "candidate": 1}\n', 'row 1: incumbent is {"a":1}'),
    "a torn line": ('{"incumbent": 1, "candidate": 1}\n{"incumbent": 1,', "cannot be read as jsonl"),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN_JSON)
def test_broken_json_is_refused_with_its_row(what: str, tmp_path: Path) -> None:
    text, said = BROKEN_JSON[what]
    with pytest.raises(WeighbridgeError) as refused:
        of_text(tmp_path, text, "pairs.jsonl")
    assert said in str(refused.value)


def test_nan_in_parquet_is_a_value_and_null_is_empty(tmp_path: Path) -> None:
    for value, said in (
        ("'nan'::DOUBLE", "row 2: candidate is nan"),
        ("NULL", "row 2: incumbent is 1.0, candidate is em"),
    ):
        with duckdb.connect(":memory:") as connection:
            rows = f"(VALUES (1.0::DOUBLE, 0.5::DOUBLE), (1.0, {value})) t(incumbent, candidate)"
            connection.sql(f"FROM {rows}").write_parquet(str(tmp_path / "p.parquet"))
        with pytest.raises(WeighbridgeError, match=said):
            read(tmp_path / "p.parquet")


def test_a_file_that_is_not_there_or_not_what_it_says_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        WeighbridgeError, match=r"none\.csv does not exist: --pairs takes one jsonl, csv or parquet file"
    ):
        read(tmp_path / "none.csv")
    with pytest.raises(WeighbridgeError, match="is not a plain file"):
        read(tmp_path)
    (tmp_path / "p.parquet").write_text("incumbent,candidate\n1,1\n")
    with pytest.raises(WeighbridgeError, match=r"p\.parquet cannot be read as parquet"):
        read(tmp_path / "p.parquet")
    (tmp_path / "p").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(WeighbridgeError, match="neither jsonl, csv nor parquet"):
        read(tmp_path / "p")
    (tmp_path / "p.csv").write_bytes(b"incumbent,candidate,slice\n1,1,\xff\n")
    with pytest.raises(WeighbridgeError, match="Invalid unicode"):
        read(tmp_path / "p.csv")


def test_a_column_that_an_option_names_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("incumbent,candidate,task\n1,1,a\n")
    with pytest.raises(UsageError, match=r"--slice kind: p\.csv has no such column; it has incumbent, candidate, task"):
        read(tmp_path / "p.csv", "kind")
    with pytest.raises(UsageError, match="--cluster conversation"):
        read(tmp_path / "p.csv", None, "conversation")


def test_a_column_with_a_value_for_every_row_is_no_slice(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("incumbent,candidate,id\n" + "".join(f"1,1,{i}\n" for i in range(10_001)))
    with pytest.raises(WeighbridgeError, match="column 'id' has more than 10,000 different values: a slice is a kind"):
        read(tmp_path / "p.csv", "id")


def test_what_a_file_says_cannot_move_the_cursor(tmp_path: Path) -> None:
    with pytest.raises(WeighbridgeError) as refused:
        of_text(tmp_path, "incumbent,candidate\n1,\x1b[2Jx\n")
    assert "candidate is ?[2Jx" in str(refused.value)


scores = st.one_of(st.none(), st.floats(0.0, 1.0), st.sampled_from([1.5, -1.0, float("nan"), float("inf")]))


@given(st.lists(st.tuples(scores, scores), min_size=1, max_size=6))
def test_the_first_row_that_breaks_a_rule_is_the_one_named(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[float | None, float | None]]
) -> None:
    def fine(pair: tuple[float | None, float | None]) -> bool:
        return all(value is not None and 0.0 <= value <= 1.0 for value in pair)

    path = tmp_path_factory.getbasetemp() / "any.csv"
    cells = [",".join("" if value is None else repr(value) for value in row) for row in rows]
    path.write_text("incumbent,candidate\n" + "\n".join(cells) + "\n")
    first = next((i for i, row in enumerate(rows) if not fine(row)), None)
    if first is None:
        assert [float(b or 0) - float(a or 0) for a, b in rows] == read(path).pairs.score.tolist()
    else:
        with pytest.raises(WeighbridgeError, match=rf"any\.csv, row {first + 1}: "):
            read(path)
