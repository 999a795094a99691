"""From the decision to go back, every worker is on the last good shares within seconds, with a keeper and without."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest

from tests.app.serving import Serving, ask, serving
from tests.fakes.provider import FakeProvider
from tests.keeper.processes import write_config
from tests.ramp.desk import RAMP, climb_to
from weighbridge.ramp.custody import check
from weighbridge.store.control import RampAct, RampAnswer
from weighbridge.store.database import stored_tables

pytestmark = pytest.mark.promise(27)

WORKERS = 2
PROMISED_S = 5.0


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running


@contextmanager
def at_half(folder: Path, provider: FakeProvider) -> Iterator[Serving]:
    """Two workers, a ramp in half."""
    file = write_config(folder, provider.url)
    text = file.read_text().replace("[server]", f"[server]\nworkers = {WORKERS}", 1)
    file.write_text(text + RAMP.replace("= 60", "= 0"))
    climb_to("half", file)
    with serving(file) as served:
        yield served


def arms(served: Serving, count: int = 60) -> set[str]:
    return {ask(served.listen, conversation=f"c-{number}").arm or "" for number in range(count)}


def test_a_rollback_reaches_every_worker_within_five_seconds_of_its_decision(
    tmp_path: Path, provider: FakeProvider
) -> None:
    with at_half(tmp_path / "a", provider) as served:
        assert {"incumbent", "candidate"} == arms(served)
        lines = len(served.log)
        with served.control() as control:
            state = control.call(RampAct(action="rollback", route="assistant"), RampAnswer).ramps[0].state
        for index in range(WORKERS):
            served.until(rf"worker {index}: route table \d+", after=lines)
        took_s = (time.time_ns() - state.time_ns) / 1e9
        assert {"incumbent"} == arms(served)
    assert took_s <= PROMISED_S


def test_a_rollback_reaches_every_worker_also_while_the_database_cannot_be_written_and_is_recorded_later(
    tmp_path: Path, provider: FakeProvider
) -> None:
    with at_half(tmp_path / "a", provider) as served:
        lines = len(served.log)
        other = apsw.Connection(str(served.layout.database))
        other.execute("BEGIN IMMEDIATE")
        try:
            began_ns = time.time_ns()
            with served.control() as control:
                answer = control.call(RampAct(action="rollback", route="assistant"), RampAnswer)
            assert any("the database cannot be written" in note for note in answer.notes)
            for index in range(WORKERS):
                served.until(rf"worker {index}: route table \d+", after=lines)
            assert {"incumbent"} == arms(served)
            assert not answer.ramps[0].state.over
        finally:
            other.execute("ROLLBACK")
            other.close()
        with served.control() as control:
            recorded = control.call(RampAct(action="rollback", route="assistant"), RampAnswer).ramps[0]
        assert (True, False) == (recorded.state.over, recorded.override)
        assert {"incumbent"} == arms(served)
    assert began_ns < recorded.state.time_ns
    assert () == check(served.layout, stored_tables(served.layout.database)).broken
