"""`license check` takes output tokens from the log where a licence counts them."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.exchanges.loop import Bench, attempted, finished, held
from weighbridge.cli.root import run
from weighbridge.licenses.statement import month_at, month_starts_ns
from weighbridge.records.frames import Posted
from weighbridge.records.usage import Usage
from weighbridge.store.layout import Layout

CONFIG = """
[organization]
roles = ["product"]
commercial = true
[store]
path = "store"
[[endpoint]]
name = "own"
base_url = "http://127.0.0.1:1/v1"
[[arm]]
name = "gpt-4o"
endpoint = "own"
model = "gpt-4o-2024-08-06"
weights = "open"
terms = "yandexgpt-5-lite"
[[route]]
name = "assistant"
incumbent = "gpt-4o"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "weighbridge.toml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def traffic(folder: Path, *months: tuple[int, int | None]) -> None:
    """Months back from now, and how many tokens the model made (`None`: nobody counted)."""
    layout = Layout(folder / "store")
    layout.create()
    bench = Bench(layout)
    for back, tokens in months:
        at = month_starts_ns(month_at(time.time_ns()), after=-back)
        frame = bench.begin(like=held("-", time_ns=at))
        bench.log.append(attempted(frame.id))
        usage = None if tokens is None else Usage(10, tokens - 1_000_000, reasoning=1_000_000)
        bench.log.append(Posted(frame.id, 1, 200, usage, b"{}", 1, "p", 1, 1, None, False, "stop"))
        bench.log.append(finished(frame.id))
        bench.loop.turn()
    bench.close()


def checked(capsys: pytest.CaptureFixture[str], *more: str) -> tuple[dict[str, Any], str]:
    capsys.readouterr()
    run(["license", "check", "yandexgpt-5-lite", "--json", *more])
    told = capsys.readouterr()
    found: dict[str, Any] = json.loads(told.out)
    return found, told.err


def test_without_a_log_the_tokens_are_asked_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found, _ = checked(capsys)
    assert any("output tokens" in question for question in found["questions"])


def test_metered_tokens_decide_and_their_growth_says_when_the_line_is_reached(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    traffic(folder, (3, 2_000_000), (2, 3_000_000), (1, 4_500_000))
    found, err = checked(capsys)
    assert not any("output tokens" in question for question in found["questions"])
    assert "4,500,000 output tokens" in err
    assert "grew by 50% a month" in err
    assert "reaches 10 million tokens in about 2 months" in err


def test_above_the_line_an_agreement_is_needed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    traffic(folder, (0, 11_000_000))
    assert "permission" == checked(capsys)[0]["verdict"]
    assert "permission" != checked(capsys, "--output-tokens", "1000")[0]["verdict"]


def test_calls_that_nobody_counted_never_make_the_verdict_milder(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    traffic(folder, (1, 4_500_000), (1, None))
    found, err = checked(capsys)
    assert "unclear" == found["verdict"]
    assert any("output tokens" in question for question in found["questions"])
    assert "1 without a count" in err


def test_the_log_is_not_read_for_terms_that_count_no_tokens(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    traffic(folder, (1, 4_500_000))
    capsys.readouterr()
    run(["license", "check", "mit", "--json"])
    assert "Metered" not in capsys.readouterr().err
