"""Who asks, for what, and may it go out: a parsed HTTP request becomes an `Exchange`, or a `Refusal`."""

from hashlib import blake2b, sha256
from hmac import compare_digest
from typing import TYPE_CHECKING

from zlib_ng.zlib_ng import adler32, crc32

from weighbridge.gateway.attempts import Tries, tries_of
from weighbridge.gateway.doors import Door, own_lines
from weighbridge.gateway.exchange import Exchange, Opening, gate, unusable
from weighbridge.gateway.idempotency import KEY_CHARS_MAX, token_of
from weighbridge.gateway.lane import Lane
from weighbridge.gateway.lanes import ClientKey, Lanes
from weighbridge.gateway.outgoing import bound_of, outgoing
from weighbridge.gateway.purse import Chain, Hold, Purse, cost_unknown
from weighbridge.gateway.rates import Rate
from weighbridge.gateway.refusal import Refusal
from weighbridge.gateway.trials import TrialPass, lane_of
from weighbridge.gateway.way import Way
from weighbridge.records.budget import Split, chain_of, split_of, starts_of
from weighbridge.records.frames import Held, Purpose
from weighbridge.records.slices import WHOLE, SliceFacts, slice_of
from weighbridge.records.table import SHARE_WHOLE
from weighbridge.records.traces import HEADER as TRACEPARENT
from weighbridge.records.traces import kept
from weighbridge.records.trial import ITEM_HEADER, TOKEN_HEADER
from weighbridge.wire.chat import ChatRequest
from weighbridge.wire.refusal import BadRequest

if TYPE_CHECKING:
    from weighbridge.gateway.client import Client
    from weighbridge.gateway.gateway import Gateway

AUTHORIZATION, API_KEY, X_API_KEY = b"authorization", b"api-key", b"x-api-key"
TRIAL, ITEM = TOKEN_HEADER.encode(), ITEM_HEADER.encode()
IDEMPOTENCY = b"idempotency-key"
TAG, CONVERSATION = b"x-weighbridge-tag", b"x-conversation-id"

TAGS_MAX = 16
TAG_CHARS_MAX = 128
ITEM_CHARS_MAX = 128
USER_CHARS_MAX = 256
"""A longer `user` field is kept as its digest."""
MODEL_CHARS_SHOWN = 100
BYTES_A_TOKEN = 4
"""Taken from a key's tokens per minute before the provider has counted; what it was in fact is settled after."""
LONG_TURN_BYTES, ENDS_BYTES = 256, 64

Headers = dict[bytes, bytes]


def key_of(lanes: Lanes, headers: Headers) -> ClientKey | Refusal:
    """The client key of a request, by digest; compared whole, in constant time."""
    given = headers.get(AUTHORIZATION)
    if given is not None:
        if given[:7].lower() != b"bearer ":
            return _no_key("the Authorization header has not the form 'Bearer KEY'")
        secret = given[7:].strip()
    else:
        secret = headers.get(API_KEY) or headers.get(X_API_KEY) or b""
        if not secret:
            return _no_key("no key was given; send 'Authorization: Bearer KEY'")
    digest = blake2b(secret, digest_size=32).digest()
    key = lanes.keys.get(digest[:8])
    if key is None or not compare_digest(key.digest, digest):
        return _no_key("the key is not one of this gateway's")
    return key


def _no_key(why: str) -> Refusal:
    return Refusal(status=401, code="invalid_api_key", message=f"incorrect API key: {why}")


class Caller:
    """What the head of a request says: who asks, and what goes along. Holds for every request with the same head."""

    __slots__ = (
        "budget", "chains", "conversation", "door", "funded", "idempotency", "item", "key_bytes", "key_name", "lanes",
        "own", "purpose", "rate", "slices", "tags", "team", "traceparent", "trial", "ways",
    )  # fmt: skip

    def __init__(
        self, lanes: Lanes, headers: Headers, door: Door, key: ClientKey | None, trial: TrialPass | None
    ) -> None:
        """Raises `BadRequest` for tags or an idempotency key that are none."""
        self.door = door
        self.own = own_lines(door, headers)
        """Header lines that belong to the client's dialect and go along where the endpoint speaks it."""
        self.lanes = lanes
        """The table that the key was found in."""
        self.key_name = trial.token.key if trial is not None else key.name if key is not None else ""
        self.key_bytes = self.key_name.encode()
        self.team = key.team if key is not None else None
        self.ways = key.ways if key is not None else {}
        self.trial = trial
        self.idempotency = None if trial is not None else _idempotency(headers.get(IDEMPOTENCY))
        self.rate = key.rate if key is not None and trial is None else None
        self.purpose: Purpose = "user" if trial is None else trial.token.purpose
        self.tags = tags_of(headers.get(TAG, b""))
        self.traceparent = kept(headers.get(TRACEPARENT))
        self.conversation = headers.get(CONVERSATION)
        self.item = None
        if trial is not None:
            self.item = headers.get(ITEM, b"").decode("latin-1")[:ITEM_CHARS_MAX] or None
        self.budget = key.budget if key is not None and trial is None else None
        self.funded = bool(lanes.budgets) or (trial is not None and trial.budget is not None)
        """Whether anything that it sends is charged to a budget; most gateways have none."""
        self.chains: dict[Lane, Chain] = {}
        self.slices: dict[Way, str] = {}
        """Of the routes whose slices follow from key and tags alone."""

    def slice_in(self, way: Way, request: ChatRequest) -> str:
        if not way.slice_by:
            return WHOLE
        if way.slice_needs_body:
            door = self.door
            turns, tools, schema = door.turns_of(request), door.tools_of(request), door.schema_of(request)
            return slice_of(way.slice_by, SliceFacts(self.key_name, self.tags, turns.system, tools, schema))
        name = self.slices[way] = slice_of(way.slice_by, SliceFacts(self.key_name, self.tags))
        return name

    def chain_for(self, lane: Lane, purse: Purse, purpose: Purpose) -> Chain:
        """The budgets that what it sends on this lane is charged to."""
        known = self.lanes.budgets
        arms = frozenset(one.arm_budget for one in (lane, *lane.others))
        arm = lane.arm_budget if len(arms) == 1 else None
        starts = starts_of(known.values(), purpose, key=self.budget, route=lane.route_budget, arm=arm)
        split: Split | None = None
        if len(arms) == 1:
            budgets = chain_of(known, starts)
        else:  # an arm that may stand in is charged to its own budget, for what it does
            first = (lane,) if lane.escalation is None else (lane, lane.escalation.then)
            needed = frozenset(one.arm_budget for one in first if one.arm_budget is not None)
            budgets, split = split_of(known, starts, frozenset(one for one in arms if one is not None), needed)
        trial = self.trial
        token, subject = (None, "") if trial is None else (trial.budget, trial.subject)
        chain = purse.chain(budgets, token, subject, split)
        self.chains[lane] = chain
        return chain


def _idempotency(header: bytes | None) -> str | None:
    if header is None:
        return None
    token = token_of(header)
    if token is None:
        raise BadRequest(
            f"the header Idempotency-Key must be 1 to {KEY_CHARS_MAX} visible ASCII characters",
            code="invalid_idempotency_key",
        )
    return token


def caller_of(gateway: "Gateway", headers: Headers, door: Door) -> Caller | Refusal:
    """The client key of a request, or the trial token in its place."""
    lanes = gateway.lanes
    token = headers.get(TRIAL)
    trial = key = None
    if token is not None:
        admitted = gateway.trials.admit(token, lanes.trial_key, gateway.wall_ns())
        if isinstance(admitted, Refusal):
            return admitted
        trial, key = admitted, lanes.keys_by_name.get(admitted.token.key)
    else:
        found = key_of(lanes, headers)
        if isinstance(found, Refusal):
            return found
        key = found
    try:
        return Caller(lanes, headers, door, key, trial)
    except BadRequest as error:
        return Refusal(status=400, code=error.code, message=str(error))


def tags_of(header: bytes) -> tuple[tuple[str, str], ...]:
    """`task=refund, lang=de` as pairs. Raises `BadRequest`."""
    pairs: list[tuple[str, str]] = []
    for part in header.split(b","):
        if not part.strip():
            continue
        name, equals, value = (piece.strip() for piece in part.decode("latin-1").partition("="))
        long = len(name) > TAG_CHARS_MAX or len(value) > TAG_CHARS_MAX
        if not equals or not name or long or not (name + value).isprintable():
            shown = part[:40].decode("latin-1").strip()
            raise BadRequest(f"header x-weighbridge-tag: {shown!r} has not the form NAME=VALUE", code="invalid_tag")
        pairs.append((name, value))
    if len(pairs) > TAGS_MAX:
        raise BadRequest(f"header x-weighbridge-tag: {len(pairs)} tags are more than {TAGS_MAX}", code="invalid_tag")
    return tuple(pairs)


def admit(  # noqa: C901 (the path of every request: a call costs as much as a branch)
    gateway: "Gateway", client: "Client", caller: Caller, body: bytes
) -> Exchange | Refusal:
    """Let a request in. An exchange comes with its `held` frame appended; the caller of this calls `begin()`."""
    log, lanes, trial, door = gateway.log, gateway.lanes, caller.trial, caller.door
    purpose, instead = caller.purpose, False
    if log.state == "full":
        return gateway.log_refusal()
    try:
        request = door.parse(body)
        conversation = conversation_of(caller, request)
        if trial is not None:
            forced = not_tried(door) or lane_of(trial, lanes, request.model)
            if isinstance(forced, Refusal):
                return forced
            way, lane = forced
        else:
            known = caller.ways.get(request.model)
            if known is None:
                return _no_model(caller, request.model)
            way = known
            drill = way.drill
            if drill is not None and door.moves and drill.takes(conversation, gateway.wall_ns()):
                lane, purpose = drill.lane, "drill"
            else:
                lane = way.lane_of(conversation, caller.key_bytes, request.user) if door.moves else way.incumbent
        slice_name = caller.slices.get(way) or caller.slice_in(way, request)
        if lane.escalation is not None and lane.escalation.straight(request, slice_name):
            lane = lane.escalation.then
        try:
            call = outgoing(lane, door, request, caller.own)
        except BadRequest as error:
            if error.code != "not_carried" or trial is not None or lane.arm == way.incumbent.arm:
                raise
            # A share that was moved turns nobody away: what the other arm cannot be asked stays with the incumbent.
            lane, purpose, instead = way.incumbent, "user", True
            if lane.escalation is not None and lane.escalation.straight(request, slice_name):
                lane = lane.escalation.then
            call = outgoing(lane, door, request, caller.own)
    except BadRequest as error:
        return Refusal(status=400, code=error.code, message=str(error), param=error.param)
    held = bound = bound_of(lane, door, call.body, request)
    if lane.escalation is not None:
        held = lane.escalation.held(bound, door, request)
    user = request.user and short_user(request.user)
    refusal = hold = waits = None
    if lane.refusal is not None or (lane.target is None and (trial is not None or not lane.others or not door.moves)):
        refusal = gate(lane) or unusable(lane)
    rated = None if caller.rate is None or refusal is not None else take_rate(gateway, caller.rate, way, request)
    if isinstance(rated, Refusal):
        return rated
    if caller.funded and refusal is None:
        hold, waits, refusal = fund(gateway, caller, lane, user, held, purpose)
    capture = lanes.capture
    # What a trial paid for is kept whole: an interrupted one finds its answers in the log.
    keep = capture.bodies and (
        trial is not None
        or capture.sample_basis_points >= SHARE_WHOLE
        or conversation % SHARE_WHOLE < capture.sample_basis_points
    )
    gateway.sequence += 1
    exchange = Exchange(
        gateway, client, f"{gateway.incarnation}-{hex(gateway.sequence)[2:]}", lane, purpose, caller.team,
        hold, held, keep, call, door, request.stream, not request.wants_usage,
    )  # fmt: skip
    exchange.rated = rated
    if lane.plan is not None and trial is None:
        gateway.retries.requests += 1
        if lane.others and exchange.door.moves:
            exchange.tries = Tries(lane, bound, request, caller.own)
    elif lane.escalation is not None and door.moves:
        exchange.tries = Tries(lane, bound, request, caller.own)
    if instead:
        tries_of(exchange).instead = True
        gateway.meter.again("not_carried", fallback=True)
    if caller.idempotency is not None:
        asked = b"%b\0%b" % (exchange.door.path, body)
        exchange.claim = gateway.claim(exchange, caller.key_name, caller.idempotency, asked)
    gateway.active.add(exchange)
    frame = Held(
        exchange.id, exchange.wall_ns, purpose, way.name, lanes.number, caller.key_name, caller.team, user,
        caller.tags, slice_name, conversation.to_bytes(8, "big").hex(), request.stream, len(body), request.max_tokens,
        held, None,
        None if trial is None else trial.token.trial, caller.item, False, () if hold is None else hold.names,
        caller.traceparent,
        door.asked,
    )  # fmt: skip
    if way.copies is not None:
        gateway.copies.consider(exchange, way, way.copies, caller, body, frame)
    if waits is not None:
        exchange.opening = Opening(frame, body if keep else None)
        gateway.purse.wait(exchange, waits, user, held)
        return exchange
    if keep:
        log.capture(frame, caller.team, body, capture.redact)
    else:
        log.append(frame)
    if refusal is not None:
        gateway.meter.refused(refusal.code)
        exchange.refuse(refusal)
    return exchange


def short_user(user: str) -> str:
    return user if len(user) <= USER_CHARS_MAX else "blake2b:" + blake2b(user.encode(), digest_size=16).hexdigest()


def take_rate(gateway: "Gateway", rate: Rate, way: Way, request: ChatRequest) -> tuple[Rate, int] | Refusal:
    """Take a request, and the tokens that it may use, from the limits of its key."""
    longest = (request.max_tokens or way.max_tokens_default or 0) * request.choices
    tokens = len(request.raw.body) // BYTES_A_TOKEN + longest
    return rate.take(tokens, gateway.mono_ns()) or (rate, tokens)


def fund(
    gateway: "Gateway", caller: Caller, lane: Lane, user: str | None, held: int | None, purpose: Purpose
) -> tuple[Hold | None, Chain | None, Refusal | None]:
    """Hold the bound of a request: the hold, or the chain of budgets that has to be waited for, or why neither."""
    chain = caller.chains.get(lane) or caller.chain_for(lane, gateway.purse, purpose)
    if held is None and chain.hard:
        return None, None, cost_unknown(chain, lane)
    if not chain.accounts:
        return None, None, None
    hold = gateway.purse.hold(chain, user, held, gateway.mono_ns())
    return hold, chain if hold is None else None, None


def conversation_of(caller: Caller, request: ChatRequest) -> int:
    """Sixty-four bits that stand for a conversation: of the header, else of the key and the first user turn.

    Of a long turn the two ends, the length and two checksums are hashed: that tells turns apart as well, at a fraction
    of the cost. It does not withstand somebody who wants two of their own conversations to look like one.
    """
    spoken = caller.conversation
    if spoken is None:
        spoken = caller.door.first_user_of(request)
    size = len(spoken)
    if size > LONG_TURN_BYTES:
        spoken = b"%b%b%d,%d,%d" % (spoken[:ENDS_BYTES], spoken[-ENDS_BYTES:], size, crc32(spoken), adler32(spoken))
    return int.from_bytes(sha256(b"%b\0%b" % (caller.key_bytes, spoken)).digest()[:8], "little")


def not_tried(door: Door) -> Refusal | None:
    """Why a request by this path is no matter for a trial, `None` where it is one."""
    if door.translates:
        return None
    why = "only conversations are: chat completions, messages, responses"
    if not door.moves and door.no_output:
        why = "vectors of two models do not compare, so an index that holds both is corrupted"
    message = f"{door.path.decode()} cannot be tried on another arm: {why}"
    return Refusal(status=403, code="not_for_trials", message=message)


def _no_model(caller: Caller, model: str) -> Refusal:
    known = ", ".join(sorted(caller.ways)) or "none"
    message = f"the model {model[:MODEL_CHARS_SHOWN]!r} does not exist or this key may not use it; it may use: {known}"
    return Refusal(status=404, code="model_not_found", message=message, param="model")
