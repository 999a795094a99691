"""Requests and tokens per minute of a key: the bucket on a turned clock, over processes, and on a running gateway."""

import multiprocessing
import time
from pathlib import Path

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.provider import FakeProvider, Script
from tests.gateway.rate_child import START, take_many
from tests.gateway.running import KEY, Running, call, chat, key_digest, table
from weighbridge.gateway.rates import DEBT_NS_MAX, MINUTE_NS, RateBook, SharedMoments
from weighbridge.records.table import Key

SECOND = 1_000_000_000


def book() -> RateBook:
    return RateBook(SharedMoments(None))


def test_a_bucket_holds_a_minutes_worth_and_says_when_there_is_more() -> None:
    rate = book().rate("app", 60, None)
    assert rate is not None
    for _ in range(60):
        assert rate.take(0, START) is None
    refused = rate.take(0, START)
    assert refused is not None
    assert (429, "rate_limit_exceeded", 1) == (refused.status, refused.code, refused.retry_after_s)
    assert rate.take(0, START + SECOND) is None
    assert rate.take(0, START + SECOND) is not None


@given(st.integers(1, 1000), st.lists(st.tuples(st.integers(0, 5 * SECOND), st.integers(1, 50)), max_size=120))
def test_over_any_time_no_more_is_taken_than_a_bucket_and_what_was_refilled(
    limit: int, asked: list[tuple[int, int]]
) -> None:
    rate = book().rate("app", None, limit)
    assert rate is not None
    now, taken = START, 0
    for wait_ns, amount in asked:
        now += wait_ns
        if rate.take(amount, now) is None:
            taken += amount
        assert taken <= limit + (now - START) * limit / MINUTE_NS + 1


@given(st.integers(1, 100_000), st.integers(1, 200_000))
def test_after_the_time_that_it_says_it_lets_in(limit: int, amount: int) -> None:
    rate = book().rate("app", None, limit)
    assert rate is not None
    assert rate.tokens is not None
    assert (rate.take(limit, START) is None) is True
    wait = rate.tokens.take(amount, START)
    assert wait > 0
    assert (rate.tokens.take(amount, START + wait + 60) == 0) == (amount <= limit)


def test_what_a_call_used_is_settled_and_may_leave_a_debt() -> None:
    rate = book().rate("app", None, 1000)
    assert rate is not None
    assert rate.tokens is not None
    assert rate.take(400, START) is None
    rate.settle(400, 100, START)
    assert 900 == rate.tokens.left(START)
    rate.settle(0, 1900, START)
    assert 0 == rate.tokens.left(START)
    assert rate.take(1, START + MINUTE_NS) is not None
    assert rate.take(1, START + MINUTE_NS + SECOND) is None
    rate.settle(0, 10**9, START)
    assert rate.tokens.left(START + DEBT_NS_MAX) == 1000


def test_what_is_refused_for_its_tokens_takes_no_request() -> None:
    rate = book().rate("app", 1, 10)
    assert rate is not None
    assert rate.take(11, START) is not None
    assert rate.take(10, START) is None


def test_a_moment_of_another_boot_closes_nothing(tmp_path: Path) -> None:
    before = RateBook(SharedMoments(tmp_path / "rates")).rate("app", 1, None)
    after = RateBook(SharedMoments(tmp_path / "rates")).rate("app", 1, None)
    assert before is not None
    assert after is not None
    assert before.take(0, START) is None
    assert after.take(0, START) is not None  # the same bucket
    assert after.take(0, 5 * SECOND) is None  # the machine's clock began anew


def test_four_processes_at_once_share_one_limit(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    found: multiprocessing.Queue[int] = context.Queue()
    start = time.monotonic() + 2
    workers = [context.Process(target=take_many, args=(tmp_path / "rates", start, 400, found)) for _ in range(4)]
    for worker in workers:
        worker.start()
    admitted = sum(found.get(timeout=60) for _ in workers)
    for worker in workers:
        worker.join()
    # Who waits a tenth of a second for a holder that lost its processor goes on without it: never fewer than the limit.
    assert 500 <= admitted <= 505


# --- on a gateway -----------------------------------------------------------------------------------------------------


def limited(
    store: Path, provider: FakeProvider, *, requests_per_minute: int | None = None, tokens_per_minute: int | None = None
) -> Running:
    key = Key(
        name="tests", digest=key_digest(KEY), team="qa", routes=("*",), requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
    )  # fmt: skip
    free = Key(name="free", digest=key_digest("sk-free"), routes=("*",))
    return Running(store, table(provider.url, keys=[key, free]))


def test_over_its_requests_a_key_is_told_to_wait_and_other_keys_are_served(
    tmp_path: Path, provider: FakeProvider
) -> None:
    with limited(tmp_path, provider, requests_per_minute=3) as gateway:
        assert [200, 200, 200, 429, 429] == [call(gateway.port, chat()).status for _ in range(5)]
        answer = call(gateway.port, chat())
        assert ("rate_limit_error", "rate_limit_exceeded") == (answer.error["type"], answer.error["code"])
        assert 1 <= int(answer.headers["retry-after"]) <= 20
        assert ("3", "0") == (
            answer.headers["x-ratelimit-limit-requests"], answer.headers["x-ratelimit-remaining-requests"],
        )  # fmt: skip
        assert 200 == call(gateway.port, chat(), key="sk-free").status
        assert 4 == len(provider.seen)
        assert 4 == len(gateway.held())


def test_tokens_are_taken_before_and_settled_after(tmp_path: Path, provider: FakeProvider) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 40, "total_tokens": 50}
    provider.answers["model-a"] = Script(usage=usage)
    with limited(tmp_path, provider, tokens_per_minute=1000) as gateway:
        # Each may use 900 and uses 50: a limit that never settled would let one pass.
        assert [200] * 2 == [call(gateway.port, chat(max_tokens=850)).status for _ in range(2)]
        answer = call(gateway.port, chat(max_tokens=2000))
        assert 429 == answer.status
        assert "over the limit of a whole minute" in answer.error["message"]
        assert "1000" == answer.headers["x-ratelimit-limit-tokens"]


def test_the_official_client_raises_its_rate_limit_error(tmp_path: Path, provider: FakeProvider) -> None:
    with (
        limited(tmp_path, provider, requests_per_minute=1) as gateway,
        openai.OpenAI(base_url=gateway.base_url, api_key=KEY, max_retries=0) as client,
    ):
        client.chat.completions.create(model="assistant", messages=[{"role": "user", "content": "x"}])
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(model="assistant", messages=[{"role": "user", "content": "x"}])
        assert "requests per minute" in str(caught.value)


def test_another_table_goes_on_with_the_same_bucket(tmp_path: Path, provider: FakeProvider) -> None:
    with limited(tmp_path, provider, requests_per_minute=2) as gateway:
        assert 200 == call(gateway.port, chat()).status
        keys = [Key(name="tests", digest=key_digest(KEY), routes=("*",), requests_per_minute=2)]
        assert gateway.use(table(provider.url, number=2, keys=keys))
        assert [200, 429] == [call(gateway.port, chat()).status for _ in range(2)]
