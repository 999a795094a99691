"""Finding the answer in what a model wrote."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.grading.extract import extractor, json_objects

FENCED = 'Sure.\n```json\n{\n  "reasoning": "6 x 7",\n  "answer": "42"\n}\n```\nHope it helps.'


@pytest.mark.parametrize(
    ("spec", "text", "found"),
    [
        ("text", " 42 ", " 42 "),
        ("json:answer", FENCED, "42"),
        ("json:answer", '{"answer": 42}', "42"),
        ("json:answer", '{"answer": {"a": 1}}', '{"a": 1}'),
        ("json:a.b.1", '{"a": {"b": [1, "two"]}}', "two"),
        ("json:answer", 'First {"answer": "1"}, no: {"answer": "2"}', "2"),
        ("json:answer", '{"answer": "1"} and {"note": "x"}', "1"),
        ("json:answer", "none here", None),
        ("json:answer", '{"other": 1}', None),
        ("last_number", "from 3 to 1,250.5 km", "1,250.5"),
        ("last_number", "banana", None),
        ("regex:Answer: (\\w+)", "Answer: A ... Answer: B", "B"),
        ("regex:[A-D]$", "I choose C", "C"),
        ("regex:^Z", "no", None),
    ],
)
def test_an_extractor_finds_the_answer(spec: str, text: str, found: str | None) -> None:
    assert found == extractor(spec)(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (r'{"reasoning": "so \(x\)", "answer": "\frac{1}{2}"}', r"\frac{1}{2}"),
        (r'{"reasoning": "so \\(x\\)", "answer": "\\frac{1}{2}"}', r"\frac{1}{2}"),
        (r'{"reasoning": "$\boxed{4}$", "answer": "\text{four}"}', r"\text{four}"),
        (r'{"answer": "3\sqrt{5}"}', r"3\sqrt{5}"),
        ('{"reasoning": "line\nbreak", "answer": "7"}', "7"),
        ('{"reasoning": "he said "no" to it", "answer": "7"}', "7"),
        ('{"reasoning": "long", "answer": "7"', "7"),
        ("\\frac{1}{2} {x} {\"answer\": \"7\"}", "7"),
        ('{"answer": ["a", None, True]}', '["a", None, True]'),
        ('{"answer": (1, 2)}', "(1, 2)"),
        ('{"answer": NaN}', "NaN"),
    ],
)  # fmt: skip
def test_broken_json_still_gives_its_answer(text: str, found: str) -> None:
    assert found == extractor("json:answer")(text)


@pytest.mark.parametrize("spec", ["", "json", "json:", "regex:", "regex:(", "xpath://a", "Text"])
def test_an_unknown_extractor_is_refused_with_what_is_allowed(spec: str) -> None:
    with pytest.raises(ValueError, match=r"allowed|not a regular expression"):
        extractor(spec)


@given(st.text(), st.dictionaries(st.text(min_size=1), st.one_of(st.text(), st.integers(), st.none()), min_size=1))
def test_an_object_is_found_in_any_text_around_it(around: str, value: dict[str, str | int | None]) -> None:
    around = around.replace("{", "").replace("}", "")
    assert value == json_objects(around + json.dumps(value) + around)[-1]


@given(st.text(alphabet='{}[]":,\\ab1\n'))
def test_no_text_makes_an_extractor_raise(text: str) -> None:
    for spec in ("json:a", "last_number", "regex:a+"):
        extractor(spec)(text)


@pytest.mark.parametrize("text", ['{"a":' * 50_000, '{"' * 100_000, "[" * 200_000, '{"a":"\\' * 30_000])
def test_hostile_nesting_is_little_work_and_no_exception(text: str) -> None:
    assert extractor("json:answer")(text) is None
