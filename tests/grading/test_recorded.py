"""Agreement of our graders with the labels that came with recorded answers of real models."""

from pathlib import Path

import duckdb
import pytest

from weighbridge.config import loads
from weighbridge.grading.answers import Answer, Question
from weighbridge.grading.book import GraderBook, grade

CONFIG = """
[[endpoint]]
name = "e"
base_url = "http://127.0.0.1:9/v1"
[[arm]]
name = "a"
endpoint = "e"
model = "m"
[[route]]
name = "r"
incumbent = "a"
[[grader]]
route = "r"
slice = "gsm"
kind = "number"
extract = "json:answer"
[[grader]]
route = "r"
slice = "*"
kind = "normalised"
extract = "json:answer"
"""
QUESTION = Question(text=None, body=b"{}")


@pytest.mark.recorded
@pytest.mark.parametrize("task", ["gsm", "crux", "math-l5"])
def test_graders_agree_with_the_shipped_labels_on_nearly_every_recorded_answer(
    recorded_folder: Path, task: str
) -> None:
    data = recorded_folder / "data" / "zeroeval"
    rows = (
        duckdb.connect()
        .execute(
            f"select o.output, p.gold, o.correct from '{data}/outputs.parquet' o "  # noqa: S608 (a path of ours)
            f"join '{data}/prompts.parquet' p using (task, id) where task = ?",
            [task],
        )
        .fetchall()
    )
    grader = GraderBook(loads(CONFIG), "r").of(task)
    assert grader is not None
    assert all(grader.grader.reference_problem(gold) is None for _, gold, _ in rows)
    same = sum(grade(grader, Answer(text=text), gold, QUESTION).score == correct for text, gold, correct in rows)
    assert same / len(rows) > 0.998
