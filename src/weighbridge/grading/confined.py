"""Graders whose work may take long or go wrong, done in processes that can be ended: patterns, SQL, code."""

from weighbridge.errors import WeighbridgeError
from weighbridge.grading.answers import Answer, Question
from weighbridge.grading.children import OverTime, Workers
from weighbridge.grading.code import last_block, tests_problem
from weighbridge.grading.extract import Extractor, Search
from weighbridge.grading.graders import NO_ANSWER, Grade
from weighbridge.grading.jobs import CodeJob, Failed, Found, Graded, Job, SearchJob, SqlJob
from weighbridge.grading.sandbox import WALL_FACTOR, WALL_S_ADDED, Limits

SEARCH_S_MAX = 2.0
SQL_S_MAX = 20.0
CASES_S_ADDED = 30.0
CODE_CHARS_MAX = 200_000


class GraderError(WeighbridgeError):
    """A grader could not do its work, whatever the answer: it raised, gave no score, or has no sandbox."""


def search_in(workers: Workers, which: str = "first") -> Search:
    """Searches that find nothing where a pattern takes longer than `SEARCH_S_MAX`."""

    def search(pattern: str, text: str) -> str | None:
        try:
            done = workers.do(
                SearchJob(pattern=pattern, text=text, which="last" if which == "last" else "first"), SEARCH_S_MAX
            )
        except OverTime:
            return None
        if isinstance(done, Found):
            return done.text
        raise GraderError(f"the search for {pattern!r} failed: {done.reason if isinstance(done, Failed) else done}")

    return search


class _Confined:
    """Base of graders that hand an answer's code to a job."""

    kind = ""
    version = "1"
    needs_reference = True

    def __init__(self, workers: Workers, extract: Extractor) -> None:
        self._workers, self._extract = workers, extract

    def _graded(self, job: Job, limit_s: float) -> Graded:
        try:
            done = self._workers.do(job, limit_s)
        except OverTime:
            return Graded(score=0.0, note="over its time limit", unusable="it takes too long")
        if isinstance(done, Graded):
            return done
        raise GraderError(
            f"the {self.kind} grader could not work: {done.reason if isinstance(done, Failed) else done}; mend it and "
            "run the trial again, finished replays are kept"
        )

    def _code(self, answer: Answer) -> str | None:
        found = self._extract(answer.text)
        if found is None:
            return None
        code = last_block(found)[:CODE_CHARS_MAX].encode("utf-8", "replace").decode()
        return code if code.strip() else None

    def grade(self, answer: Answer, reference: str | None, question: Question) -> Grade:
        code = self._code(answer)
        if code is None:
            return Grade(0.0, f"{NO_ANSWER} (it ended at its token limit)" if answer.cut else NO_ANSWER)
        if reference is None and self.needs_reference:
            return Grade(0.0, "no reference")
        graded = self._judged(code, reference or "")
        return Grade(graded.score, graded.note)

    def _judged(self, code: str, reference: str) -> Graded:
        raise NotImplementedError


class SqlGrader(_Confined):
    """1 where the answer's query gives what the reference's query gives (`sql`), else 0."""

    kind = "sql"

    def __init__(self, workers: Workers, extract: Extractor, setup: str) -> None:
        super().__init__(workers, extract)
        self._setup = setup

    def reference_problem(self, reference: str) -> str | None:
        if not reference.strip():
            return "it is empty"
        return self._graded(SqlJob(setup=self._setup, reference=reference, query=None), SQL_S_MAX).unusable

    def reference_of(self, answer: Answer) -> str | None:
        code = self._code(answer)
        return code if code is not None and self.reference_problem(code) is None else None

    def _judged(self, code: str, reference: str) -> Graded:
        return self._graded(SqlJob(setup=self._setup, reference=reference, query=code), SQL_S_MAX)


class CodeGrader(_Confined):
    """1 where the answer's code passes all tests (`code`), else 0. Tests are the grader's own, or the reference."""

    kind = "code"

    def __init__(self, workers: Workers, extract: Extractor, tests: str | None, limits: Limits) -> None:
        super().__init__(workers, extract)
        self._tests, self._limits = tests, limits
        self.needs_reference = tests is None

    def reference_problem(self, reference: str) -> str | None:
        return tests_problem(reference)

    def reference_of(self, answer: Answer) -> str | None:
        return None  # an answer is no test

    def _judged(self, code: str, reference: str) -> Graded:
        tests = reference if self._tests is None else self._tests
        limit_s = CASES_S_ADDED + self._limits.cpu_s * WALL_FACTOR * cases_in(tests) + WALL_S_ADDED
        return self._graded(CodeJob(code=code, tests=tests, limits=self._limits), limit_s)


def cases_in(tests: str) -> int:
    """An upper bound of how often an answer is run."""
    return max(1, tests.count('"stdin"')) if tests.lstrip().startswith("[") else 1
