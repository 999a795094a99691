"""A drill through a real gateway: announced, metered as such, over by itself, and early where it fails."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from tests.app.serving import Serving, ask, serving
from tests.fakes.provider import FakeProvider, Script
from tests.keeper.processes import write_config
from weighbridge.cli import root
from weighbridge.cli.ramp_drill import DrillsShown
from weighbridge.exchanges.reader import read
from weighbridge.records.drill import DrillView


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running


@pytest.fixture
def served(tmp_path: Path, provider: FakeProvider) -> Iterator[Serving]:
    file = write_config(tmp_path / "a", provider.url)
    text = file.read_text().replace('candidates = ["candidate"]', 'candidates = []\nfallbacks = ["candidate"]')
    file.write_text(text)
    with serving(file) as running:
        yield running


@contextmanager
def users(served: Serving) -> Iterator[Counter[int]]:
    """Requests one after the other, each another conversation, until told to stop."""
    stop, statuses = threading.Event(), Counter[int]()

    def run() -> None:
        number = 0
        while not stop.wait(0.01):
            number += 1
            statuses[ask(served.listen, conversation=f"c-{number}").status] += 1

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield statuses
    finally:
        stop.set()
        thread.join(60)


def drill(served: Serving, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, DrillView]:
    ended = root.run(["ramp", "drill", "assistant", *options, "--json", "--config", str(served.file)])
    printed = capsys.readouterr()
    assert printed.out, printed.err
    return ended, msgspec.json.decode(printed.out, type=DrillsShown).drills[0]


def test_a_share_of_users_is_answered_by_the_fallback_for_a_while_and_then_by_nobody_but_their_own_arm(
    served: Serving, capsys: pytest.CaptureFixture[str]
) -> None:
    with users(served) as statuses:
        ended, row = drill(served, capsys, "--share", "50", "--for", "5s", "--why", "monday", "--wait")
        assert 0 == ended
    report = row.report
    assert report is not None
    assert ("candidate", "time", "monday") == (row.drill.arm, report.ended_by, row.drill.why)
    assert report.drilled.requests == report.drilled.ok > 0
    assert report.others.requests > 0
    assert report.drilled.latency_ms is not None
    assert {200} == set(statuses)
    exchanges = list(read(served.layout))
    drilled = [one for one in exchanges if one.purpose == "drill"]
    assert {"candidate"} == {one.arm for one in drilled}
    assert {"incumbent"} == {one.arm for one in exchanges if one.purpose == "user"}
    assert all(row.drill.from_ns <= one.time_ns < row.drill.until_ns for one in drilled)
    assert 0 == root.run(["verify", "--config", str(served.file)])
    assert 1 == root.run(["ramp", "drill", "assistant", "--stop", "--config", str(served.file)])
    assert "no drill runs" in capsys.readouterr().err


def test_a_fallback_at_its_limit_is_stood_in_for_and_the_drill_ends_early(
    served: Serving, provider: FakeProvider, capsys: pytest.CaptureFixture[str]
) -> None:
    provider.answers["model-b"] = Script(status=429)
    with users(served) as statuses:
        ended, row = drill(served, capsys, "--share", "15", "--for", "10m", "--wait")
    report = row.report
    assert report is not None
    assert (2, "failing") == (ended, report.ended_by)
    assert report.drilled.requests == report.drilled.limited
    assert report.drilled.stood_in > 0
    assert statuses[200] > 0.9 * statuses.total()


def test_what_makes_no_drill_is_refused(served: Serving, capsys: pytest.CaptureFixture[str]) -> None:
    for options, said in (
        (["--arm", "nobody"], "is no arm of route"),
        (["--arm", "incumbent"], "everybody is there already"),
        (["--share", "0"], "0.01 to 100% is"),
        (["--for", "2h"], "5 s to 3600 s are"),
        (["--for", "soon"], "write a whole number"),
    ):
        assert root.run(["ramp", "drill", "assistant", *options, "--config", str(served.file)]) in (1, 64)
        assert said in capsys.readouterr().err
