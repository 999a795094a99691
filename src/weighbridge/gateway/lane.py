"""A route with one of its arms, compiled for the hot path. Built anew for each table, never edited."""

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING

import msgspec

from weighbridge.config.proxies import proxy_for
from weighbridge.gateway.called import Call, Target, called, wire_dialect
from weighbridge.gateway.plan import Plan
from weighbridge.records.permission import arm_refusal
from weighbridge.records.table import Arm, Endpoint, FailedCalls, Limits, Route, RouteTable
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

_from_ns = attrgetter("from_ns")
_TIER_ASKED = re.compile(rb'"service_tier"[ \t\r\n]*:[ \t\r\n]*"([A-Za-z0-9_.-]{1,64})"')

Secret = Callable[[str], str]

if TYPE_CHECKING:
    from weighbridge.gateway.attempts import Guard
    from weighbridge.gateway.escalation import Escalation


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
