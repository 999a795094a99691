"""The route table compiled for the hot path. Built anew for each table, never edited."""

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from copy import copy
from hashlib import blake2b
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

import msgspec

from weighbridge.config.proxies import proxy_for
from weighbridge.gateway.called import Call, called, wire_dialect
from weighbridge.gateway.plan import Plan
from weighbridge.gateway.sticky import Memory
from weighbridge.records.drill import DrillInForce
from weighbridge.records.permission import arm_refusal
from weighbridge.records.ramp import RampInForce
from weighbridge.records.table import SHARE_WHOLE, Arm, Capture, Endpoint, FailedCalls, Key, Limits, Route, RouteTable
from weighbridge.records.usage import MILLION, STANDARD_TIERS, Price, bounded_cost
from weighbridge.upstream import BaseUrl, Proof, Proxy, TlsFiles
from weighbridge.wire.conversation import Dialect
from weighbridge.wire.dialects import PATHS
from weighbridge.wire.hosts import target_of

PROCESSED = frozenset((400, 408))
"""Error statuses that may come after the prompt was read: a content filter, an input limit, a timeout."""
OUTPUT_TOKENS_DEFAULT = 4096
"""Held for a request that names no limit, on a route without `max_tokens_default` and without a history of answers.
What comes on top is booked."""

TEMPLATE_TOKENS = 256
"""Held for what a chat template adds around the messages."""

USER_AGENT = "weighbridge"

ANTHROPIC_VERSION = b"2023-06-01"
"""Sent in Anthropic's dialect where no client of that dialect names another."""

HEADS_MAX = 64
"""How many heads a lane remembers: one for each version and set of betas that clients name."""

_UNBOUNDED = re.compile(
    rb'"(?:image_url|input_audio|file)"|"previous_response_id"[ \t\r\n]*:[ \t\r\n]*"'
    rb'|"type"[ \t\r\n]*:[ \t\r\n]*"(?:image|document|input_image|input_file|item_reference)"'
)
"""Parts of a message whose tokens its bytes do not bound, in every dialect; and turns kept at the provider."""

_WORD = (1 << 64) - 1
_from_ns = attrgetter("from_ns")
_TIER_ASKED = re.compile(rb'"service_tier"[ \t\r\n]*:[ \t\r\n]*"([A-Za-z0-9_.-]{1,64})"')

Secret = Callable[[str], str]

if TYPE_CHECKING:
    from weighbridge.gateway.attempts import Guard
    from weighbridge.gateway.escalation import Escalation
    from weighbridge.gateway.rates import Rate


class Target(msgspec.Struct, frozen=True):
    """What makes two endpoints share connections."""

    base: BaseUrl
    address_is_own: bool
    tls: TlsFiles
    proxy: Proxy | None
    connections_max: int
    connect_s_max: float


class Lane:
    """A route with one of its arms: everything about it that does not change per request."""

    __slots__ = (
        "_call",
        "_heads",
        "_lines",
        "arm",
        "arm_budget",
        "bound_asked",
        "bound_input",
        "bound_long",
        "bound_output",
        "dialect",
        "drains",
        "endpoint",
        "escalation",
        "failed_calls",
        "fallback_tag",
        "form",
        "guard",
        "head",
        "hedge_s",
        "later",
        "max_tokens_default",
        "model",
        "model_json",
        "others",
        "plan",
        "price",
        "price_version",
        "proof",
        "raw_predict",
        "refusal",
        "route",
        "route_budget",
        "shows_all",
        "system_prompt",
        "table_number",
        "tag",
        "target",
        "unusable",
    )  # fmt: skip

    def __init__(self, table: RouteTable, route: Route, arm: Arm, endpoint: Endpoint, secret: Secret) -> None:
        self.route, self.arm, self.endpoint = route.name, arm.name, endpoint.name
        self.table_number = table.number
        self.route_budget, self.arm_budget = route.budget, arm.budget
        self.model, self.model_json = arm.model, msgspec.json.encode(arm.model)
        self.system_prompt = arm.system_prompt
        self.price, self.price_version = arm.price, arm.price_version
        self.later = arm.later or None
        """Changes of the price that this table knows of; `None` for most arms."""
        prices = [price for price in (arm.price, *(change.price for change in arm.later)) if price is not None]
        self.bound_input, self.bound_output = _bounds(prices)
        self.bound_long = _bounds([*prices, *(tier.price for price in prices for tier in price.tiers)])
        """Past `Price.input_tokens_max`."""
        self.bound_asked = _asked_bounds(prices)
        """By the service tier that a request asks for; `None` for most arms, which know of none."""
        self.refusal = arm_refusal(table, route, arm.name)
        """The send gate, worked out once per table: why no prompt of this route may leave for this arm."""
        self.unusable: str | None = None
        self.target: Target | None = None
        self.proof: Proof | None = None
        """For endpoints whose authentication is not a static key."""
        self.dialect: Dialect = wire_dialect(endpoint)
        """What its endpoint is written to in."""
        self.raw_predict = endpoint.dialect == "vertex" and self.dialect == "anthropic"
        """Claude as Vertex has it: the model stands in the path, and in its place the body names a version."""
        self.form = target_of(endpoint.provider, arm.model)
        """How a request in another dialect is written for it."""
        self._call, self._lines = Call("", ""), ""
        self._heads: dict[tuple[str, bytes], bytes] = {}
        self.head = b""
        """Of a conversation in the endpoint's own dialect; `%d` stands for the length of the body, and `%b` before it
        for the proof, where there is one."""
        try:
            self._reach(table.limits, endpoint, secret)
        except (LookupError, ValueError) as error:
            self.close(str(error.args[0]))
        self.tag, self.fallback_tag = (
            (
                f"x-weighbridge-route: {route.name}\r\nx-weighbridge-arm: {arm.name}\r\n"
                f"x-weighbridge-table: {table.number}\r\nx-weighbridge-fallback: {said}\r\n"
            ).encode()
            for said in ("no", "yes")
        )
        self.drains = endpoint.cancel_stops_billing is False
        """It bills a cancelled answer in full: one whose client left is read to its end, and its bill known."""
        self.shows_all = arm.weights == "open" and endpoint.cancel_stops_billing is True
        """What was written of a cut answer can be seen in the stream, and nothing more is billed (`gateway.cut`)."""
        usual = next((one.tokens for one in route.usual_output if one.arm == arm.name), None)
        self.max_tokens_default = route.max_tokens_default or usual
        """Held for a request that names no limit."""
        self.failed_calls: FailedCalls = endpoint.failed_calls
        self.plan: Plan | None = None
        """What follows a failure before the first byte; `None`: nothing does."""
        self.others: tuple[Lane, ...] = ()
        """Lanes that may stand in for this one, in order: the route's fallbacks that the send gate lets through."""
        self.hedge_s = route.hedge_after_s
        """How long a first attempt may be silent before a second one is made beside it; `None`: however long."""
        self.guard: Guard | None = None
        """What stands before every send; set by the gateway that uses the table."""
        self.escalation: Escalation | None = None
        """Another lane of the same arm, for answers that fail a check; `None` for most arms."""

    def _reach(self, limits: Limits, endpoint: Endpoint, secret: Secret) -> None:
        base = BaseUrl.parse(endpoint.base_url)
        self._call = call = called(endpoint, base, self.model, secret)
        proxy = proxy_for(endpoint.base_url)
        self.target = Target(
            base,
            endpoint.address_is_own,
            TlsFiles(endpoint.ca_file, endpoint.client_cert, endpoint.client_key, endpoint.tls_digest),
            None if proxy is None else Proxy.parse(proxy),
            limits.upstream_connections_max,
            limits.connect_s_max,
        )
        self.proof = call.proof
        # A gzip stream would hide the usage; no header of the client goes along but those that say which form of the
        # dialect it speaks (`head_for`), so none can leak or steer.
        self._lines = (
            f" HTTP/1.1\r\nhost: {base.authority}\r\nuser-agent: {USER_AGENT}\r\n"
            f"accept: application/json, text/event-stream\r\naccept-encoding: identity\r\n{call.headers}"
        )
        self.head = self.head_for(PATHS[self.dialect])

    def head_for(self, tail: str, own: bytes = b"") -> bytes:
        """The head of a call below the base URL. `own` are header lines of the client's that go along: for Anthropic's
        dialect its version and betas, which without it are ours."""
        found = self._heads.get((tail, own))
        if found is None:
            if len(self._heads) >= HEADS_MAX:
                self._heads.clear()
            found = self._heads[tail, own] = self.head_of("POST", tail, own, "application/json")
        return found

    def head_of(self, method: str, tail: str, own: bytes, kind: str) -> bytes:
        """The same for any method and content type; none where it is empty."""
        if self.dialect == "anthropic" and b"anthropic-version:" not in own and not self.raw_predict:
            own = b"anthropic-version: %b\r\n%b" % (ANTHROPIC_VERSION, own)
        content = f"content-type: {kind}\r\n" if kind else ""
        head = f"{method} {self._call.target(tail)}{self._lines}".encode() + own
        head = head.replace(b"%", b"%%") + (b"" if self.proof is None else b"%b")
        return head + content.encode().replace(b"%", b"%%") + b"content-length: %d\r\n\r\n"

    def proved(self, proof: Proof, head: bytes, body: bytes) -> bytes:
        """The head of a call whose proof changes with time or with the body."""
        target = head.split(b" ", 2)[1].replace(b"%%", b"%")
        return head % (proof.lines(target, body), len(body))

    def priced(self, time_ns: int) -> tuple[Price | None, str | None]:
        """The price for a request that started at `time_ns` (wall clock), and its version."""
        later = self.later
        if later is not None:
            passed = bisect_right(later, time_ns, key=_from_ns)
            if passed:
                change = later[passed - 1]
                return change.price, change.version
        return self.price, self.price_version

    def close(self, why: str) -> None:
        """Nothing can be sent there."""
        self.target, self.unusable = None, f"endpoint {self.endpoint!r} cannot be used: {why}"

    def unbilled(self, status: int) -> bool:
        """Is a call that was answered with this error status known to cost nothing?"""
        if self.failed_calls == "unbilled":
            return True
        if self.failed_calls == "processed_billed" and status in PROCESSED:
            return False
        return status < 500

    def held_nanousd(self, body: bytes, max_tokens: int | None, choices: int) -> int | None:
        """An upper bound on what a request may cost; `None` where there is none to be had.

        A token is at least one byte of the request. What a link stands for has no such bound, so a request with
        images, files or audio has none either. Without `max_tokens` a default is held and the excess is booked.
        """
        price = self.price
        if price is None:
            return None
        # Parts are in a list within the list of messages: most requests have one bracket only.
        if body.find(b"[", body.find(b"[") + 1) > 0 and _UNBOUNDED.search(body):
            return None
        tokens_in = len(body) + TEMPLATE_TOKENS
        dear_in, dear_out = self.bound_input, self.bound_output
        if price.input_tokens_max is not None and tokens_in > price.input_tokens_max:
            if not price.tiers:
                return None  # another price holds there, and nobody stated it
            dear_in, dear_out = self.bound_long
        if self.bound_asked is not None and body.find(b'"service_tier"') > 0:
            asked = _TIER_ASKED.search(body)
            word = asked[1].decode() if asked is not None else "auto"
            if word not in STANDARD_TIERS and word != "auto":
                bound_in_tier = self.bound_asked.get(word)
                if bound_in_tier is None:
                    return None  # a tier without a price: its cost will be unknown too
                dear_in, dear_out = bound_in_tier
        tokens_out = (max_tokens or OUTPUT_TOKENS_DEFAULT) * choices
        bound = tokens_in * dear_in + tokens_out * dear_out
        return bounded_cost(-(-bound // MILLION) + price.per_request_nanousd)


def _bounds(prices: Sequence[Price]) -> tuple[int, int]:
    """The dearest rate that an input and an output token can have, at any hour.

    What a dearer service tier that the provider chose by itself costs on top is booked, as any excess is.
    """
    given = [
        rate for price in prices for rate in (price.input, price.cache_write, price.cache_write_1h, price.cache_read)
    ]
    made = [rate for price in prices for rate in (price.output, price.reasoning)]
    return max((rate or 0 for rate in given), default=0), max((rate or 0 for rate in made), default=0)


def _asked_bounds(prices: Sequence[Price]) -> dict[str, tuple[int, int]] | None:
    """Of each service tier: its own prices, or the standard ones where they are dearer (a provider may fall back)."""
    names = {tier.name for price in prices for tier in price.services}
    found: dict[str, tuple[int, int]] = {}
    for name in names:
        own = [tier.price for price in prices for tier in price.services if tier.name == name]
        every = [*prices, *own]
        found[name] = _bounds([*every, *(past.price for price in every for past in price.tiers)])
    return found or None


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
