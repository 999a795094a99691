"""What the tests of dialects share: streams of answers in every dialect, and a way to say them again."""

import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from weighbridge.records.usage import Usage
from weighbridge.wire.conversation import (
    Answer,
    Call,
    Conversation,
    Dialect,
    Envelope,
    Finish,
    FinishReason,
    Reasoning,
    Refusal,
    Said,
    Text,
    Turn,
)
from weighbridge.wire.dialects import StreamTranslator
from weighbridge.wire.dialects.events import (
    Began,
    CallBegan,
    CallPiece,
    Closed,
    Event,
    Finished,
    ReasoningPiece,
    ReasoningSealed,
    RefusalPiece,
    TextPiece,
    UsageSaid,
)
from weighbridge.wire.dialects.stream import writer_of
from weighbridge.wire.sse import events_of

ASKED = Conversation(model="assistant", turns=(Turn("user", (Text("Hello"),)),), stream=True)
ENVELOPE = Envelope("0123abcd-1", 1_790_000_000)


def chat_chunk(delta: dict[str, Any] | None = None, **more: Any) -> bytes:
    """One event of a chat stream; `finish` and `usage` as keywords."""
    finish, usage = more.pop("finish", None), more.pop("usage", None)
    chunk: dict[str, Any] = {"id": "chatcmpl-7", "object": "chat.completion.chunk", "created": 1, "model": "some-model"}
    chunk["choices"] = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    if usage is not None:
        chunk["usage"] = usage
    return b"data: " + json.dumps(chunk | more).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def call_delta(index: int | None, arguments: str = "", **more: Any) -> dict[str, Any]:
    """The delta of one tool call: `id` and `name` where given."""
    row: dict[str, Any] = {"function": {"arguments": arguments}}
    if index is not None:
        row["index"] = index
    if "name" in more:
        row["function"]["name"] = more["name"]
    if "id" in more:
        row |= {"id": more["id"], "type": "function"}
    return {"tool_calls": [row]}


def translated(
    stream: bytes, upstream: Dialect, client: Dialect, asked: Conversation = ASKED, cuts: Iterable[int] = ()
) -> tuple[bytes, StreamTranslator]:
    translator = StreamTranslator(upstream, client, asked, ENVELOPE)
    places = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    written = b"".join(translator.feed(stream[a:b]) for a, b in pairwise(places))
    return written + translator.end(), translator


def events(stream: bytes) -> list[dict[str, Any]]:
    return [json.loads(data) for data in events_of(stream) if data != b"[DONE]"]


def texts_of(parts: Sequence[Said], kind: type[Text] | type[Refusal] | type[Reasoning]) -> str:
    return "".join(part.text for part in parts if isinstance(part, kind))


def calls_of(parts: Sequence[Said]) -> list[tuple[str, str, str]]:
    return [(part.id, part.name, part.arguments) for part in parts if isinstance(part, Call)]


# --- any answer -------------------------------------------------------------------------------------------------------

_count = st.integers(0, 1 << 20)
usages = st.builds(Usage, _count, _count, _count, _count, st.just(0), _count)
_values = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
arguments = st.dictionaries(st.text(max_size=6), _values, max_size=3).map(json.dumps)
names = st.from_regex(r"[a-z_]{1,12}", fullmatch=True)
_texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    """What a chat host can say: reasoning, then text, then calls, each or not."""
    parts: list[Said] = []
    if draw(st.booleans()):
        parts.append(Reasoning(draw(_texts), "reasoning_content"))
    if draw(st.booleans()):
        parts.append(Text(draw(_texts)))
    for place in range(draw(st.integers(0, 4))):
        parts.append(Call(f"call_{place}", draw(names), draw(arguments)))
    reasons: list[FinishReason] = ["stop", "length"]
    if any(isinstance(part, Call) for part in parts):
        reasons = ["calls"]
    reason = draw(st.sampled_from(reasons))
    return Answer(parts=tuple(parts), finish=Finish(reason), usage=draw(usages), id="chatcmpl-1", model="m")


@st.composite
def interleavings(draw: st.DrawFn, answer: Answer) -> list[Event]:
    """The answer in pieces, those of its calls in any order that keeps each call's own."""
    happened: list[Event] = [Began(answer.id, answer.model)]
    waiting: list[list[Event]] = []
    for place, part in enumerate(answer.parts):
        if isinstance(part, Call):
            own: list[Event] = [CallBegan(place, part.id, part.name)]
            waiting.append(own + [CallPiece(place, piece) for piece in draw(pieces(part.arguments))])
        elif isinstance(part, Reasoning):
            happened += [ReasoningPiece(piece, part.source) for piece in draw(pieces(part.text))]
            happened.append(ReasoningSealed(Reasoning("", part.source)))
        elif isinstance(part, Refusal):
            happened += [RefusalPiece(piece) for piece in draw(pieces(part.text))]
        else:
            happened += [TextPiece(piece) for piece in draw(pieces(part.text))]
    while waiting:
        # A host numbers calls in the order in which they begin.
        begun = [row for row in waiting if not isinstance(row[0], CallBegan)]
        choices = [*begun, *[row for row in waiting if isinstance(row[0], CallBegan)][:1]]
        row = draw(st.sampled_from(choices))
        happened.append(row.pop(0))
        waiting = [row for row in waiting if row]
    assert answer.finish is not None
    return [*happened, Finished(answer.finish), UsageSaid(answer.usage), Closed()]


@st.composite
def pieces(draw: st.DrawFn, text: str) -> list[str]:
    places = sorted({0, len(text), *draw(st.lists(st.integers(0, len(text)), max_size=4))})
    return [text[a:b] for a, b in pairwise(places)]


def stream_of(dialect: Dialect, happened: Iterable[Event], asked: Conversation = ASKED) -> bytes:
    writer = writer_of(dialect, asked, ENVELOPE)
    return b"".join(map(writer.write, happened))
