"""Calls under `/v1/` that no dialect covers (files, batches, audio, images, models by id): they pass through, unread.

They go to the incumbent of a route: the one that the header `x-weighbridge-route` names, else the only one that the key
may use. Nothing of body or answer is looked at, so nothing is known of what they cost: they are logged as unpriced.
"""

import re
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import unquote_to_bytes

from weighbridge.gateway.admit import BYTES_A_TOKEN, Caller, fund
from weighbridge.gateway.doors import OTHER, passed_lines
from weighbridge.gateway.exchange import Exchange, Opening, gate, unusable
from weighbridge.gateway.lane import Lane
from weighbridge.gateway.outgoing import Outgoing
from weighbridge.gateway.refusal import Refusal
from weighbridge.gateway.upload import Upload
from weighbridge.gateway.way import Way
from weighbridge.records.frames import Held
from weighbridge.records.slices import WHOLE, SliceFacts, slice_of

if TYPE_CHECKING:
    from weighbridge.gateway.client import Client
    from weighbridge.gateway.gateway import Gateway

ROUTE, CONTENT_TYPE = b"x-weighbridge-route", b"content-type"
PASSED_METHODS: Final = frozenset((b"GET", b"POST", b"PUT", b"PATCH", b"DELETE"))

_TARGET = re.compile(rb"/v1/[A-Za-z0-9._~%!$&'()*+,;=:@/-]+(?:\?[A-Za-z0-9._~%!$&'()*+,;=:@/?\[\]-]*)?")
_KIND = re.compile(rb"[A-Za-z0-9.+/_-]+(?:[ \t]*;[ \t]*[A-Za-z0-9_-]+=(?:[A-Za-z0-9'()+_,./:=?-]+|\"[^\"\\\r\n]*\"))*")


class Passed(NamedTuple):
    method: bytes
    target: bytes
    """Path and query, as the client wrote them."""
    kind: bytes
    """Its content type; empty where it says none."""
    route: bytes | None
    body: bytes
    upload: Upload | None = None
    """In place of the body, where it is large."""


def passes(target: bytes) -> bool:
    """Whether a target stays below `/v1/`, whoever reads it: no step up, no second spelling of a slash."""
    if _TARGET.fullmatch(target) is None:
        return False
    path = unquote_to_bytes(target.partition(b"?")[0])
    steps = path.removeprefix(b"/v1/").split(b"/")
    if steps[-1] == b"":
        steps.pop()  # a slash at the end
    return bool(steps) and path.isascii() and not (b"\\" in path or b"%" in path or {b"", b".", b".."} & set(steps))


def passes_on(caller: Caller, named: bytes | None) -> bool:
    """Whether a body need not be whole before it is sent: a signature would need it."""
    way = _way(caller, named)
    return isinstance(way, Refusal) or way.incumbent.proof is None


def admit_passed(gateway: "Gateway", client: "Client", caller: Caller, call: Passed) -> Exchange | Refusal:
    """Let it in. As `admit`, but that nothing is parsed."""
    log, lanes = gateway.log, gateway.lanes
    if log.state == "full":
        return gateway.log_refusal()
    if caller.trial is not None:
        message = "a trial asks for answers of models, and nothing else"
        return Refusal(status=403, code="not_for_trials", message=message)
    way = _way(caller, call.route)
    if isinstance(way, Refusal):
        return way
    if call.kind and _KIND.fullmatch(call.kind) is None:
        shown = call.kind[:40].decode("latin-1")
        return Refusal(
            status=400, code="invalid_content_type", message=f"the content type {shown!r} cannot be passed on"
        )
    lane = way.incumbent
    closed = _no_place_for(lane, call)
    if closed is not None:
        return closed
    refusal = (gate(lane) or unusable(lane)) if lane.refusal is not None or lane.target is None else None
    size = len(call.body) if call.upload is None else call.upload.size
    hold = waits = rated = None
    if caller.rate is not None and refusal is None:
        tokens = size // BYTES_A_TOKEN
        if caller.rate.tokens is not None:  # bytes of a file are no tokens: it takes the whole minute's, not more
            tokens = min(tokens, caller.rate.tokens.limit)
        limited = caller.rate.take(tokens, gateway.mono_ns())
        if limited is not None:
            return limited
        rated = caller.rate, tokens
    if caller.funded and refusal is None:
        hold, waits, refusal = fund(gateway, caller, lane, None, None, caller.purpose)
    tail = call.target.removeprefix(b"/v1").decode()
    head = lane.head_of(call.method.decode(), tail, _own_lines(caller, lane), call.kind.decode())
    gateway.sequence += 1
    exchange = Exchange(
        gateway, client, f"{gateway.incarnation}-{gateway.sequence:x}", lane, caller.purpose, caller.team, hold, None,
        False, Outgoing(head, call.body, ()), OTHER, True, False,
    )  # fmt: skip
    exchange.rated, exchange.upload = rated, call.upload
    gateway.active.add(exchange)
    name = slice_of(way.slice_by, SliceFacts(caller.key_name, caller.tags)) if way.slice_by else WHOLE
    conversation = sha256(b"%b\0%b" % (caller.key_bytes, call.target)).hexdigest()[:16]
    frame = Held(
        exchange.id, exchange.wall_ns, caller.purpose, way.name, lanes.number, caller.key_name, caller.team, None,
        caller.tags, name, conversation, False, size, None, None, None, None, None, False,
        () if hold is None else hold.names, caller.traceparent, OTHER.asked,
    )  # fmt: skip
    if waits is not None:
        exchange.opening = Opening(frame, None)
        gateway.purse.wait(exchange, waits, None, None)
        return exchange
    log.append(frame)
    if refusal is not None:
        gateway.meter.refused(refusal.code)
        exchange.refuse(refusal)
    return exchange


def _own_lines(caller: Caller, lane: Lane) -> bytes:
    """Header lines of the client's that go along."""
    own = passed_lines(caller.own, lane.dialect)
    if caller.idempotency is not None:  # nothing is known of what would be repeated, so it is the provider's to keep
        own += b"idempotency-key: %b\r\n" % caller.idempotency.encode()
    return own


def _no_place_for(lane: Lane, call: Passed) -> Refusal | None:
    """Why a lane's endpoint cannot be asked this, `None` where it can."""
    if lane.proof is not None and (call.method, call.kind) != (b"POST", b"application/json"):
        message = f"calls to endpoint {lane.endpoint!r} are signed as POST of JSON, so nothing else passes to it"
        return Refusal(status=400, code="not_carried", message=message)
    if lane.proof is not None and call.upload is not None:
        message = f"calls to endpoint {lane.endpoint!r} are signed with their body, so one this large cannot pass"
        return Refusal(status=413, code="body_too_large", message=message)
    if lane.raw_predict:
        message = f"endpoint {lane.endpoint!r} has messages and count_tokens of Claude, and nothing else passes to it"
        return Refusal(status=400, code="not_carried", message=message)
    return None


def _way(caller: Caller, named: bytes | None) -> Way | Refusal:
    """The route whose incumbent it goes to."""
    ways = {way.name: way for way in caller.ways.values()}
    known = ", ".join(sorted(ways)) or "none"
    if named is not None:
        name = named.decode("latin-1")
        way = caller.ways.get(name)
        if way is None:
            message = f"header x-weighbridge-route: this key may not use {name[:100]!r}; it may use: {known}"
            return Refusal(status=404, code="route_not_found", message=message)
        return way
    if len(ways) == 1:
        return next(iter(ways.values()))
    message = (
        "this path passes through to the incumbent of a route, and this key may use more than one or none; name one in "
        f"the header x-weighbridge-route: {known}"
    )
    return Refusal(status=400, code="route_not_named", message=message)
