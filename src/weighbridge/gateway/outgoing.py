"""The call that is made for a request on a lane. Pure: a fallback asks again, for another lane.

The same dialect on both sides: the client's bytes with declared edits. Another one: the request is read whole and
written anew; what cannot be carried is refused with the field's name, or named in `x-weighbridge-lost`.
"""

from typing import NamedTuple

import msgspec

from weighbridge.gateway.called import STREAMED
from weighbridge.gateway.doors import ANTHROPIC_BETA, ANTHROPIC_VERSION, Door
from weighbridge.gateway.lane import ANTHROPIC_VERSION as FIRST_VERSION
from weighbridge.gateway.lane import Lane
from weighbridge.wire.carried import BY_NAME, HEADER, header_value, refused
from weighbridge.wire.chat import ChatRequest
from weighbridge.wire.conversation import Conversation, Loss, Text, Turn
from weighbridge.wire.dialects import PATHS, read_request, write_request
from weighbridge.wire.raw import RawObject
from weighbridge.wire.refusal import BadRequest

EDITS_LOST_MAX = 32
VERTEX_VERSION = b"vertex-2023-10-16"
"""What Vertex calls the API of 2023-06-01: https://docs.anthropic.com/en/api/claude-on-vertex-ai (read 2026-11-25). The
later versions have one name at both, which Anthropic's own client for Vertex puts into the body."""


class Outgoing(NamedTuple):
    head: bytes
    """`%d` stands for the length of the body."""
    body: bytes
    edits: tuple[str, ...]
    asked: Conversation | None = None
    """Of a request that was translated: its answer must be, too."""
    losses: tuple[Loss, ...] = ()


def outgoing(lane: Lane, door: Door, request: ChatRequest, own: bytes = b"") -> Outgoing:
    """`own`: header lines of the client that belong to its dialect (`Caller.own`). Raises `BadRequest` where the
    request cannot be put in the endpoint's dialect."""
    dialect = lane.dialect
    if door.dialect == dialect:
        body, edits = door.edited(request, lane.model, lane.model_json, lane.system_prompt)
        if lane.raw_predict:
            return _raw_predict(lane, Outgoing(lane.head, body, edits), request.stream, door.tail, own)
        if door.translates and not own:
            return Outgoing(lane.head, body, edits)
        return Outgoing(lane.head_for(door.tail, own), body, edits)
    if not door.translates:
        raise BadRequest(
            f"arm {lane.arm!r} is at an endpoint of dialect {dialect!r}, and {door.path.decode()} is not carried to "
            "another dialect than its own; send it to a route whose arm speaks it",
            code="not_carried",
        )
    return _translated(lane, door, request, own)


def bound_of(lane: Lane, door: Door, body: bytes, request: ChatRequest) -> int | None:
    """The most that a call may cost, in nano-dollars; `None` where there is no such bound."""
    if door.free:
        return 0
    choices = 0 if door.no_output else request.choices
    return lane.held_nanousd(body, request.max_tokens or lane.max_tokens_default, choices)


def _translated(lane: Lane, door: Door, request: ChatRequest, own: bytes) -> Outgoing:
    asked = read_request(door.dialect, request.raw.body)
    edits: tuple[str, ...] = ("model", "dialect")
    if lane.system_prompt is not None:
        asked = _with_system_prompt(asked, lane.system_prompt)
        edits = (*edits, "system_prompt")
    body, losses = write_request(lane.dialect, asked, lane.form)
    if b"anthropic-beta:" in own:
        losses = (*losses, Loss("beta_header", "anthropic-beta"))
    stopped = refused(losses)
    if stopped:
        raise _not_carried(lane, stopped)
    names = dict.fromkeys(f"lost:{loss.feature}" for loss in losses)
    made = Outgoing(lane.head, body, (*edits, *list(names)[:EDITS_LOST_MAX]), asked, losses)
    return _raw_predict(lane, made, asked.stream) if lane.raw_predict else made


def _raw_predict(
    lane: Lane, made: Outgoing, stream: bool, tail: str = PATHS["anthropic"], own: bytes = b""
) -> Outgoing:
    """A call of Messages as Vertex wants it. Each value of the body stays as it was written."""
    said = {name: value.strip() for name, _, value in (line.partition(b":") for line in own.splitlines())}
    version = said.get(ANTHROPIC_VERSION, FIRST_VERSION)
    more = {"anthropic_version": b'"%b"' % (VERTEX_VERSION if version == FIRST_VERSION else version)}
    without = frozenset[str]()
    if tail == PATHS["anthropic"]:  # tokens are counted under a path without the model
        without = frozenset(("model",))
        tail = STREAMED if stream else tail
    body = RawObject(made.body).rewritten(more, without)
    betas = b"" if ANTHROPIC_BETA not in said else b"%b: %b\r\n" % (ANTHROPIC_BETA, said[ANTHROPIC_BETA])
    edits = ("model", "anthropic_version", *(edit for edit in made.edits if edit != "model"))
    return made._replace(head=lane.head_for(tail, betas), body=body, edits=edits)


def _not_carried(lane: Lane, losses: tuple[Loss, ...]) -> BadRequest:
    first = losses[0]
    what = "; ".join(f"{loss.at or 'the request'} ({BY_NAME[loss.feature].what})" for loss in losses[:4])
    more = f" and {len(losses) - 4} more" if len(losses) > 4 else ""
    return BadRequest(
        f"arm {lane.arm!r} is at an endpoint of dialect {lane.dialect!r}, which has no place for: {what}{more}; "
        "take it out, or send the request to a route whose arm has one",
        param=first.at or None,
        code="not_carried",
    )


def _with_system_prompt(asked: Conversation, prompt: str) -> Conversation:
    """The leading system turns replaced by this prompt; put first where there are none."""
    turns = asked.turns
    while turns and turns[0].role == "system":
        turns = turns[1:]
    return msgspec.structs.replace(asked, turns=(Turn("system", (Text(prompt),)), *turns))


def lost_line(losses: tuple[Loss, ...]) -> bytes:
    """The header line that names them; empty where nothing was lost."""
    value = header_value(losses)
    return b"" if value is None else f"{HEADER}: {value}\r\n".encode()
