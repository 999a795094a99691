"""A real keeper killed by the kernel in the middle of a change of a ramp: one truth, no share above the approved."""

import asyncio
import contextlib
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.keeper.processes import first_word, running_keeper, start_keeper, write_config
from tests.ramp.desk import RAMP, Store
from weighbridge.clock import JumpingClock
from weighbridge.errors import ControlError
from weighbridge.keeper.parent import Ready, Refused
from weighbridge.ramp.custody import check, past_of
from weighbridge.records.canonical import parse
from weighbridge.records.ramp import RampState, Stage
from weighbridge.records.table import RouteTable
from weighbridge.store.control import ControlClient, RampAct, RampAnswer, RampShow
from weighbridge.store.database import Database, stored_tables
from weighbridge.store.layout import Layout

APPROVED: Stage = "all"
SHARE = {"shadow": 0, "canary": 100, "few": 500, "quarter": 2500, "half": 5000, "all": 10_000}
UP: tuple[tuple[Stage, Stage], ...] = (
    ("shadow", "canary"), ("canary", "few"), ("few", "quarter"), ("quarter", "half"), ("half", "all"),
)  # fmt: skip
SEAMS = tuple((seam, moment) for seam in ("log", "database", "file") for moment in ("before", "after"))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> dict[Stage, Path]:
    """A store for each stage, approved up to all and ready for the next step. Nothing runs on them."""
    folder = tmp_path_factory.mktemp("ramps")
    file = write_config(folder / "live")
    file.write_text(file.read_text() + RAMP.replace("= 60", "= 0"))
    store = Store(file, JumpingClock(time.time_ns()))
    found: dict[Stage, Path] = {}

    async def climb() -> None:
        await store.begin(APPROVED)
        for stage in SHARE:
            await store.until(stage)  # type: ignore[arg-type]  # stages by name
            kept = folder / stage
            shutil.copytree(folder / "live", kept)
            found[stage] = kept  # type: ignore[index]  # stages by name

    asyncio.run(climb())
    store.office.close()
    store.database.close()
    return found


def killed(file: Path, seam: str, moment: str, action: RampAct | None) -> None:
    """Run a keeper until it is killed at the seam; `action` is asked of it, else it steps up by itself."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.ramp_child", seam, moment, "--config", str(file)],
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    layout = Layout(file.parent / "weighbridge-data")
    try:
        while action is not None and process.poll() is None:
            with contextlib.suppress(ControlError), ControlClient(layout, timeout_s=60) as control:
                control.call(action, RampAnswer)
                raise AssertionError("the keeper answered and was not killed")
        assert -signal.SIGKILL == process.wait(60)
    finally:
        process.kill()
        process.wait()


def state_in(layout: Layout) -> RampState:
    database = Database(layout.database)
    try:
        return parse(database.ramps.all()[0].body, RampState)
    finally:
        database.close()


def share_on_disk(layout: Layout) -> int:
    route = parse(layout.table.read_bytes(), RouteTable).route("assistant")
    assert route is not None
    return sum(row.basis_points for row in route.shares if row.arm == "candidate")


def one_truth(file: Path, source: Stage, target: Stage, goal: Stage) -> None:
    """After the kill, and after the next keeper has gone on to `goal` by itself."""
    layout = Layout(file.parent / "weighbridge-data")
    shares = {SHARE.get(source, 0), SHARE.get(target, 0)}
    assert share_on_disk(layout) in shares
    assert state_in(layout).stage in (source, target)
    with running_keeper(file) as keeper, keeper.client() as control:
        while True:
            state = control.call(RampShow(), RampAnswer).ramps[0].state
            assert state.basis_points <= SHARE[APPROVED]
            assert share_on_disk(layout) <= SHARE[APPROVED]
            if state.stage == goal:
                break
    assert SHARE.get(goal, 0) == share_on_disk(layout)
    assert not check(layout, stored_tables(layout.database)).broken
    past = past_of(layout, state)
    assert list(range(1, len(past) + 1)) == [change.revision for change in past]


@pytest.mark.parametrize(("seam", "moment"), [("log", "after"), ("database", "after")])
def test_a_keeper_killed_in_a_step_leaves_one_truth_and_the_next_one_goes_on(
    prepared: dict[Stage, Path], tmp_path: Path, seam: str, moment: str
) -> None:
    climbed(prepared, tmp_path, "few", "quarter", seam, moment)


@pytest.mark.long
@pytest.mark.parametrize(("seam", "moment"), SEAMS)
@pytest.mark.parametrize(("source", "target"), UP)
def test_a_keeper_killed_anywhere_in_any_step_leaves_one_truth(
    prepared: dict[Stage, Path], tmp_path: Path, source: Stage, target: Stage, seam: str, moment: str
) -> None:
    climbed(prepared, tmp_path, source, target, seam, moment)


def climbed(prepared: dict[Stage, Path], folder: Path, source: Stage, target: Stage, seam: str, moment: str) -> None:
    shutil.copytree(prepared[source], folder / "a")
    file = folder / "a" / "weighbridge.toml"
    killed(file, seam, moment, None)
    one_truth(file, source, target, APPROVED)


@pytest.mark.parametrize(
    ("seam", "moment"),
    [("file", "before"), *(pytest.param(*one, marks=pytest.mark.long) for one in SEAMS if one != ("file", "before"))],
)
def test_a_keeper_killed_while_it_goes_back_has_gone_back_or_goes_when_asked_again(
    prepared: dict[Stage, Path], tmp_path: Path, seam: str, moment: str
) -> None:
    shutil.copytree(prepared["half"], tmp_path / "a")
    file = tmp_path / "a" / "weighbridge.toml"
    rollback = RampAct(action="rollback", route="assistant")
    killed(file, seam, moment, rollback)
    layout = Layout(file.parent / "weighbridge-data")
    assert share_on_disk(layout) in (0, SHARE["half"])
    assert state_in(layout).stage in ("half", "rolled_back")
    with running_keeper(file) as keeper, keeper.client() as control:
        if not control.call(RampShow(), RampAnswer).ramps[0].state.over:
            control.call(rollback, RampAnswer)
    assert 0 == share_on_disk(layout)
    assert not check(layout, stored_tables(layout.database)).broken


def test_of_two_keepers_at_once_one_refuses_and_changes_nothing(prepared: dict[Stage, Path], tmp_path: Path) -> None:
    shutil.copytree(prepared["half"], tmp_path / "a")
    file = tmp_path / "a" / "weighbridge.toml"
    layout = Layout(file.parent / "weighbridge-data")
    with running_keeper(file) as first:
        second = start_keeper(file)
        try:
            said = first_word(second)
            assert isinstance(said, Refused)
            assert said.locked
            assert 0 != second.process.wait(60)
        finally:
            second.parent.close()
            second.process.kill()
            second.process.wait()
            if second.process.stderr is not None:
                second.process.stderr.close()
        assert isinstance(first.said[0], Ready)
        with first.client() as control:
            assert "half" == control.call(RampShow(), RampAnswer).ramps[0].state.stage
    assert SHARE["half"] == share_on_disk(layout)
