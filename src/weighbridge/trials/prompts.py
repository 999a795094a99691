"""Captured requests of a route as prompts that slices may be found in."""

from collections.abc import Iterator

from weighbridge.records.frames import Asked
from weighbridge.records.slices import fingerprint
from weighbridge.trials.discover import Prompt
from weighbridge.trials.log import TrialLog
from weighbridge.trials.spoken import conversation_of, said
from weighbridge.wire import openai
from weighbridge.wire.conversation import Text
from weighbridge.wire.dialects import surface
from weighbridge.wire.refusal import BadRequest


def prompt_of(exchange_id: str, body: bytes, asked: Asked = "openai") -> Prompt | None:
    """The parts of a conversation that slices are made of; `None` for anything else."""
    conversation = conversation_of(body, asked)
    if conversation is None or not conversation.turns:
        return None
    users = [
        text
        for turn in conversation.turns
        if turn.role == "user" and (text := "\n".join(part.text for part in turn.parts if isinstance(part, Text)))
    ]
    return Prompt(
        id=exchange_id,
        system="\n".join(said(turn) for turn in conversation.turns if turn.role == "system"),
        tools=tuple(sorted(tool.name for tool in conversation.tools)),
        schema=fingerprint(_schema(body, asked)),
        text=users[-1] if users else "",
    )


def _schema(body: bytes, asked: Asked) -> bytes | None:
    """As the gateway takes it where a route is sliced by it."""
    try:
        if asked == "anthropic" or asked == "openai-responses":
            return surface.response_schema(asked, surface.parse_request(asked, body))
        return openai.response_schema(openai.parse_request(body))
    except BadRequest:
        return None


def prompts_of(log: TrialLog, route: str) -> Iterator[Prompt | None]:
    """Prompts of the answered user exchanges of a route, in log order; `None` for one without a readable body."""
    for exchange in log.users(route):
        if exchange.outcome != "ok":
            continue
        body = None if exchange.request is None else log.body(exchange.request)
        yield prompt_of(exchange.id, body, exchange.asked) if isinstance(body, bytes) else None
