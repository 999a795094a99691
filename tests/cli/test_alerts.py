"""`weighbridge alerts`: what is raised, what was, and how to mend it."""

import json
from pathlib import Path

import pytest

from tests.keeper.processes import write_config
from weighbridge.cli.root import run
from weighbridge.records.alerts import ALERTS
from weighbridge.store.alerts import AlertEvent, State, append_alert
from weighbridge.store.layout import Layout


def raised(file: Path, state: State = "raised", name: str = "endpoint-out", **labels: str) -> None:
    layout = Layout(file.parent / "weighbridge-data")
    layout.create()
    append_alert(
        layout,
        AlertEvent(time_ns=1_764_000_000_000_000_000, alert=name, state=state, subject="It is out", labels=labels),
    )


def test_nothing_raised_is_said_and_exits_with_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_config(tmp_path)
    raised(file)
    raised(file, "ended")
    assert 0 == run(["alerts", "--config", str(file)])
    shown = capsys.readouterr().out
    assert shown.startswith("Nothing is raised now.")
    assert "2025-11-24 16:00:00 UTC  ticket  endpoint-out: It is out" in shown


def test_what_is_raised_comes_first_with_its_first_step_and_exits_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_config(tmp_path)
    raised(file, name="ramp-rolled-back", route="r")
    raised(file, endpoint="x")
    assert 2 == run(["alerts", "--config", str(file)])
    shown = capsys.readouterr().out
    assert shown.index("endpoint-out") < shown.index("Raised lately:") < shown.index("ramp-rolled-back")
    assert "runbook: weighbridge alerts endpoint-out" in shown


def test_control_characters_of_a_label_do_not_reach_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_config(tmp_path)
    layout = Layout(file.parent / "weighbridge-data")
    layout.create()
    append_alert(layout, AlertEvent(time_ns=1, alert="endpoint-out", state="raised", subject="\x1b[31mred"))
    run(["alerts", "--config", str(file)])
    assert "\x1b" not in capsys.readouterr().out


def test_a_name_prints_its_runbook_without_any_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert 0 == run(["alerts", "disk-full"])
    assert "## Mend it" in capsys.readouterr().out


def test_a_name_that_is_none_is_answered_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert 64 == run(["alerts", "disc-full"])
    assert "there is no alert 'disc-full'; there are: gateway-down," in capsys.readouterr().err


def test_every_kind_is_listed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == run(["alerts", "--kinds", "--json"])
    assert [kind.name for kind in ALERTS] == [row["name"] for row in json.loads(capsys.readouterr().out)]
