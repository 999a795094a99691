"""The shipped sample under the product's own graders: can each gold answer be used, and does it score 1?"""

import json

import pytest

from weighbridge.grading.answers import Answer, Question
from weighbridge.grading.extract import extractor
from weighbridge.grading.gold import read_gold
from weighbridge.grading.graders import Grader, JsonGrader, Label, NumberGrader
from weighbridge.samples.items import EXTRACT_FIELDS, LABELS, TASKS, SampleItem, sample_file, support_items

SCHEMA = json.loads(sample_file("extract.schema.json").read_text(encoding="utf-8"))
GRADERS: dict[str, Grader] = {
    "triage": Label(extractor("text"), LABELS),
    "extract": JsonGrader("", SCHEMA, EXTRACT_FIELDS, 0.0, True),
    "refund": NumberGrader(extractor("last_number"), 0.0),
}


def score(item: SampleItem, answer: str) -> float:
    grader = GRADERS[item.tags.task]
    return grader.grade(Answer(text=answer), item.gold, Question(text=item.text, body=b"{}")).score


def test_the_gold_file_is_one_that_gold_import_takes_whole() -> None:
    lines = sample_file("gold.jsonl").read_bytes().splitlines()
    assert len(read_gold("gold.jsonl", lines).rows) == 450


def test_every_gold_answer_is_a_usable_reference_and_scores_1_against_itself() -> None:
    for item in support_items():
        assert GRADERS[item.tags.task].reference_problem(item.gold) is None, item.id
        assert score(item, item.gold) == 1.0, item.id


def test_an_incumbent_answer_scores_1_exactly_where_it_is_the_gold_answer() -> None:
    for item in support_items():
        assert (score(item, item.incumbent_answer) == 1.0) == (item.incumbent_answer == item.gold), item.id


@pytest.mark.parametrize("task", TASKS)
def test_the_same_answer_to_everything_earns_little(task: str) -> None:
    items = [item for item in support_items() if item.tags.task == task]
    constant = max({item.gold for item in items}, key=lambda gold: sum(item.gold == gold for item in items))
    right = sum(score(item, constant) == 1.0 for item in items)
    assert right <= 25, f"{constant!r} is right {right} times"
