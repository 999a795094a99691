"""`budget statement` and `budget reconcile` as commands."""

import csv
import json
from pathlib import Path

import pytest

from tests.ledger.made import CONFIG, Books
from weighbridge.cli.root import run
from weighbridge.clock import SystemClock
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


def test_savings_and_forecast_say_what_they_cannot_say(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert 2 == run(["budget", "savings", "--config", file, "--json", "--until", "2026-12-01"])
    said = json.loads(capsys.readouterr().out)
    assert (2, None) == (said["incumbent"]["not_measured"], said["incumbent"]["rows"][0]["would_have_cost"])
    assert 2 == run(["budget", "savings", "--config", file, "--until", "2026-12-01"])
    assert "no trial has measured closed beside open" in capsys.readouterr().out
    assert 2 == run(["budget", "forecast", "--config", file, "--json"])
    assert {"budgets": []} == json.loads(capsys.readouterr().out)
    assert 64 == run(["budget", "forecast", "nope", "--config", file])


def test_a_forecast_names_three_days(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    books = Books(tmp_path)
    now_ns = SystemClock().wall_ns()
    for back in range(1, 61):
        books.request(Usage(1_000, 0), at_ns=now_ns - back * 86_400 * 10**9)
    budget = '[[budget]]\nname = "all"\nlimit_usd = "0.4"\nwindow = "total"\n[[key]]\nname = "b"\nsecret = "env:B"\n'
    text = CONFIG.replace('secret = "env:APP_KEY"', 'secret = "env:APP_KEY"\nbudget = "all"')
    (tmp_path / "w.toml").write_text(f'[store]\npath = "store"\n{text}{budget}')
    assert 0 == run(["budget", "forecast", "--config", str(tmp_path / "w.toml"), "--json"])
    (said,) = json.loads(capsys.readouterr().out)["budgets"]
    assert 60 == said["history_days"]
    assert said["ends"]["p10"] <= said["ends"]["p50"] <= said["ends"]["p90"]
    assert 0 == run(["budget", "forecast", "all", "--config", str(tmp_path / "w.toml")])
    assert "used up: P10 " in capsys.readouterr().out
