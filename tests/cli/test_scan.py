import json
from pathlib import Path

import pytest

from weighbridge.cli.root import run

SAMPLE = Path(__file__).parents[2] / "examples" / "scan_sample.csv"
USAGE = "application,model,input_tokens,output_tokens\n"


def test_json_is_one_document_on_standard_output_and_notes_go_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "bill.html"
    assert 0 == run(["scan", str(SAMPLE), "--json", "--html", str(page)])
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert ("scan/1", 8814) == (found["schema"], found["bill"]["total"]["requests"])
    assert f"wrote {page}\n" == err
    assert page.read_text().startswith("<!doctype html>")


def test_the_terminal_shows_the_bill_the_alternatives_and_the_quote_within_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert 0 == run(["scan", str(SAMPLE)])
    out = capsys.readouterr().out
    for words in ("By application", "Wasted now", "Stay on gpt-5.5", "would decide", "house-model-7b", "rows read"):
        assert words in out
    assert max(len(line) for line in out.splitlines() if "/" not in line) <= 80
    assert "\x1b" not in out


def test_rows_that_were_left_out_make_exit_code_2_and_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "half.csv"
    path.write_text(f"{USAGE}a,gpt-4o,10,2\na,gpt-4o,many,2\n")
    assert 2 == run(["scan", str(path)])
    assert "1 rows left out: input tokens is not a whole number" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--map", "engine"], "write COLUMN=HEADING; columns are time, application"),
        (["--map", "engine=model"], "columns are time, application"),
        (["--html", "/no/such/folder/x.html"], "does not exist"),
    ],
)
def test_bad_options_say_what_is_allowed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    path = tmp_path / "usage.csv"
    path.write_text(f"{USAGE}a,gpt-4o,10,2\n")
    assert 64 == run(["scan", str(path), *arguments])
    assert said in capsys.readouterr().err


def test_a_file_of_another_kind_is_refused_with_what_it_has_and_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.csv"
    path.write_text("city,people\nUlm,130000\n")
    assert 64 == run(["scan", str(path)])
    err = capsys.readouterr().err
    assert "no column found for model, input_tokens, output_tokens. It has: city, people." in err
    assert "--map" in err


def test_own_assumptions_replace_the_shipped_ones_and_bad_ones_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own.toml"
    row = '["output.open"]\nsays="s"\nunit="ratio"\nvalue={}\nlow=1\nhigh=1\nsource="choice: ours"\ndate="2026-11"\n'
    own.write_text(row.format(1))
    assert 0 == run(["scan", str(SAMPLE), "--json", "--assume", str(own)])
    assert 1.0 == json.loads(capsys.readouterr().out)["assumptions"]["output.open"]["value"]
    own.write_text(row.format(7))
    assert 64 == run(["scan", str(SAMPLE), "--assume", str(own)])
    assert "output.open.value: lies outside its range" in capsys.readouterr().err
