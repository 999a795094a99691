"""Writes docs/evidence/promises.md: what people may rely on, the tests that hold it up, and the figures they came to.

A test says which promise it keeps: `@pytest.mark.promise(5)`, on the test, its class, or a whole file (`pytestmark`).
What each promise says, and where its figure stands, is in scripts/promises.toml. Figures are copied from the pages that
benchmarks wrote, never typed. Part of `scripts/docs`.
"""

import ast
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import msgspec

REPOSITORY = Path(__file__).resolve().parent.parent
MADE = "<!-- Made by scripts/docs from scripts/promises.toml and the marks of tests; edit there. -->"


class Figure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row of a table on a page of docs/evidence; its first cells hold `row`, and its cell `cell` is the figure."""

    page: str
    row: str
    cell: int = -1


class Promise(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    number: int
    says: str
    asks: str
    """The figure that it has to come to."""
    figures: tuple[Figure, ...] = ()
    measured_by: str = ""
    """The benchmark that measures what no test can: time, on a machine that does nothing else."""
    open: str = ""
    """What of it is not shown."""


class Test(msgspec.Struct, frozen=True, order=True):
    file: str
    line: int
    name: str
    is_long: bool


def promises() -> tuple[Promise, ...]:
    text = (REPOSITORY / "scripts" / "promises.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text)["promise"], tuple[Promise, ...])


# --- what tests say ---------------------------------------------------------------------------------------------------


def marked(folder: Path = REPOSITORY / "tests") -> dict[int, list[Test]]:
    """Promise -> the tests that keep it, by reading the source: nothing is imported."""
    found: dict[int, list[Test]] = defaultdict(list)
    for path in sorted(folder.rglob("test_*.py")):
        source = path.read_text("utf-8")
        if "promise(" not in source:
            continue
        tree = ast.parse(source)
        stated = [node for node in tree.body if isinstance(node, ast.Assign) and _is_pytestmark(node)]
        of_file = [mark for node in stated for mark in _marks(node.value)]
        for function, inherited in _functions(tree, of_file):
            marks = [*inherited, *(mark for decorator in function.decorator_list for mark in _marks(decorator))]
            is_long = any(name == "long" for name, _ in marks)
            for number in sorted({number for name, numbers in marks if name == "promise" for number in numbers}):
                found[number].append(
                    Test(path.relative_to(folder.parent).as_posix(), function.lineno, function.name, is_long)
                )
    return found


Mark = tuple[str, tuple[int, ...]]


def _is_pytestmark(node: ast.Assign) -> bool:
    return any(isinstance(target, ast.Name) and target.id == "pytestmark" for target in node.targets)


Function = ast.FunctionDef | ast.AsyncFunctionDef


def _functions(tree: ast.Module, of_file: list[Mark]) -> Iterator[tuple[Function, list[Mark]]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node, of_file
        elif isinstance(node, ast.ClassDef):
            of_class = [*of_file, *(mark for decorator in node.decorator_list for mark in _marks(decorator))]
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef) and inner.name.startswith("test_"):
                    yield inner, of_class


def _marks(node: ast.expr) -> Iterator[Mark]:
    """`pytest.mark.NAME` and `pytest.mark.NAME(1, 2)`, one or a list of them."""
    if isinstance(node, ast.List | ast.Tuple):
        for one in node.elts:
            yield from _marks(one)
        return
    call = node if isinstance(node, ast.Call) else None
    attribute = call.func if call is not None else node
    if isinstance(attribute, ast.Attribute) and ast.unparse(attribute.value) == "pytest.mark":
        given = () if call is None else tuple(
            one.value for one in call.args if isinstance(one, ast.Constant) and isinstance(one.value, int)
        )  # fmt: skip
        yield attribute.attr, given


# --- the page ---------------------------------------------------------------------------------------------------------


class NoFigureError(Exception):
    """A page of evidence has no such row any more."""


def figure(one: Figure) -> str:
    page = REPOSITORY / "docs" / "evidence" / one.page
    for line in page.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and one.row in " | ".join(cells[:3]):
            return f"{cells[one.cell]} ([{one.page.removesuffix('.md')}]({one.page}))"
    raise NoFigureError(f"docs/evidence/{one.page} has no row with {one.row!r}; scripts/promises.toml names it")


def page() -> str:
    tests = marked()
    lines = [
        MADE,
        "# Promises, their tests and figures",
        "",
        "What people may rely on. A promise without a test is not made. Tests run on each change; those in *italics*",
        "take minutes and run with `scripts/test --long`; `scripts/test --promise 5` runs those of one.",
        "Figures are copied from pages that benchmarks wrote.",
        "",
    ]
    for one in promises():
        lines += [f"## {one.number}. {one.says}", "", f"Has to be: {one.asks}.", ""]
        shown = [figure(row) for row in one.figures]
        if shown:
            lines += [f"Measured: {'; '.join(shown)}.", ""]
        if one.measured_by:
            lines += [f"What only a quiet machine can show: `{one.measured_by}`.", ""]
        if one.open:
            lines += [f"Not shown: {one.open}.", ""]
        by_file: dict[str, list[Test]] = defaultdict(list)
        for test in tests.get(one.number, []):
            by_file[test.file].append(test)
        for file, found in by_file.items():
            said = "; ".join(_sentence(test) for test in found)
            lines.append(f"- [{file.removeprefix('tests/')}](../../{file}): {said}")
        lines.append("")
    return "\n".join(lines)


def _sentence(test: Test) -> str:
    text = test.name.removeprefix("test_").replace("_", " ")
    return f"*{text}*" if test.is_long else text
