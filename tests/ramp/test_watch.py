"""A stage is watched out of the log: exchanges of both arms, and what was told of them later by whoever."""

import asyncio
from pathlib import Path

import msgspec

from tests.keeper.processes import write_config
from tests.ramp.made import PLAN, at
from weighbridge.config import load
from weighbridge.exchanges.framing import new_incarnation
from weighbridge.exchanges.telling import tell
from weighbridge.exchanges.writer import LogWriter
from weighbridge.ramp.gathering import Gathering
from weighbridge.ramp.observe import RECENT_MIN
from weighbridge.ramp.streams import RATE_SEEN_MIN
from weighbridge.ramp.watch import LEARN_EVERY, Watch
from weighbridge.records.frames import Attempted, Finished, Frame, Held, Posted, Told
from weighbridge.records.ramp import Guardrail, StreamView
from weighbridge.store.layout import Layout

TABLE = 3


def request(number: int, arm: str, time_ns: int) -> list[Frame]:
    identity = f"{'0' * 16}-{number:x}"
    return [
        Held(
            identity, time_ns, "user", "assistant", TABLE, "app", None, None, (), "all", f"{number:016x}", False, 10,
            None, None, None,
        ),
        Attempted(identity, 1, time_ns, arm, "provider", "model", ()),
        Posted(identity, 1, 200, None, None, 5, "v", 10, None, finish_reason="stop"),
        Finished(identity, time_ns + 10, "ok", 200, 1, 10, None, 10, None, 5),
    ]  # fmt: skip


def written(layout: Layout, frames: list[Frame]) -> None:
    async def write() -> None:
        loop = asyncio.get_running_loop()
        log = LogWriter(
            layout, new_incarnation(), durability="process", call_soon=loop.call_soon,
            call_threadsafe=loop.call_soon_threadsafe, sealer=None,
        )  # fmt: skip
        done: asyncio.Future[None] = loop.create_future()
        for frame in frames:
            log.append(frame)
        log.when_written(lambda: done.set_result(None))
        await done
        log.close()

    asyncio.run(write())


def outcome(number: int, score: float, time_ns: int) -> Told:
    return Told("x", time_ns, "app", "assistant", f"{number:016x}", "all", None, "resolved", score)


def test_outcomes_count_for_the_arm_that_the_conversation_had_whenever_and_by_whomever_they_are_told(
    tmp_path: Path,
) -> None:
    loaded = load(write_config(tmp_path))
    layout = Layout(tmp_path / "weighbridge-data")
    layout.create()
    state = msgspec.structs.replace(
        at("few"), plan=msgspec.structs.replace(PLAN, guardrails=("errors", "outcomes")), incumbent="incumbent",
        candidate="candidate", time_ns=1000,
    )  # fmt: skip
    frames = [
        frame
        for number in range(40)
        for frame in request(number, "candidate" if number < 10 else "incumbent", 2000 + number)
    ]
    written(layout, frames)
    tell(
        layout,
        [outcome(0, 0.0, 3000), outcome(1, 1.0, 3000), outcome(11, 0.0, 3000), outcome(99, 0.0, 3000)],
        "process",
    )
    watch, gathering = Watch(state, TABLE, None), Gathering(layout, loaded, state, TABLE, None)

    def told() -> StreamView:
        gathering.own(watch, TABLE)
        return next(one for one in watch.monitor.evidence(0.0).streams if one.name == "outcomes")

    view = told()
    assert (1, 2, 1, 1) == (view.candidate_bad, view.candidate_n, view.control_bad, view.control_n)
    tell(layout, [outcome(2, 0.0, 4000), outcome(0, 0.0, 4000)], "process")
    view = told()
    assert (2, 3) == (view.candidate_bad, view.candidate_n)


def test_looking_for_percentiles_that_there_is_no_traffic_for_takes_no_longer_with_more_traffic(tmp_path: Path) -> None:
    loaded = load(write_config(tmp_path))
    layout = Layout(tmp_path / "weighbridge-data")
    layout.create()
    state = msgspec.structs.replace(
        at("few"), plan=msgspec.structs.replace(PLAN, guardrails=("errors", "first_byte", "turns")),
        incumbent="incumbent", candidate="candidate", time_ns=1000,
    )  # fmt: skip
    written(layout, [frame for number in range(1200) for frame in request(number, "incumbent", 2000 + number)])
    watch, gathering = Watch(state, TABLE, None), Gathering(layout, loaded, state, TABLE, None)
    asked: list[tuple[str, ...]] = []
    observer = watch._observer
    real = observer.percentiles

    def counted(names: tuple[Guardrail, ...]) -> dict[str, float]:
        asked.append(names)
        return real(names)

    observer.percentiles = counted  # type: ignore[method-assign,assignment]
    gathering.own(watch, TABLE)
    assert 1200 == watch.requests
    assert len(asked) <= 1200 // LEARN_EVERY
    assert ("first_byte", "turns") == asked[0]
    assert ("first_byte",) == asked[-1]


def test_what_the_candidate_costs_is_known_from_copies_before_it_answers_a_user(tmp_path: Path) -> None:
    loaded = load(write_config(tmp_path))
    layout = Layout(tmp_path / "weighbridge-data")
    layout.create()
    state = msgspec.structs.replace(
        at("shadow"), incumbent="incumbent", candidate="candidate", time_ns=1000,
    )  # fmt: skip
    watch, gathering = Watch(state, TABLE, None), Gathering(layout, loaded, state, TABLE, None)
    gathering.own(watch, TABLE)
    assert watch.cost_nanousd() is None
    held, *rest = request(2, "candidate", 3000)
    assert isinstance(held, Held)
    copy = msgspec.structs.replace(held, purpose="shadow", item=f"{'0' * 16}-1")
    written(layout, [*request(1, "incumbent", 2000), copy, *rest])
    gathering.own(watch, TABLE)
    assert 5 == watch.cost_nanousd()
    assert 5 == Watch(at("canary"), TABLE + 1, None, watch).cost_nanousd()


def test_how_long_conversations_are_is_learnt_from_all_traffic_and_a_copy_leads_none_on(tmp_path: Path) -> None:
    loaded = load(write_config(tmp_path))
    layout = Layout(tmp_path / "weighbridge-data")
    layout.create()
    plan = msgspec.structs.replace(PLAN, guardrails=("errors", "turns"))
    state = msgspec.structs.replace(at("shadow"), plan=plan, time_ns=1000)
    frames = [frame for number in range(RECENT_MIN) for frame in request(number, "incumbent", 2000 + number)]
    held, *rest = request(RECENT_MIN, "candidate", 9000)
    assert isinstance(held, Held)
    copy = msgspec.structs.replace(held, purpose="shadow", item=f"{'0' * 16}-1", conversation=f"{1:016x}")
    written(layout, [*frames, copy, *rest])
    watch, gathering = Watch(state, TABLE, None), Gathering(layout, loaded, state, TABLE, None)
    gathering.own(watch, TABLE)
    assert 1 == watch.monitor.evidence(0.0).conversations
    assert () == watch.monitor.evidence(0.0).missing
    assert 1.0 == watch.percentiles()["turns"]


def test_a_grader_that_is_added_in_the_middle_of_a_stage_counts_from_then_on(tmp_path: Path) -> None:
    file = write_config(tmp_path)
    layout = Layout(tmp_path / "weighbridge-data")
    layout.create()
    state = at("few")
    gathering = Gathering(layout, load(file), state, TABLE, None)
    assert "route 'assistant' has no grader" == gathering.why_not_judged
    file.write_text(file.read_text() + '[[grader]]\nroute = "assistant"\nkind = "exact"\n')
    gathering.begin(load(file), state, TABLE)
    assert "has no grader" not in (gathering.why_not_judged or "")


def test_what_a_trial_paid_and_what_failed_the_day_before_is_known_before_anybody_approves(tmp_path: Path) -> None:
    loaded = load(write_config(tmp_path))
    layout = Layout(tmp_path / "weighbridge-data")
    layout.create()
    frames: list[Frame] = []
    for number in range(RATE_SEEN_MIN):
        held, attempted, posted, finished = request(number, "incumbent", 2000 + number)
        assert isinstance(held, Held)
        assert isinstance(finished, Finished)
        held = msgspec.structs.replace(held, table=TABLE - 1)
        if number % 10 == 0:
            finished = msgspec.structs.replace(finished, outcome="upstream_error")
        frames += [held, attempted, posted, finished]
    held, *rest = request(5000, "candidate", 3000)
    assert isinstance(held, Held)
    frames += [msgspec.structs.replace(held, purpose="trial", table=TABLE - 1), *rest]
    written(layout, frames)
    state = msgspec.structs.replace(at("proposed"), time_ns=1000)
    watch, gathering = Watch(state, TABLE, None), Gathering(layout, loaded, state, TABLE, None)
    gathering.own(watch, TABLE)
    assert (5, 0.1) == (watch.cost_nanousd(), watch.error_rate())
