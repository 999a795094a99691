"""`ramp proposals` in words and as JSON, with the quote of each trial or why there is none."""

from pathlib import Path

import msgspec
import pytest

from tests.keeper.processes import write_config
from weighbridge.cli import root
from weighbridge.cli.ramp_proposals import ProposalsShown


def test_each_proposal_has_its_reason_its_next_step_and_its_quote_or_why_there_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_config(tmp_path)
    text = file.read_text().replace('model = "model-a"', 'model = "model-a"\nretires_on = "2020-01-01"')
    file.write_text(text)
    assert 2 == root.run(["ramp", "proposals", "assistant", "--config", str(file)])
    said = capsys.readouterr().out
    assert "incumbent is withdrawn on 2020-01-01, already" in said
    assert "next: weighbridge trial quote --route assistant --candidate candidate" in said
    assert "not quoted: " in said
    assert 2 == root.run(["ramp", "proposals", "--json", "--no-quotes", "--config", str(file)])
    shown = msgspec.json.decode(capsys.readouterr().out, type=ProposalsShown).proposals
    assert {"retirement", "untried"} <= {row.proposal.why for row in shown}
    assert all(row.quote is None for row in shown)


def test_a_day_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_config(tmp_path)
    file.write_text(file.read_text().replace('model = "model-a"', 'model = "model-a"\nretires_on = "soon"'))
    assert 64 == root.run(["ramp", "proposals", "--config", str(file)])
    assert "retires_on: is not a day" in capsys.readouterr().err
