"""Budgets as the route table carries them, and which of them a request is charged to."""

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

import msgspec

WindowKind = Literal["minute", "hour", "day", "week", "month", "year", "total"]
FailMode = Literal["closed", "open"]
BudgetPurpose = Literal["user", "trial", "shadow", "judge", "drill"]

TOKEN_BUDGET = "trial-token"  # noqa: S105 (the name of an account, not a secret)
"""The account of a trial token's own budget; no configured budget may have this name."""
SUBJECT_MARK = "\x1f"
"""Between a budget's name and one user of it, where a request could be charged to no lease and the log names both."""


class Budget(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A cap over a window. Money is integer nano-dollars."""

    name: str
    limit_nanousd: int
    parent: str | None = None
    window: WindowKind = "month"
    time_zone: str = "UTC"
    hard: bool = False
    on_ledger_loss: FailMode = "closed"
    per_user_nanousd: int | None = None
    """A cap of the same window for each end user; `None`: users have none of their own."""
    purposes: tuple[BudgetPurpose, ...] = ()
    """Everything sent for these purposes is charged here, whoever asks."""

    @property
    def span(self) -> str:
        """What its windows follow; another span is another series of windows."""
        return self.window if self.window == "total" else f"{self.window} {self.time_zone}"


def chain_of(budgets: Mapping[str, Budget], starts: Iterable[str | None]) -> tuple[Budget, ...]:
    """The budgets named by `starts` and all that contain them, each once, in the order of their names.

    The order is the same everywhere: who takes several accounts takes them in it.
    """
    found: dict[str, Budget] = {}
    for start in starts:
        name = start
        while name is not None and name not in found:
            budget = budgets.get(name)
            if budget is None:
                break
            found[name] = budget
            name = budget.parent
    return tuple(found[name] for name in sorted(found))


class Split(NamedTuple):
    """Which budgets of a request are charged for a part of its attempts only: those of arms that may stand in."""

    budgets: tuple[tuple[str, frozenset[str]], ...]
    """Each with the arms' budgets that lead to it."""
    needed: frozenset[str]
    """Arms' budgets that it cannot do without: that of the arm it goes to first."""

    def without(self, budget: str) -> "tuple[frozenset[str], Split] | None":
        """Where a budget has no room: the arms' budgets to leave out, and what is left; `None`: it is needed."""
        arms = dict(self.budgets).get(budget)
        if arms is None or arms & self.needed:
            return None
        return arms, Split(tuple((name, of - arms) for name, of in self.budgets if of - arms), self.needed)


def split_of(
    budgets: Mapping[str, Budget], starts: tuple[str | None, ...], arms: frozenset[str], needed: frozenset[str]
) -> tuple[tuple[Budget, ...], Split]:
    """The chain of a request that any of several arms may serve, and which of it is charged for some of them only.

    `arms` are the budgets that those arms name (`needed` among them), `starts` all others that it is charged to.
    """
    everywhere = {budget.name for budget in chain_of(budgets, starts)}
    by_budget: dict[str, set[str]] = {}
    for arm in arms:
        for budget in chain_of(budgets, (arm,)):
            if budget.name not in everywhere:
                by_budget.setdefault(budget.name, set()).add(arm)
    parts = tuple((name, frozenset(by_budget[name])) for name in sorted(by_budget))
    return chain_of(budgets, (*starts, *arms)), Split(parts, needed)


def starts_of(
    budgets: Iterable[Budget], purpose: BudgetPurpose, *, key: str | None, route: str | None, arm: str | None
) -> tuple[str | None, ...]:
    """Which budgets a request names itself: those of its key, route and arm, or those of its purpose.

    Only what users send is charged to keys and routes, in a drill, too. An arm's budget holds for every purpose: it
    says what that endpoint may cost at all.
    """
    own = tuple(budget.name for budget in budgets if purpose in budget.purposes)
    return (key, route, arm, *own) if purpose in ("user", "drill") else (arm, *own)
