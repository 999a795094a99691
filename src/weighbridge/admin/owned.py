"""What belongs to whom: a team owns its keys, the budgets that they spend from and the routes that they may use."""

from weighbridge.admin.pages.sources import Sources
from weighbridge.admin.pages.trialviews import plan_of


class Owned:
    """What somebody of these teams sees; `None`: everything. What is not theirs is answered as if it were not there.

    Raises `WeighbridgeError` where there is no route table to tell it by.
    """

    def __init__(self, sources: Sources, teams: tuple[str, ...] | None) -> None:
        self._sources, self.everything = sources, teams is None
        self._budgets: frozenset[str | None] = frozenset()
        self._routes: frozenset[str] = frozenset()
        if teams is not None:
            mine = [key for key in sources.table.keys if key.team in teams]
            of_team = [row.budget for row in sources.loaded.config.team if row.name in teams]
            self._budgets = frozenset([*(key.budget for key in mine), *of_team])
            self._routes = frozenset(route for key in mine for route in key.routes)

    def route(self, name: str) -> bool:
        return self.everything or "*" in self._routes or name in self._routes

    def budget(self, name: str) -> bool:
        """Their own, not what contains it: that says what others spend."""
        return self.everything or name in self._budgets

    def trial(self, trial: str) -> bool:
        """A trial is of the route that it was made on."""
        if self.everything:
            return True
        plan = plan_of(self._sources, trial)
        return plan is not None and self.route(plan.settings.route)
