"""`weighbridge verdict --pairs`: what a shell, a pull request and a program are told."""

import json
import subprocess
import sys
from pathlib import Path

import duckdb
import msgspec
import pytest

from weighbridge.cli.root import run
from weighbridge.records.evidence import Verdict

GOOD = {"a": (600, 0), "b": (600, 0)}
WORSE = {"a": (600, 0), "b": (300, 150)}
UNDECIDED = {"a": (600, 0), "b": (20, 1)}
BOTH = {"a": (40, 2), "b": (300, 150)}


def pairs(folder: Path, slices: dict[str, tuple[int, int]], name: str = "pairs.csv") -> str:
    """A file with so many pairs of each slice, of which so many are lost by the candidate."""
    lines = ["incumbent,candidate,slice"]
    for group, (count, lost) in slices.items():
        lines += [f'1,{int(i >= lost)},"{group}"' for i in range(count)]
    (folder / name).write_text("\n".join(lines) + "\n")
    return str(folder / name)


def verdict(*arguments: str) -> int:
    return run(["verdict", *arguments])


@pytest.mark.parametrize(
    ("slices", "plain", "gated"),
    [(GOOD, 0, 0), (WORSE, 0, 3), (UNDECIDED, 2, 2), (BOTH, 2, 3)],
    ids=["non-inferior", "a slice inferior", "a slice undecided", "inferior and undecided"],
)
def test_the_exit_code_says_decided_and_the_gate_says_good(
    slices: dict[str, tuple[int, int]], plain: int, gated: int, tmp_path: Path
) -> None:
    file = pairs(tmp_path, slices)
    assert (plain, gated) == (verdict("--pairs", file), verdict("--pairs", file, "--gate"))


def test_a_slice_that_breaks_under_a_good_average_closes_the_gate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = pairs(tmp_path, {"chat": (5_000, 0), "tools": (200, 100)})
    assert 3 == verdict("--pairs", file, "--gate")
    said = " ".join(capsys.readouterr().out.split())
    assert "tools is inferior" in said
    assert "the traffic-weighted whole is non-inferior" in said
    assert "Gate: closed (exit code 3)." in said


def test_a_banana_closes_the_gate(tmp_path: Path) -> None:
    assert 3 == verdict("--pairs", pairs(tmp_path, {"all": (300, 300)}), "--gate")


def test_broken_input_is_1_with_or_without_the_gate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "p.csv").write_text("incumbent,candidate\n1,NaN\n")
    for gate in ([], ["--gate"]):
        assert 1 == verdict("--pairs", str(tmp_path / "p.csv"), *gate)
        assert 1 == verdict("--pairs", str(tmp_path / "none.csv"), *gate)
    told = capsys.readouterr()
    assert "" == told.out
    assert "weighbridge: p.csv, row 1: candidate is NaN: allowed is a number from 0 to 1" in told.err
    assert "Traceback" not in told.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--margin", "0"], "--margin is 0.0: allowed is a number above 0 and below 1"),
        (["--margin", "1"], "--margin is 1.0"),
        (["--margin", "nan"], "--margin is nan"),
        (["--alpha", "0.5"], "--alpha is 0.5: allowed is a number above 0 and below 0.5"),
        (["--alpha", "0"], "--alpha is 0.0"),
        (["--seed", "1", "--no-shuffle"], "--seed and --no-shuffle: allowed is one of them"),
        (["--json", "--format", "markdown"], "--json and --format markdown: allowed is one of them"),
        (["--slice", "kind"], "--slice kind: pairs.csv has no such column; it has incumbent, candidate, slice"),
        (["--cluster", "conv"], "--cluster conv: pairs.csv has no such column"),
        (["--format", "html"], "html"),
        (["--seed", "-1"], "--seed"),
    ],
)
def test_a_wrong_use_is_64_and_named(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 64 == verdict("--pairs", pairs(tmp_path, GOOD), *arguments)
    told = capsys.readouterr()
    assert "" == told.out
    assert said in " ".join(told.err.split())


def test_without_a_file_the_use_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert 64 == verdict()
    assert "--pairs" in capsys.readouterr().err


def test_the_table_fits_80_columns_and_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verdict("--pairs", pairs(tmp_path, UNDECIDED))
    out = capsys.readouterr().out
    assert max(len(line) for line in out.splitlines()) <= 80
    assert "\x1b" not in out
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "slice verdict points 90% interval pairs decided at could show" in lines
    assert any(line.startswith("a non-inferior 0.0 ") for line in lines)
    said = " ".join(lines)
    assert "Order: shuffled with seed 0." in said
    assert "Undecided at a margin of 3 points: b is undecided; 1 of 2 slices is non-inferior" in said
    assert "b: more pairs will not help: the estimate (-5.0 points) is at or below the margin (-3.0 points)" in said


def test_a_long_or_hostile_name_of_a_slice_breaks_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "[red]x[/red] \x1b[2J" + "very long " * 12
    file = pairs(tmp_path, {hostile: (200, 0), "b": (200, 0)})
    verdict("--pairs", file)
    out = capsys.readouterr().out
    assert "[red]x[/red]" in out
    assert "\x1b" not in out
    assert max(len(line) for line in out.splitlines()) <= 80


def test_one_slice_is_shown_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verdict("--pairs", pairs(tmp_path, {"only": (300, 0)}))
    out = capsys.readouterr().out
    assert "overall" not in out
    assert "The candidate is non-inferior at a margin of 3 points." in out


def test_markdown_is_a_comment_that_says_what_the_data_could_have_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = "a|b @team <b>"
    file = pairs(tmp_path, {hostile: (300, 6), "b": (300, 150)})
    assert 3 == verdict("--pairs", file, "--format", "markdown", "--gate")
    out = capsys.readouterr().out
    assert out.startswith("### Weighbridge verdict: inferior at a margin of 3 points\n")
    assert "| slice | verdict | difference | 90% interval | pairs | decided at | could show |" in out
    assert "The smallest difference that these pairs could have shown on the whole is " in out
    assert r"a\|b \@team \<b\>" in out
    assert hostile not in out
    assert "| **overall** | **inferior** |" in out
    table = [line for line in out.splitlines() if line.startswith("|")]
    assert 5 == len(table)
    assert {8} == {line.replace(r"\|", "").count("|") for line in table}
    assert "Gate: closed (exit code 3)." in out


@pytest.mark.parametrize("form", [["--json"], ["--format", "json"], ["--json", "--format", "json"]])
def test_json_is_the_documented_record_and_nothing_else(
    form: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 2 == verdict("--pairs", pairs(tmp_path, UNDECIDED), *form, "--margin", "0.02", "--seed", "7")
    told = capsys.readouterr()
    assert "" == told.err
    record = msgspec.json.decode(told.out, type=Verdict)
    assert ["a", "b"] == [row.slice for row in record.verdicts]
    assert (None, None, 0.02, 0.05, 7) == (record.route, record.candidate, record.margin, record.alpha, record.seed)
    fields = {"slice", "n", "clusters", "difference", "interval", "verdict", "decided_at", "label_source", "license",
              "reasons"}  # fmt: skip
    plain = json.loads(told.out)
    assert fields == set(plain["overall"]) == set(plain["verdicts"][0])


def test_without_a_shuffle_there_is_no_seed_and_the_output_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = pairs(tmp_path, GOOD)
    verdict("--pairs", file, "--no-shuffle", "--json")
    assert json.loads(capsys.readouterr().out)["seed"] is None
    verdict("--pairs", file, "--no-shuffle")
    said = " ".join(capsys.readouterr().out.split())
    assert "Order: as in the file." in said
    assert "Rows were read in the order of the file (--no-shuffle)" in said


def test_judge_columns_alone_are_undecided_and_say_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.csv").write_text("incumbent_judge,candidate_judge\n" + "0.5,1\n" * 500)
    assert 2 == verdict("--pairs", str(tmp_path / "p.csv"), "--gate")
    said = " ".join(capsys.readouterr().out.split())
    assert "a judge alone never certifies" in said
    assert "human labels on rows drawn at random would be enough" in said


def test_many_slices_show_the_reasons_of_those_that_are_not_certified(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slices = {f"slice {i:02}": (500, 0) for i in range(30)} | {"the bad one": (300, 150)}
    assert 3 == verdict("--pairs", pairs(tmp_path, slices), "--gate")
    out = capsys.readouterr().out
    assert "the bad one: the interval's upper end" in out
    assert "slice 07: " not in out


def test_a_million_pairs_over_a_hundred_slices_stay_below_200_mb(tmp_path: Path) -> None:
    file = tmp_path / "p.parquet"
    with duckdb.connect(":memory:") as connection:
        connection.sql(
            "SELECT (hash(i) % 5 > 0)::DOUBLE AS incumbent, (hash(i + 7) % 5 > 0)::DOUBLE AS candidate, "
            "'slice ' || hash(i + 3) % 100 AS slice FROM range(1000000) t(i)"
        ).write_parquet(str(file))
    code = (
        "import resource, subprocess, sys\n"
        "command = [sys.executable, '-m', 'weighbridge', 'verdict', '--pairs', sys.argv[1], '--json']\n"
        "print(subprocess.run(command, stdout=subprocess.DEVNULL).returncode)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
    )
    told = subprocess.run([sys.executable, "-c", code, str(file)], check=True, capture_output=True, text=True)
    status, kilobytes = map(int, told.stdout.split())
    assert status in (0, 2)
    assert kilobytes < 200 * 1024


def test_the_help_says_what_the_file_holds(capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == verdict("--help")
    said = " ".join(capsys.readouterr().out.split())
    for word in ("incumbent", "candidate", "--gate", "--cluster", "Exit codes", "Example"):
        assert word in said
