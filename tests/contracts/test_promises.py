"""Each promise has a test that runs on each change, and each mark names a promise."""

from scripts.promises import figure, marked, page, promises

LONG_ONLY = {23}
"""Overload for five minutes: nothing shorter says anything."""


def test_every_promise_has_a_test_and_every_mark_a_promise() -> None:
    tests, numbers = marked(), [one.number for one in promises()]
    assert list(range(1, 31)) == numbers
    assert set(numbers) == tests.keys()
    without = {number for number in numbers if all(test.is_long for test in tests[number])}
    assert LONG_ONLY == without


def test_every_figure_is_on_the_page_that_it_is_copied_from() -> None:
    shown = page()
    for one in promises():
        assert all(figure(row) in shown for row in one.figures)
