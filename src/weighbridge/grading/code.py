"""Code against tests, in the sandbox.

Tests are Python that runs after the answer's code in the same interpreter (`assert add(2, 2) == 4`), or a JSON list of
`{"stdin": ..., "stdout": ...}`, for which the answer is run as a program once per case. All pass, or the score is 0.

What counts as passed is a random word that the interpreter writes after the last test; exit codes prove nothing, an
answer can end the program. Code that searches its own interpreter for that word could forge it: cases by standard
input and output do not have that hole.
"""

import ast
import secrets

import msgspec

from weighbridge.grading.jobs import CodeJob, Failed, Graded
from weighbridge.grading.sandbox import NoSandbox, Ran, run

MAIN, ANSWER, TESTS = "/tmp/main.py", "/tmp/answer.py", "/tmp/tests.py"  # noqa: S108 (inside the sandbox)
CASES_MAX = 64
HARNESS = f"""
import os, sys
word = sys.stdin.read()
write = os.write
scope = {{"__name__": "answer", "__builtins__": __builtins__}}
for path in ({ANSWER!r}, {TESTS!r}):
    with open(path, encoding="utf-8") as file:
        exec(compile(file.read(), path, "exec"), scope)
write(3, word.encode())
"""


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    stdin: str
    stdout: str


def cases_of(tests: str) -> list[Case] | None:
    """The cases of a JSON list; `None` where the tests are Python. Raises `ValueError` saying what is wrong."""
    if not tests.lstrip().startswith("["):
        return None
    try:
        cases = msgspec.json.decode(tests, type=list[Case])
    except msgspec.MsgspecError as error:
        raise ValueError(f"its cases cannot be read: {error}") from None
    if not 1 <= len(cases) <= CASES_MAX:
        raise ValueError(f"it has {len(cases)} cases; allowed are 1 to {CASES_MAX}")
    return cases


def tests_problem(tests: str) -> str | None:
    """Why these tests cannot be used; `None` where they can. Tests that check nothing are no tests."""
    try:
        if cases_of(tests) is not None:
            return None
        tree = ast.parse(tests)
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        return str(error) if isinstance(error, ValueError) else "it is not Python"
    checks: tuple[type[ast.AST], ...] = (ast.Assert, ast.Expr, ast.For, ast.While, ast.If, ast.With, ast.Raise, ast.Try)
    acts = [node for node in tree.body if isinstance(node, checks) and not _is_text(node)]
    return None if acts else "it checks nothing: no assertion and no call at its top level"


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def run_tests(job: CodeJob) -> Graded | Failed:
    try:
        cases = cases_of(job.tests)
        if cases is None:
            return _run_python(job)
        for number, case in enumerate(cases, 1):
            ran = run({MAIN: job.code}, case.stdin, job.limits)
            if ran.code != 0 or _lines(ran.out) != _lines(case.stdout):
                return Graded(score=0.0, note=f"case {number} of {len(cases)}: {_why(ran) or 'another output'}")
    except NoSandbox as error:
        return Failed(reason=f"no sandbox: {error}")
    except ValueError as error:
        return Graded(score=0.0, unusable=str(error))
    return Graded(score=1.0)


def _run_python(job: CodeJob) -> Graded:
    word = secrets.token_hex(16)
    ran = run({MAIN: HARNESS, ANSWER: job.code, TESTS: job.tests}, word, job.limits)
    if ran.sign == word:
        return Graded(score=1.0)
    return Graded(score=0.0, note=_why(ran) or "it ended before the last test")


def _why(ran: Ran) -> str | None:
    """Why a run failed, without quoting what the program printed."""
    if ran.code is None or ran.code == -9:
        return "over its time limit"
    if ran.code < 0:
        return f"ended by signal {-ran.code}"
    if ran.code:
        last = ran.err.strip().rsplit("\n", 1)[-1].partition(":")[0]
        return f"raised {last}" if last.isidentifier() else f"exit code {ran.code}"
    return None


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().splitlines()]


def last_block(text: str) -> str:
    """The last fenced block of an answer, else all of it: models explain around their code."""
    found: str | None = None
    lines: list[str] | None = None
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            if lines is None:
                lines = []
            else:
                found, lines = "\n".join(lines), None
        elif lines is not None:
            lines.append(line)
    if lines:  # a fence that was cut at the token limit
        found = "\n".join(lines)
    return text if found is None else found
