"""How long answers usually are: of users who named no limit, lately, and only where enough of them say so."""

from pathlib import Path

import msgspec
import pytest

from tests.exchanges.loop import attempted, finished, held, posted
from tests.ledger.made import DAY_NS, NOV_1_NS, Books
from weighbridge.ledger.usual import ANSWERS_MIN, DAYS, Usual, rounded, usual_output
from weighbridge.records.frames import Outcome, Purpose
from weighbridge.records.usage import Usage

NOW_NS = NOV_1_NS + 10 * DAY_NS


def answers(
    books: Books, lengths: range, *, max_tokens: int | None = None, at_ns: int = NOV_1_NS, purpose: Purpose = "user",
    outcome: Outcome = "ok",
) -> None:  # fmt: skip
    log = books.bench.log
    for tokens in lengths:
        identity = books.bench.next_id()
        begun = msgspec.structs.replace(
            held(identity), time_ns=at_ns, purpose=purpose, max_tokens=max_tokens, held_nanousd=None
        )
        log.append(begun)
        log.append(msgspec.structs.replace(attempted(identity), arm="closed"))
        log.append(msgspec.structs.replace(posted(identity), usage=Usage(10, tokens)))
        log.append(finished(identity, outcome=outcome))
    books.bench.loop.turn()


@pytest.fixture
def books(tmp_path: Path) -> Books:
    return Books(tmp_path)


def test_one_answer_in_two_hundred_is_longer(books: Books) -> None:
    answers(books, range(1, 1_001))
    books.seal()
    assert (Usual("assistant", "closed", rounded(995)),) == usual_output(books.layout, NOW_NS)
    books.close()


def test_too_few_answers_say_nothing(books: Books) -> None:
    answers(books, range(1, ANSWERS_MIN))
    assert () == usual_output(books.layout, NOW_NS)
    answers(books, range(5, 6))
    assert 1 == len(usual_output(books.layout, NOW_NS))
    books.close()


def test_requests_with_a_limit_old_ones_cut_ones_and_other_purposes_do_not_count(books: Books) -> None:
    answers(books, range(1, 701))
    answers(books, range(9_000, 9_100), max_tokens=10_000)
    answers(books, range(9_000, 9_100), at_ns=NOW_NS - (DAYS + 1) * DAY_NS)
    answers(books, range(9_000, 9_100), purpose="trial")
    answers(books, range(9_000, 9_100), outcome="upstream_cut")
    books.seal()
    assert (Usual("assistant", "closed", rounded(697)),) == usual_output(books.layout, NOW_NS)
    books.close()


def test_figures_are_rounded_up_by_at_most_a_half_so_that_they_change_seldom() -> None:
    assert [32, 64, 96, 128, 192, 1024, 1536] == [rounded(n) for n in (1, 33, 65, 97, 129, 1_000, 1_025)]
    for tokens in range(64, 5_000):
        assert tokens <= rounded(tokens) <= tokens * 1.5
