"""Copies: the other arm of a ramp is asked what a user has asked, after the user has the answer, and nobody waits.

In the shadow stage copies go to the candidate, later also to whichever arm did not answer (`pairs`). A copy is a
request of purpose `shadow` whose item is the user's exchange. It goes through the send gate and the log like any other,
has a budget of its own, is never tried again, and its answer reaches nobody. Tools are not carried out by a gateway; a
request whose tools a *provider* carries out (search, code) is not copied, or they would run twice.
"""

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from weighbridge.gateway.attempts import Tries
from weighbridge.gateway.client import NOBODY
from weighbridge.gateway.doors import Door
from weighbridge.gateway.exchange import Exchange, gate
from weighbridge.gateway.lane import Lane
from weighbridge.gateway.outgoing import Outgoing, bound_of, outgoing
from weighbridge.gateway.way import CopyTerms, Way
from weighbridge.records.frames import Held
from weighbridge.records.table import SHARE_WHOLE
from weighbridge.wire.refusal import BadRequest

if TYPE_CHECKING:
    from weighbridge.gateway.admit import Caller
    from weighbridge.gateway.gateway import Gateway

OPEN_MAX = 32
"""Copies under way in one worker; what comes meanwhile is not copied, and counted."""
BODY_BYTES_MAX = 1 << 20
"""Of a request that is copied: it is kept in memory until its answer is over."""
_SPREAD = 0x9E3779B97F4A7C15
_WORD = (1 << 64) - 1
_WORTH = ("ok", "upstream_error", "upstream_cut", "timeout")
_HOSTED = ("web_search_options", "plugins", "mcp_servers")
"""Fields by which a provider is told to do more than answer."""
_NOT_STREAMED = {"stream": b"false", "stream_options": b"null"}


class Note(NamedTuple):
    """Kept of a request that will be copied."""

    way: Way
    terms: CopyTerms
    target: Lane
    door: Door
    own: bytes
    """Header lines of the client's that belong to its dialect."""
    body: bytes
    held: Held


_OURS = ("function", "custom")
"""Tools that the application carries out, in every dialect."""


class _Tool(msgspec.Struct):
    type: str = "function"


class _Asked(msgspec.Struct):
    tools: list[_Tool] | None = None


_tools = msgspec.json.Decoder(_Asked)


class Copies:
    """Of one worker."""

    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway
        self._open: dict[Exchange, tuple[str, int]] = {}
        self._spent: dict[str, int] = {}
        """By the record of the ramp: held and posted in this worker."""
        self.made = 0
        self.skipped: dict[str, int] = {}

    def consider(
        self, exchange: Exchange, way: Way, terms: CopyTerms, caller: "Caller", body: bytes, held: Held
    ) -> None:
        """Remember what it takes to copy this request, where chance wants it: nothing in a request decides."""
        point = ((self._gateway.sequence * _SPREAD & _WORD) >> 32) * SHARE_WHOLE >> 32
        target = terms.targets.get(exchange.lane.arm)
        if point >= terms.basis_points or target is None or exchange.purpose != "user" or not caller.door.translates:
            return
        if len(body) > BODY_BYTES_MAX:
            self._skip("too_large")
        else:
            exchange.copy = Note(way, terms, target, caller.door, caller.own, body, held)

    def offer(self, note: Note, outcome: str) -> None:
        """The user's request is over. The copy is made when this turn of the loop has done its work."""
        if outcome in _WORTH:
            self._gateway.loop.call_soon(self._make, note)

    def _skip(self, why: str) -> None:
        self.skipped[why] = self.skipped.get(why, 0) + 1

    def _make(self, note: Note) -> None:
        gateway, target, terms = self._gateway, note.target, note.terms
        current = gateway.lanes.ways.get(note.way.name)
        if current is not note.way or gateway.draining:
            return  # another table is in force: what it says of copies may be another thing
        if len(self._open) >= OPEN_MAX:
            self._skip("too_many")
            return
        if gateway.log.state != "ok" or target.target is None or gate(target) is not None:
            self._skip("not_sendable")
            return
        try:
            if any(tool.type not in _OURS for tool in _tools.decode(note.body).tools or ()):
                raise BadRequest("the provider would carry out tools twice")
            request = note.door.parse(note.body)
            if any(name in request.raw.fields for name in _HOSTED):
                raise BadRequest("the provider would do more than answer")
            if request.stream:
                edits = {name: value for name, value in _NOT_STREAMED.items() if name in request.raw.fields}
                request = note.door.parse(request.raw.spliced(edits))
            if target.escalation is not None and target.escalation.straight(request, note.held.slice):
                target = target.escalation.then
            call = outgoing(target, note.door, request, note.own)
        except (BadRequest, msgspec.MsgspecError):
            self._skip("not_copied")
            return
        held = bound = bound_of(target, note.door, call.body, request)
        if target.escalation is not None:
            held = target.escalation.held(bound, note.door, request)
        spent = self._spent.get(terms.record, 0)
        if terms.left_nanousd is not None and (held is None or spent + held > terms.left_nanousd):
            self._skip("budget")
            return
        self._spent[terms.record] = spent + (held or 0)
        tries = None if target.escalation is None else Tries(target, bound, request, note.own)
        self._send(note, target, call, held, tries)

    def _send(self, note: Note, target: Lane, call: Outgoing, held: int | None, tries: Tries | None) -> None:
        gateway, original = self._gateway, note.held
        capture = gateway.lanes.capture
        exchange = Exchange(
            gateway, NOBODY, gateway.next_id(), target, "shadow", original.team, None, held,
            capture.bodies, call, note.door, False, False,
        )  # fmt: skip
        exchange.ended = self._ended
        exchange.tries = tries
        self._open[exchange] = note.terms.record, held or 0
        self.made += 1
        gateway.active.add(exchange)
        frame = msgspec.structs.replace(
            original, id=exchange.id, time_ns=exchange.wall_ns, purpose="shadow", stream=False, held_nanousd=held,
            request=None, trial=None, item=original.id, leases=(),
        )  # fmt: skip
        if capture.bodies:
            gateway.log.capture(frame, original.team, note.body, capture.redact)
        else:
            gateway.log.append(frame)
        exchange.begin()

    def _ended(self, exchange: Exchange, cost: int | None) -> None:
        """What was held and not used is free again; an unknown cost counts as all that was held."""
        record, held = self._open.pop(exchange)
        if cost is not None:
            self._spent[record] += cost - held
