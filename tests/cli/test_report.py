"""`weighbridge report` on the store that a real (if tiny) run left."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from weighbridge.cli import demo_live
from weighbridge.cli.root import run
from weighbridge.errors import ExitCode
from weighbridge.reports.model import REPORT_SCHEMA
from weighbridge.samples.items import support_items
from weighbridge.samples.sample_provider import SampleProvider


@contextmanager
def banana(*_: object) -> Iterator[SampleProvider]:
    with SampleProvider("banana") as provider:
        yield provider


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a configuration and a store: the sample went to hand-written answers, the candidate said banana."""
    out = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(demo_live.OPENAI_KEY, raising=False)
        patch.setattr(demo_live, "candidate", banana)
        assert demo_live.main(["--out", str(out)]) == 0
    return out / "live"


def report(folder: Path, *arguments: str) -> int:
    return run(["report", "--config", str(folder / "weighbridge.toml"), *arguments])


def test_it_writes_the_page_and_says_the_answer_and_where(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(folder, "--out", str(tmp_path / "r")) == ExitCode.DONE
    said = capsys.readouterr()
    assert "support: Keep hand-written: nothing may move to smollm2-135m." in said.out
    assert str(tmp_path / "r" / "index.html") in said.out
    assert said.err == ""


def test_json_on_standard_output_is_the_same_as_the_file_and_nothing_else(
    folder: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert report(folder, "--out", str(tmp_path), "--json") == ExitCode.DONE
    said = capfdbinary.readouterr().out
    assert said == (tmp_path / "report.json").read_bytes()
    assert json.loads(said)["schema"] == REPORT_SCHEMA


def test_tokens_and_latency_of_both_arms_come_out_of_the_log(folder: Path, tmp_path: Path) -> None:
    report(folder, "--out", str(tmp_path))
    made = json.loads((tmp_path / "report.json").read_bytes())
    for row in made["routes"][0]["candidates"][0]["slices"]:
        both = row["comparison"]
        assert both["incumbent"]["requests"] == both["candidate"]["requests"] == row["n"]
        assert both["candidate"]["output_tokens"] == 2.0  # "banana", at four characters a token
        assert both["incumbent"]["total_ns_p50"] > 0
        assert both["candidate_errors"]["calls"] >= row["n"]
        assert row["now_nanousd"] is None  # nobody charges for hand-written answers


def test_prompts_and_answers_are_only_on_the_page_when_asked_for(folder: Path, tmp_path: Path) -> None:
    texts = [item.text[:40] for item in support_items()]

    def shown(name: str) -> int:
        files = [(tmp_path / name / file).read_text() for file in ("index.html", "report.json", "summary.md")]
        return sum(any(text in file for file in files) for text in texts)

    report(folder, "--out", str(tmp_path / "without"))
    report(folder, "--out", str(tmp_path / "with"), "--show-losses")
    assert shown("without") == 0
    assert 5 <= shown("with") <= 9  # three slices, three losses each; a quote in a text is escaped on the page
    assert "banana" in (tmp_path / "with" / "index.html").read_text()


def test_an_unknown_route_is_refused_with_the_ones_there_are(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(folder, "--out", str(tmp_path), "--route", "sales") == ExitCode.USAGE
    assert "'sales'" in (said := capsys.readouterr().err)
    assert "support" in said


def test_a_configuration_changed_after_publishing_is_said_on_the_page(folder: Path, tmp_path: Path) -> None:
    changed = tmp_path / "weighbridge.toml"
    text = (folder / "weighbridge.toml").read_text()
    changed.write_text(text + f'\n[store]\npath = "{folder / "weighbridge-data"}"\n\n[[team]]\nname = "new"\n')
    (tmp_path / "extract.schema.json").write_bytes((folder / "extract.schema.json").read_bytes())
    assert run(["report", "--config", str(changed), "--out", str(tmp_path / "r")]) == ExitCode.DONE
    assert "was changed after route table" in (tmp_path / "r" / "summary.md").read_text()


def test_a_store_that_never_served_is_told_what_to_do(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "weighbridge.toml").write_bytes((folder / "weighbridge.toml").read_bytes())
    (tmp_path / "extract.schema.json").write_bytes((folder / "extract.schema.json").read_bytes())
    assert report(tmp_path, "--out", str(tmp_path / "r")) == ExitCode.FAILED
    assert "weighbridge serve" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_evidence_that_was_changed_makes_no_report(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report(folder, "--out", str(tmp_path))
    made = json.loads((tmp_path / "report.json").read_bytes())
    name = made["routes"][0]["candidates"][0]["trials"][0]["evidence"]
    file = folder / "weighbridge-data" / "objects" / name
    kept = file.read_bytes()
    os.chmod(file, 0o600)
    file.write_bytes(kept.replace(b'"candidate":0', b'"candidate":1', 1))
    try:
        assert report(folder, "--out", str(tmp_path / "again")) == ExitCode.FAILED
        assert "weighbridge verify" in capsys.readouterr().err
    finally:
        file.write_bytes(kept)
