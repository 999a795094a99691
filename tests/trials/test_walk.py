"""The walk: outcomes in any order of arrival, one verdict; nothing is dropped in silence."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trials.world import EXACT, Traffic, asked, config, with_settings
from weighbridge.trials.outcome import Gone, Outcome, Scored, Unjudged
from weighbridge.trials.plan import TrialPlan
from weighbridge.trials.walk import CANDIDATE, Walk


def traffic_of(size: int, tasks: str = "ab") -> Traffic:
    traffic = Traffic()
    for number in range(size):
        traffic.ask(tasks[number % len(tasks)])
    return traffic


def scores(plan: TrialPlan, rate: float, seed: int = 0) -> dict[str, Outcome]:
    """The candidate is right with this rate, the incumbent always."""
    draw = random.Random(seed)
    return {
        name: Scored(item=name, replay=f"r-{name}", incumbent=1.0, candidate=float(draw.random() < rate))
        for unit in plan.units
        for name in unit.items
    }


def states(walk: Walk) -> list[tuple[str, int, str, int | None]]:
    assert walk.decider is not None
    rows = []
    for name in sorted(walk.plan.judged):
        state = walk.decider.state(name, CANDIDATE)
        rows.append((name, state.n, state.verdict, state.decided_at))
    whole = walk.decider.overall(CANDIDATE)
    return [*rows, ("overall", whole.n, whole.verdict, whole.decided_at)]


def test_an_equal_candidate_is_certified_and_a_hopeless_one_is_not_before_the_frame_ends() -> None:
    plan, _ = traffic_of(600).plan()
    good, bad = Walk(plan), Walk(plan)
    good.advance(scores(plan, 1.0))
    bad.advance(scores(plan, 0.0))
    assert {row[2] for row in states(good)} == {"non_inferior"}
    assert {row[2] for row in states(bad)} == {"inferior"}
    assert good.finished
    assert good.cursor < len(plan.units)
    assert bad.pairs < 40


@given(st.integers(0, 2**20), st.floats(0.7, 1.0))
@settings(max_examples=25, deadline=None)
def test_the_order_of_arrival_changes_nothing(seed: int, rate: float) -> None:
    plan, _ = traffic_of(240).plan()
    known = scores(plan, rate, seed)
    at_once = Walk(plan)
    at_once.advance(known)
    arriving = Walk(plan)
    names = list(known)
    random.Random(seed).shuffle(names)
    here: dict[str, Outcome] = {}
    for name in names:
        here[name] = known[name]
        arriving.advance(here)
    assert states(arriving) == states(at_once)
    assert arriving.taken == at_once.taken


def test_a_decided_slice_is_not_asked_for_once_the_whole_needs_no_more() -> None:
    """One slice is decided early; the walk then wants only the other."""
    plan, _ = traffic_of(400).plan()
    known = scores(plan, 1.0)
    for name, outcome in known.items():
        unit = next(unit for unit in plan.units if name in unit.items)
        if unit.slice == "task=a" and isinstance(outcome, Scored):
            known[name] = Scored(item=name, replay=None, incumbent=1.0, candidate=0.0)
    walk = Walk(plan)
    walk.advance(known)
    rows = {row[0]: row for row in states(walk)}
    assert rows["task=a"][2] == "inferior"
    assert rows["overall"][2] == "inferior"
    assert rows["task=b"][2] == "non_inferior"
    assert rows["task=a"][1] < rows["task=b"][1]


def test_the_walk_waits_for_a_missing_outcome_and_never_steps_over_it() -> None:
    plan, _ = traffic_of(40).plan()
    known = scores(plan, 1.0)
    third = plan.units[2].items[0]
    late = known.pop(third)
    walk = Walk(plan)
    walk.advance(known)
    assert walk.cursor == 2
    known[third] = late
    walk.advance(known)
    assert walk.cursor > 2


def test_a_replay_that_could_not_be_judged_is_kept_apart_and_counted() -> None:
    plan, _ = traffic_of(40).plan()
    known = scores(plan, 1.0)
    bad = plan.units[1]
    known[bad.items[0]] = Unjudged(item=bad.items[0], reason="HTTP 404 model_not_found")
    walk = Walk(plan)
    walk.advance(known)
    assert [row.item for row in walk.unjudged[bad.slice]] == [bad.items[0]]
    assert bad not in [unit for unit, _ in walk.taken]


def test_a_conversation_counts_once_by_the_mean_of_its_requests() -> None:
    traffic = Traffic()
    for number in range(40):
        traffic.ask("a", conversation=f"talk{number // 4}")
    plan, _ = traffic.plan()
    known: dict[str, Outcome] = {}
    for unit in plan.units:
        for place, name in enumerate(unit.items):
            known[name] = Scored(item=name, replay=None, incumbent=1.0, candidate=float(place % 2))
    walk = Walk(plan)
    walk.advance(known)
    state = walk.state("task=a")
    assert state is not None
    assert state.difference == pytest.approx(-0.5)
    assert walk.pairs == 4 * state.n


def test_half_a_conversation_is_no_unit() -> None:
    traffic = Traffic()
    for _ in range(4):
        traffic.ask("a", conversation="talk")
    plan, _ = traffic.plan()
    known = scores(plan, 1.0)
    known[plan.units[0].items[3]] = Unjudged(item=plan.units[0].items[3], reason="x")
    walk = Walk(plan)
    walk.advance(known)
    assert walk.pairs == 0
    assert walk.finished


def test_what_was_erased_is_left_out_and_counted() -> None:
    plan, _ = traffic_of(10, "a").plan()
    known = scores(plan, 1.0)
    gone = plan.units[0].items[0]
    known[gone] = Gone(item=gone)
    walk = Walk(plan)
    walk.advance(known)
    assert walk.gone == 1
    assert walk.pairs == 9


def test_agreement_never_enters_the_family_of_certificates() -> None:
    graders = EXACT + 'slice = "task=a"\n' + EXACT + 'slice = "task=b"\nreference = "incumbent"\n'
    plan, _ = traffic_of(400).plan(loaded=config(graders))
    walk = Walk(plan)
    walk.advance(scores(plan, 1.0))
    assert walk.decider is not None
    assert list(walk.decider.slices) == ["task=a"]
    assert walk.finished
    state = walk.state("task=b")
    assert state is not None
    assert state.verdict == "undecided"
    assert not walk.whole_possible


def test_unshuffled_traffic_draws_its_own_slices() -> None:
    plan, _ = traffic_of(400).plan(with_settings(asked(), shuffle=False))
    walk = Walk(plan)
    walk.advance(scores(plan, 1.0))
    assert {row[2] for row in states(walk)} == {"non_inferior"}


def test_once_the_whole_is_decided_slices_that_go_on_no_longer_move_it() -> None:
    """A hopeless slice decides whole and slice early; the other, close to the margin, goes on alone for long."""
    plan, _ = traffic_of(1_200).plan()
    rates = {"task=a": 0.0, "task=b": 0.9}
    draw = random.Random(3)
    known: dict[str, Outcome] = {
        name: Scored(
            item=name, replay=f"r-{name}", incumbent=1.0, candidate=float(draw.random() < rates.get(unit.slice, 0.9))
        )
        for unit in plan.units
        for name in unit.items
    }
    walk = Walk(plan)
    walk.advance(known)
    assert walk.decider is not None
    whole = walk.decider.overall(CANDIDATE)
    assert whole.verdict == "inferior"
    assert whole.n == whole.decided_at == len(walk.whole_taken)
    assert walk.pairs > 2 * whole.n
    truth = sum(plan.weights[name] * (rate - 1.0) for name, rate in rates.items())
    assert whole.interval[0] <= truth <= whole.interval[1]
