"""A real keeper killed by the kernel in the middle of a change of a ramp: one truth, no share above the approved."""

import asyncio
import contextlib
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from tests.keeper.processes import first_word, running_keeper, start_keeper, write_config
from tests.ramp.desk import RAMP, Store
from tests.ramp.test_watch import request
from tests.ramp.test_watch import written as log_of
from weighbridge.clock import JumpingClock
from weighbridge.errors import ControlError
from weighbridge.keeper.parent import Ready, Refused
from weighbridge.ramp.custody import check, past_of
from weighbridge.records.canonical import parse
from weighbridge.records.frames import Frame, Held
from weighbridge.records.ramp import RampState, Stage
from weighbridge.records.table import RouteTable
from weighbridge.store.control import ControlClient, RampAct, RampAction, RampAnswer, RampShow
from weighbridge.store.database import Database, stored_tables
from weighbridge.store.layout import Layout

APPROVED: Stage = "settled"
SHARE: dict[Stage, int] = {
    "shadow": 0, "canary": 100, "few": 500, "paused": 500, "quarter": 2500, "half": 5000, "all": 10_000,
    "settled": 10_000,
}  # fmt: skip
CLIMBED: tuple[Stage, ...] = ("shadow", "canary", "few", "quarter", "half", "all")
SAID: tuple[tuple[Stage, RampAction, Stage], ...] = (
    ("proposed", "start", "shadow"), ("proposed", "reject", "rejected"), ("shadow", "rollback", "rejected"),
    ("few", "pause", "paused"), ("paused", "resume", "few"), ("half", "rollback", "rolled_back"),
)  # fmt: skip
"""What people say, and where it leads."""
UP: tuple[tuple[Stage, Stage, Stage], ...] = (
    ("shadow", "canary", "all"), ("canary", "few", "all"), ("few", "quarter", "all"), ("quarter", "half", "all"),
    ("half", "all", "all"), ("all", "settled", "settled"),
)  # fmt: skip
"""From, to, and how far it goes on from there: without traffic in `half` nothing is known to hold the whole against."""
SEAMS = tuple((seam, moment) for seam in ("log", "database", "file") for moment in ("before", "after"))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> dict[Stage, Path]:
    """A store for each stage, approved up to all and ready for the next step. Nothing runs on them."""
    folder = tmp_path_factory.mktemp("ramps")
    file = write_config(folder / "live")
    file.write_text(file.read_text() + RAMP.replace("= 60", "= 0"))
    store = Store(file, JumpingClock(time.time_ns()))
    found: dict[Stage, Path] = {}

    def keep(stage: Stage) -> None:
        found[stage] = folder / stage
        shutil.copytree(folder / "live", found[stage])

    async def proposed() -> None:
        await store.act("propose", verdict=store.verdict())
        await store.act("approve", up_to=APPROVED, accepts=("headroom", "way_back", "licence"))

    asyncio.run(proposed())
    keep("proposed")
    asyncio.run(store.act("start"))
    for stage in CLIMBED:
        asyncio.run(store.until(stage))
        keep(stage)
        if stage == "few":
            asyncio.run(store.act("pause"))
            keep("paused")
            asyncio.run(store.act("resume"))
        if stage == "half":
            served(store, 200)
    store.office.close()
    store.database.close()
    return found


def served(store: Store, requests: int) -> None:
    """Traffic of both arms, by the table in force: what the incumbent does is known from then on."""
    table = store.publisher.current
    assert table is not None
    frames: list[Frame] = []
    for number in range(requests):
        made = request(number, ("incumbent", "candidate")[number % 2], store.clock.wall_ns() + number)
        assert isinstance(made[0], Held)
        frames += [msgspec.structs.replace(made[0], table=table.number), *made[1:]]
    log_of(store.layout, frames)


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
    climbed(prepared, tmp_path, "few", "quarter", "all", seam, moment)


@pytest.mark.long
@pytest.mark.parametrize(("seam", "moment"), SEAMS)
@pytest.mark.parametrize(("source", "target", "goal"), UP)
def test_a_keeper_killed_anywhere_in_any_step_leaves_one_truth(
    prepared: dict[Stage, Path], tmp_path: Path, source: Stage, target: Stage, goal: Stage, seam: str, moment: str
) -> None:
    climbed(prepared, tmp_path, source, target, goal, seam, moment)


def climbed(
    prepared: dict[Stage, Path], folder: Path, source: Stage, target: Stage, goal: Stage, seam: str, moment: str
) -> None:
    shutil.copytree(prepared[source], folder / "a")
    file = folder / "a" / "weighbridge.toml"
    killed(file, seam, moment, None)
    one_truth(file, source, target, goal)


@pytest.mark.parametrize(
    ("source", "action", "target", "seam", "moment"),
    [
        pytest.param(*said, *seam, marks=() if said[0] == "half" and seam == ("file", "before") else pytest.mark.long)
        for said in SAID
        for seam in SEAMS
        if (said[1], seam[0]) != ("reject", "file")  # no share changes, so no file does
    ],
)
def test_a_keeper_killed_while_it_does_what_somebody_said_has_done_it_or_does_it_when_asked_again(
    prepared: dict[Stage, Path], tmp_path: Path, source: Stage, action: RampAction, target: Stage, seam: str,
    moment: str,
) -> None:  # fmt: skip
    shutil.copytree(prepared[source], tmp_path / "a")
    file = tmp_path / "a" / "weighbridge.toml"
    said = RampAct(action=action, route="assistant")
    killed(file, seam, moment, said)
    layout = Layout(file.parent / "weighbridge-data")
    assert share_on_disk(layout) in (SHARE.get(source, 0), SHARE.get(target, 0))
    assert state_in(layout).stage in (source, target)
    with running_keeper(file) as keeper, keeper.client() as control:
        with contextlib.suppress(ControlError):  # it was done already, or has gone on from there by itself
            control.call(said, RampAnswer)
        state = control.call(RampShow(), RampAnswer).ramps[0].state
        assert target in (state.stage, *(change.stage for change in past_of(layout, state)))
        assert share_on_disk(layout) <= SHARE[APPROVED]
    if target in ("rejected", "rolled_back"):
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
