"""The acting edge: one truth about shares, whatever dies, jumps or comes second."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.ramp.desk import Store, store_in
from weighbridge.errors import ControlError, StoreError
from weighbridge.ramp.custody import check, past_of
from weighbridge.ramp.stages import LADDER
from weighbridge.records.canonical import canonical
from weighbridge.records.ramp import RampState, Stage
from weighbridge.store.control import RampAct, RampAction, RampShow
from weighbridge.store.database import stored_tables


async def ticks(store: Store) -> None:
    """Five minutes."""
    for _ in range(30):
        store.clock.advance(10)
        await store.office.tick()


class Killed(BaseException):
    """The process ends here."""


def broken(store: Store) -> list[str]:
    return [row.what for row in check(store.layout, stored_tables(store.layout.database)).broken]


def test_a_ramp_climbs_step_by_step_and_every_table_names_what_allowed_it(store: Store) -> None:
    async def live() -> list[int]:
        await store.begin()
        shares = []
        for stage in LADDER[2:-1]:
            await store.until(stage)
            shares.append(store.share())
        return shares

    assert [100, 500, 2500, 5000, 10_000] == asyncio.run(live())
    assert [] == broken(store)
    table = store.publisher.current
    assert table is not None
    assert (store.state.verdict,) == table.verdicts
    told = [change.stage for change in past_of(store.layout, store.state)]
    assert list(LADDER[:-1]) == list(dict.fromkeys(told))


def test_without_a_control_that_was_seen_the_whole_share_does_not_settle(store: Store) -> None:
    async def live() -> tuple[str, ...]:
        await store.begin()
        await store.until("all")
        for _ in range(20):
            store.clock.advance(10)
            await store.office.tick()
        return (await store.status()).waits_for

    assert ("guardrail errors has no baseline to be held against",) == asyncio.run(live())


def test_it_stops_where_approval_ends_and_says_so(store: Store) -> None:
    async def live() -> tuple[str, ...]:
        await store.begin("few")
        await store.until("few")
        for _ in range(30):
            store.clock.advance(10)
            await store.office.tick()
        return (await store.status()).waits_for

    waits = asyncio.run(live())
    assert "1 approval is missing for quarter" in waits[0]
    assert 500 == store.share()


def test_a_rollback_is_a_table_at_the_incumbent_and_remembered_assignments_are_void(store: Store) -> None:
    async def live() -> None:
        await store.begin()
        await store.until("quarter")
        await store.act("rollback")

    asyncio.run(live())
    assert 0 == store.share()
    assert ("rolled_back", 1) == (store.state.stage, store.state.assignment)
    assert [] == broken(store)
    with pytest.raises(ControlError, match="is over already"):
        asyncio.run(store.act("rollback"))


def test_a_pause_stops_the_way_up_and_a_resume_goes_on_in_the_same_stage(store: Store) -> None:
    async def live() -> None:
        await store.begin()
        await store.until("few")
        await store.act("pause")
        for _ in range(20):
            store.clock.advance(10)
            await store.office.tick()
        assert ("paused", 500) == (store.state.stage, store.share())
        await store.act("resume")
        assert "few" == store.state.stage
        await store.until("quarter")

    asyncio.run(live())


@pytest.mark.parametrize(
    ("seam", "after"),
    [
        ("put", False),
        ("put", True),
        ("database.publish", False),
        ("database.publish", True),
        ("_write", False),
        ("_write", True),
    ],
)
@pytest.mark.parametrize("steps", range(6))
def test_killed_anywhere_in_any_step_there_is_one_truth_and_no_share_above_the_approved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seam: str, after: bool, steps: int
) -> None:
    store = store_in(tmp_path / "a")

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def die(*given: Any, **named: Any) -> Any:
            if after:
                real(*given, **named)
            raise Killed

        async def die_later(*given: Any, **named: Any) -> Any:
            if after:
                await real(*given, **named)
            raise Killed

        return die_later if asyncio.iscoroutinefunction(real) else die

    async def live() -> None:
        await store.begin("half")
        for stage in LADDER[2 : 2 + steps][:4]:
            await store.until(stage)
        with monkeypatch.context() as patch:
            holder, name = {
                "put": (store, "put"),
                "database.publish": (store.database, "publish"),
                "_write": (store.publisher, "_write"),
            }[seam]
            patch.setattr(holder, name, dying(getattr(holder, name)))
            with pytest.raises(Killed):
                await (store.act("rollback") if steps >= 4 else ticks(store))

    asyncio.run(live())
    before = store.share()
    store.again()
    state = store.state
    assert state.basis_points == store.share(), "the files say what the database says"
    assert before in (state.basis_points, *(one.basis_points for one in past_of(store.layout, state)))
    assert state.basis_points <= 5000
    assert [] == broken(store)

    async def on() -> None:  # and it goes on
        if not store.state.over:
            await store.act("rollback")

    asyncio.run(on())
    assert 0 == store.share()
    store.office.close()
    store.database.close()


def test_two_callers_at_once_make_one_change_and_the_second_is_told(store: Store) -> None:
    asyncio.run(store.begin())
    state = store.state
    one = msgspec.structs.replace(state, revision=state.revision + 1, reasons=("one",), prev="x")
    two = msgspec.structs.replace(one, reasons=("two",))

    async def both() -> None:
        await store.desk.commit(one, restarts=False)
        with pytest.raises(ControlError, match="changed by somebody else"):
            await store.desk.commit(two, restarts=False)

    asyncio.run(both())
    assert ("one",) == store.state.reasons


def test_a_database_that_cannot_be_written_stops_the_way_up_and_not_the_way_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object, **__: object) -> None:
        raise StoreError("the disk is gone")

    async def live() -> None:
        await store.begin()
        await store.until("few")
        for name in ("publish", "swap_ramp"):
            monkeypatch.setattr(store.database, name, gone)
        store.clock.advance(100)
        with pytest.raises(StoreError):
            await ticks(store)
        assert 500 == store.share()
        answer = await store.office.act(_rollback())
        assert any("the database cannot be written" in note for note in answer.notes)
        assert 0 == store.share()

    asyncio.run(live())
    monkeypatch.undo()
    store.again()
    assert 0 == store.share(), "held until it is on record"
    assert not is_over(store)
    asyncio.run(store.act("rollback"))
    assert is_over(store)
    assert frozenset() == store.desk.overrides()
    assert [] == broken(store)


def test_a_database_that_cannot_even_be_read_does_not_keep_anybody_from_going_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise StoreError("the disk is gone")

    async def live() -> None:
        await store.begin()
        await store.until("quarter")
        monkeypatch.setattr(store.database.ramps, "all", gone)
        await store.office.act(_rollback())

    asyncio.run(live())
    assert 0 == store.share()


def is_over(store: Store) -> bool:
    return store.state.over


def _rollback() -> Any:
    from weighbridge.store.control import RampAct

    return RampAct(action="rollback", route="assistant")


def test_a_wall_clock_that_jumps_a_day_shortens_no_stage(store: Store) -> None:
    async def live() -> None:
        await store.begin()
        await store.until("canary")
        for jump in (86_400.0, -3 * 86_400.0, 7 * 86_400.0):
            store.clock.jump_wall(jump)
            await store.office.tick()
            assert "canary" == store.state.stage

    asyncio.run(live())


def test_a_machine_that_slept_was_not_watching(store: Store) -> None:
    async def live() -> None:
        await store.begin()
        await store.until("canary")
        store.clock.advance(86_400)
        await store.office.tick()
        assert "canary" == store.state.stage
        assert (await store.status()).held_s <= 10.0

    asyncio.run(live())


def test_how_long_a_stage_lasted_is_kept_over_a_restart_and_never_grows_by_it(store: Store) -> None:
    async def live() -> float:
        await store.begin()
        await store.until("canary")
        for _ in range(4):
            store.clock.advance(10)
            await store.office.tick()
        return (await store.status()).held_s

    before = asyncio.run(live())
    store.clock.advance(3600)
    store.again()
    assert before - 10.0 <= asyncio.run(store.status()).held_s <= before


def test_a_candidate_that_was_edited_gets_no_share_from_the_next_table_on_and_is_taken_back(store: Store) -> None:
    async def live() -> None:
        await store.begin()
        await store.until("quarter")
        store.file.write_text(store.file.read_text().replace('model = "model-b"', 'model = "model-c"'))
        store.again()
        assert 0 == store.share()
        store.clock.advance(1)
        await store.office.tick()

    asyncio.run(live())
    assert "rolled_back" == store.state.stage
    assert "was changed" in store.state.reasons[0]


@pytest.mark.parametrize("word", ["inferior", "undecided"])
def test_only_a_verdict_of_non_inferior_allows_a_ramp(store: Store, word: Any) -> None:
    with pytest.raises(ControlError, match=f"the verdict on the whole is {word}"):
        asyncio.run(store.act("propose", verdict=store.verdict(word)))


def test_a_route_of_embeddings_never_ramps_whatever_a_verdict_says(store: Store) -> None:
    verdict = store.verdict()
    text = store.file.read_text().replace('candidates = ["candidate"]', "embeddings = true")
    store.file.write_text(text.replace('route = "assistant"\nhold_s', 'route = "*"\nhold_s'))
    store.again()
    with pytest.raises(ControlError, match="serves embeddings, and vectors of two models do not compare"):
        asyncio.run(store.act("propose", verdict=verdict))


def test_a_verdict_about_another_arm_under_the_same_name_is_refused(store: Store) -> None:
    verdict = store.verdict()
    store.file.write_text(store.file.read_text().replace('model = "model-b"', 'model = "model-c"'))
    store.again()
    with pytest.raises(ControlError, match="the arm was changed since that trial"):
        asyncio.run(store.act("propose", verdict=verdict))


def test_a_route_has_one_ramp_at_a_time(store: Store) -> None:
    asyncio.run(store.begin())
    with pytest.raises(ControlError, match="has a ramp in stage shadow already"):
        asyncio.run(store.act("propose", verdict=store.verdict()))


def test_approvals_are_by_token_where_approvers_are_configured_and_four_eyes_are_four(store: Store) -> None:
    (store.file.parent / "ada").write_text("ada-secret")
    (store.file.parent / "bo").write_text("bo-secret")
    people = "".join(f'\n[[approver]]\nname = "{name}"\ntoken = "file:{name}"\n' for name in ("ada", "bo"))
    text = store.file.read_text().replace("incumbent_per_minute", "approvals = 2\nincumbent_per_minute")
    store.file.write_text(text + people)
    store.again()

    async def live() -> None:
        await store.act("propose", verdict=store.verdict(), token="ada-secret")
        with pytest.raises(ControlError, match="needs a token"):
            await store.act("approve", up_to="few")
        with pytest.raises(ControlError, match="the token is nobody's"):
            await store.act("approve", up_to="few", token="wrong")
        await store.act("approve", up_to="few", token="ada-secret")
        status = await store.act("approve", up_to="few", token="bo-secret", accepts=("way_back", "licence"))
        assert ["ada", "bo"] == [row.by for row in status.state.approvals]
        with pytest.raises(ControlError, match=r"1 approval is missing for shadow \(given by bo\)"):
            await store.act("start")

    asyncio.run(live())


def test_who_is_signed_in_approves_without_a_token_and_four_eyes_are_people(store: Store) -> None:
    (store.file.parent / "ada").write_text("ada-secret")
    text = store.file.read_text().replace("incumbent_per_minute", "approvals = 2\nincumbent_per_minute")
    store.file.write_text(text + '\n[[approver]]\nname = "ada"\ntoken = "file:ada"\n')
    store.again()

    async def live() -> None:
        def ask(action: RampAction, **given: str) -> RampAct:
            stage: Stage | None = "few" if action == "approve" else None
            return RampAct(action=action, route="assistant", up_to=stage, verdict=given.get("verdict"))

        proposed = (await store.office.act(ask("propose", verdict=store.verdict()), "cy")).ramps[0]
        assert "cy" == proposed.state.proposed_by
        await store.office.act(ask("approve"), "cy")
        approved = (await store.office.act(ask("approve"), "dee")).ramps[0]
        assert ["cy", "dee"] == [row.by for row in approved.state.approvals]
        with pytest.raises(ControlError, match=r"1 approval is missing for shadow \(given by dee\)"):
            await store.office.act(ask("start"), "dee")

    asyncio.run(live())


def test_a_forged_share_and_a_forged_step_are_found(store: Store) -> None:
    async def live() -> RampState:
        await store.begin("few")
        await store.until("few")
        state = store.state
        forged = msgspec.structs.replace(
            state, stage="half", revision=state.revision + 1, prev=store.desk.stored()[0][1].digest
        )
        await store.put("ramp", "assistant/candidate", canonical(forged))
        return forged

    asyncio.run(live())
    assert ["went from few to half, which no ramp may"] == broken(store)
    table = store.publisher.current
    assert table is not None
    body = canonical(table).replace(b'"basis_points":500', b'"basis_points":5000').replace(b"9500", b"5000")
    found = check(store.layout, (body,)).broken
    assert any("its shares are not the 5%" in row.what for row in found)


def test_nothing_moves_while_nothing_serves_but_a_rollback_is_on_record_for_the_next_start(store: Store) -> None:
    asyncio.run(store.begin())
    store.serving = False
    with pytest.raises(ControlError, match="nothing serves"):
        asyncio.run(store.act("advance"))


def test_a_pause_counts_no_copy_twice(store: Store) -> None:
    async def live() -> None:
        await store.begin("few")
        await store.until("canary")
        held = store.office._watching.of("assistant")
        assert held is not None
        assert held.watch is not None
        held.watch.copies_nanousd = 700
        for action in ("pause", "resume", "pause"):
            await store.act(action)
            assert 700 == store.state.copies_spent_nanousd
        await store.act("resume")
        await store.until("few")
        assert (700, 0) == (store.state.copies_spent_nanousd, store.state.copies_of_stage_nanousd)

    asyncio.run(live())


def test_a_keeper_that_follows_watches_and_decides_nothing(store: Store) -> None:
    async def live() -> None:
        await store.begin("few")
        store.leader = "host a (site x)"
        await ticks(store)
        answer = await store.office.show(RampShow())
        assert ("shadow", 300.0) == (answer.ramps[0].state.stage, answer.ramps[0].held_s)
        assert "host a (site x) leads and decides" in answer.notes[0]
        store.leader = None
        await store.until("canary", ticks=2)

    asyncio.run(live())


def test_a_resume_settles_the_doubt_for_good_and_a_keeper_that_starts_again_knows_it(store: Store) -> None:
    async def live() -> tuple[int, int]:
        await store.begin("few")
        await store.until("canary")
        before = store.state.doubt_after
        await store.act("pause")
        await store.act("resume")
        await store.office.tick()
        return before, store.state.doubt_after

    before, after = asyncio.run(live())
    table = store.publisher.current
    assert table is not None
    assert (0, table.number - 1) == (before, after)
    held = store.office._watching.of("assistant")
    assert held is not None
    assert held.watch is not None
    assert after == held.watch._doubt_after
    store.again()
    asyncio.run(store.office.tick())
    again = store.office._watching.of("assistant")
    assert again is not None
    assert again.watch is not None
    assert after == again.watch._doubt_after
