"""What a worker lets in under budgets: refusals and their words, users, purposes, excess, and a ledger that is gone."""

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import openai
import pytest

from tests.fakes.provider import FakeProvider, Script
from tests.gateway.running import KEY, PRICE, Answer, Running, call, chat, endpoint, key_digest, table, until
from tests.gateway.test_trials import COST, replay, token
from weighbridge.ledger.leasing import resolve
from weighbridge.ledger.projection import Projector
from weighbridge.records.budget import Budget
from weighbridge.records.table import Arm, FailedCalls, Key, Route, RouteTable, Share, UsualOutput
from weighbridge.store.ledger import EPOCH_SHIFT, LedgerStore, WindowRow
from weighbridge.store.sql import SqliteSql

BODY = chat(max_tokens=10)


def budgeted(url: str, *budgets: Budget, key: str | None = "support", route: Route | None = None) -> RouteTable:
    keys = [Key(name="tests", digest=key_digest(KEY), team="qa", routes=("*",), budget=key)]
    return table(url, keys=keys, budgets=budgets, routes=None if route is None else [route])


def hard(name: str = "support", holds: float = 1.0, **more: object) -> Budget:
    return Budget(**{"name": name, "limit_nanousd": round(HOLD * holds), "hard": True, **more})  # type: ignore[arg-type]


HOLD = (len(BODY) - len('"assistant"') + len('"model-a"') + 256) * 2_500 + 10 * 10_000
"""What one `BODY` is held at: its bytes and the template at the input price, its tokens at the output price."""


def windows(gateway: Running) -> dict[tuple[str, str], WindowRow]:
    return {(row.budget, row.subject): row for row in gateway.bank.store.windows()}


def statuses(gateway: Running, bodies: Sequence[bytes]) -> list[int]:
    return [call(gateway.port, body).status for body in bodies]


def test_the_bound_that_these_tests_count_with_is_the_gateways(gateway: Running) -> None:
    call(gateway.port, BODY)
    assert HOLD == gateway.held()[0].held_nanousd


def test_a_refusal_says_which_budget_how_much_is_left_and_when_it_starts_anew(
    tmp_path: Path, provider: FakeProvider
) -> None:
    with Running(tmp_path, budgeted(provider.url, hard(holds=0.5))) as gateway:
        answer = call(gateway.port, BODY)
        assert (429, "budget_exceeded") == (answer.status, answer.error["code"])
        words = answer.error["message"]
        assert "budget 'support' does not cover this request: it may cost up to $0.00" in words
        assert "are left; it starts anew at 20" in words
        assert ("false", True) == (answer.headers["x-should-retry"], int(answer.headers["retry-after"]) > 0)
        (held,) = gateway.held()
        assert ((), HOLD) == (held.leases, held.held_nanousd)
        (finished,) = gateway.finished()
        assert ("refused", 0) == (finished.outcome, finished.cost_nanousd)
    assert [] == provider.seen


def test_the_official_client_does_not_repeat_a_request_that_no_budget_covers(
    tmp_path: Path, provider: FakeProvider
) -> None:
    with Running(tmp_path, budgeted(provider.url, hard(holds=0.5))) as gateway:
        client = openai.OpenAI(base_url=gateway.base_url, api_key=KEY)
        with pytest.raises(openai.RateLimitError, match="budget 'support' does not cover this request"):
            client.chat.completions.create(model="assistant", messages=[{"role": "user", "content": "Hello"}])
        assert 1 == len(gateway.finished())


def test_what_a_request_costs_is_spent_and_the_rest_of_its_hold_is_room_again(
    tmp_path: Path, provider: FakeProvider
) -> None:
    with Running(tmp_path, budgeted(provider.url, hard(holds=1 + 3 * COST / HOLD))) as gateway:
        answers = statuses(gateway, [BODY] * 6)
        assert [200, 200, 200, 200, 429, 429] == answers
        assert 4 == len(provider.bill)


def test_every_budget_of_the_chain_must_cover_a_request(tmp_path: Path, provider: FakeProvider) -> None:
    chain = (
        hard("support", 100, parent="company"), hard("company", 100, parent="group"), hard("group", 0.9),
    )  # fmt: skip
    with Running(tmp_path, budgeted(provider.url, *chain)) as gateway:
        assert "budget 'group'" in call(gateway.port, BODY).error["message"]
        assert {0} == {row.used_nanousd for row in windows(gateway).values()}


def test_routes_and_arms_have_budgets_of_their_own(tmp_path: Path, provider: FakeProvider) -> None:
    route = Route(name="assistant", incumbent="closed", candidates=("open",), budget="route")
    with Running(tmp_path, budgeted(provider.url, hard("route", 0.9), key=None, route=route)) as gateway:
        assert "budget 'route'" in call(gateway.port, BODY).error["message"]
        assert 200 == replay(gateway, token(), BODY).status  # a trial is not what users send to the route


def test_an_end_user_has_a_cap_and_leaving_the_name_out_is_no_way_around(
    tmp_path: Path, provider: FakeProvider
) -> None:
    provider.answers["model-a"] = Script(usage_style="never")  # so that all that is held is charged
    caps = hard(holds=100, per_user_nanousd=round(HOLD * 2.5))
    bodies = {name: chat(max_tokens=10, user=name) for name in ("ann", "bob")}
    with Running(tmp_path, budgeted(provider.url, caps)) as gateway:
        assert [200, 200, 429, 200] == statuses(gateway, [bodies["ann"]] * 3 + [bodies["bob"]])
        assert "budget 'support' for user 'ann'" in call(gateway.port, bodies["ann"]).error["message"]
        assert [200, 200, 429] == statuses(gateway, [BODY] * 3)
        assert "for requests without a user" in call(gateway.port, BODY).error["message"]


def test_a_soft_budget_refuses_nothing_and_counts_everything(tmp_path: Path, provider: FakeProvider) -> None:
    soft = Budget(name="support", limit_nanousd=1)
    with Running(tmp_path, budgeted(provider.url, soft)) as gateway:
        assert [200] * 3 == statuses(gateway, [BODY] * 3)
        leases = {held.leases for held in gateway.held()}
        assert [1] == [len(one) for one in leases]
        assert all(isinstance(lease, int) for one in leases for lease in one)


def test_trials_are_charged_to_the_budgets_of_their_purpose(tmp_path: Path, provider: FakeProvider) -> None:
    trials = hard("trials", 1.5, purposes=("trial", "judge"))
    provider.answers["model-b"] = Script(usage_style="never")
    with Running(tmp_path, budgeted(provider.url, trials, key=None)) as gateway:
        assert [200, 429] == [replay(gateway, token(), BODY).status for _ in range(2)]
        assert 200 == call(gateway.port, BODY).status


@pytest.mark.promise(4)
def test_what_a_provider_charges_above_the_hold_is_booked_and_others_are_not_touched(
    tmp_path: Path, provider: FakeProvider
) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 100_000, "total_tokens": 100_010}
    provider.answers["model-a"] = Script(usage=usage)
    cost = 10 * 2_500 + 100_000 * 10_000
    keys = [
        Key(name="tests", digest=key_digest(KEY), routes=("*",), budget="support"),
        Key(name="other", digest=key_digest("other"), routes=("*",), budget="other"),
    ]
    with Running(tmp_path, table(provider.url, keys=keys, budgets=[hard(holds=2), hard("other", 2)])) as gateway:
        assert 200 == call(gateway.port, BODY).status
        answer = call(gateway.port, BODY)
        assert (429, True) == (answer.status, "$0 of" in answer.error["message"])
        found = windows(gateway)
        assert cost == found["support", ""].used_nanousd
        provider.answers["model-a"] = Script()
        assert 200 == call(gateway.port, BODY, key="other").status


@pytest.mark.promise(3)
@pytest.mark.parametrize("body", [BODY, chat(messages=[{"role": "user", "content": [
    {"type": "image_url", "image_url": {"url": "http://x/y"}}]}])], ids=["no price", "an image"])  # fmt: skip
@pytest.mark.parametrize("is_hard", [True, False], ids=["hard", "soft"])
def test_what_may_cost_anything_is_refused_under_a_hard_cap_only(
    tmp_path: Path, provider: FakeProvider, body: bytes, is_hard: bool
) -> None:
    arms = [Arm(name="new", endpoint="fake", model="model-c", price=PRICE if b"image_url" in body else None)]
    keys = [Key(name="tests", digest=key_digest(KEY), routes=("*",), budget="support")]
    cap = Budget(name="support", limit_nanousd=10**15, hard=is_hard)
    routes = [Route(name="assistant", incumbent="new")]
    with Running(tmp_path, table(provider.url, arms=arms, keys=keys, budgets=[cap], routes=routes)) as gateway:
        answer = call(gateway.port, body)
    if is_hard:
        assert (403, "budget_cost_unknown", []) == (answer.status, answer.error["code"], provider.seen)
    else:
        assert 200 == answer.status


MATRIX = list(itertools.product((True, False), ("closed", "open"), (True, False)))


@pytest.mark.promise(26)
@pytest.mark.parametrize(("is_hard", "mode", "has_lease"), MATRIX)
def test_without_a_ledger_the_written_fail_mode_decides(
    tmp_path: Path, provider: FakeProvider, is_hard: bool, mode: str, has_lease: bool
) -> None:
    """Promise 26: leases in hand go on; then capped keys as written, keys without a hard cap go on."""
    cap = Budget(name="support", limit_nanousd=HOLD * 1_000, hard=is_hard, on_ledger_loss=mode)  # type: ignore[arg-type]
    with Running(tmp_path, budgeted(provider.url, cap), keeper=has_lease) as gateway:
        if has_lease:
            assert 200 == call(gateway.port, BODY).status
            gateway.on_loop(gateway.gateway.purse.lost)
            assert 200 == call(gateway.port, BODY).status
        answer = call(gateway.port, BODY if not has_lease else chat(max_tokens=9_000))
        if is_hard and mode == "closed":
            assert (503, "ledger_unavailable", "1") == (
                answer.status, answer.error["code"], answer.headers["retry-after"],
            )  # fmt: skip
            assert "'support'" in answer.error["message"]
        else:
            assert 200 == answer.status
            expected = int if has_lease and not is_hard else str
            assert [expected] == [type(lease) for lease in gateway.held()[-1].leases]


@pytest.mark.promise(26)
def test_a_key_without_a_budget_never_asks_the_ledger(tmp_path: Path, provider: FakeProvider) -> None:
    with Running(tmp_path, budgeted(provider.url, hard(), key=None), keeper=False) as gateway:
        assert 200 == call(gateway.port, BODY).status
        assert () == gateway.held()[0].leases


@pytest.mark.promise(26)
def test_a_keeper_that_comes_back_in_time_is_waited_for(tmp_path: Path, provider: FakeProvider) -> None:
    with Running(tmp_path, budgeted(provider.url, hard(holds=3))) as gateway:
        purse, bank = gateway.gateway.purse, gateway.bank
        gateway.on_loop(purse.lost)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(lambda: call(gateway.port, BODY))
            while not gateway.on_loop(lambda: purse._waiting):
                pass
            gateway.on_loop(lambda: purse.connected(lambda said: bank.hear(gateway.line, said)))
            answer: Answer = waiting.result(20)
        assert 200 == answer.status


def test_a_client_that_leaves_while_it_waits_holds_nothing(tmp_path: Path, provider: FakeProvider) -> None:
    from tests.gateway.running import connected, request_bytes

    with Running(tmp_path, budgeted(provider.url, hard()), keeper=False) as gateway:
        with connected(gateway.port) as line:
            line.sendall(request_bytes(BODY))
            while not gateway.on_loop(lambda: gateway.gateway.purse._waiting):
                pass
        (finished,) = gateway.finished()
        assert ("client_gone", 0) == (finished.outcome, finished.cost_nanousd)
        assert ["Held", "Finished"] == [type(frame).__name__ for frame in gateway.frames()]
    assert [] == provider.seen


def test_a_lease_that_a_restored_ledger_does_not_know_is_void(tmp_path: Path, provider: FakeProvider) -> None:
    with Running(tmp_path, budgeted(provider.url, hard(holds=1_000))) as gateway:
        call(gateway.port, BODY)
        (before,) = gateway.held()[0].leases
        store = gateway.bank.store

        def restored() -> None:
            """What `Holding` brings out after the ledger was put back: it does not know the lease."""
            with store.sql.transaction():
                store.begin_epoch(store.epoch() + 1)
                resolve(store, gateway.incarnation)
            gateway.gateway.purse.void([int(before)])

        gateway.on_loop(restored)
        assert 200 == call(gateway.port, BODY).status
        (after,) = gateway.held()[1].leases
        assert (1, 2) == (int(before) >> EPOCH_SHIFT, int(after) >> EPOCH_SHIFT)


# --- what is held without a limit, and what failed calls cost ---------------------------------------------------------


ALL = (Share(arm="closed", basis_points=10_000),)


@pytest.mark.promise(4)
def test_without_a_limit_what_answers_usually_take_is_held_and_the_excess_is_booked(
    tmp_path: Path, provider: FakeProvider
) -> None:
    route = Route(name="assistant", incumbent="closed", shares=ALL, usual_output=(UsualOutput(arm="closed", tokens=2),))
    usual = HOLD - 10 * 10_000 + 2 * 10_000 - len(',"max_tokens":10') * 2_500
    tokens = {"prompt_tokens": 1_000, "completion_tokens": 1_000, "total_tokens": 2_000}
    provider.answers["model-a"] = Script(usage=tokens)
    with Running(tmp_path, budgeted(provider.url, hard(holds=100), route=route)) as gateway:
        assert 200 == call(gateway.port, chat()).status
        (held,) = gateway.held()
        assert usual == held.held_nanousd
        assert 1_000 * 2_500 + 1_000 * 10_000 == gateway.finished()[0].cost_nanousd
        until(lambda: windows(gateway)["support", ""].used_nanousd, lambda used: used >= 12_500_000)


def test_a_routes_own_default_comes_before_what_is_usual(tmp_path: Path, provider: FakeProvider) -> None:
    usual = (UsualOutput(arm="closed", tokens=2),)
    route = Route(name="assistant", incumbent="closed", shares=ALL, usual_output=usual, max_tokens_default=50)
    with Running(tmp_path, budgeted(provider.url, hard(holds=100), route=route)) as gateway:
        call(gateway.port, chat())
        assert HOLD + 40 * 10_000 - len(',"max_tokens":10') * 2_500 == gateway.held()[0].held_nanousd


@pytest.mark.parametrize(
    ("rule", "status", "cost"),
    [
        ("unbilled", 500, 0), ("unbilled", 400, 0), ("refusals_unbilled", 400, 0), ("refusals_unbilled", 503, None),
        ("processed_billed", 400, None), ("processed_billed", 429, 0), ("processed_billed", 503, None),
    ],
)  # fmt: skip
def test_a_failed_call_costs_what_its_provider_says_and_else_nobody_knows(
    tmp_path: Path, provider: FakeProvider, rule: FailedCalls, status: int, cost: int | None
) -> None:
    provider.answers["model-a"] = Script(status=status)
    made = table(provider.url, endpoints=[endpoint(provider.url, failed_calls=rule)])
    with Running(tmp_path, made) as gateway:
        call(gateway.port, BODY)
        assert [cost] == [one.cost_nanousd for one in gateway.finished()]


# --- arms that stand in -----------------------------------------------------------------------------------------------

SPARE = Arm(name="spare", endpoint="two", model="model-b", price=PRICE, price_version="test 1", budget="spare")


def with_a_spare(url: str, spare: Budget, first: str | None = None) -> RouteTable:
    """Arm `closed` (budget `first`), and where it cannot, arm `spare` with a budget of its own inside `company`."""
    route = Route(name="assistant", incumbent="closed", shares=ALL, fallbacks=("spare",), retries_max=1)
    keys = [Key(name="tests", digest=key_digest(KEY), team="qa", routes=("*",), budget="support")]
    made = table(
        url, keys=keys, routes=[route], arms=[SPARE], endpoints=[endpoint(url), endpoint(url, "two")],
        budgets=[hard("support", 100, parent="company"), hard("company", 100), spare, hard("first", 100)],
    )  # fmt: skip
    arms = tuple(msgspec.structs.replace(arm, budget=first) if arm.name == "closed" else arm for arm in made.arms)
    return msgspec.structs.replace(made, arms=arms)


def spent(gateway: Running) -> dict[str, int]:
    """What the log charges each budget, read as the keeper does after the worker has gone."""
    store, layout = LedgerStore(SqliteSql(gateway.layout.ledger, lambda: 1)), gateway.layout
    projector = Projector(layout, store, "here")
    with store.sql.transaction():
        projector.load(1)
    for batch in projector.batches():
        with store.sql.transaction():
            projector.store(batch, 1)
    assert [] == store.leases()
    found = {row.budget: row.posted_nanousd for row in store.windows()}
    assert found == {row.budget: row.used_nanousd for row in store.windows()}
    store.close()
    return found


@pytest.mark.promise(8)
def test_each_arm_is_charged_to_its_own_budget_for_what_it_did(tmp_path: Path, provider: FakeProvider) -> None:
    spare = hard("spare", 50, parent="company")
    with Running(tmp_path, with_a_spare(provider.url, spare, first="first")) as gateway:
        assert 200 == call(gateway.port, BODY).status
        provider.answers["model-a"] = Script(status=429)
        assert "spare" == call(gateway.port, BODY).headers["x-weighbridge-arm"]
        costs = [one.cost_nanousd or 0 for one in gateway.finished(2)]
    assert {"support": sum(costs), "company": sum(costs), "first": costs[0], "spare": costs[1]} == spent(gateway)


def test_an_attempt_of_unknown_cost_is_charged_to_every_arm_that_may_have_served(
    tmp_path: Path, provider: FakeProvider
) -> None:
    provider.answers["model-a"] = Script(status=500)
    with Running(tmp_path, with_a_spare(provider.url, hard("spare", 500), first="first")) as gateway:
        assert 200 == call(gateway.port, BODY).status
        (finished,) = gateway.finished()
        assert (None, ()) == (finished.cost_nanousd, finished.parts)
    charged = finished.charged_nanousd
    assert {"support": charged, "company": charged, "first": charged, "spare": charged} == spent(gateway)


def test_an_arm_whose_budget_is_used_up_does_not_stand_in_and_keeps_nobody_out(
    tmp_path: Path, provider: FakeProvider
) -> None:
    with Running(tmp_path, with_a_spare(provider.url, hard("spare", 0.5))) as gateway:
        assert 200 == call(gateway.port, BODY).status
        provider.answers["model-a"] = Script(status=429)
        assert 429 == call(gateway.port, BODY).status
        assert not [one for one in provider.seen if b'"model-b"' in one.body]
        costs = [one.cost_nanousd or 0 for one in gateway.finished(2)]
    found = spent(gateway)
    assert (sum(costs), 0) == (found["support"], found.get("spare", 0))


def test_the_budget_of_the_arm_that_is_asked_first_is_needed(tmp_path: Path, provider: FakeProvider) -> None:
    made = with_a_spare(provider.url, hard("spare", 50), first="first")
    budgets = tuple(hard("first", 0.5) if one.name == "first" else one for one in made.budgets)
    with Running(tmp_path, msgspec.structs.replace(made, budgets=budgets)) as gateway:
        assert "budget 'first'" in call(gateway.port, BODY).error["message"]
    assert [] == provider.seen
