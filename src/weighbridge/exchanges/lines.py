"""A file of lines that is taken whole or not at all: every problem in it is said at once, and nothing is stored."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from weighbridge.errors import UsageError

PROBLEMS_SHOWN_MAX = 20

R = TypeVar("R")


def rows_of(name: str, lines: Iterable[bytes], row: Callable[[int, bytes], R], *, nothing: str) -> list[R]:
    """Each line that is not empty, through `row` (the line's number from 1, the line), which raises `ValueError`.

    Raises `UsageError` with the first problems, each with its line, and where no line is there: `nothing` says then
    what a line looks like.
    """
    rows: list[R] = []
    problems: list[str] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            rows.append(row(number, line))
        except ValueError as error:  # msgspec's errors are ValueErrors, too
            problems.append(f"{name}:{number}: {error}")
            if len(problems) == PROBLEMS_SHOWN_MAX:
                problems.append(f"(the first {PROBLEMS_SHOWN_MAX} are shown)")
                break
    if problems:
        raise UsageError("\n".join((*problems, "Nothing was imported. Mend these lines and import the file again.")))
    if not rows:
        raise UsageError(f"{name}: holds no line. {nothing}")
    return rows
