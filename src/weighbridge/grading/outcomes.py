"""What became of tasks: a conversation, what all its requests cost, and what the application told us of it.

A task is a conversation on a route. An outcome has a name (`resolved`, `tests_passed`, `merged`, ...) and a score from
0 to 1; the latest of each name holds, and a task is accepted when all of its outcomes reach the bar. Nothing told is
nothing known: such a task counts for cost, never as a success or a failure.
"""

from typing import NamedTuple

import msgspec

from weighbridge.records.exchange import Exchange
from weighbridge.records.frames import Told
from weighbridge.stats.rare import exact_interval

BAR = 0.5
"""The lowest score that accepts a task."""
LEVEL = 0.05


class Task:
    """One conversation."""

    __slots__ = ("arms", "cost_nanousd", "outcomes", "requests", "slice", "unpriced")

    def __init__(self, slice_name: str) -> None:
        self.slice = slice_name
        self.arms: set[str] = set()
        self.requests = self.unpriced = 0
        self.cost_nanousd = 0
        self.outcomes: dict[str, tuple[int, float]] = {}
        """Name -> when it was told, and its score."""

    def accepted(self, bar: float) -> bool | None:
        """`None` where nothing was told."""
        return all(score >= bar for _, score in self.outcomes.values()) if self.outcomes else None


class TaskFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Tasks of one route that one arm answered alone; `arm` is `None` for those that several arms had a part in."""

    route: str
    arm: str | None
    tasks: int
    requests: int
    told: int
    """Tasks with an outcome."""
    accepted: int
    success_rate: float | None
    """Of those with an outcome."""
    success_interval: tuple[float, float] | None
    """Clopper-Pearson, 95% for each end: of tasks that stand for all only if who tells does not depend on the arm."""
    cost_nanousd: int | None
    """Of all tasks; `None` as soon as a request's cost is unknown."""
    cost_per_task_nanousd: float | None
    cost_per_accepted_nanousd: float | None
    """What the tasks with an outcome cost, failed ones too, over those that were accepted."""
    unpriced: int
    """Requests whose cost is unknown."""


class TaskBook:
    """Collects exchanges and outcomes in any order."""

    def __init__(self) -> None:
        self._tasks: dict[tuple[str, str], Task] = {}
        self._early: dict[tuple[str, str], list[Told]] = {}

    def add(self, exchange: Exchange) -> None:
        """A finished exchange; only users' conversations are tasks."""
        if exchange.purpose != "user" or not exchange.attempts:
            return
        key = (exchange.route, exchange.conversation)
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = Task(exchange.slice)
            for frame in self._early.pop(key, ()):
                _tell(task, frame)
        task.requests += 1
        task.arms.update(attempt.arm for attempt in exchange.attempts)
        if exchange.cost_nanousd is None:
            task.unpriced += 1
        else:
            task.cost_nanousd += exchange.cost_nanousd

    def tell(self, frame: Told) -> None:
        """An outcome. One of a conversation that is never added says nothing about a task, and is left out."""
        key = (frame.route, frame.conversation)
        task = self._tasks.get(key)
        if task is None:
            self._early.setdefault(key, []).append(frame)
        else:
            _tell(task, frame)

    def figures(self, bar: float = BAR, route: str | None = None) -> tuple[TaskFigures, ...]:
        """By route and arm. Without any outcome told the rates are `None`."""
        groups: dict[tuple[str, str | None], list[Task]] = {}
        for (name, _), task in self._tasks.items():
            if route in (None, name):
                arm = next(iter(task.arms)) if len(task.arms) == 1 else None
                groups.setdefault((name, arm), []).append(task)
        keys = sorted(groups, key=lambda key: (key[0], key[1] is None, key[1] or ""))
        return tuple(_figures(name, arm, groups[name, arm], bar) for name, arm in keys)


def _tell(task: Task, frame: Told) -> None:
    known = task.outcomes.get(frame.name)
    if known is None or known[0] <= frame.time_ns:
        task.outcomes[frame.name] = (frame.time_ns, frame.score)


class TaskSums(NamedTuple):
    """Sums over the tasks of one route that one arm answered alone (`None`: several arms)."""

    route: str
    arm: str | None
    tasks: int
    requests: int
    told: int
    accepted: int
    cost_nanousd: int
    """Of what is known."""
    unpriced: int
    told_nanousd: int
    """The same of tasks with an outcome."""
    told_unpriced: int


def figures_of(sums: TaskSums) -> TaskFigures:
    """What the sums say."""
    told, accepted = sums.told, sums.accepted
    cost = None if sums.unpriced else sums.cost_nanousd
    return TaskFigures(
        route=sums.route, arm=sums.arm, tasks=sums.tasks, requests=sums.requests, told=told, accepted=accepted,
        success_rate=accepted / told if told else None,
        success_interval=exact_interval(accepted, told, LEVEL) if told else None,
        cost_nanousd=cost, cost_per_task_nanousd=None if cost is None else cost / sums.tasks,
        cost_per_accepted_nanousd=None if sums.told_unpriced or not accepted else sums.told_nanousd / accepted,
        unpriced=sums.unpriced,
    )  # fmt: skip


def _figures(route: str, arm: str | None, tasks: list[Task], bar: float) -> TaskFigures:
    told = [task for task in tasks if task.outcomes]
    return figures_of(
        TaskSums(
            route, arm, len(tasks), sum(task.requests for task in tasks), len(told),
            sum(task.accepted(bar) is True for task in told), sum(task.cost_nanousd for task in tasks),
            sum(task.unpriced for task in tasks), sum(task.cost_nanousd for task in told),
            sum(task.unpriced for task in told),
        )
    )  # fmt: skip
