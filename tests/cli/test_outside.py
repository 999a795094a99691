"""Outside text on a terminal: nothing in it moves a cursor, colours a line or turns the reading order around."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.cli.outside import outside


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("task=refund, 5 € für Ann \U0001f469\u200d\U0001f4bb", "task=refund, 5 € für Ann \U0001f469\u200d\U0001f4bb"),
        ("\x1b]0;title\x07", "\\u001b]0;title\\u0007"),
        ("a\u202eb\u2066c", "a\\u202eb\\u2066c"),
        ("one\r\ntwo\x9b31m\x7f", "one\\u000d\\u000atwo\\u009b31m\\u007f"),
        ("\U000e0041\ud800", "\\udb40\\udc41\\ud800"),
    ],
)
def test_what_steers_a_terminal_is_written_out_and_the_rest_stays(text: str, shown: str) -> None:
    assert outside(text) == shown


def test_line_breaks_stay_where_they_are_asked_for() -> None:
    assert outside("a\n\x1bb", lines=True) == "a\n\\u001bb"


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_json_stays_the_same_value(text: str) -> None:
    assert json.loads(outside(json.dumps({"user": text}, ensure_ascii=False), lines=True)) == {"user": text}
