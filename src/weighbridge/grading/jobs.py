"""Grading that may take long or go wrong: what a grading process of its own is asked, and what it answers.

One search by a pattern that somebody wrote, one comparison of two SQL queries, one run of code against tests, one call
of a Python function of one's own.
"""

import re
from typing import Literal

import msgspec

from weighbridge.grading.answers import Answer, Question
from weighbridge.grading.checks import ANSWER_CHARS_MAX
from weighbridge.grading.extract import last_match
from weighbridge.grading.sandbox import Limits


class SearchJob(msgspec.Struct, frozen=True, kw_only=True, tag="search"):
    """The first or last match of a pattern; the answer is its first group, else all of it."""

    pattern: str
    text: str
    which: Literal["first", "last"] = "first"


class SqlJob(msgspec.Struct, frozen=True, kw_only=True, tag="sql"):
    """Does `query` give what `reference` gives on the tables of `setup`? `query` None: is the reference usable?"""

    setup: str
    reference: str
    query: str | None


class CodeJob(msgspec.Struct, frozen=True, kw_only=True, tag="code"):
    """Does this code pass these tests?"""

    code: str
    tests: str
    limits: Limits


class OwnAsked(msgspec.Struct, frozen=True, kw_only=True):
    """What a function of one's own is called with."""

    answer: Answer
    reference: str | None
    question: Question


class OwnJob(msgspec.Struct, frozen=True, kw_only=True, tag="own"):
    """One call of `module:function`, looked for in `folder` first. `asked` None: which version of it is found there?"""

    folder: str
    module: str
    function: str
    version: str | None = None
    """What must be found; where the file was edited meanwhile, nothing is graded."""
    asked: OwnAsked | None = None


Job = SearchJob | SqlJob | CodeJob | OwnJob


class Found(msgspec.Struct, frozen=True, kw_only=True, tag="found"):
    """What a search found; `None` for nothing."""

    text: str | None


class Graded(msgspec.Struct, frozen=True, kw_only=True, tag="graded"):
    """A score in [0, 1] and why it is not 1; `unusable`: why the reference cannot be used."""

    score: float
    note: str = ""
    unusable: str | None = None


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """The grader, not the answer, is at fault: a set-up script that breaks, a sandbox that cannot be built."""

    reason: str


Done = Found | Graded | Failed


def do(job: Job) -> Done:
    """Do one job. Runs in a process of its own (`child`), which its caller ends at the deadline."""
    match job:
        case SearchJob():
            return Found(text=_search(job))
        case SqlJob():
            from weighbridge.grading.sql import compare  # duckdb is loaded where it is needed

            return compare(job)
        case CodeJob():
            from weighbridge.grading.code import run_tests

            return run_tests(job)
        case OwnJob():
            from weighbridge.grading.owncall import call

            return call(job)


def _search(job: SearchJob) -> str | None:
    if job.which == "last":
        return last_match(job.pattern, job.text)
    found = re.search(job.pattern, job.text[-ANSWER_CHARS_MAX:])
    return None if found is None else found[0]
