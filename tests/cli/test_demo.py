"""Both demonstrations, from their command line to the page that they leave."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from weighbridge.cli import demo_live
from weighbridge.cli.root import run
from weighbridge.errors import UsageError
from weighbridge.samples.recorded_demo import decide
from weighbridge.samples.sample_provider import SampleProvider, Say
from weighbridge.store.control import ControlClient
from weighbridge.store.layout import Layout

SLICES = ("task=extract", "task=refund", "task=triage")


def test_the_recorded_sample_is_decided_with_a_reason_for_each_slice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["demo", "--out", str(tmp_path / "d")]) == 0
    said = capsys.readouterr().out
    for name in (*SLICES, "the whole route"):
        assert name in said
    assert "A sample" in said
    assert "written by hand" in " ".join(said.split())
    assert str((tmp_path / "d" / "index.html").resolve()) in said
    report = json.loads((tmp_path / "d" / "report.json").read_bytes())
    rows = report["routes"][0]["candidates"][0]["slices"]
    assert all(row["reasons"] and row["now_nanousd"] is None for row in rows)


def test_what_the_recorded_demo_prints_fits_eighty_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["demo", "--out", str(tmp_path)])
    lines = [line for line in capsys.readouterr().out.splitlines() if str(tmp_path) not in line]
    assert max(len(line) for line in lines) <= 80


def test_the_recorded_pairs_give_the_same_verdicts_every_time() -> None:
    assert decide(1_800_000_000 * 10**9).report == decide(1_800_000_000 * 10**9).report


@contextmanager
def stand_in(say: Say | None, answer: str | None) -> Iterator[SampleProvider]:
    with SampleProvider(answer, say or "incumbent") as provider:
        yield provider


def live(monkeypatch: pytest.MonkeyPatch, out: Path, *, say: Say | None = None, answer: str | None = None) -> int:
    """The live demonstration, with a provider of known answers where the model would be."""
    monkeypatch.delenv(demo_live.OPENAI_KEY, raising=False)
    monkeypatch.setattr(demo_live, "candidate", lambda *_: stand_in(say, answer))
    return demo_live.main(["--out", str(out)])


def test_a_candidate_that_is_always_right_is_certified_but_not_moved_to_while_its_cost_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert live(monkeypatch, tmp_path, say="gold") == 0
    report = json.loads((tmp_path / "live" / "report" / "report.json").read_bytes())
    rows = report["routes"][0]["candidates"][0]["slices"]
    assert {row["slice"]: row["verdict"] for row in rows} == dict.fromkeys(SLICES, "non_inferior")
    assert {row["recommendation"]["answer"] for row in rows} == {"not enough evidence"}
    assert "hand-written" in report["routes"][0]["note"]
    assert "task=refund        non-inferior" in capsys.readouterr().out


def test_banana_is_inferior_everywhere_and_a_second_run_starts_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        assert live(monkeypatch, tmp_path, answer="banana") == 0
        report = json.loads((tmp_path / "live" / "report" / "report.json").read_bytes())
        rows = report["routes"][0]["candidates"][0]["slices"]
        assert {row["verdict"] for row in rows} == {"inferior"}
        assert report["routes"][0]["traffic"]["requests"] == 450


def test_when_it_ends_nothing_of_it_is_left_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live(monkeypatch, tmp_path, answer="banana")
    layout = Layout(tmp_path / "live" / "weighbridge-data")
    with pytest.raises(Exception, match="no keeper answers"):
        ControlClient(layout)


def test_a_folder_of_somebody_else_is_never_emptied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "live").mkdir()
    (tmp_path / "live" / "thesis.txt").write_text("years")
    assert demo_live.main(["--out", str(tmp_path)]) == UsageError.exit_code
    assert (tmp_path / "live" / "thesis.txt").read_text() == "years"
    assert "--out" in capsys.readouterr().err


def test_an_incumbent_that_does_not_answer_is_said_with_its_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo_live, "candidate", lambda *_: stand_in("gold", None))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    code = demo_live.main(["--out", str(tmp_path), "--incumbent", f"http://127.0.0.1:{port}/v1", "any"])
    assert code == 1
    assert "status 502" in capsys.readouterr().err


def test_a_key_in_the_environment_alone_spends_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(demo_live.OPENAI_KEY, "sk-never-sent")
    assert demo_live.chosen_incumbent(demo_live.parser().parse_args([])) is None
    assert "--openai" in capsys.readouterr().err


@pytest.mark.long
def test_with_the_real_model_each_slice_gets_a_verdict_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(demo_live.OPENAI_KEY, raising=False)
    assert demo_live.main(["--out", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "live" / "report" / "report.json").read_bytes())
    rows = report["routes"][0]["candidates"][0]["slices"]
    assert tuple(sorted(row["slice"] for row in rows)) == SLICES
    assert all(row["reasons"] and row["n"] and row["comparison"]["candidate"]["output_tokens"] for row in rows)
