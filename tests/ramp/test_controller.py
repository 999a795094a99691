"""Decisions: every combination of state, evidence and gates stays within the table, and back comes before on."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ramp.made import ENOUGH, OPEN, STATE, alarm, at, gate
from weighbridge.ramp.controller import GATES, Evidence, decide, missing_for
from weighbridge.ramp.stages import ENDED, LADDER, LIVE, move_between, next_of
from weighbridge.records.ramp import STAGES, Approval, GateView, RampState, Stage, StreamView

stages = st.sampled_from(STAGES)
streams = st.lists(
    st.builds(
        StreamView,
        name=st.sampled_from(["errors", "latency", "quality"]),
        seen=st.integers(0, 5000),
        value=st.floats(0, 1e9),
        threshold=st.just(1e6),
        alarmed=st.booleans(),
    ),
    max_size=3,
).map(tuple)
evidences = st.builds(
    Evidence,
    held_s=st.floats(0, 1000),
    conversations=st.integers(0, 30),
    pairs=st.integers(0, 20),
    streams=streams,
    doubt=st.none() | st.just(alarm("quality against its own trial")),
    missing=st.sampled_from([(), ("the log cannot be read",)]),
)
gate_sets = st.lists(
    st.builds(GateView, name=st.sampled_from(sorted(GATES)), open=st.none() | st.booleans(), why=st.just("why")),
    max_size=8,
).map(tuple)
states = st.builds(
    lambda stage, came, approved, needed, by: msgspec.structs.replace(
        STATE,
        stage=stage,
        came_from=came if stage == "paused" else None,
        approvals=tuple(Approval(by=who, time_ns=1, up_to=up) for who, up in zip(by, approved, strict=False)),
        plan=msgspec.structs.replace(STATE.plan, approvals=needed),
    ),
    stages,
    st.sampled_from(["shadow", *LIVE]),
    st.lists(st.sampled_from(LADDER), max_size=3),
    st.integers(1, 2),
    st.lists(st.sampled_from(["ada", "bo", "cy"]), min_size=3, max_size=3),
)


@given(states, evidences, gate_sets)
def test_every_decision_is_an_arrow_of_the_table_for_its_cause(
    state: RampState, evidence: Evidence, gates: tuple[GateView, ...]
) -> None:
    decision = decide(state, evidence, gates)
    if decision.target is not None:
        move = move_between(state.stage, decision.target)
        assert move is not None, (state.stage, decision)
        assert decision.cause in move.causes
        assert decision.reasons
    else:
        assert decision.waits_for or state.stage in (*ENDED, "settled")


@given(states, evidences, gate_sets)
def test_no_share_grows_without_approval_time_evidence_open_gates_and_silence(
    state: RampState, evidence: Evidence, gates: tuple[GateView, ...]
) -> None:
    decision = decide(state, evidence, gates)
    if decision.target is None:
        return
    after = msgspec.structs.replace(state, stage=decision.target, came_from=None)
    if after.basis_points > state.basis_points:
        terms = state.plan.terms(state.stage)
        assert terms is not None
        assert evidence.held_s >= terms.hold_s
        assert evidence.conversations >= terms.conversations_min
        assert evidence.pairs >= terms.pairs_min
        assert not evidence.missing
        assert not any(stream.alarmed for stream in evidence.streams)
        assert all(row.open for row in gates)
        people = {row.by for row in state.approvals if LADDER.index(row.up_to) >= LADDER.index(decision.target)}
        assert len(people - ({"ada"} if state.plan.approvals > 1 else set())) >= state.plan.approvals


@given(states, evidences, gate_sets)
def test_an_alarm_or_a_closed_gate_takes_users_back_whatever_else_is_true(
    state: RampState, evidence: Evidence, gates: tuple[GateView, ...]
) -> None:
    demands = any(stream.alarmed for stream in evidence.streams) or any(
        row.open is False and GATES[row.name] == "back" for row in gates
    )
    if demands and state.basis_points > 0:
        assert "rolled_back" == decide(state, evidence, gates).target


@pytest.mark.parametrize("stage", LADDER[1:-1])
def test_with_everything_there_a_ramp_goes_one_step(stage: Stage) -> None:
    assert next_of(stage) == decide(at(stage), ENOUGH, OPEN).target


def test_a_proposed_ramp_is_never_started_by_itself() -> None:
    decision = decide(at("proposed"), ENOUGH, OPEN)
    assert decision.target is None
    assert "somebody starts it" in decision.waits_for[0]


def test_the_reasons_for_waiting_are_all_named() -> None:
    thin = Evidence(held_s=10, conversations=3, pairs=0, missing=("the cost of the candidate is unknown",))
    waits = decide(
        at("canary", approved=None), thin, (gate("headroom", None, "its rate limit is not stated"),)
    ).waits_for
    assert [
        "1 approval is missing for few: `weighbridge ramp approve assistant --up-to few`",
        "its rate limit is not stated",
        "50 s more of the 60 s that canary lasts at least",
        "the cost of the candidate is unknown",
        "7 more conversations on candidate (3 of 10)",
        "5 more judged pairs (0 of 5)",
    ] == list(waits)


def test_an_unknown_gate_is_passed_only_by_an_approval_that_names_it() -> None:
    gates = (gate("headroom", None),)
    assert decide(at("canary"), ENOUGH, gates).target is None
    taken = Approval(by="ada", time_ns=1, up_to="few", accepts=("headroom",))
    state = msgspec.structs.replace(at("canary"), approvals=(taken,))
    assert "few" == decide(state, ENOUGH, gates).target
    assert decide(state, ENOUGH, (gate("headroom", False),)).target is None


def test_with_four_eyes_the_proposer_does_not_count() -> None:
    plan = msgspec.structs.replace(STATE.plan, approvals=2)
    rows = tuple(Approval(by=name, time_ns=1, up_to="few") for name in ("ada", "bo"))
    state = msgspec.structs.replace(at("canary"), plan=plan, approvals=rows)
    assert "1 approval is missing" in missing_for(state, "few", ENOUGH, OPEN)[0]
    three = msgspec.structs.replace(state, approvals=(*rows, Approval(by="cy", time_ns=1, up_to="few")))
    assert () == missing_for(three, "few", ENOUGH, OPEN)


def test_a_doubt_pauses_and_an_alarm_beside_it_takes_back() -> None:
    doubtful = msgspec.structs.replace(ENOUGH, doubt=alarm("quality against its own trial"))
    assert ("paused", "doubt") == (decide(at("few"), doubtful, OPEN).target, decide(at("few"), doubtful, OPEN).cause)
    both = msgspec.structs.replace(doubtful, streams=(alarm(),))
    assert ("rolled_back", "alarm") == (decide(at("few"), both, OPEN).target, decide(at("few"), both, OPEN).cause)


def test_an_alarm_says_its_figures() -> None:
    stream = msgspec.structs.replace(alarm(), candidate_bad=7, candidate_n=14, control_bad=1, control_n=266)
    reason = decide(at("few"), msgspec.structs.replace(ENOUGH, streams=(stream,)), OPEN).reasons[0]
    assert "errors rose: 7 of 14 on the candidate, 1 of 266 on the incumbent" in reason


def test_licence_and_send_gate_take_back_while_a_full_budget_only_waits() -> None:
    assert "rolled_back" == decide(at("half"), ENOUGH, (gate("licence", False),)).target
    assert "rejected" == decide(at("shadow"), ENOUGH, (gate("send", False),)).target
    assert decide(at("half"), ENOUGH, (gate("budget", False),)).target is None
