"""`license statement`: what was metered is signed, what changes it is named, and unknown stays unknown."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.exchanges.loop import Bench, held
from weighbridge.app import keeper_of
from weighbridge.cli.root import run
from weighbridge.config import load
from weighbridge.errors import ControlError
from weighbridge.store.control import Signature, SignStatement
from weighbridge.store.layout import Layout

CONFIG = """
[store]
path = "store"
[[endpoint]]
name = "openai"
base_url = "http://127.0.0.1:1/v1"
[[arm]]
name = "gpt-4o"
endpoint = "openai"
model = "gpt-4o-2024-08-06"
weights = "open"
terms = "kimi-k3"
[[route]]
name = "assistant"
incumbent = "gpt-4o"
"""
NOVEMBER, DECEMBER = 1_764_000_000_000_000_000, 1_764_633_600_000_000_000
MODEL = "gpt-4o-2024-08-06"


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "w.toml").write_text(CONFIG)
    layout = Layout(tmp_path / "store")
    layout.create()
    bench = Bench(layout)
    for purpose in ("user", "user", "trial"):
        bench.request(like=held("-", time_ns=NOVEMBER, purpose=purpose))
    bench.request(like=held("-", time_ns=DECEMBER))
    bench.close()
    return str(tmp_path / "w.toml")


def said(capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    assert code == run(["license", "statement", *arguments, "--json"])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_tokens_are_stated_by_month_model_and_purpose_and_unknown_revenue_stays_unknown(
    file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "r.csv").write_text(f"month,model,revenue_usd\n2025-11,{MODEL},1250.50\n2025-12,{MODEL},\n")
    found = said(capsys, 0, "--revenue", str(tmp_path / "r.csv"), "--config", file)
    assert [
        ("2025-11", "trial", 1, 312, 64, 376, ["kimi-k3"]),
        ("2025-11", "user", 2, 624, 128, 752, ["kimi-k3"]),
        ("2025-12", "user", 1, 312, 64, 376, ["kimi-k3"]),
    ] == [
        (row["month"], row["purpose"], row["calls"], row["input"], row["output"], row["total"], row["terms"])
        for row in found["metered"]
    ]
    assert [("2025-11", "1250.50"), ("2025-12", None)] == [(r["month"], r["revenue_usd"]) for r in found["revenue"]]
    assert any("unknown for 1 of 2" in note for note in found["notes"])


def test_only_the_months_and_models_that_were_asked_for_are_stated(
    file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = said(capsys, 0, "--from", "2025-12", "--until", "2025-12", "--config", file)
    assert ["2025-12"] == [row["month"] for row in found["metered"]]
    assert [] == said(capsys, 0, "--model", "another", "--config", file)["metered"]


def test_a_signed_file_is_verified_and_each_change_is_found(
    file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "q4.json"
    made = said(capsys, 0, "--out", str(out), "--config", file)
    assert made == json.loads(out.read_bytes())
    found = said(capsys, 0, "--check", str(out), "--config", file)
    assert (True, True, [], []) == (found["ok"], found["key_known"], found["differences"], found["problems"])
    # Elsewhere: intact, but whose key is it?
    other = tmp_path / "elsewhere.toml"
    other.write_text(CONFIG.replace('path = "store"', 'path = "none"'))
    assert not said(capsys, 2, "--check", str(out), "--config", str(other))["key_known"]
    assert said(capsys, 0, "--check", str(out), "--config", str(other), "--key", made["store_key"])["key_known"]
    assert (
        "expected key" in said(capsys, 1, "--check", str(out), "--config", str(other), "--key", "0" * 64)["problems"][0]
    )
    whole = out.read_bytes()
    for before, after in (
        (b'"calls":2', b'"calls":1'),
        (b'"total":752', b'"total":751'),
        (b'"created":"2', b'"created":"3'),
    ):
        assert before in whole
        out.write_bytes(whole.replace(before, after))
        assert "signature" in said(capsys, 1, "--check", str(out), "--config", str(other))["problems"][0]
    out.write_bytes(whole)
    assert 64 == run(["license", "statement", "--out", str(out), "--config", file])
    assert 0 == run(["verify", "--config", file])


def test_figures_that_do_not_follow_from_the_log_are_named(
    file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "q4.json"
    said(capsys, 0, "--out", str(out), "--config", file)
    bench = Bench(Layout(tmp_path / "store"))
    bench.request(like=held("-", time_ns=NOVEMBER))
    bench.close()
    (line,) = said(capsys, 1, "--check", str(out), "--config", file)["differences"]
    assert f"{MODEL} in 2025-11 (user): 2 calls and 752 tokens stated, 3 and 1128 in the log now" == line


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("month,model\n2025-11,x\n", "has no revenue_usd"),
        ("month,model,revenue_usd\n2025-13,x,1\n", "YYYY-MM"),
        ("month,model,revenue_usd\n2025-11,x,lots\n", "not an amount"),
        ("month,model,revenue_usd\n2025-11,x,-1\n", "not an amount"),
        ("month,model,revenue_usd\n2025-11,x,1\n2025-11,x,2\n", "already"),
        ("month,model,revenue_usd\n2025-11,misspelt,1\n", f"metered were: {MODEL} in 2025-11"),
    ],
)
def test_a_revenue_file_that_cannot_be_meant_is_refused(
    file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, told: str
) -> None:
    (tmp_path / "r.csv").write_text(text)
    assert 64 == run(["license", "statement", "--revenue", str(tmp_path / "r.csv"), "--config", file])
    assert told in capsys.readouterr().err


def test_the_keeper_signs_nothing_but_a_statement_in_its_own_name(
    file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = said(capsys, 0, "--config", file)
    del made["signature"]
    wrong = [
        b'{"seq":1,"time_ns":0,"prev":""}',
        msgspec.json.encode({**made, "store_key": "0" * 64}),
        msgspec.json.encode({**made, "schema": "x"}),
    ]
    with keeper_of(load(file)) as keeper:
        for body in wrong:
            with pytest.raises(ControlError, match="statement"):
                keeper.call(SignStatement(label="x", body=body), Signature)
