"""The kinds of grader, and the negative cases that fool tools of this kind."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from weighbridge.config import Loaded, loads
from weighbridge.errors import ConfigError
from weighbridge.grading.answers import Answer, Question, ToolCall
from weighbridge.grading.book import GraderBook, grade
from weighbridge.grading.build import SliceGrader
from weighbridge.grading.confined import GraderError

HEAD = """
[[endpoint]]
name = "e"
base_url = "http://127.0.0.1:9/v1"
[[arm]]
name = "a"
endpoint = "e"
model = "m"
[[arm]]
name = "b"
endpoint = "e"
model = "n"
[[route]]
name = "r"
incumbent = "a"
candidates = ["b"]
"""
QUESTION = Question(text="?", body=b"{}")
SERIAL = Question(text="?", body=b"{}", parallel_tool_calls=False)
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "people": {"type": "integer", "minimum": 0}},
    "required": ["city"],
}


def config(folder: Path, *graders: str) -> Loaded:
    (folder / "schema.json").write_text(json.dumps(SCHEMA))
    (folder / "broken.sql").write_text("CREATE TABLE t AS SELECT * FROM 'elsewhere.csv'")
    (folder / "nothing.py").write_text("def check(candidate):\n    assert candidate(1) == 2\n")
    body = "".join(f'[[grader]]\nroute = "r"\n{text}\n' for text in graders)
    return loads(HEAD + body, folder=folder)


def one(folder: Path, text: str) -> SliceGrader:
    row = GraderBook(config(folder, text), "r").of("all")
    assert row is not None
    return row


def score(row: SliceGrader, text: str, reference: str | None) -> float:
    return grade(row, Answer(text=text), reference, QUESTION).score


ARGUMENTS: dict[str, object] = {"amount": 12, "to": "ann", "note": "rent"}
CALL: dict[str, object] = {"name": "pay", "arguments": ARGUMENTS}


@pytest.mark.parametrize(
    ("settings", "reference", "right"),
    [
        ('kind = "exact"', "Paris", " Paris\n"),
        ('kind = "normalised"', "Paris", "paris."),
        ('kind = "normalised"\nextract = "json:answer"', "[1, 2]", '{"answer": "[1,2]"}'),
        ('kind = "number"\nextract = "last_number"', "# 42", "so it is 42"),
        ('kind = "number"\ntolerance = 0.5', "42", "$42.40"),
        ('kind = "regex"\nreference = "gold"', "^PM-\\d+$", "PM-123"),
        ('kind = "regex"\npattern = "(?i)sorry"', None, "We are Sorry"),
        ('kind = "label"\nlabels = ["refund", "bug"]', "refund", "Refund."),
        ('kind = "json"', '{"city": "Ulm", "people": 3}', 'Here: {"people": 3, "city": "Ulm"}'),
        ('kind = "json"\nschema = "schema.json"\nreference = "none"', None, '{"city": "Ulm"}'),
    ],
)
def test_each_kind_gives_one_to_a_right_answer_and_zero_to_banana(
    tmp_path: Path, settings: str, reference: str | None, right: str
) -> None:
    row = one(tmp_path, settings)
    assert reference is None or row.grader.reference_problem(reference) is None
    assert score(row, right, reference) == 1.0
    for wrong in ("banana", "", "Banana, banana: banana!", '{"answer": "banana"}', "```json\nbanana\n```"):
        assert score(row, wrong, reference) == 0.0


def test_one_flipped_json_value_costs_its_share(tmp_path: Path) -> None:
    row = one(tmp_path, 'kind = "json"\nfields = ["a", "b.c", "d.0", "e"]')
    gold = '{"a": 1, "b": {"c": "x"}, "d": [true], "e": null}'
    assert score(row, gold, gold) == 1.0
    assert score(row, gold.replace('"x"', '"y"'), gold) == 0.75
    assert score(row, gold.replace("true", "1"), gold) == 0.75
    assert score(row, gold.replace("1,", '"1",'), gold) == 0.75
    assert score(row, '{"a": 1}', gold) == 0.25


def test_without_configured_fields_every_key_of_the_reference_counts(tmp_path: Path) -> None:
    row = one(tmp_path, 'kind = "json"')
    assert score(row, '{"x.y": 2, "more": 1}', '{"x.y": 2, "z": 0}') == 0.5


def test_what_breaks_the_schema_scores_nothing_however_equal_its_fields(tmp_path: Path) -> None:
    row = one(tmp_path, 'kind = "json"\nschema = "schema.json"\nfields = ["city"]')
    assert score(row, '{"city": "Ulm", "people": 3}', '{"city": "Ulm"}') == 1.0
    assert score(row, '{"city": "Ulm", "people": -3}', '{"city": "Ulm"}') == 0.0
    note = grade(row, Answer(text='{"city": "Ulm", "people": -3}'), '{"city": "Ulm"}', QUESTION).note
    assert note == "breaks the schema at properties.people.minimum"


def tools(*calls: Mapping[str, object]) -> Answer:
    return Answer(
        text="", tool_calls=tuple(ToolCall(str(call["name"]), json.dumps(call["arguments"])) for call in calls)
    )


def test_a_wrong_amount_in_a_tool_call_scores_nothing(tmp_path: Path) -> None:
    row = one(tmp_path, 'kind = "tool_call"')
    gold = json.dumps(CALL)
    assert grade(row, tools(CALL), gold, QUESTION).score == 1.0
    for arguments in ({**ARGUMENTS, "amount": 120}, {**ARGUMENTS, "amount": "12"}, {}):
        assert grade(row, tools({"name": "pay", "arguments": arguments}), gold, QUESTION).score == 0.0
    assert grade(row, tools({**CALL, "name": "repay"}), gold, QUESTION).score == 0.0
    assert grade(row, tools(CALL, CALL), gold, QUESTION).score == 0.0
    assert grade(row, Answer(text=gold), gold, QUESTION).score == 0.0


def test_the_order_of_tool_calls_counts_only_where_the_request_forbids_parallel_calls(tmp_path: Path) -> None:
    row = one(tmp_path, 'kind = "tool_call"\nfields = ["x"]')
    first, second = {"name": "f", "arguments": {"x": 1}}, {"name": "f", "arguments": {"x": 2}}
    gold = json.dumps([first, second])
    assert grade(row, tools(second, first), gold, QUESTION).score == 1.0
    assert grade(row, tools(second, first), gold, SERIAL).score == 0.0
    assert grade(row, tools(first, second), gold, SERIAL).score == 1.0
    assert grade(row, tools(first, first), gold, QUESTION).score == 0.0


def test_broken_arguments_of_a_tool_call_score_nothing(tmp_path: Path) -> None:
    row = one(tmp_path, 'kind = "tool_call"')
    answer = Answer(text="", tool_calls=(ToolCall("pay", '{"amount": 12'),))
    assert grade(row, answer, json.dumps(CALL), QUESTION).score == 0.0


def test_an_answer_with_several_labels_did_not_choose(tmp_path: Path) -> None:
    row = one(tmp_path, 'kind = "label"\nlabels = ["refund", "bug", "not refund"]')
    assert score(row, "refund or bug", "refund") == 0.0
    assert score(row, "not refund", "refund") == 0.0
    assert score(row, "refund. Yes: refund", "refund") == 1.0


@pytest.mark.parametrize(
    ("settings", "reference"),
    [
        ('kind = "number"', "many"),
        ('kind = "label"\nlabels = ["refund", "bug"]', "delivery"),
        ('kind = "label"\nlabels = ["refund", "bug"]', "refund bug"),
        ('kind = "json"', "Ulm"),
        ('kind = "json"', "{}"),
        ('kind = "json"\nfields = ["zip"]', '{"city": "Ulm"}'),
        ('kind = "json"\nschema = "schema.json"', '{"city": 7}'),
        ('kind = "tool_call"', "[]"),
        ('kind = "tool_call"', '{"arguments": {}}'),
        ('kind = "regex"', "("),
        ('kind = "regex"', ".*"),
        ('kind = "exact"', "  "),
    ],
)
def test_a_reference_that_the_grader_cannot_use_is_said_so_and_not_graded(
    tmp_path: Path, settings: str, reference: str
) -> None:
    assert one(tmp_path, settings).grader.reference_problem(reference)


def test_the_incumbents_answer_becomes_a_reference_in_the_graders_own_form(tmp_path: Path) -> None:
    number = one(tmp_path, 'kind = "number"\nextract = "last_number"\nreference = "incumbent"')
    assert number.label_source == "agreement"
    assert number.grader.reference_of(Answer(text="it is 7")) == "7"
    assert number.grader.reference_of(Answer(text="no idea")) is None
    call = one(tmp_path, 'kind = "tool_call"\nreference = "incumbent"')
    reference = call.grader.reference_of(tools(CALL))
    assert reference is not None
    assert grade(call, tools(CALL), reference, QUESTION).score == 1.0
    assert call.grader.reference_of(Answer(text="nothing to do")) is None


def test_notes_never_quote_an_answer(tmp_path: Path) -> None:
    canary = "canary-7f3a 4711"
    for settings, reference in (
        ('kind = "exact"', "x"), ('kind = "normalised"', "x"), ('kind = "number"', "1"), ('kind = "regex"', "^x$"),
        ('kind = "label"\nlabels = ["x", "y"]', "x"), ('kind = "json"', '{"a": "b"}'),
    ):  # fmt: skip
        for text in (canary, json.dumps({"a": canary})):
            note = grade(one(tmp_path, settings), Answer(text=text), reference, QUESTION).note
            assert note
            assert "canary" not in note
            assert "4711" not in note


def test_a_slice_takes_the_grader_that_names_it_then_the_pattern_then_the_star(tmp_path: Path) -> None:
    loaded = config(
        tmp_path,
        'slice = "*"\nkind = "exact"',
        'slice = "task=m*"\nkind = "number"',
        'slice = "task=math"\nkind = "normalised"',
    )
    book = GraderBook(loaded, "r")
    kinds = [row.grader.kind if (row := book.of(name)) else None for name in ("task=math", "task=mix", "task=crux")]
    assert kinds == ["normalised", "number", "exact"]
    assert GraderBook(loaded, "other").of("task=math") is None


def test_every_setting_that_can_change_a_score_changes_the_digest(tmp_path: Path) -> None:
    digests = {
        one(tmp_path, text).settings_digest
        for text in (
            'kind = "number"', 'kind = "number"\ntolerance = 0.1', 'kind = "number"\nextract = "last_number"',
            'kind = "number"\nreference = "incumbent"', 'kind = "json"', 'kind = "json"\nschema = "schema.json"',
            'kind = "json"\nfields = ["a"]', 'kind = "exact"',
        )
    }  # fmt: skip
    assert len(digests) == 8


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ('kind = "judge"', "two judges at least"),
        ('kind = "judge"\njudges = ["a", "a"]', "all judges are of the incumbent's family"),
        ('kind = "judge"\njudges = ["b", "b"]', "of one family"),
        ('kind = "judge"\njudges = ["a", "b"]\nextract = "last_number"', "reads the whole answer"),
        ('kind = "rubric"\njudges = ["a", "b"]', "checks criteria"),
        ('kind = "sql"', "name a file of SQL"),
        ('kind = "sql"\nsetup = "broken.sql"', "cannot make the tables"),
        ('kind = "code"\ntests = "nothing.py"', "it checks nothing"),
        ('kind = "code"\nreference = "incumbent"', "name them in `tests`"),
        ('kind = "code"\ncpu_s_max = 0', "out of range"),
        ('kind = "code"\nmemory_bytes_max = 1', "out of range"),
        ('kind = "exact"\nsetup = "broken.sql"', "means nothing"),
        ('kind = "number"\ntolerance = -1.0', "tolerance"),
        ('kind = "exact"\ntolerance = 1.0', "means nothing"),
        ('kind = "exact"\nreference = "none"', "compares with a reference"),
        ('kind = "label"', "closed set"),
        ('kind = "label"\nlabels = ["a-b", "A b"]', "two spellings"),
        ('kind = "regex"\npattern = "("', "not a regular expression"),
        ('kind = "regex"\npattern = "x*"', "matches the empty text"),
        ('kind = "number"\nextract = "json"', "not known"),
        ('kind = "json"\nextract = "last_number"', "does not give a JSON object"),
        ('kind = "json"\nreference = "none"', "needs a schema"),
        ('kind = "tool_call"\nextract = "last_number"', "tool calls are read"),
        ('kind = "python:nowhere_at_all:f"', "cannot be imported"),
        ('kind = "python:own"', "not known"),
    ],
)
def test_a_grader_that_cannot_be_built_is_a_config_error_with_its_key(tmp_path: Path, settings: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        GraderBook(config(tmp_path, settings), "r")
    assert caught.value.key.startswith("grader[0].")


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ('{"type": 7}', "is not a JSON schema"),
        ('{"$ref": "https://example.org/s.json"}', "leaves the file"),
        ('{"$ref": "#/$defs/x"}', "points at nothing"),
        ("[1]", "not a JSON object"),
        ("{", "is not JSON"),
    ],
)
def test_a_schema_that_is_wrong_or_reaches_out_is_refused(tmp_path: Path, schema: str, says: str) -> None:
    loaded = config(tmp_path, 'kind = "json"\nschema = "schema.json"')
    (tmp_path / "schema.json").write_text(schema)
    with pytest.raises(ConfigError, match=says):
        GraderBook(loaded, "r")


def test_two_graders_for_one_slice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="another grader"):
        GraderBook(config(tmp_path, 'kind = "exact"', 'kind = "number"'), "r")


OWN = """
def half(answer, reference, question):
    return 0.5 if answer.text == reference else 0

def broken(answer, reference, question):
    raise RuntimeError("no")

def wild(answer, reference, question):
    return 7
"""


def test_a_grader_of_ones_own_lies_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "own_checks.py").write_text(OWN)
    row = one(tmp_path, 'kind = "python:own_checks:half"')
    assert score(row, "x", "x") == 0.5
    assert score(row, "banana", "x") == 0.0
    before = row.grader.version
    (tmp_path / "own_checks.py").write_text(OWN + "# changed\n")
    assert before != one(tmp_path, 'kind = "python:own_checks:half"').grader.version


@pytest.mark.parametrize("name", ["broken", "wild"])
def test_a_grader_of_ones_own_that_misbehaves_is_an_error_and_no_score(tmp_path: Path, name: str) -> None:
    (tmp_path / "own_checks.py").write_text(OWN)
    with pytest.raises(GraderError, match=f"own_checks:{name}"):
        score(one(tmp_path, f'kind = "python:own_checks:{name}"'), "x", "x")


def test_nesting_past_all_reason_scores_nothing(tmp_path: Path) -> None:
    row = one(tmp_path, 'kind = "json"')
    deep = '{"a":' * 400 + "1" + "}" * 400
    assert score(row, deep, deep) in (0.0, 1.0)
    assert score(row, deep.replace("1}", "2}"), deep) == 0.0
