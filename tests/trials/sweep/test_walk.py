"""Many candidates, one cursor, one family."""

import random
from collections.abc import Callable

import msgspec
import pytest

from tests.trials.world import Traffic, asked, config, with_settings
from weighbridge.grading.book import GraderBook
from weighbridge.trials.outcome import Outcome, Scored
from weighbridge.trials.plan import TrialPlan
from weighbridge.trials.prepare import planned
from weighbridge.trials.sweep.walk import SweepWalk

NAMES = ("good", "bad", "other")
Score = Callable[[str, str], float]
"""(candidate, item) -> score of the candidate; the incumbent has 1 throughout."""


def plans(size: int, tasks: str = "a", margin: float = 0.1, names: tuple[str, ...] = NAMES) -> dict[str, TrialPlan]:
    traffic = Traffic()
    for number in range(size):
        traffic.ask(tasks[number % len(tasks)])
    loaded, frame = config(), traffic.frame()
    family = tuple(f"{name} id-{name}" for name in names)
    made = {}
    for name in names:
        settings = with_settings(asked(margin), candidate=name, family=family)
        graders = GraderBook(loaded, "assistant")
        made[name] = planned(frame, loaded.config.route[0], f"id-{name}", graders, (), settings, 1, [], 7)
    return made


def scored(plan: TrialPlan, name: str, score: Score) -> dict[str, Outcome]:
    items = [item for unit in plan.units for item in unit.items]
    return {item: Scored(item=item, replay=None, incumbent=1.0, candidate=score(name, item)) for item in items}


def walked(made: dict[str, TrialPlan], score: Score) -> SweepWalk:
    walk = SweepWalk(made, {name: scored(plan, name, score) for name, plan in made.items()})
    walk.advance()
    return walk


def bad_is_bad(name: str, item: str) -> float:
    return 0.0 if name == "bad" and int(item.rpartition("-")[2], 16) % 2 else 1.0


def words(walk: SweepWalk) -> dict[str, str]:
    assert walk.decider is not None
    return {name: walk.decider.whole_verdict(name) for name in walk.lanes}


def test_a_loser_is_asked_for_less_and_what_that_spared_is_counted() -> None:
    walk = walked(plans(400, "ab"), bad_is_bad)
    assert {"good": "non_inferior", "bad": "inferior", "other": "non_inferior"} == words(walk)
    lost, won = walk.lanes["bad"], walk.lanes["good"]
    assert 0 < lost.pairs < won.pairs
    # Every unit that somebody took is a pair or a spared one of everybody.
    total = won.pairs + sum(won.spared.values()) + sum(won.settled.values())
    assert total == lost.pairs + sum(lost.spared.values()) + sum(lost.settled.values())
    assert sum(lost.spared.values()) == won.pairs - lost.pairs


def test_beside_losers_a_candidate_needs_more_pairs_than_alone_because_the_family_shares_alpha() -> None:
    made = plans(400)
    family = walked(made, lambda name, item: 1.0)
    alone = walked(plans(400, names=("good",)), lambda name, item: 1.0)
    beside = walked(made, lambda name, item: 1.0 if name == "good" else bad_is_bad("bad", item))
    assert alone.lanes["good"].pairs < beside.lanes["good"].pairs
    # Three equal ones prove each other early; beside two that stand still a certificate takes its Bonferroni share.
    assert family.lanes["good"].pairs <= beside.lanes["good"].pairs


def test_the_cursor_waits_for_the_slowest_and_ends_the_same_in_any_order_of_outcomes() -> None:
    made = plans(300, "ab")
    whole = walked(made, bad_is_bad)
    full = {name: scored(plan, name, bad_is_bad) for name, plan in made.items()}
    arrived: dict[str, dict[str, Outcome]] = {name: {} for name in made}
    walk = SweepWalk(made, arrived)
    order = [(name, item) for name, rows in full.items() for item in rows]
    random.Random(3).shuffle(order)
    for name, item in order:
        arrived[name][item] = full[name][item]
        walk.lanes[name].advance(arrived[name])
    assert (whole.cursor, words(whole)) == (walk.cursor, words(walk))
    assert [lane.taken for lane in whole.lanes.values()] == [lane.taken for lane in walk.lanes.values()]


def test_one_that_cannot_be_asked_any_more_holds_nobody_up() -> None:
    made = plans(300)
    outcomes = {name: scored(plan, name, bad_is_bad) for name, plan in made.items()}
    for unit in made["other"].units[10:]:
        del outcomes["other"][unit.items[0]]
    walk = SweepWalk(made, outcomes)
    walk.advance()
    assert 10 == walk.cursor
    assert walk.lanes["good"].waits
    assert not walk.lanes["other"].waits
    walk.leave_out("other")
    walk.advance()
    assert {"good": "non_inferior", "bad": "inferior", "other": "undecided"} == words(walk)
    assert 10 == walk.lanes["other"].pairs


@pytest.mark.long
def test_false_certificates_over_the_whole_family_stay_below_alpha() -> None:
    """All three sit at the margin: any certificate is false, over slices and candidates together."""
    made, false, runs = plans(400, "ab", margin=0.1), 0, 400
    for run in range(runs):
        coin = random.Random(run)
        seen: dict[tuple[str, str], float] = {}

        def score(name: str, item: str, coin: random.Random = coin, seen: dict[tuple[str, str], float] = seen) -> float:
            return seen.setdefault((name, item), 0.0 if coin.random() < 0.1 else 1.0)

        walk = walked(made, score)
        assert walk.decider is not None
        found = {walk.decider.verdict(s, c) for s in walk.decider.slices for c in walk.decider.candidates}
        false += "non_inferior" in found
    assert false <= runs * 0.05 + 3 * (runs * 0.05 * 0.95) ** 0.5


def test_a_sweep_is_another_trial_than_one_alone() -> None:
    made = plans(20)["good"]
    alone = msgspec.structs.replace(made.settings, family=())
    traffic = Traffic()
    for _ in range(20):
        traffic.ask("a")
    loaded = config()
    graders = GraderBook(loaded, "assistant")
    plan = planned(traffic.frame(), loaded.config.route[0], "id-good", graders, (), alone, 1, [], 7)
    assert plan.units == made.units
    assert plan.trial != made.trial
