"""Graders of one's own: in processes of their own, several at once, none of whose faults is a score."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.grading.test_graders import QUESTION, config
from weighbridge.errors import ConfigError
from weighbridge.grading.answers import Answer
from weighbridge.grading.book import GraderBook, grade
from weighbridge.grading.build import SliceGrader
from weighbridge.grading.children import Children
from weighbridge.grading.own import OwnGraderError

CHECKS = """
import os, pathlib, time

def process(answer, reference, question):
    pathlib.Path(answer.text).write_text(str(os.getpid()))
    return 1

def together(answer, reference, question):
    # Two calls meet here, or the time limit ends both.
    folder, _, name = answer.text.rpartition("/")
    pathlib.Path(folder, name).touch()
    while len(list(pathlib.Path(folder).iterdir())) < 2:
        time.sleep(0.01)
    return 1

def strange(answer, reference, question):
    if answer.text == "dies":
        os._exit(3)
    if answer.text == "raises":
        raise KeyError("no")
    if answer.text == "seven":
        return 7
    os.system("echo printed")
    print("printed")
    return 0.5
"""
HANGS = """
import time

def hangs(answer, reference, question):
    time.sleep(1000 if answer.text == "hangs" else 0)
    return 1
"""


def own(folder: Path, function: str, more: str = "", children: Children | None = None) -> SliceGrader:
    (folder / "checks_of_mine.py").write_text(CHECKS)
    (folder / "slow_of_mine.py").write_text(HANGS)
    text = f'kind = "python:{function}"\nreference = "none"\n{more}'
    row = GraderBook(config(folder, text), "r", children or Children(2)).of("all")
    assert row is not None
    return row


def score(row: SliceGrader, text: str) -> float:
    return grade(row, Answer(text=text), None, QUESTION).score


def test_the_code_is_imported_and_called_in_a_grading_process_only(tmp_path: Path) -> None:
    row = own(tmp_path, "checks_of_mine:process")
    assert 1.0 == score(row, str(tmp_path / "seen"))
    assert int((tmp_path / "seen").read_text()) != os.getpid()
    assert [] == [name for name in sys.modules if "checks_of_mine" in name]


def test_two_answers_are_graded_at_the_same_time(tmp_path: Path) -> None:
    row = own(tmp_path, "checks_of_mine:together")
    assert row.slow
    (tmp_path / "meet").mkdir()
    with ThreadPoolExecutor(2) as threads:
        assert [1.0, 1.0] == list(threads.map(lambda name: score(row, f"{tmp_path}/meet/{name}"), "ab"))


@pytest.mark.parametrize("text", ["dies", "raises", "seven"])
def test_a_fault_is_an_error_that_names_the_grader_and_the_next_answer_is_graded(tmp_path: Path, text: str) -> None:
    row = own(tmp_path, "checks_of_mine:strange", children=Children(1))
    with pytest.raises(OwnGraderError, match="python:checks_of_mine:strange"):
        score(row, text)
    assert 0.5 == score(row, "printed by it and by what it starts")


def test_a_grader_that_hangs_is_ended_at_its_limit_and_the_next_answer_is_graded(tmp_path: Path) -> None:
    row = own(tmp_path, "slow_of_mine:hangs", "time_s_max = 0.5", Children(1))
    with pytest.raises(OwnGraderError, match=r"no score within 0\.5 s"):
        score(row, "hangs")
    row = own(tmp_path, "slow_of_mine:hangs", children=Children(1))
    assert 1.0 == score(row, "fine")


def test_a_file_edited_after_the_trial_began_grades_nothing(tmp_path: Path) -> None:
    row = own(tmp_path, "checks_of_mine:strange", children=(children := Children(1)))
    (tmp_path / "checks_of_mine.py").write_text(CHECKS + "# edited\n")
    children.close()  # a fresh process reads the file as it is now
    with pytest.raises(OwnGraderError, match="edited while the trial ran"):
        score(row, "fine")


@pytest.mark.parametrize("limit", ["0.0", "-1.0", "3601.0", "nan"])
def test_a_time_limit_that_is_none_is_refused(tmp_path: Path, limit: str) -> None:
    with pytest.raises(ConfigError, match="time_s_max"):
        own(tmp_path, "checks_of_mine:strange", f"time_s_max = {limit}")
