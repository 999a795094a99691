"""Which lane of a route a conversation takes: shares, stickiness, copies, drills. Compiled with each table."""

from bisect import bisect_right
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

import msgspec

from weighbridge.gateway.lane import Lane, Secret
from weighbridge.gateway.plan import Plan
from weighbridge.gateway.sticky import Memory
from weighbridge.records.drill import DrillInForce
from weighbridge.records.ramp import RampInForce
from weighbridge.records.table import SHARE_WHOLE, Route, RouteTable

_WORD = (1 << 64) - 1

if TYPE_CHECKING:
    pass


class CopyTerms(NamedTuple):
    """What a route's ramp says about copies, compiled with its table."""

    basis_points: int
    targets: dict[str, "Lane"]
    """Arm that answers the user -> lane that is asked as well."""
    record: str
    left_nanousd: int | None
    """What copies may still cost; `None`: no limit."""


def mark_of(arm: str) -> int:
    """Thirty-two bits that stand for an arm, never 0."""
    return crc32(arm.encode()) or 1


class Drilling:
    """A drill, compiled: which conversations are in it, and until when."""

    __slots__ = ("_multiplier", "_points", "_until_ns", "lane")

    def __init__(self, lane: Lane, basis_points: int, until_ns: int, salt: str) -> None:
        self.lane, self._points, self._until_ns = lane, basis_points, until_ns
        self._multiplier = int.from_bytes(blake2b(salt.encode(), digest_size=8).digest(), "little") | 1

    def takes(self, conversation: int, wall_ns: int) -> bool:
        """Conversations are drawn anew for each drill; it ends by the clock, whether or not a newer table says so."""
        point = ((conversation * self._multiplier & _WORD) >> 32) * SHARE_WHOLE >> 32
        return point < self._points and wall_ns < self._until_ns


class Way:
    """A route: which lane a conversation takes."""

    __slots__ = (
        "_marks", "_salt", "copies", "cumulative", "cuts", "drill", "escalated", "incumbent", "lanes",
        "max_tokens_default", "memory", "multiplier", "name", "own_lanes", "ramped", "slice_by", "slice_needs_body",
        "stick_by",
    )  # fmt: skip

    def __init__(self, table: RouteTable, route: Route, secret: Secret) -> None:
        self.name, self.slice_by, self.max_tokens_default = route.name, route.slice_by, route.max_tokens_default
        self.multiplier = int.from_bytes(blake2b(route.name.encode(), digest_size=8).digest(), "little") | 1
        self.slice_needs_body = any(by != "key" and not by.startswith("tag:") for by in route.slice_by)
        shared = (share.arm for share in route.shares)
        names = dict.fromkeys((route.incumbent, *route.candidates, *route.judges, *shared, *route.fallbacks))
        self.own_lanes = {
            name: Lane(table, route, table.arm(name), table.endpoint(table.arm(name).endpoint), secret)
            for name in names
        }
        self.cuts = route.cuts
        self.escalated = self._escalate(table, route, secret)
        self._plan(route)
        self.incumbent = self.own_lanes[route.incumbent]
        shares = [share for share in route.shares if share.basis_points > 0]
        self.lanes = tuple(self.own_lanes[share.arm] for share in shares) or (self.incumbent,)
        self.cumulative: list[int] = []
        for share in shares:
            self.cumulative.append(share.basis_points + (self.cumulative[-1] if self.cumulative else 0))
        self._stick(route)
        self.drill = None if route.drill is None else self._drilling(table, route, route.drill, secret)

    def _drilling(self, table: RouteTable, route: Route, drill: DrillInForce, secret: Secret) -> Drilling:
        """A lane of its own, so that what is known of callers on the arm's ordinary lane does not hold for it. Whoever
        answers users anyway stands in where the drill cannot."""
        arm = table.arm(drill.arm)
        lane = Lane(table, route, arm, table.endpoint(arm.endpoint), secret)
        ordinary = (*self.lanes, *(self.own_lanes[name] for name in route.fallbacks))
        lane.others = tuple(one for one in dict.fromkeys(ordinary) if one.arm != lane.arm and one.refusal is None)
        lane.escalation = self.own_lanes[arm.name].escalation
        if lane.escalation is not None:
            lane.others = (lane.escalation.then, *lane.others)
        words = frozenset((*route.retry_on, "connect", "429", "5xx"))
        lane.plan = Plan(max(1, route.retries_max), words, route.retry_wait_s_max)
        return Drilling(lane, drill.basis_points, drill.until_ns, f"{route.name}\0{drill.record}")

    def _stick(self, route: Route) -> None:
        """A route with a ramp remembers who has which arm, as long as there is more than one to have."""
        ramp = route.ramp
        self.ramped = ramp is not None and ramp.stage not in ("all", "settled")
        self.memory: Memory | None = None
        """Set by the worker for routes with a ramp."""
        self.stick_by = None if ramp is None or ramp.stick_by == "conversation" else ramp.stick_by
        void = f"{route.name}\0{0 if ramp is None else ramp.assignment}"
        self._salt = int.from_bytes(blake2b(void.encode(), digest_size=8).digest(), "little")
        self.copies = None if ramp is None else self._copies(ramp, route.incumbent)
        self._marks = {mark_of(lane.arm): lane for lane in self.lanes}

    def _escalate(self, table: RouteTable, route: Route, secret: Secret) -> tuple[Lane, ...]:
        """Second lanes of arms that escalate: the other arm's model, under the arm's own name."""
        made = []
        for lane in self.own_lanes.values():
            terms = table.arm(lane.arm).escalate
            if terms is not None:
                from weighbridge.gateway.escalation import Escalation  # here: a worker without it loads no check

                other = table.arm(terms.to)
                named = msgspec.structs.replace(other, name=lane.arm, escalate=None)
                then = Lane(table, route, named, table.endpoint(other.endpoint), secret)
                lane.escalation = Escalation(terms, then)
                made.append(then)
        return tuple(made)

    def _plan(self, route: Route) -> None:
        """What each lane may do instead. The send gate closes a lane for fallbacks as for everything else."""
        fallbacks = [self.own_lanes[name] for name in route.fallbacks]
        words = frozenset((*route.retry_on, *(("ambiguous",) if route.retry_ambiguous else ())))
        for lane in self.own_lanes.values():
            lane.others = tuple(other for other in fallbacks if other is not lane and other.refusal is None)
            if lane.escalation is not None:
                then = lane.escalation.then
                then.others, lane.others = lane.others, (then, *lane.others)
                if then.others or route.retries_max:
                    then.plan = Plan(route.retries_max, words, route.retry_wait_s_max)
            if lane.others or route.retries_max or route.hedge_after_s is not None:
                lane.plan = Plan(route.retries_max, words, route.retry_wait_s_max)

    def _copies(self, ramp: RampInForce, incumbent: str) -> CopyTerms | None:
        there, back = self.own_lanes[ramp.candidate], self.own_lanes[incumbent]
        if ramp.shadow_basis_points:
            return CopyTerms(ramp.shadow_basis_points, {incumbent: there}, ramp.record, ramp.copies_left_nanousd)
        if ramp.pair_basis_points:
            both = {incumbent: there, ramp.candidate: back}
            return CopyTerms(ramp.pair_basis_points, both, ramp.record, ramp.copies_left_nanousd)
        return None

    @property
    def every_lane(self) -> tuple[Lane, ...]:
        return (*self.own_lanes.values(), *self.escalated, *(() if self.drill is None else (self.drill.lane,)))

    def lane_of(self, conversation: int, key: bytes = b"", user: str | None = None) -> Lane:
        """The same conversation (64 bits of a hash) takes the same lane for as long as the shares stand.

        Multiplicative hashing with an odd factor per route, so that one conversation's places in two routes tell
        nothing of each other.
        """
        memory = self.memory
        if memory is not None:
            if self.stick_by is not None:
                conversation = self._sticking(conversation, key, user)
            place = (conversation * self.multiplier ^ self._salt) & _WORD
            known = self._marks.get(memory.get(place))
            lane = self._drawn(conversation) if known is None else known
            memory.put(place, mark_of(lane.arm))
            return lane
        return self._drawn(conversation)

    def _sticking(self, conversation: int, key: bytes, user: str | None) -> int:
        """What keeps its arm on a route whose ramp goes by user or key; without a user it is the conversation."""
        if self.stick_by == "user":
            if user is None:
                return conversation
            key += b"\0\0" + user.encode()
        return int.from_bytes(blake2b(key, digest_size=8).digest(), "little")

    def _drawn(self, conversation: int) -> Lane:
        lanes = self.lanes
        if len(lanes) == 1:
            return lanes[0]
        point = ((conversation * self.multiplier & _WORD) >> 32) * SHARE_WHOLE >> 32
        return lanes[min(bisect_right(self.cumulative, point), len(lanes) - 1)]
