"""Graders that do their work in processes of their own: SQL, code, patterns, and likeness beside them."""

import json
import math
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.grading.test_graders import QUESTION, config
from weighbridge.errors import ConfigError
from weighbridge.grading import build
from weighbridge.grading.answers import Answer
from weighbridge.grading.book import GraderBook, grade
from weighbridge.grading.build import SliceGrader
from weighbridge.grading.children import Children, OverTime
from weighbridge.grading.confined import GraderError
from weighbridge.grading.graders import Grade
from weighbridge.grading.jobs import CodeJob, Done, Failed, Found, Job, SearchJob
from weighbridge.grading.sandbox import Limits, why_not
from weighbridge.grading.similarity import chrf

TABLES = """
CREATE TABLE orders (id INTEGER, city TEXT, amount DECIMAL(10, 2), day DATE);
INSERT INTO orders VALUES (1, 'Bonn', 10.50, '2026-01-01'), (2, 'Bonn', 4.50, '2026-01-02'), (3, 'Ulm', 7.00, NULL);
"""
isolated = pytest.mark.skipif(why_not() is not None, reason=f"code cannot be isolated here: {why_not()}")


def one(folder: Path, text: str, files: dict[str, str]) -> SliceGrader:
    for name, body in files.items():
        (folder / name).write_text(body)
    row = GraderBook(config(folder, text), "r", CHILDREN).of("all")
    assert row is not None
    return row


CHILDREN = Children(2)


@pytest.fixture
def sql(tmp_path: Path) -> SliceGrader:
    return one(tmp_path, 'kind = "sql"\nsetup = "tables.sql"', {"tables.sql": TABLES})


def graded(row: SliceGrader, text: str, reference: str | None) -> Grade:
    return grade(row, Answer(text=text), reference, QUESTION)


SUMS = "SELECT city, sum(amount) FROM orders GROUP BY city"


@pytest.mark.parametrize(
    ("query", "score"),
    [
        (SUMS, 1.0),
        ("```sql\nselect city as c, sum(amount)::double from orders group by 1 order by 2;\n```\nThat's it.", 1.0),
        ("WITH t AS (SELECT * FROM orders) SELECT city, sum(amount) FROM t GROUP BY city", 1.0),
        ("SELECT city, sum(amount) + 0.01 FROM orders GROUP BY city", 0.0),
        ("SELECT city, sum(amount) FROM orders WHERE city = 'Bonn' GROUP BY city", 0.0),
        ("SELECT sum(amount), city FROM orders GROUP BY city", 0.0),
        ("SELECT city, sum(amount), 1 FROM orders GROUP BY city", 0.0),
        ("SELECT city, sum(amount)::text FROM orders GROUP BY city", 0.0),
        ("banana", 0.0),
        ("", 0.0),
    ],
)
def test_a_query_is_right_where_its_rows_are_those_of_the_reference(sql: SliceGrader, query: str, score: float) -> None:
    assert score == graded(sql, query, SUMS).score


def test_rows_are_compared_in_order_only_where_the_reference_orders_them(sql: SliceGrader) -> None:
    backwards = SUMS + " ORDER BY city DESC"
    assert 1.0 == graded(sql, backwards, SUMS).score
    assert Grade(0.0, "the rows in another order") == graded(sql, backwards, SUMS + " ORDER BY city")


def test_duplicate_rows_count(sql: SliceGrader) -> None:
    assert 0.0 == graded(sql, "SELECT DISTINCT city FROM orders", "SELECT city FROM orders").score
    swapped = "SELECT * FROM (VALUES ('Bonn'), ('Ulm'), ('Ulm'))"
    assert Grade(0.0, "other rows") == graded(sql, swapped, "SELECT city FROM orders")


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT content FROM read_text('/etc/hostname')",
        "SELECT * FROM read_csv('http://127.0.0.1:1/x.csv')",
        "COPY orders TO '/tmp/stolen.csv'",
        "ATTACH '/tmp/other.db'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "DROP TABLE orders",
        "DELETE FROM orders; SELECT city, sum(amount) FROM orders GROUP BY city",
        "SELECT * FROM job",
        "SELECT * FROM tables",
        "SELECT a.range FROM range(1000000) a, range(1000000) b",
        "SELECT repeat('x', 1000000000) || repeat('y', 1000000000)",
    ],
)
def test_no_query_reaches_out_of_its_tables(sql: SliceGrader, query: str) -> None:
    assert 0.0 == graded(sql, query, SUMS).score
    assert 1.0 == graded(sql, SUMS, SUMS).score


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("SELECT * FROM orders WHERE id > 99", "is empty"),
        ("DELETE FROM orders", "not one SELECT"),
        ("SELECT nothing FROM orders", "fails"),
        ("banana", "not SQL"),
        (" ", "empty"),
    ],
)
def test_a_reference_query_that_proves_nothing_is_not_used(sql: SliceGrader, reference: str, says: str) -> None:
    assert says in (sql.grader.reference_problem(reference) or "")


def test_the_tables_are_part_of_the_evidence(tmp_path: Path) -> None:
    text = 'kind = "sql"\nsetup = "tables.sql"'
    first = one(tmp_path, text, {"tables.sql": TABLES}).settings_digest
    assert first != one(tmp_path, text, {"tables.sql": TABLES.replace("10.50", "10.51")}).settings_digest


ADD = "def add(a, b):\n    return a + b"
TESTS = "assert add(2, 2) == 4\nassert add(-1, 1) == 0\n"


@isolated
@pytest.mark.parametrize(
    ("code", "score"),
    [
        (ADD, 1.0),
        (f"Here you are:\n```python\n{ADD}\n```\nIt adds.", 1.0),
        (f"```python\nprint('first try')\n```\nBetter:\n```\n{ADD}\n```", 1.0),
        ("def add(a, b):\n    return a * b", 0.0),
        ("banana", 0.0),
        ("import sys\nsys.exit(0)", 0.0),
        ("import os\nos._exit(0)", 0.0),
        ("import os\nos.write(3, b'passed')\nos._exit(0)", 0.0),
        ("def add(a, b):\n    while True: pass", 0.0),
        ("def add(a, b):\n    return add(a, b)", 0.0),
        (ADD + "\nimport socket\nsocket.create_connection(('127.0.0.1', 80))", 0.0),
    ],
)
def test_code_is_right_where_all_tests_pass_to_the_end(tmp_path: Path, code: str, score: float) -> None:
    row = one(tmp_path, 'kind = "code"\ncpu_s_max = 2', {})
    assert score == graded(row, code, TESTS).score


@isolated
def test_a_program_is_run_once_per_case_of_input_and_output(tmp_path: Path) -> None:
    cases = json.dumps([{"stdin": "2 3\n", "stdout": "5\n"}, {"stdin": "-1 1", "stdout": "0"}])
    row = one(tmp_path, 'kind = "code"\ntests = "cases.json"', {"cases.json": cases})
    assert not row.grader.needs_reference
    assert 1.0 == graded(row, "print(sum(map(int, input().split())))", None).score
    assert Grade(0.0, "case 2 of 2: another output") == graded(row, "print(5)", None)
    assert Grade(0.0, "case 1 of 2: raised ZeroDivisionError") == graded(row, "print(1 / 0)", None)


@isolated
@pytest.mark.parametrize(
    ("tests", "says"),
    [("", "checks nothing"), ("x = 1", "checks nothing"), ("'text'", "checks nothing"), ("def (", "not Python"),
     ("[]", "0 cases"), ('[{"stdin": "x"}]', "cannot be read")],
)  # fmt: skip
def test_tests_that_test_nothing_are_not_used(tmp_path: Path, tests: str, says: str) -> None:
    row = one(tmp_path, 'kind = "code"', {})
    assert says in (row.grader.reference_problem(tests) or "")


def test_without_a_sandbox_code_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "why_not", lambda: "user namespaces: Operation not permitted (EPERM); enable them")
    with pytest.raises(ConfigError, match=r"cannot be isolated .* not run: user namespaces"):
        one(tmp_path, 'kind = "code"', {})


def test_a_sandbox_that_is_lost_on_the_way_is_an_error_and_no_score(tmp_path: Path) -> None:
    class Lost:
        width = 1

        def do(self, job: Job, limit_s: float) -> Done:
            return Failed(reason="no sandbox: user namespaces: Operation not permitted (EPERM)")

    book = GraderBook(config(tmp_path, 'kind = "sql"\nsetup = "t.sql"'), "r", Lost()) if _tables(tmp_path) else None
    row = book.of("all") if book else None
    assert row is not None
    with pytest.raises(GraderError, match="no sandbox"):
        graded(row, "SELECT 1", "SELECT 1")


def _tables(folder: Path) -> bool:
    return bool((folder / "t.sql").write_text(TABLES))


def test_a_catastrophic_pattern_finds_nothing_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weighbridge.grading.confined.SEARCH_S_MAX", 0.2)
    hostile = "a" * 40 + "!"
    row = one(tmp_path, 'kind = "regex"\npattern = "(a+)+$"', {})
    assert 0.0 == graded(row, hostile, None).score
    assert 1.0 == graded(row, "aaa", None).score
    gold = one(tmp_path, 'kind = "regex"', {})
    assert 0.0 == graded(gold, hostile, "(a|aa)+$").score
    extract = one(tmp_path, 'kind = "exact"\nextract = "regex:(a+)+$"', {})
    assert 0.0 == graded(extract, hostile, "x").score


def test_a_job_past_its_deadline_costs_its_process_and_no_other_job() -> None:
    children = Children(1)
    with pytest.raises(OverTime):
        children.do(SearchJob(pattern="(a+)+$", text="a" * 40 + "!"), 0.1)
    assert Found(text="b") == children.do(SearchJob(pattern="b", text="abc"), 60.0)
    children.close()


def test_a_process_that_died_while_idle_is_replaced() -> None:
    children = Children(1)
    job = SearchJob(pattern="b", text="abc")
    assert Found(text="b") == children.do(job, 60.0)
    os.kill(children._idle[0]._popen.pid, signal.SIGKILL)
    assert Found(text="b") == children.do(job, 60.0)
    children.close()


def test_jobs_of_many_threads_get_their_own_answers() -> None:
    with ThreadPoolExecutor(8) as pool:
        jobs = [SearchJob(pattern=f"x{n}y", text=f"..x{n}y.." * 50) for n in range(200)]
        found = list(pool.map(lambda job: CHILDREN.do(job, 60.0), jobs))
    assert [Found(text=f"x{n}y") for n in range(200)] == found


def test_what_goes_wrong_in_a_grading_process_is_said() -> None:
    done = CHILDREN.do(SearchJob(pattern="(", text="x"), 60.0)
    assert isinstance(done, Failed)
    assert "missing )" in done.reason


@isolated
def test_hostile_code_does_not_end_the_grading_process() -> None:
    job = CodeJob(
        code="import os\nos.kill(os.getppid(), 9)\nos.kill(1, 9)", tests="assert True", limits=Limits(cpu_s=2)
    )
    done = CHILDREN.do(job, 60.0)
    assert not isinstance(done, Failed)
    assert Found(text="b") == CHILDREN.do(SearchJob(pattern="b", text="abc"), 60.0)


def test_likeness_is_chrf_as_its_formula_says() -> None:
    # "abc" and "abd": 1-grams 2 of 3, 2-grams 1 of 2, 3-grams 0 of 1; precision = recall = (2/3 + 1/2 + 0) / 3.
    assert math.isclose((2 / 3 + 1 / 2) / 3, chrf("abc", "abd"))
    # Recall weighs four times as much: half of the reference against twice the reference.
    assert chrf("ab", "abab") < chrf("abab", "ab")


@pytest.mark.parametrize(
    ("answer", "reference", "score"), [("", "x", 0.0), ("x", "", 0.0), ("", "", 0.0), ("a b", "ab", 1.0)]
)
def test_likeness_at_its_ends(answer: str, reference: str, score: float) -> None:
    assert score == chrf(answer, reference)


@given(st.text(max_size=60), st.text(max_size=60))
def test_likeness_stays_between_nothing_and_equal(answer: str, reference: str) -> None:
    assert 0.0 <= chrf(answer, reference) <= 1.0


def test_a_banana_is_unlike_a_sentence(tmp_path: Path) -> None:
    row = one(tmp_path, 'kind = "similarity"', {})
    want = "The parcel was handed to the carrier on Monday."
    close, banana = graded(row, "The parcel was given to the carrier Monday.", want), graded(row, "banana", want)
    assert close.score > 0.6
    assert banana.score < 0.1
