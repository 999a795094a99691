"""Closed e-testing with averages over the certify processes of all slices and candidates.

After each complete item, on the *current* e-values E of the hypotheses U that are not certified yet:

    E*_i = min over j of mean(E_i and the j smallest other E in U),  j = 0 .. |U| - 1
    while E*_i >= 1/alpha for the largest E_i: certify i for good, remove it from U

Every intersection hypothesis that contains i is then rejected by its average e-value, so the chance of any false
certificate, at any time and under any dependence, is at most alpha; Holm's rule is contained (Vovk and Wang 2021;
Hartog and Lei 2025). It needs one filtration (Choe and Ramdas 2024): an item is one step for all candidates still
running, and `update` is called between items, never inside one. Running maxima are not e-values and must not be
passed.
"""

import math
from collections.abc import Hashable, Iterable, Mapping
from typing import Generic, TypeVar

from weighbridge.stats.bets import check_alpha

Name = TypeVar("Name", bound=Hashable)

# An e-value beyond e^600 is taken as e^600: still far above any threshold, and sums of a family stay finite.
_LOG_MAX = 600.0


class Family(Generic[Name]):
    """The hypotheses of one family, named by slice and candidate, or by anything hashable.

    alpha: the family-wise error level. names: the whole family, fixed in advance; without it the first `update` fixes
    it. A name missing from a later update keeps its last e-value and stays in the family.
    """

    def __init__(self, alpha: float, names: Iterable[Name] | None = None) -> None:
        self.alpha = check_alpha(alpha)
        self._threshold = -math.log(self.alpha)
        self._current: dict[Name, float] = {}
        self._certified: list[Name] = []
        self._fixed = names is not None
        for name in names or ():
            self._current[name] = 0.0

    @property
    def certified(self) -> tuple[Name, ...]:
        """Certified names in the order of their certificates."""
        return tuple(self._certified)

    @property
    def undecided(self) -> tuple[Name, ...]:
        """The names that are still in the family."""
        return tuple(self._current)

    def update(self, current: Mapping[Name, float]) -> list[Name]:
        """Take the current log e-values after a complete item; returns the newly certified names.

        ValueError for a log e-value that is NaN, and for a name outside the family: adding a hypothesis after looking
        at others would break the error level.
        """
        done = set(self._certified)
        for name, log_e in current.items():
            if math.isnan(log_e):
                raise ValueError(f"log e-value of {name!r} is nan: allowed is a number, 0 before the first item")
            if name in done:
                continue
            if self._fixed and name not in self._current:
                raise ValueError(
                    f"{name!r} is not in the family {list(self._current)!r}: allowed are the names it began with; "
                    "start a new family (a new trial) for a new hypothesis"
                )
            self._current[name] = log_e
        self._fixed = True
        new: list[Name] = []
        while self._current:
            best = max(self._current, key=self._current.__getitem__)
            if self._current[best] < self._threshold or self._current[best] < self.required(best):
                break
            del self._current[best]
            self._certified.append(best)
            new.append(best)
        return new

    def required(self, name: Name) -> float:
        """The log e-value at which `name` would be certified now, all others staying as they are.

        E*_i >= 1/alpha says E_i >= (j + 1)/alpha - (sum of the j smallest others) for every j. -inf once certified.
        """
        if name not in self._current:
            return -math.inf
        others = sorted(math.exp(min(e, _LOG_MAX)) for key, e in self._current.items() if key != name)
        level = 1.0 / self.alpha
        need, missing = level, level
        for e in others:
            if e >= level:
                break
            missing += level - e
            need = missing
        return math.log(need)
