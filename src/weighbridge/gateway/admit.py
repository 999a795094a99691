"""Who asks, for what, and may it go out: a parsed HTTP request becomes an `Exchange`, or a `Refusal`."""

from functools import lru_cache
from hashlib import blake2b
from hmac import compare_digest
from typing import TYPE_CHECKING

from weighbridge.exchanges import redact
from weighbridge.gateway.exchange import Exchange, gate, unusable
from weighbridge.gateway.lanes import ClientKey, Lane, Lanes, Way
from weighbridge.gateway.refusal import Refusal
from weighbridge.gateway.trials import TrialPass, lane_of
from weighbridge.records.frames import Held
from weighbridge.records.slices import SliceFacts, slice_of
from weighbridge.records.table import SHARE_WHOLE
from weighbridge.records.trial import ITEM_HEADER, TOKEN_HEADER
from weighbridge.wire import openai
from weighbridge.wire.chat import ChatRequest
from weighbridge.wire.refusal import BadRequest

if TYPE_CHECKING:
    from weighbridge.gateway.client import Client
    from weighbridge.gateway.gateway import Gateway

AUTHORIZATION, API_KEY, X_API_KEY = b"authorization", b"api-key", b"x-api-key"
TRIAL, ITEM = TOKEN_HEADER.encode(), ITEM_HEADER.encode()
TAG, CONVERSATION = b"x-weighbridge-tag", b"x-conversation-id"

TAGS_MAX = 16
TAG_CHARS_MAX = 128
ITEM_CHARS_MAX = 128
USER_CHARS_MAX = 256
"""A longer `user` field is kept as its digest."""
MODEL_CHARS_SHOWN = 100

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


def trial_of(gateway: "Gateway", token: bytes) -> TrialPass | Refusal:
    return gateway.trials.admit(token, gateway.lanes.trial_key, gateway.wall_ns())


@lru_cache(maxsize=4096)
def tags_of(header: bytes) -> tuple[tuple[str, str], ...]:
    """`task=refund, lang=de` as pairs. Raises `BadRequest`."""
    pairs: list[tuple[str, str]] = []
    for part in header.split(b","):
        if not part.strip():
            continue
        name, equals, value = (piece.strip() for piece in part.decode("latin-1").partition("="))
        if (
            not equals
            or not name
            or len(name) > TAG_CHARS_MAX
            or len(value) > TAG_CHARS_MAX
            or not (name + value).isprintable()
        ):
            shown = part[:40].decode("latin-1").strip()
            raise BadRequest(f"header x-weighbridge-tag: {shown!r} has not the form NAME=VALUE", code="invalid_tag")
        pairs.append((name, value))
    if len(pairs) > TAGS_MAX:
        raise BadRequest(f"header x-weighbridge-tag: {len(pairs)} tags are more than {TAGS_MAX}", code="invalid_tag")
    return tuple(pairs)


def admit(
    gateway: "Gateway", client: "Client", headers: Headers, key: ClientKey | None, trial: TrialPass | None, body: bytes
) -> Exchange | Refusal:
    """Let a chat request in. The caller has checked the key (or the trial token in its place).

    An exchange comes with its `held` frame appended; the caller then calls `begin()`.
    """
    if gateway.log.state == "full":
        return gateway.log_refusal()
    lanes = gateway.lanes
    try:
        request = openai.parse_request(body)
        tags = tags_of(headers.get(TAG, b""))
        given = headers.get(CONVERSATION)
        key_name = trial.token.key if trial is not None else key.name if key is not None else ""
        spoken = given if given is not None else openai.turns_of(request).first_user
        conversation = blake2b(b"%b\0%b" % (key_name.encode(), spoken), digest_size=8).digest()
        chosen = _chosen(lanes, key, trial, request, conversation)
        if isinstance(chosen, Refusal):
            return chosen
        way, lane = chosen
        item = headers.get(ITEM, b"").decode("latin-1")[:ITEM_CHARS_MAX] if trial is not None else ""
        sent, edits = openai.edited(request, lane.model, lane.model_json, lane.system_prompt)
        slice_name = _slice(way, key_name, tags, request)
    except BadRequest as error:
        return Refusal(status=400, code=error.code, message=str(error), param=error.param)
    max_tokens = request.max_tokens or way.max_tokens_default
    held = lane.held_nanousd(sent, max_tokens, request.choices)
    refusal = gate(lane) or (unusable(lane) if lane.unusable is not None else None)
    if refusal is None and trial is not None:
        refusal = trial.hold(held)
    team = key.team if key is not None else None
    capture = lanes.capture.bodies and _sampled(lanes.capture.sample_basis_points, conversation)
    redacted = False
    reference = None
    if capture:
        kept, redacted = redact.redact(lanes.capture.redact, body)
        reference = gateway.log.body(team, (kept,))
    exchange = Exchange(
        gateway, client, gateway.next_id(), lane, "user" if trial is None else "trial", team,
        trial if refusal is None else None, held, capture, sent, edits, not request.wants_usage,
    )  # fmt: skip
    gateway.active.add(exchange)
    frame = Held(
        exchange.id, gateway.wall_ns(), exchange.purpose, way.name, lanes.number, key_name, team, _user(request.user),
        tags, slice_name, conversation.hex(), request.stream, len(body), request.max_tokens, held, reference,
        None if trial is None else trial.token.trial, item or None, redacted,
    )  # fmt: skip
    gateway.log.append(frame)
    if refusal is not None:
        gateway.meter.refused(refusal.code)
        exchange.refuse(refusal)
    return exchange


def _chosen(
    lanes: Lanes, key: ClientKey | None, trial: TrialPass | None, request: ChatRequest, conversation: bytes
) -> tuple[Way, Lane] | Refusal:
    if trial is not None:
        return lane_of(trial, lanes, request.model)
    way = key.ways.get(request.model) if key is not None else None
    if way is None:
        known = ", ".join(sorted(key.ways)) if key is not None and key.ways else "none"
        shown = request.model[:MODEL_CHARS_SHOWN]
        message = f"the model {shown!r} does not exist or this key may not use it; it may use: {known}"
        return Refusal(status=404, code="model_not_found", message=message, param="model")
    return way, way.lane_of(conversation)


def _slice(way: Way, key_name: str, tags: tuple[tuple[str, str], ...], request: ChatRequest) -> str:
    if not way.slice_by:
        return "all"
    if way.slice_needs_body:
        facts = SliceFacts(
            key_name, tags, openai.turns_of(request).system, openai.tools_of(request), openai.response_schema(request)
        )
        return slice_of(way.slice_by, facts)
    return _slice_by_name(way.slice_by, key_name, tags)


@lru_cache(maxsize=4096)
def _slice_by_name(slice_by: tuple[str, ...], key_name: str, tags: tuple[tuple[str, str], ...]) -> str:
    return slice_of(slice_by, SliceFacts(key_name, tags))


def _sampled(basis_points: int, conversation: bytes) -> bool:
    """Whole conversations are captured or not."""
    return basis_points >= SHARE_WHOLE or int.from_bytes(conversation[:4], "little") % SHARE_WHOLE < basis_points


def _user(user: str | None) -> str | None:
    if user is None or len(user) <= USER_CHARS_MAX:
        return user
    return "blake2b:" + blake2b(user.encode(), digest_size=16).hexdigest()
