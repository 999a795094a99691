"""Closed e-testing: equal to brute force over all intersections, contains Holm, indifferent to names."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.stats.family import Family

LOG_E = st.floats(-8.0, 9.0)
FAMILIES = st.lists(LOG_E, min_size=1, max_size=7)


def by_closure(log_e: list[float], alpha: float) -> set[int]:
    """i is certified if every set that contains it has an average e-value of at least 1/alpha."""
    e = [math.exp(x) for x in log_e]
    sets = [s for size in range(1, len(e) + 1) for s in itertools.combinations(range(len(e)), size)]
    rejected = {s for s in sets if sum(e[i] for i in s) / len(s) >= 1.0 / alpha}
    return {i for i in range(len(e)) if all(s in rejected for s in sets if i in s)}


def by_holm(log_e: list[float], alpha: float) -> set[int]:
    ranked = sorted(range(len(log_e)), key=lambda i: -log_e[i])
    certified: set[int] = set()
    for rank, i in enumerate(ranked):
        if math.exp(-log_e[i]) > alpha / (len(log_e) - rank):
            break
        certified.add(i)
    return certified


@given(FAMILIES, st.sampled_from([0.05, 0.1, 0.01]))
def test_it_certifies_exactly_what_the_closure_principle_certifies(log_e: list[float], alpha: float) -> None:
    family: Family[int] = Family(alpha)
    assert by_closure(log_e, alpha) == set(family.update(dict(enumerate(log_e))))


@given(FAMILIES)
def test_it_certifies_at_least_what_holm_certifies(log_e: list[float]) -> None:
    assert by_holm(log_e, 0.05) <= set(Family[int](0.05).update(dict(enumerate(log_e))))


def test_it_certifies_more_than_holm_where_the_losers_are_not_hopeless() -> None:
    log_e = [math.log(37.0), math.log(5.0)]
    assert set() == by_holm(log_e, 0.05)
    assert Family[int](0.05).update(dict(enumerate(log_e))) == [0]


@given(st.permutations(range(5)), st.lists(st.lists(LOG_E, min_size=5, max_size=5), min_size=1, max_size=6))
def test_the_order_of_the_names_does_not_matter(order: list[int], steps: list[list[float]]) -> None:
    plain: Family[int] = Family(0.05, range(5))
    mixed: Family[int] = Family(0.05, order)
    for step in steps:
        assert set(plain.update(dict(enumerate(step)))) == set(mixed.update({i: step[i] for i in order}))


@given(FAMILIES, st.integers(0, 6))
def test_required_is_the_e_value_at_which_the_certificate_comes(log_e: list[float], which: int) -> None:
    name = which % len(log_e)
    family: Family[int] = Family(0.05)
    family.update(dict.fromkeys(range(len(log_e)), 0.0))
    others = {i: min(x, 2.9) for i, x in enumerate(log_e) if i != name}
    assert family.update(others) == []
    need = family.required(name)
    assert family.update({name: need - 1e-6}) == []
    assert name in family.update({name: need + 1e-9})
    assert -math.inf == family.required(name)


def test_a_certificate_is_kept_when_the_e_value_falls_and_frees_the_others() -> None:
    family: Family[str] = Family(0.05, ["good", "fair", "bad"])
    assert family.update({"good": 0.0, "fair": math.log(45.0), "bad": math.log(0.01)}) == []
    assert family.update({"good": math.log(1000.0)}) == ["good", "fair"]
    assert family.update({"good": -5.0, "fair": -5.0}) == []
    assert family.certified == ("good", "fair")
    assert family.undecided == ("bad",)


def test_a_stopped_stream_keeps_its_last_e_value_in_the_family() -> None:
    family: Family[str] = Family(0.05, ["stopped", "running"])
    family.update({"stopped": -20.0, "running": 0.0})
    assert family.update({"running": math.log(39.0)}) == []
    assert family.update({"running": math.log(40.0)}) == ["running"]


def test_a_hypothesis_that_joins_late_is_refused() -> None:
    family: Family[str] = Family(0.05)
    family.update({"a": 0.0})
    with pytest.raises(ValueError, match=r"'b' is not in the family \['a'\]"):
        family.update({"b": 0.0})


def test_nan_is_refused_and_huge_values_do_not_overflow() -> None:
    family: Family[str] = Family(0.05, ["a", "b"])
    with pytest.raises(ValueError, match="log e-value of 'a' is nan"):
        family.update({"a": math.nan})
    assert {"a", "b"} == set(family.update({"a": 5_000.0, "b": 4_000.0}))
