"""Faults at a recorded provider, found by a real gateway in the middle of a real ramp.

A certified candidate (the recorded answers of an open model) goes up to the share in question by itself; then the
provider begins to fail as named. Counted out of the exchange log: users' requests that the candidate was asked, from
the fault to the decision to go back, and the time from that decision to the last request that still went there.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from bench.ramp_ground import (
    BASE_ERRORS,
    CANDIDATE,
    FIND_S_MAX,
    FIRST_TOKEN_MS,
    INCUMBENT,
    QUIET_S,
    REACH_S_MAX,
    SLICED,
    WEAK,
    Ground,
    Grounds,
    Live,
    Recordings,
    serving_users,
)
from bench.ramp_page import SHARE, Cell, Page, Run
from weighbridge.exchanges.reader import read
from weighbridge.ramp.observe import first_arm
from weighbridge.records.canonical import digest
from weighbridge.records.ramp import RampStatus, Stage
from weighbridge.store.control import ControlClient, RampAct, RampAnswer, RampShow
from weighbridge.store.layout import Layout
from weighbridge.trials.stored import stored_verdict


def lives(parts: dict[int, float], sliced: float) -> tuple[Live, ...]:
    """`parts`: points below the incumbent -> the share of answers that a weak model gives in the candidate's place;
    `sliced`: the same for 20 points in the one slice."""
    rare: dict[str, object] = {"error_rate": BASE_ERRORS, "status": 500}
    often: dict[str, object] = {"error_rate": 0.05, "status": 500}
    half: dict[str, object] = {"error_rate": 0.5, "status": 500}
    tenth, third = {**rare, "error_rate": 0.1}, {**rare, "error_rate": 0.03}
    slow: dict[str, object] = {"first_token_ms": 2 * FIRST_TOKEN_MS}

    def weak(share: float, **more: object) -> dict[str, object]:
        return {"with": WEAK, "fraction": share, **more}

    return (
        Live("errors 1% to 50%", "few", half, rare),
        Live("errors 1% to 50%", "quarter", half, rare),
        Live("errors 1% to 10%", "few", tenth, rare),
        Live("errors 1% to 10%", "quarter", tenth, rare),
        Live("errors 1% to 3%", "quarter", third, rare),
        Live("errors 5% to 25%", "few", {"error_rate": 0.25, "status": 500}, often),
        Live("errors 5% to 25%", "quarter", {"error_rate": 0.25, "status": 500}, often),
        Live("latency x2", "few", slow),
        Live("latency x2", "quarter", slow),
        Live("cost x2", "few", {"usage_factor": 2.0}),
        Live("cost x2", "quarter", {"usage_factor": 2.0}),
        Live("slow drift: errors 1% to 20% over 20 s", "quarter", {**rare, "error_rate": 0.2}, rare, drift_s=20.0),
        Live("one host of four behind the address: errors 1% to 50% there", "quarter", half, rare, setting="hosts"),
        Live("quality -20 points in one slice of two", "quarter", weak(sliced, task="gsm"), setting="slices"),
        Live("quality -20 points", "quarter", weak(parts[20])),
        Live("quality -10 points", "quarter", weak(parts[10])),
        Live("quality -5 points, by pairs (each request a pair)", "quarter", weak(parts[5]), setting="pairs"),
        Live("nothing", "quarter", {}, rare),
    )


def status(config: Path) -> RampStatus:
    """Asked of the keeper itself: a command's start several times a second would take the CPU that is measured with."""
    with ControlClient(Layout(config.parent / "weighbridge-data"), timeout_s=60) as control:
        return control.call(RampShow(route="assistant"), RampAnswer).ramps[0]


def begin(config: Path, up_to: Stage) -> None:
    """Proposed on the last verdict, approved, started: what `weighbridge ramp` asks of the keeper."""
    layout = Layout(config.parent / "weighbridge-data")
    with ControlClient(layout, timeout_s=60) as control:
        verdict, stored = stored_verdict(control, layout, "latest")
        for asked in (
            RampAct(action="propose", route="assistant", candidate=verdict.candidate, verdict=digest(stored)),
            RampAct(action="approve", route="assistant", up_to=up_to, accepts=("headroom", "way_back", "licence")),
            RampAct(action="start", route="assistant"),
        ):
            control.call(asked, RampAnswer)


def until(config: Path, stage: str, most_s: float) -> RampStatus | None:
    deadline = time.monotonic() + most_s
    while time.monotonic() < deadline:
        found = status(config)
        if found.state.stage == stage:
            return found
        if found.state.over:
            return None
        time.sleep(0.2)
    return None


def about(runs: int) -> list[str]:
    """What stands in front of the table."""
    return [
        f"`scripts/bench ramp --live --write`: {runs} ramps of each kind, `weighbridge serve` beside a provider that",
        f"plays recorded answers of {INCUMBENT} (incumbent) and {CANDIDATE} (candidate), certified by a trial of the",
        "same run. Counted out of the exchange log: requests of users that the candidate was asked, from the fault to",
        "the decision. The controller looks each second, and later where the machine is busy (2 shared cores and other",
        "work): at the pace named it is that many requests later than the pure one, whose figures are of the request",
        "that raised the alarm. What is found at once costs about a look, and what takes long costs what it takes.",
        "`last` is the longest time from a decision to the last request that still went to the candidate.",
        "",
        "Shortened beside a ramp in production: stages have no minimum time, and 10 conversations of evidence, so that",
        "they are reached within seconds; a conversation is one request; the first token comes after",
        f"{FIRST_TOKEN_MS} ms. Alarms, levels and planned numbers are those of a ramp of default length. Where quality",
        "falls, a weak recorded model answers so many of the prompts in the candidate's place that its mean on gsm is",
        f"that far below the incumbent's (of two slices, gsm and crux, the incumbent is {SLICED}).",
    ]


def one(ground: Ground, folder: Path, live: Live, key: str) -> Run:
    """One ramp up to the stage, the fault, and what followed. Raises `SystemExit` where the stage is not reached."""
    shutil.copytree(ground.base, folder, ignore=shutil.ignore_patterns("*.sock"))
    config = folder / "weighbridge.toml"
    ground.control(live)
    try:
        with serving_users(config, folder / "serve.log", key, ground.items) as users:
            begin(config, live.stage)
            if until(config, live.stage, REACH_S_MAX) is None:
                raise SystemExit(f"ramp: {live.name}: stage {live.stage} was not reached: {status(config)}")
            began_ns = time.time_ns()
            back = _faulty(config, ground, live)
            time.sleep(2.0)
            if set(users.statuses) - {200, 500}:
                raise SystemExit(f"ramp: users saw {users.statuses}")
    finally:
        ground.quiet()
    asked = [
        (exchange.time_ns, first_arm(exchange) == "new")
        for exchange in read(Layout(folder / "weighbridge-data"), purpose="user", since_ns=began_ns)
    ]
    if back is None:
        last_ns = max(at for at, _ in asked)
        return Run(requests=None, seen=sum(new for _, new in asked), per_s=len(asked) / ((last_ns - began_ns) / 1e9))
    decided_ns = back.state.time_ns
    mine = [at for at, new in asked if new]
    late = max((at - decided_ns for at in mine), default=0)
    before = sum(at < decided_ns for at, _ in asked)
    found = sum(at < decided_ns for at in mine)
    return Run(
        requests=found, seen=found, per_s=before / ((decided_ns - began_ns) / 1e9),
        stream=back.state.reasons[0].split(" ")[0], late_s=max(0, late) / 1e9,
    )  # fmt: skip


def _faulty(config: Path, ground: Ground, live: Live) -> RampStatus | None:
    if not live.candidate:
        return until(config, "rolled_back", QUIET_S)
    if not live.drift_s:
        ground.control(live, live.candidate)
        return until(config, "rolled_back", FIND_S_MAX)
    high = live.candidate["error_rate"]
    assert isinstance(high, float)
    for step in range(1, 11):
        now = BASE_ERRORS + step / 10 * (high - BASE_ERRORS)
        ground.control(live, {**live.candidate, "error_rate": now})
        back = until(config, "rolled_back", live.drift_s / 10)
        if back is not None:
            return back
    return until(config, "rolled_back", FIND_S_MAX)


def chosen(faults: Sequence[Live], only: Sequence[str]) -> list[Live]:
    """Those with any of these words in `NAME at SHARE`, in the order of the words; all where there are none."""
    if not only:
        return list(faults)
    found = [live for words in only for live in faults if words in f"{live.name} at {SHARE[live.stage]}"]
    return list({(live.name, live.stage): live for live in found}.values())


def measure(shared: Path, page: Page, runs: int, only: Sequence[str], *, write: bool) -> None:
    """Print what was found, cell by cell; with `write` also keep it and make the page."""
    os.environ["RAMP_BENCH_KEY"] = key = os.urandom(16).hex()
    recordings = Recordings(shared)
    parts = {points: recordings.share(points, INCUMBENT) for points in (5, 10, 20)}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="weighbridge-ramp-")))
        grounds = Grounds(shared, folder, key, stack)
        for live in chosen(lives(parts, recordings.share(20, SLICED)), only):
            ground, found = grounds.of(live.setting), []
            for run in range(runs):
                found.append(one(ground.shuffled(run), folder / "run", live, key))
                shutil.rmtree(folder / "run", ignore_errors=True)
            cell = Cell(
                name=live.name, stage=live.stage, runs=tuple(found), on=datetime.now(UTC).date().isoformat()
            )  # fmt: skip
            print(cell.line(), flush=True)
            if write:
                page.keep(cell, [one.name for one in lives(parts, 0.0)])
