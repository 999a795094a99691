"""Captured requests of a route as prompts that slices may be found in."""

from collections.abc import Iterator

import msgspec

from weighbridge.records.slices import fingerprint
from weighbridge.trials.discover import Prompt
from weighbridge.trials.labelled import content_text
from weighbridge.trials.log import TrialLog


class _Function(msgspec.Struct):
    name: str = ""


class _Tool(msgspec.Struct):
    function: _Function = msgspec.field(default_factory=_Function)


class _Turn(msgspec.Struct):
    role: str = ""
    content: msgspec.Raw = msgspec.Raw(b"null")


class _Request(msgspec.Struct):
    messages: list[_Turn] = []
    tools: list[_Tool] = []
    response_format: msgspec.Raw = msgspec.Raw(b"")


_request = msgspec.json.Decoder(_Request)


def prompt_of(exchange_id: str, body: bytes) -> Prompt | None:
    """The parts of a request with `messages` that slices are made of; `None` for any other."""
    try:
        request = _request.decode(body)
        system = [content_text(turn.content) for turn in request.messages if turn.role in ("system", "developer")]
        users = [content_text(turn.content) for turn in request.messages if turn.role == "user"]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if not request.messages:
        return None
    return Prompt(
        id=exchange_id,
        system="\n".join(system),
        tools=tuple(sorted(tool.function.name for tool in request.tools)),
        schema=fingerprint(bytes(request.response_format) or None),
        text=users[-1] if users else "",
    )


def prompts_of(log: TrialLog, route: str) -> Iterator[Prompt | None]:
    """Prompts of the answered user exchanges of a route, in log order; `None` for one without a readable body."""
    for exchange in log.users(route):
        if exchange.outcome != "ok":
            continue
        body = None if exchange.request is None else log.body(exchange.request)
        yield prompt_of(exchange.id, body) if isinstance(body, bytes) else None
