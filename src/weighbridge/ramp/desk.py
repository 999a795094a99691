"""What every part of the office asks of its desk. What only the keeper can do is added by those who need it."""

from typing import Protocol

from weighbridge.clock import Clock
from weighbridge.config import Loaded
from weighbridge.records.table import RouteTable
from weighbridge.store.layout import Layout


class BaseDesk(Protocol):
    @property
    def layout(self) -> Layout: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def loaded(self) -> Loaded: ...
    @property
    def table(self) -> RouteTable | None: ...
