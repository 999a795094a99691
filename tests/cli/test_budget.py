"""`budget statement` and `budget reconcile` as commands."""

import csv
import json
from pathlib import Path

import pytest

from tests.ledger.made import CONFIG, Books
from weighbridge.cli.root import run
from weighbridge.records.usage import Usage


@pytest.fixture
def file(tmp_path: Path) -> str:
    books = Books(tmp_path)
    books.request(Usage(1_000, 100, 2_000), user="ann")
    books.request(Usage(100, 10), arm="open", team=None)
    books.seal()
    books.request(Usage(100, 10), arm="open")
    (tmp_path / "w.toml").write_text(f'[store]\npath = "store"\n{CONFIG}')
    return str(tmp_path / "w.toml")


def test_a_statement_allocates_all_of_the_bill(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == run(["budget", "statement", "--month", "2026-11", "--config", file, "--json"])
    said = json.loads(capsys.readouterr().out)
    assert said["total_nanousd"] == said["allocated_nanousd"] == sum(one["booked_nanousd"] for one in said["lines"])
    assert 0 < said["total_nanousd"]
    assert 3 == len(said["lines"])


def test_a_statement_for_people_names_what_is_not_attributed(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == run(["budget", "statement", "--month", "2026-11", "--config", file])
    assert "team unattributed key app" in capsys.readouterr().out


def test_the_focus_export_is_written_beside(file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "focus.csv"
    assert 0 == run(["budget", "statement", "--month", "2026-11", "--focus", str(out), "--config", file])
    rows = list(csv.DictReader(out.open()))
    assert f"{len(rows)} FOCUS rows written" in capsys.readouterr().out
    assert {"gpt-5.5", "qwen"} == {row["x_Model"] for row in rows}


def test_reconciling_says_what_differs(file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export = tmp_path / "export.csv"
    export.write_text("day,model,input,output,cache_read\n2026-11-01,gpt-5.5,1000,100,1500\n")
    assert 2 == run(["budget", "reconcile", str(export), "--endpoint", "closed-api", "--config", file])
    assert "cache_read       ours              2,000  theirs              1,500" in capsys.readouterr().out
    export.write_text("day,model,input,output,cache_read\n2026-11-01,gpt-5.5,1000,100,2000\n")
    assert 0 == run(["budget", "reconcile", str(export), "--endpoint", "closed-api", "--config", file, "--json"])


def test_an_endpoint_that_is_not_there_is_refused(
    file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 64 == run(["budget", "reconcile", str(tmp_path / "x"), "--endpoint", "nowhere", "--config", file])
    assert "it has: closed-api, own" in capsys.readouterr().err
