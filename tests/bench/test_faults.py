"""The walk from alerts to their ends uses what runbooks print, also where nobody runs the walk."""

import ast
import inspect
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.faults import FAULTS, Operator, Walked
from weighbridge.store.alerts import runbook


def called(fault: Callable[[Path], Walked]) -> list[tuple[str, str]]:
    """(method, first text) of what the walk asks its operator for."""
    found = []
    for node in ast.walk(ast.parse(inspect.getsource(fault))):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            at = 1 if name == "Operator" else 0
            text = node.args[at] if len(node.args) > at else None
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                found.append((name, text.value))
    return found


@pytest.mark.parametrize("fault", FAULTS, ids=lambda one: one.__name__)
def test_every_step_of_the_walk_stands_in_the_runbook_of_its_alert(fault: Callable[[Path], Walked]) -> None:
    asked = called(fault)
    (alert,) = [text for name, text in asked if name == "Operator"]
    text = " ".join(runbook(alert).split())
    steps = [step for name, step in asked if name in ("does", "by_hand")]
    assert len(steps) >= 3
    assert [] == [step for step in steps if step not in text]


def test_a_command_that_no_runbook_prints_is_not_run(tmp_path: Path) -> None:
    operator = Operator(tmp_path / "nowhere.toml", "disk-full", {}, text=runbook("disk-full"))
    with pytest.raises(SystemExit, match="does not print"):
        operator.does("weighbridge serve", "anything")
    assert [] == operator.did
