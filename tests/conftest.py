"""What holds for every test: which may skip, how long Hypothesis looks, and that nobody blocks an event loop."""

import asyncio
import os
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import SupportsIndex

import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parent.parent
RECORDED = REPOSITORY.parent / "shared"
"""The recorded answers of real models lie beside the repository, never in it."""

ALL_REQUIRED = os.environ.get("REQUIRE_ALL") == "1"
RECORDED_ABSENT = f"needs the recorded answers of real models, a folder named {RECORDED.name!r} beside the repository"

# No deadlines: the time one example takes says more about the machine than about the code.
settings.register_profile("usual", deadline=None, max_examples=60)
settings.register_profile("long", deadline=None, max_examples=2_000)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="also run the tests that take minutes or hours")
    parser.addoption("--promise", type=int, help="only the tests that keep this promise (docs/evidence/promises.md)")


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("long" if config.getoption("--long") else "usual")
    config.addinivalue_line("markers", "promise(*numbers): keeps these promises (docs/evidence/promises.md)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--long"):
        long = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in set(long)]
    promise = config.getoption("--promise")
    if promise is not None:
        kept = [item for item in items if any(promise in mark.args for mark in item.iter_markers("promise"))]
        config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
        items[:] = kept
    if not RECORDED.is_dir():
        for item in items:
            if item.get_closest_marker("recorded"):
                item.add_marker(pytest.mark.skip(reason=RECORDED_ABSENT))


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    report.outcome = "failed"
    report.longrepr = f"REQUIRE_ALL=1: nothing may be skipped here, but this was ({why})"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    excused = item.get_closest_marker("recorded") is not None and not RECORDED.is_dir()
    if ALL_REQUIRED and report.skipped and not hasattr(report, "wasxfail") and not excused:
        _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if ALL_REQUIRED and report.skipped:
        _refuse_skip(report)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    recorded = sum(isinstance(report, pytest.TestReport) and "recorded" in report.keywords for report in skipped)
    if recorded and not RECORDED.is_dir():
        terminalreporter.write_line(f"SKIPPED {recorded} tests marked `recorded`: each {RECORDED_ABSENT}", yellow=True)


def _refuse_on_a_loop(what: str) -> None:
    """A sleep or a name lookup on a running event loop holds up every other request of that worker."""
    if asyncio._get_running_loop() is not None:
        raise RuntimeError(f"{what} blocks the running event loop")


_sleep = time.sleep


def _sleep_off_the_loop(seconds: float | SupportsIndex) -> None:
    if seconds != 0:
        _refuse_on_a_loop(f"time.sleep({seconds})")
    _sleep(seconds)


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        _refuse_on_a_loop(f"{event}{arguments}")


time.sleep = _sleep_off_the_loop  # Python raises an audit event for it from 3.13 on only
sys.addaudithook(_audit)


@pytest.fixture(scope="session")
def recorded_folder() -> Path:
    """The folder with the recorded answers; for tests marked `recorded`, which skip where it is absent."""
    return RECORDED
