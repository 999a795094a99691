"""Budgets, as the keeper knows them: which there are, where they stand, who is told, and a limit that a person changes.

The bank grants, the projection follows the log; here is what is said about both.
"""

from typing import Protocol

from weighbridge.clock import Clock
from weighbridge.config import Loaded
from weighbridge.keeper.alerts import Alerts
from weighbridge.keeper.bank import Bank
from weighbridge.keeper.compile import compiled_budget
from weighbridge.keeper.limits import limit_change
from weighbridge.keeper.projecting import Projecting
from weighbridge.keeper.publish import Published, Publisher
from weighbridge.keeper.ramps import login
from weighbridge.keeper.thresholds import Rates, tell_of_thresholds
from weighbridge.ledger.limits import with_limits
from weighbridge.ledger.standing import standings
from weighbridge.records.budget import Budget
from weighbridge.records.canonical import canonical
from weighbridge.store.control import LimitSet, ObjectKind, SetLimit, ShowBudgets, Standings
from weighbridge.store.layout import Layout


class Host(Protocol):
    """The keeper, as its budgets see it."""

    @property
    def loaded(self) -> Loaded: ...

    @property
    def serving(self) -> bool: ...

    async def put(self, kind: ObjectKind, label: str, body: bytes) -> str:
        """Sign an object into the log."""
        ...

    def tell_workers(self, published: Published) -> None: ...


class Money:
    """`projecting` brings the ledger up to date with the log."""

    def __init__(
        self, layout: Layout, bank: Bank, alerts: Alerts, publisher: Publisher, clock: Clock, host: Host
    ) -> None:
        self._bank, self._alerts, self._publisher, self._clock, self._host = bank, alerts, publisher, clock, host
        self.projecting = Projecting(layout, bank, lambda name: self.budgets().get(name))
        self._rates = Rates()

    def budgets(self) -> dict[str, Budget]:
        """Of the configuration, with limits that somebody changed since."""
        loaded = self._host.loaded
        compiled = tuple(map(compiled_budget, loaded.config.budget))
        return {row.name: row for row in with_limits(compiled, self._publisher.limits(loaded))}

    async def tell(self) -> None:
        """Of budgets that have reached a part of their cap."""
        await tell_of_thresholds(self._bank, self.budgets(), self._alerts, self._host.loaded, self._rates)

    async def answer(self, request: ShowBudgets | SetLimit) -> Standings | LimitSet:
        return await self._standings(request.users) if isinstance(request, ShowBudgets) else await self._set(request)

    async def _standings(self, users: bool) -> Standings:
        await self.projecting.run()
        bank, budgets = self._bank, self.budgets()
        rows = await bank.do(lambda: standings(bank.store, budgets, bank.now_ns(), users=users))
        return Standings(rows=tuple(rows), ledger=bank.store.sql.place)

    async def _set(self, request: SetLimit) -> LimitSet:
        """Signed first, then published: what was answered holds after a crash, too."""
        loaded, by = self._host.loaded, request.by or login()
        change = limit_change(loaded.config, request, by, self._clock.wall_ns())
        before = self.budgets()[request.budget].limit_nanousd
        await self._host.put("limit", request.budget, canonical(change))
        published = self._publisher.publish_limits(loaded) if self._host.serving else None
        if published is not None:
            self._host.tell_workers(published)
        return LimitSet(
            before_nanousd=before, after_nanousd=self.budgets()[request.budget].limit_nanousd, by=by,
            table=None if published is None else published.table.number,
        )  # fmt: skip
