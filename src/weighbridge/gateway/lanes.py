"""The route table compiled for the hot path. Built anew for each table, never edited."""

from copy import copy
from typing import TYPE_CHECKING

from weighbridge.gateway.lane import Lane, Secret
from weighbridge.gateway.way import Way
from weighbridge.records.table import Capture, Key, Limits, RouteTable

if TYPE_CHECKING:
    from weighbridge.gateway.rates import Rate


class ClientKey:
    """Who is asking, and what they may ask for: model names and aliases -> route."""

    __slots__ = ("budget", "digest", "name", "rate", "requests_per_minute", "team", "tokens_per_minute", "ways")

    def __init__(self, key: Key, ways: dict[str, Way]) -> None:
        self.name, self.digest, self.team, self.ways = key.name, bytes.fromhex(key.digest), key.team, ways
        self.budget = key.budget
        self.requests_per_minute, self.tokens_per_minute = key.requests_per_minute, key.tokens_per_minute
        self.rate: Rate | None = None
        """Set by the gateway that uses the table: its workers share what is counted."""


class Lanes:
    """A compiled route table."""

    def __init__(self, table: RouteTable, secret: Secret) -> None:
        self.number = table.number
        self.limits: Limits = table.limits
        self.capture: Capture = table.capture
        self.trial_key = bytes.fromhex(table.trial_key)
        self.limited = tuple(row for row in table.endpoints if row.concurrency_max is not None)
        self.budgets = {budget.name: budget for budget in table.budgets}
        ways = {route.name: Way(table, route, secret) for route in table.routes}
        self.ways = ways
        self.by_model: dict[str, Way] = {}
        for route in table.routes:
            for model in (route.name, *route.aliases):
                self.by_model.setdefault(model, ways[route.name])
        self.next_expiry_ns = min((key.expires_ns for key in table.keys if key.expires_ns is not None), default=None)
        """When the next key ends. Nobody looks at it per request: a timer calls `expired` then."""
        self._expiries = [(bytes.fromhex(key.digest)[:8], key.expires_ns) for key in table.keys]
        self.keys: dict[bytes, ClientKey] = {}
        self.keys_by_name: dict[str, ClientKey] = {}
        for key in table.keys:
            digest = bytes.fromhex(key.digest)
            allowed = self.by_model
            if "*" not in key.routes:
                mine = set(key.routes)
                allowed = {model: way for model, way in self.by_model.items() if way.name in mine}
            compiled = ClientKey(key, allowed)
            self.keys[digest[:8]] = self.keys_by_name[key.name] = compiled

    def expired(self, now_ns: int) -> "Lanes":
        """These lanes without the keys that have ended. Another object, so that no remembered caller passes."""
        left = copy(self)
        left._expiries = [(place, ends) for place, ends in self._expiries if ends is None or now_ns < ends]
        places = {place for place, _ in left._expiries}
        left.keys = {place: key for place, key in self.keys.items() if place in places}
        left.next_expiry_ns = min((ends for _, ends in left._expiries if ends is not None), default=None)
        return left

    def lanes(self) -> list[Lane]:
        return [lane for way in self.ways.values() for lane in way.every_lane]
