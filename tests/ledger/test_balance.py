"""Promise 1: books balance, over any order of requests, messages, breaks, window ends and deaths."""

import random
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.ledger.world import CHAINS, MINUTE, Request, World

pytestmark = pytest.mark.promise(1)

USERS = (None, "ann", "bob")


class Balance(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    def worker(self, number: int):  # type: ignore[no-untyped-def]
        return self.world.workers[number % len(self.world.workers)]

    @rule(number=st.integers(0, 3), chain=st.integers(0, len(CHAINS) - 1), user=st.sampled_from(USERS),
          nanousd=st.integers(0, 3_500))  # fmt: skip
    def arrives(self, number: int, chain: int, user: str | None, nanousd: int) -> None:
        self.world.arrive(self.worker(number), chain, user, nanousd)

    @precondition(lambda self: any(worker.running for worker in self.world.workers))
    @rule(data=st.data(), cost=st.one_of(st.none(), st.integers(0, 5_000)))
    def ends(self, data: st.DataObject, cost: int | None) -> None:
        self.world.finish(data.draw(st.sampled_from(self._running())), cost)

    @precondition(lambda self: any(worker.running for worker in self.world.workers))
    @rule(data=st.data(), more=st.integers(0, 500))
    def tries_again(self, data: st.DataObject, more: int) -> None:
        self.world.grow(data.draw(st.sampled_from(self._running())), more)

    def _running(self) -> list[Request]:
        return [request for worker in self.world.workers for request in worker.running]

    @rule(number=st.integers(0, 3))
    def keeper_hears(self, number: int) -> None:
        self.world.deliver_to_keeper(self.worker(number))

    @rule(number=st.integers(0, 3))
    def worker_hears(self, number: int) -> None:
        self.world.deliver_to_worker(self.worker(number))

    @rule(number=st.integers(0, 3))
    def is_called_back(self, number: int) -> None:
        self.world.call_back(self.worker(number))

    @rule(number=st.integers(0, 3))
    def breaks_off(self, number: int) -> None:
        self.world.disconnect(self.worker(number))

    @rule(number=st.integers(0, 3))
    def connects(self, number: int) -> None:
        self.world.connect(self.worker(number))

    @rule(number=st.integers(0, 3))
    def is_read(self, number: int) -> None:
        self.world.project(self.worker(number))

    @rule(number=st.integers(0, 3))
    def dies(self, number: int) -> None:
        self.world.kill(self.worker(number))
        self.world.start_worker()

    @rule(ns=st.sampled_from((10**6, 10**9, MINUTE, 61 * MINUTE)))
    def time_passes(self, ns: int) -> None:
        self.world.tick(ns)

    @invariant()
    def books_balance(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        self.world.settle_down()
        self.world.store.close()


TestBalance = Balance.TestCase
TestBalance.settings = settings(
    max_examples=60, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
)


def simulated(seed: int, operations: int) -> World:
    """The same rules by a random number generator: many more operations a second."""
    random_of, world = random.Random(seed), World()

    def running() -> list[Request]:
        return [request for worker in world.workers for request in worker.running]

    def end() -> None:
        found = running()
        if found:
            world.finish(random_of.choice(found), random_of.choice((None, 0, 50, 300, 1_500)))

    def die() -> None:
        world.kill(random_of.choice(world.workers))
        world.start_worker()

    def worker_of(act: Callable[..., object]) -> Callable[[], object]:
        return lambda: act(random_of.choice(world.workers))

    acts: list[tuple[Callable[[], object], int]] = [
        (lambda: world.arrive(random_of.choice(world.workers), random_of.randrange(len(CHAINS)),
                              random_of.choice(USERS), random_of.randrange(2_000)), 30),
        (end, 30),
        (worker_of(world.deliver_to_keeper), 30),
        (worker_of(world.deliver_to_worker), 30),
        (worker_of(world.call_back), 3),
        (worker_of(world.project), 5),
        (worker_of(world.disconnect), 1),
        (worker_of(world.connect), 3),
        (die, 1),
        (lambda: world.tick(random_of.choice((10**6, 10**9, 20 * 10**9))), 5),
    ]  # fmt: skip
    weights = [weight for _, weight in acts]
    for act, _ in random_of.choices(acts, weights, k=operations):
        act()
        if world.operations % 10 == 0:
            world.check()
        else:
            world.operations += 1
    world.check()
    world.settle_down()
    world.store.close()
    return world


@pytest.mark.parametrize("seed", range(3))
def test_books_balance_over_two_thousand_operations(seed: int) -> None:
    world = simulated(seed, 2_000)
    assert world.operations >= 2_000
    assert world.funded > 200
    assert world.refused > 5
    assert world.started > 5


@pytest.mark.long
@pytest.mark.parametrize("seed", range(50))
def test_books_balance_over_a_million_operations(seed: int) -> None:
    assert simulated(1_000 + seed, 20_000).operations >= 20_000
