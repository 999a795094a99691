"""Files as strangers bring them: what their shape means for the verdict, and what is said of it."""

import csv
from collections.abc import Sequence
from pathlib import Path

import duckdb
import numpy as np
import pytest

from weighbridge.cli import root
from weighbridge.errors import WeighbridgeError
from weighbridge.trials.pairs.conclude import Conclusion, conclude
from weighbridge.trials.pairs.read import read


def table(path: Path, names: Sequence[str], rows: Sequence[Sequence[object]], mark: str = "") -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(mark)
        writer = csv.writer(file, lineterminator="\r\n" if mark else "\n")
        writer.writerow(names)
        writer.writerows(rows)
    return path


def concluded(path: Path, cluster: str | None = None, slices: str | None = None, margin: float = 0.03) -> Conclusion:
    return conclude(read(path, slices, cluster), margin, 0.05)


def runs(tmp_path: Path, seed: int = 5) -> Path:
    """Four identical runs of each of 300 tasks, the candidate four points worse."""
    coin = np.random.default_rng(seed)
    rows = []
    for task in range(300):
        incumbent, candidate = int(coin.random() < 0.8), int(coin.random() < 0.76)
        rows += [(f"t{task}", run, incumbent, candidate) for run in range(4)]
    return table(tmp_path / "runs.csv", ("task_id", "run", "incumbent", "candidate"), rows)


def test_repeated_runs_without_a_cluster_are_named_with_the_option_that_mends_it(tmp_path: Path) -> None:
    path = runs(tmp_path)
    said = " ".join(concluded(path).notes)
    assert "run it with --cluster task_id" in said
    assert "--cluster run" not in said
    assert "--cluster task_id" not in " ".join(concluded(path, cluster="task_id").notes)
    assert 300 == concluded(path, cluster="task_id").clusters


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("task", ["gsm", "mmlu"] * 200),
        ("item_id", [f"i{n}" for n in range(400)]),
        ("colour", [n // 4 for n in range(400)]),
    ],
    ids=["a kind of request", "an id of its own on each row", "no name of an id"],
)
def test_columns_that_are_no_repeated_ids_are_not_warned_about(tmp_path: Path, name: str, values: list[object]) -> None:
    path = table(tmp_path / "pairs.csv", (name, "incumbent", "candidate"), [(value, 1, 1) for value in values])
    assert "--cluster" not in " ".join(concluded(path).notes)


def test_slices_that_reverse_under_a_fair_average_close_the_gate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coin = np.random.default_rng(1)
    rows = [(int(coin.random() < 0.8), int(coin.random() < (0.95 if n % 2 else 0.6)), "ab"[n % 2]) for n in range(3000)]
    path = table(tmp_path / "pairs.csv", ("incumbent", "candidate", "kind"), rows)
    found = concluded(path, slices="kind").verdict
    assert {"a": "inferior", "b": "non_inferior"} == {row.slice: row.verdict for row in found.verdicts}
    assert 3 == root.run(["verdict", "--pairs", str(path), "--slice", "kind", "--gate"])
    assert "a is inferior" in capsys.readouterr().out


def test_a_mark_of_byte_order_odd_columns_and_line_ends_change_nothing(tmp_path: Path) -> None:
    rows = [(n % 7 > 0, "x", n % 5 > 0) for n in range(500)]
    odd = table(tmp_path / "odd.csv", ("candidate", "comment", "incumbent"), rows, mark="\ufeff")
    plain = table(tmp_path / "plain.csv", ("incumbent", "candidate"), [(int(b), int(a)) for a, _, b in rows])
    first, second = concluded(odd).verdict, concluded(plain).verdict
    assert (first.overall.difference, first.overall.interval) == (second.overall.difference, second.overall.interval)


def test_parquet_with_nulls_booleans_and_nanoseconds_is_read_as_it_is(tmp_path: Path) -> None:
    with duckdb.connect(":memory:") as connection:
        connection.execute(
            "CREATE TABLE t AS SELECT (i % 5 > 0) AS incumbent, (i % 5 > 0)::TINYINT AS candidate, "
            "to_timestamp(i // 10)::TIMESTAMP_NS AS cluster, i % 3 AS slice FROM range(900) r(i)"
        )
        connection.execute(f"COPY t TO '{tmp_path / 'good.parquet'}' (FORMAT parquet)")
        connection.execute("UPDATE t SET candidate = NULL WHERE slice = 1 AND incumbent")
        connection.execute(f"COPY t TO '{tmp_path / 'holes.parquet'}' (FORMAT parquet)")
    found = concluded(tmp_path / "good.parquet")
    assert (90, ("0", "1", "2")) == (found.clusters, tuple(row.slice for row in found.verdict.verdicts))
    assert 0.0 == found.verdict.overall.difference
    with pytest.raises(WeighbridgeError, match=r"row 2: incumbent is true, candidate is empty: a pair needs both"):
        read(tmp_path / "holes.parquet")


def test_weights_that_do_not_sum_to_one_are_shares_in_any_unit(tmp_path: Path) -> None:
    weight = {"a": 10, "b": 30, "c": 60}
    rows = [(1, int(n % 10 > 0), "abc"[n % 3], weight["abc"[n % 3]]) for n in range(900)]
    first = concluded(table(tmp_path / "a.csv", ("incumbent", "candidate", "slice", "weight"), rows)).verdict
    scaled = [(a, b, s, w / 100) for a, b, s, w in rows]
    second = concluded(table(tmp_path / "b.csv", ("incumbent", "candidate", "slice", "weight"), scaled)).verdict
    assert first.overall.difference == pytest.approx(second.overall.difference)
    assert first.overall.verdict == second.overall.verdict


def judged(tmp_path: Path, bias: float, truth: float, seed: int) -> Path:
    """5,000 rows that a biased judge scored; people labelled a quarter, drawn at random."""
    coin = np.random.default_rng(seed)
    y = np.where(coin.random(5000) < 0.2, np.where(coin.random(5000) < 0.5 + truth * 2.5, 1.0, -1.0), 0.0)
    f = np.clip(0.7 * y + bias + 0.1 * coin.standard_normal(5000), -1.0, 1.0)
    looked = coin.random(5000) < 0.25
    rows = [
        ((1 - j) / 2, (1 + j) / 2, (1 - h) / 2 if seen else "", (1 + h) / 2 if seen else "", 0.25)
        for j, h, seen in zip(f.tolist(), y.tolist(), looked.tolist(), strict=True)
    ]
    names = ("incumbent_judge", "candidate_judge", "incumbent_human", "candidate_human", "label_probability")
    return table(tmp_path / f"judged{seed}.csv", names, rows)


@pytest.mark.parametrize("bias", [0.3, -0.3], ids=["too kind", "too harsh"])
def test_a_judge_that_errs_decides_nothing_against_what_people_say(tmp_path: Path, bias: float) -> None:
    good = concluded(judged(tmp_path, bias, 0.0, 1), margin=0.08).verdict.overall
    bad = concluded(judged(tmp_path, bias, -0.2, 2), margin=0.08).verdict.overall
    assert ("non_inferior", "judge+human") == (good.verdict, good.label_source)
    assert "inferior" == bad.verdict
