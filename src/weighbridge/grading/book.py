"""Which grader judges which slice: the `[[grader]]` tables of a route."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from fnmatch import fnmatchcase
from typing import TypeVar

from weighbridge.config import Loaded
from weighbridge.errors import ConfigError
from weighbridge.grading.answers import Answer, Question
from weighbridge.grading.build import SliceGrader, compile_grader
from weighbridge.grading.children import Children, Workers
from weighbridge.grading.graders import Grade

T = TypeVar("T")
R = TypeVar("R")


class GraderBook:
    """The graders of one route. Raises `ConfigError` for a grader that cannot be built."""

    def __init__(self, loaded: Loaded, route: str, workers: Workers | None = None) -> None:
        """workers: where graders that need a process of their own have their work done; local processes by default."""
        workers = Children() if workers is None else workers
        self._width = workers.width
        self._threads: ThreadPoolExecutor | None = None
        self._rows: list[SliceGrader] = []
        for index, section in enumerate(loaded.config.grader):
            if section.route == route:
                if any(row.pattern == section.slice for row in self._rows):
                    raise ConfigError(
                        loaded.file,
                        f"grader[{index}].slice",
                        f"route {route!r} has another grader for the same slice; keep one",
                        value=section.slice,
                    )
                self._rows.append(compile_grader(loaded, section, f"grader[{index}]", workers))

    def later(self, call: Callable[[T], R], argument: T) -> Future[R]:
        """Call what waits for a grading process in a thread, as many at once as jobs are done at once."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._width, "grading")
        return self._threads.submit(call, argument)

    def of(self, slice_name: str) -> SliceGrader | None:
        """The grader of a slice: the one that names it, else the first whose pattern (`task=*`) fits, `*` last."""
        exact = next((row for row in self._rows if row.pattern == slice_name), None)
        if exact is not None:
            return exact
        fitting = [row for row in self._rows if fnmatchcase(slice_name, row.pattern)]
        return min(fitting, key=lambda row: row.pattern == "*", default=None)


def grade(row: SliceGrader, answer: Answer, reference: str | None, question: Question) -> Grade:
    """Grade one answer. One nested past all reason scores 0. Raises `GraderError` for a grader of one's own."""
    try:
        return row.grader.grade(answer, reference, question)
    except RecursionError:
        return Grade(0.0, "nested too deeply to be compared")
