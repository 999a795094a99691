"""Asking the candidate: retries, throttling, money, an endpoint that fails, a crash in between."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from tests.trials.world import EXACT, Traffic, asked, config, judged_by, with_settings
from weighbridge.config import Loaded
from weighbridge.trials.arrivals import Arrivals
from weighbridge.trials.calls import BodyGone, Lost, NotSent, Send, Sent
from weighbridge.trials.frame import Item
from weighbridge.trials.money import Purse
from weighbridge.trials.outcome import Gone, Outcome, Scored, Scores, Unjudged
from weighbridge.trials.pace import Pace
from weighbridge.trials.plan import Settings
from weighbridge.trials.replay import AHEAD_FACTOR, BROKEN_IN_A_ROW_MAX, TRIES, Progress, Replayer, Stopped
from weighbridge.trials.walk import CANDIDATE, Walk

Answer = str | tuple[int, str] | type[BaseException]


def completion(text: str) -> bytes:
    return json.dumps({"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}).encode()


@dataclass
class Host:
    """A candidate in memory: answers by a function of item and try, finishes in any order, counts calls."""

    answer: Callable[[Item, int], Answer]
    cost_nanousd: int | None = 100
    calls: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    most_in_flight: int = 0
    jitter: random.Random = field(default_factory=lambda: random.Random(1))

    async def __call__(self, item: Item) -> Sent:
        self.calls[item.id] += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            for _ in range(self.jitter.randrange(4)):
                await asyncio.sleep(0)
            found = self.answer(item, self.calls[item.id])
        finally:
            self.in_flight -= 1
        if isinstance(found, type):
            raise found("injected")
        if isinstance(found, str):
            return Sent(status=200, body=completion(found), exchange=f"r-{item.id}", cost_nanousd=self.cost_nanousd)
        status, code = found
        body = json.dumps({"error": {"message": "injected", "code": code}}).encode()
        return Sent(status=status, body=body, exchange=f"x-{item.id}", cost_nanousd=0, retry_after="2")


@dataclass
class Trial:
    """Everything of one in-memory trial."""

    traffic: Traffic
    settings: Settings
    loaded: Loaded = field(default_factory=config)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    kept: list[Outcome] = field(default_factory=list)
    shown: list[Progress] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.plan, self.items = self.traffic.plan(self.settings, self.loaded)
        self.walk = Walk(self.plan)
        self.purse = Purse(None)

    def run(
        self, host: Send, most: int = 8, bound: int | None = 100, arrivals: Arrivals | None = None,
        passes: Callable[[float], None] = lambda _: None,
    ) -> Stopped:  # fmt: skip
        """passes: hears how much time each sleep takes."""

        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)
            passes(seconds)
            await asyncio.sleep(0)

        async def go() -> Stopped:
            replayer = Replayer(
                self.walk,
                self.items,
                self.outcomes,
                host,
                judged_by(self.loaded, self.traffic),
                self.purse,
                lambda _: bound,
                Pace(most, lambda: 0.0),
                self.kept.append,
                lambda: None,
                self.shown.append,
                sleep,
                arrivals=arrivals,
            )
            return await replayer.run()

        return asyncio.run(go())

    def verdict(self, name: str = "task=a") -> str:
        assert self.walk.decider is not None
        return self.walk.decider.verdict(name, CANDIDATE)


def trial_of(size: int, tasks: str = "a", settings: Settings | None = None) -> Trial:
    traffic = Traffic()
    for number in range(size):
        traffic.ask(tasks[number % len(tasks)])
    return Trial(traffic, settings or asked())


def test_a_good_candidate_is_asked_only_until_everything_has_decided() -> None:
    trial = trial_of(400, "ab")
    host = Host(lambda item, attempt: "right")
    assert trial.run(host) == "decided"
    assert {trial.verdict("task=a"), trial.verdict("task=b")} == {"non_inferior"}
    # What ran ahead of the decision is bounded, however slow one of them was.
    assert sum(host.calls.values()) <= trial.walk.pairs + AHEAD_FACTOR * 8
    assert set(host.calls.values()) == {1}


def test_banana_is_inferior_in_every_slice() -> None:
    trial = trial_of(300, "ab")
    assert trial.run(Host(lambda item, attempt: "banana")) == "decided"
    assert {trial.verdict("task=a"), trial.verdict("task=b")} == {"inferior"}


def test_never_more_are_in_flight_than_allowed() -> None:
    trial = trial_of(200)
    host = Host(lambda item, attempt: "right")
    trial.run(host, most=3)
    assert host.most_in_flight <= 3


def test_a_busy_host_is_asked_again_after_its_own_wish_and_costs_no_score() -> None:
    trial = trial_of(60)
    host = Host(lambda item, attempt: (429, "rate_limit") if attempt == 1 else "right")
    assert trial.run(host) in ("decided", "exhausted")
    assert trial.verdict() == "non_inferior"
    assert set(host.calls.values()) == {2}
    assert all(2.0 <= seconds < 2.3 for seconds in trial.slept)


def test_a_candidate_that_times_out_to_the_end_scores_zero() -> None:
    trial = trial_of(60)
    host = Host(lambda item, attempt: TimeoutError)
    assert trial.run(host) == "decided"
    assert trial.verdict() == "inferior"
    rows = [one for one in trial.kept if isinstance(one, Scored)]
    assert {(one.candidate, one.failure) for one in rows} == {(0.0, "timeout")}
    assert set(host.calls.values()) == {TRIES}


def test_a_refusal_scores_zero_without_another_try() -> None:
    trial = trial_of(60)
    host = Host(lambda item, attempt: (400, "content_filter"))
    trial.run(host)
    assert trial.verdict() == "inferior"
    assert set(host.calls.values()) == {1}


@pytest.mark.parametrize(
    "answer",
    [(404, "model_not_found"), (500, "boom"), NotSent, Lost],
    ids=["unknown model", "5xx", "unreachable", "cut"],
)
def test_an_endpoint_that_fails_is_given_up_and_is_nobodys_score(answer: Answer) -> None:
    trial = trial_of(400)
    host = Host(lambda item, attempt: answer)
    assert trial.run(host) == "endpoint"
    assert trial.walk.pairs == 0
    assert len(host.calls) <= BROKEN_IN_A_ROW_MAX + 8
    assert all(isinstance(one, Unjudged) for one in trial.kept)


def test_a_few_failures_keep_their_slice_apart_and_the_others_go_on() -> None:
    trial = trial_of(300, "ab")
    bad = {name for unit in trial.plan.units[:40] if unit.slice == "task=a" for name in unit.items}
    host = Host(lambda item, attempt: (500, "boom") if item.id in bad else "right")
    trial.run(host)
    assert trial.verdict("task=b") == "non_inferior"
    assert {row.item for row in trial.walk.unjudged["task=a"]} <= bad
    assert trial.walk.unjudged["task=a"]


def test_money_stops_the_trial_before_the_cap_can_be_passed() -> None:
    trial = trial_of(300)
    trial.purse = Purse(1_050)
    host = Host(lambda item, attempt: "right", cost_nanousd=100)
    assert trial.run(host, bound=100) == "budget"
    assert trial.purse.spent_nanousd == 1_000
    assert sum(host.calls.values()) == 10


def test_an_upper_bound_that_is_not_used_up_makes_room_again() -> None:
    trial = trial_of(300)
    trial.purse = Purse(1_050)
    host = Host(lambda item, attempt: "right", cost_nanousd=10)
    trial.run(host, bound=1_000)
    assert trial.purse.spent_nanousd <= 1_050
    # Each replay may have cost 1,000: one after the other they fit until less than that is left.
    assert sum(host.calls.values()) == 6


def test_retries_are_paid_from_the_same_purse() -> None:
    trial = trial_of(300)
    trial.purse = Purse(1_000)
    assert trial.run(Host(lambda item, attempt: Lost), bound=100) == "budget"
    assert trial.purse.spent_nanousd <= 1_000
    assert trial.purse.unknown == 10


@pytest.mark.parametrize("most", [1, 8])
def test_a_budget_that_the_gateway_sees_exhausted_first_ends_the_trial(most: int) -> None:
    trial = trial_of(300)
    host = Host(lambda item, attempt: "right" if sum(host.calls.values()) <= 20 else (403, "trial_budget_exhausted"))
    assert trial.run(host, most=most) == "budget"
    assert 0 < trial.walk.pairs <= len(trial.kept) <= 20
    assert sum(host.calls.values()) <= 20 + most + 2


def test_what_was_erased_meanwhile_is_gone_and_not_scored() -> None:
    trial = trial_of(100)
    erased = trial.plan.units[0].items[0]
    trial.run(Host(lambda item, attempt: BodyGone if item.id == erased else "right"))
    assert trial.outcomes[erased] == Gone(item=erased)
    assert trial.walk.gone == 1


@pytest.mark.parametrize("stop_after", [0, 1, 7, 30, 59])
def test_an_interrupted_trial_goes_on_without_paying_twice_and_ends_with_the_same_verdict(stop_after: int) -> None:
    def answer(item: Item, attempt: int) -> Answer:
        return "right" if hash(item.digest) % 17 else "wrong"

    whole = trial_of(200, "ab")
    whole.run(Host(answer))

    class CrashError(Exception):
        pass

    first = trial_of(200, "ab")
    host = Host(answer)

    def crash_at(outcome: Outcome) -> None:
        if len(first.kept) >= stop_after:
            raise CrashError
        list.append(first.kept, outcome)

    class Kept(list[Outcome]):
        def append(self, outcome: Outcome) -> None:
            crash_at(outcome)

    first.kept = Kept()
    with pytest.raises(CrashError):
        first.run(host)
    second = Trial(first.traffic, first.settings)
    second.outcomes.update({one.item: one for one in first.kept})
    again = Host(answer)
    second.run(again)
    assert not {one.item for one in first.kept} & again.calls.keys()
    assert second.walk.taken == whole.walk.taken
    assert second.verdict("task=a") == whole.verdict("task=a")
    assert second.verdict("task=b") == whole.verdict("task=b")


def test_a_grader_that_raises_ends_the_run_with_what_was_done_kept() -> None:
    trial = trial_of(100)

    async def go() -> Stopped:
        async def judge(item: Item, answer: object) -> Scores:
            if len(trial.kept) == 5:
                raise RuntimeError("bad grader")
            return Scores(incumbent=1.0, candidate=1.0)

        replayer = Replayer(
            trial.walk, trial.items, trial.outcomes, Host(lambda item, attempt: "x"), judge, trial.purse, lambda _: 1,
            Pace(1), trial.kept.append, lambda: None, trial.shown.append,
        )  # fmt: skip
        return await replayer.run()

    with pytest.raises(RuntimeError, match="bad grader"):
        asyncio.run(go())
    assert len(trial.kept) == 5


def test_a_conversation_longer_than_the_look_ahead_is_replayed_whole() -> None:
    traffic = Traffic()
    for number in range(200):
        traffic.ask("a", conversation=f"talk{number // 100}")
    trial = Trial(traffic, asked())
    assert trial.run(Host(lambda item, attempt: "right"), most=1) == "exhausted"
    assert trial.walk.pairs == 200


def test_progress_says_pairs_money_and_decided_slices() -> None:
    trial = trial_of(300, "ab")
    trial.run(Host(lambda item, attempt: "right"))
    last = trial.shown[-1]
    assert last.pairs == trial.walk.pairs
    assert last.decided == last.slices == 2
    assert last.spent_nanousd == 100 * len(trial.kept)
    assert last.in_flight == 0


def test_a_sample_bounds_what_is_asked() -> None:
    trial = trial_of(300, "a", with_settings(asked(margin=0.03), sample=20))
    host = Host(lambda item, attempt: "right")
    assert trial.run(host) == "exhausted"
    assert sum(host.calls.values()) == 20


def test_agreement_is_measured_against_the_incumbents_own_answer() -> None:
    traffic = Traffic()
    for number in range(60):
        traffic.ask("a", answer=f"answer {number % 7}", gold=None)
    trial = Trial(traffic, asked(), config(EXACT + 'reference = "incumbent"\n'))
    host = Host(lambda item, attempt: str(item.reference))
    trial.run(host)
    assert {one.incumbent for one in trial.kept if isinstance(one, Scored)} == {1.0}
    assert trial.walk.decider is None
    state = trial.walk.state("task=a")
    assert state is not None
    assert state.difference == 0.0
