"""When two short answers are equal."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.grading import checks


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", "42"),
        ("$1,234.50", "1234.5"),
        ("-7", "-7"),
        ("\u22127", "-7"),
        ("1/2", "1/2"),
        ("3 1/2", "7/2"),
        ("50%", "50"),
        (r"\boxed{\frac{3}{4}}", "3/4"),
        (r"\frac12", "1/2"),
        (r"-\frac{1}{2}", "-1/2"),
        (r"\$18", "18"),
        (".5", "1/2"),
        ("1e3", "1000"),
        ("9 days", "9"),
        ("**18**", "18"),
        ("-$5", "-5"),
        ("$-5", "-5"),
        (r"\(1{,}234\)", "1234"),
        ("€ 12", "12"),
        ("She sold 48/2 = 24 clips\n#### 72", "72"),
        ("# 6,250", "6250"),
        ("1\u00a0000".replace("\u00a0", ""), "1000"),
    ],
)
def test_a_number_is_read_however_it_is_written(text: str, value: str) -> None:
    found = checks.number_of(text)
    assert found is not None
    assert Fraction(value) == found.value


@pytest.mark.parametrize("text", ["banana", "", "x_1", "Qwen", "1/0", "NaN", "inf", "#", "$", "%", "-", "\\frac"])
def test_no_number_is_found_where_there_is_none(text: str) -> None:
    assert checks.number_of(text) is None


def test_the_minus_of_a_difference_is_not_a_sign() -> None:
    assert [5, 3] == [int(n.value) for n in checks.numbers("5-3")]


def test_a_percentage_equals_its_share_and_its_bare_figure_but_nothing_else() -> None:
    half = checks.Number(Fraction(50), True)
    assert checks.numbers_equal(half, checks.Number(Fraction(1, 2), False))
    assert checks.numbers_equal(half, checks.Number(Fraction(50), False))
    assert not checks.numbers_equal(half, checks.Number(Fraction(1, 2), True))
    assert not checks.numbers_equal(half, checks.Number(Fraction(5), False))


def test_the_tolerance_is_absolute_and_includes_its_end() -> None:
    one = checks.Number(Fraction(10), False)
    assert checks.numbers_equal(one, checks.Number(Fraction(21, 2), False), 0.5)
    assert not checks.numbers_equal(one, checks.Number(Fraction(1051, 100), False), 0.5)


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("Paris.", "paris"),
        ("  New   York ", "new york"),
        ("“Paris”", "Paris"),
        ("[1,2]", "[1, 2]"),
        ("{'b': 1, 'a': 2}", '{"a": 2, "b": 1}'),
        ("ab", "'ab'"),
        ('"ab"', "'ab'"),
        ("1,234", "1234"),
        ("$10,455", "10455"),
        ("20%", "20"),
        ("", "''"),
        (r"\dfrac{1}{2}", r"\frac12"),
        (r"$\frac{1}{2}$", "1/2"),
        ("0.5", r"\frac{1}{2}"),
        (r"\boxed{x^{2}}", "x^2"),
        (r"3\sqrt5", r"3 \sqrt{5}"),
        (r"90^\circ", "90"),
        (r"\text{Monday}", "monday"),
        (r"\left( 1, 2 \right)", "(1,2)"),
        ("true", "True"),
        (r"x = \sqrt{2}", r"\sqrt{2}"),
        ("-221_3", "-221_3"),
    ],
)
def test_answers_that_differ_in_writing_only_are_equal(answer: str, reference: str) -> None:
    assert checks.normalised_equal(answer, reference)


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("banana", "paris"),
        ("1", "True"),
        ("True", "1"),
        ("12", "'12'"),
        ("'12'", "[12]"),
        ("(1,)", "[1]"),
        ("[1, 2]", "[2, 1]"),
        ("ABC", "'abc'"),
        ("a b", "'ab'"),
        ("", "x"),
        ("x", ""),
        ("", ""),
        ("1,2", "12"),
        ("-5", "5"),
        (r"\frac{1}{2}", r"\frac{1}{3}"),
        ("x^2", "x^3"),
        (".", "!"),
        ("18 or 20", "18"),
        ("new york city", "new york"),
    ],
)
def test_answers_that_say_something_else_are_not_equal(answer: str, reference: str) -> None:
    assert not checks.normalised_equal(answer, reference)


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        (1, 1.0, True),
        (True, 1, False),
        ("1", 1, False),
        (None, False, False),
        ([1], (1,), False),
        ({"a": 1}, {"a": 1.0}, True),
        ({"a": True}, {"a": 1}, False),
        ({1: 2}, {True: 2}, False),
        (10**400, 1.0, False),
        (float("inf"), 1e308, False),
    ],
)
def test_values_are_equal_by_type_and_value(a: object, b: object, equal: bool) -> None:
    assert equal is checks.values_equal(a, b)
    assert equal is checks.values_equal(b, a, 0.01)


def test_the_longest_label_wins_and_spelling_of_gaps_does_not_matter() -> None:
    labels = ("refund", "no refund", "tech-support")
    assert ["no refund"] == checks.labels_in("It is: No_Refund!", labels)
    assert ["tech-support"] == checks.labels_in("TECH SUPPORT", labels)
    assert [] == checks.labels_in("refunded", labels)
    assert ["refund", "tech-support"] == checks.labels_in("refund, or refund and tech support", labels)


@given(st.text(), st.text())
def test_no_text_makes_a_check_raise(answer: str, reference: str) -> None:
    checks.normalised_equal(answer, reference)
    checks.number_of(answer)
    checks.latex_normal(answer)
    checks.labels_in(answer, (reference, "b"))


@given(st.text(min_size=1).filter(lambda text: text.strip() != ""))
def test_every_text_equals_itself(text: str) -> None:
    assert checks.normalised_equal(text, text)


@given(st.fractions(max_denominator=10**6), st.booleans())
def test_a_written_fraction_is_read_back_exactly(value: Fraction, latex: bool) -> None:
    sign, top, bottom = "-" if value < 0 else "", abs(value.numerator), value.denominator
    text = f"{sign}\\frac{{{top}}}{{{bottom}}}" if latex else f"{sign}{top}/{bottom}"
    found = checks.number_of(text)
    assert found is not None
    assert value == found.value


@pytest.mark.parametrize(
    "text",
    [
        "-" * 19_000 + "1",
        "(" * 19_000,
        "[" * 9_000 + "]" * 9_000,
        "9" * 50_000,
        "\\boxed{" * 9_000,
        "1," * 30_000,
        "\\frac" * 9_000,
        " " * 90_000,
    ],
)
def test_hostile_text_is_no_work_and_no_exception(text: str) -> None:
    checks.literal(text)
    checks.numbers(text)
    checks.normalised_equal(text, "[1]")
    checks.normalised_equal(text, "\\frac12")
    checks.labels_in(text, ("a b", "c"))
