"""What a provider answers, as JSON and as usage blocks: read, translated, and read again by the client's own reader."""

from typing import Final

import msgspec

from weighbridge.gateway.translated import whole_answer
from weighbridge.records.usage import Usage
from weighbridge.wire import openai
from weighbridge.wire.conversation import (
    Answer,
    BadAnswer,
    Call,
    Conversation,
    Envelope,
    Refusal,
    Text,
    Turn,
)
from weighbridge.wire.dialects import DIALECTS, read_answer, surface
from weighbridge.wire.dialects.anthropic_request import INVALID_JSON
from weighbridge.wire.dialects.usages import anthropic_counted, responses_counted, to_anthropic, to_chat, to_responses
from weighbridge.wire.usage import TOKENS_COUNTED_MAX, counted

ENVELOPE: Final = Envelope(id="wb-1", created_s=0)
STATUSES: Final = (200, 200, 200, 201, 400, 404, 429, 500, 503, 529)


def asked_for(*, stream: bool) -> Conversation:
    return Conversation(model="assistant", turns=(Turn("user", (Text("Hello"),)),), stream=stream)


def said(answer: Answer) -> tuple[str, list[tuple[str, str, object]]]:
    """Text, of a refusal too, and calls, however they were cut into parts."""
    text = "".join(part.text for part in answer.parts if isinstance(part, Text | Refusal))
    calls = [(part.name, part.id, _arguments(part)) for part in answer.parts if isinstance(part, Call)]
    return text, sorted(calls, key=repr)  # one without a name, which is no call, may change its place


def _arguments(call: Call) -> object:
    """What is no JSON object goes to Anthropic's clients under a name of its own: here it is only that it was none. No
    arguments at all are an empty object there."""
    try:
        found = msgspec.json.decode(call.arguments or "{}", type=dict[str, object])
    except (msgspec.MsgspecError, RecursionError):
        return None
    return None if INVALID_JSON in found else found


def whole(data: bytes) -> None:
    """Any answer with any status: an error that its client can read, or what the provider said, whole.

    The first byte chooses status, dialects and whether the client wants a stream.
    """
    choice, body = (data[0], data[1:]) if data else (0, b"")
    status, stream = STATUSES[choice % len(STATUSES)], bool(choice & 0x40)
    for upstream in DIALECTS:
        facts = openai.read_answer(body) if upstream == "openai" else surface.read_answer(upstream, body)
        msgspec.msgpack.encode(facts.usage)
        for client in DIALECTS:
            if client == upstream:
                continue
            try:
                got = whole_answer(status, body, upstream, client, asked_for(stream=stream), ENVELOPE)
            except BadAnswer:
                continue
            if got.error is not None:
                assert got.status >= 400, "an error is never a good status"
                assert "error" in msgspec.json.decode(got.body)
                continue
            if stream:
                assert got.body.endswith(b"\n\n"), "a client needs whole events"
            else:
                assert isinstance(msgspec.json.decode(got.body), dict)
            assert said(read_answer(upstream, body)) == said(read_answer(client, got.body)), (upstream, client)


def usage_block(data: bytes) -> None:
    """Any usage block: a reason why it is unknown, or classes that can be recorded, and that each dialect can say."""
    for count in (counted, anthropic_counted, responses_counted):
        usage = count(data)
        if isinstance(usage, str):
            assert usage
            continue
        assert 0 <= usage.total <= TOKENS_COUNTED_MAX
        assert usage == msgspec.msgpack.decode(msgspec.msgpack.encode(usage), type=Usage)
        for again in (
            counted(msgspec.json.encode(to_chat(usage))),
            anthropic_counted(msgspec.json.encode(to_anthropic(usage))),
            responses_counted(msgspec.json.encode(to_responses(usage))),
        ):
            assert isinstance(again, Usage)
            assert (usage.input_total, usage.output_total) == (again.input_total, again.output_total)
