"""Anthropic messages answers: JSON and event streams, read and written."""

from collections.abc import Iterator

import msgspec

from weighbridge.wire.carried import FROM_ANTHROPIC, STOP_OF
from weighbridge.wire.conversation import (
    Answer,
    BadAnswer,
    Call,
    Conversation,
    Envelope,
    Failure,
    Finish,
    Loss,
    Reasoning,
    Refusal,
    Text,
)
from weighbridge.wire.dialects.anthropic_request import invalid_json_of
from weighbridge.wire.dialects.anthropic_request_out import tool_input
from weighbridge.wire.dialects.events import (
    Began,
    Block,
    CallBegan,
    CallEnded,
    CallPiece,
    Closed,
    Event,
    Failed,
    Finished,
    Lost,
    Opened,
    Ordered,
    Piece,
    Pinged,
    ReasoningPiece,
    ReasoningSealed,
    Step,
    TextPiece,
    UsageSaid,
)
from weighbridge.wire.dialects.failures import failed_inside, write_failure
from weighbridge.wire.dialects.fields import NOTHING, Raw, encode, given
from weighbridge.wire.dialects.reasoning import sealed, unsealed
from weighbridge.wire.dialects.usages import AnthropicUsage, anthropic_block, to_anthropic

Json = dict[str, object]


class _Block(msgspec.Struct):
    """A block of a message, the start of one in a stream, or a delta of one."""

    type: str
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: Raw = NOTHING
    partial_json: str | None = None
    citations: list[Raw] | None = None


class _Details(msgspec.Struct):
    explanation: str | None = None


class _Message(msgspec.Struct):
    """A message, or the delta of one."""

    id: str | None = None
    model: str | None = None
    content: list[_Block] = []
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: _Details | None = None
    usage: Raw = NOTHING
    error: Raw = NOTHING
    """Of what is no message, whatever its status."""


class _Event(msgspec.Struct):
    type: str
    message: _Message | None = None
    index: int = 0
    content_block: _Block | None = None
    delta: Raw = NOTHING
    usage: Raw = NOTHING
    error: Raw = NOTHING


_message = msgspec.json.Decoder(_Message).decode
_event = msgspec.json.Decoder(_Event).decode
_delta_block = msgspec.json.Decoder(_Block).decode
_UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)


def _finish(said: _Message) -> Finish:
    explanation = said.stop_details.explanation if said.stop_details is not None else None
    return Finish(FROM_ANTHROPIC.get(said.stop_reason or "", "stop"), said.stop_sequence, explanation)


def _input(block: _Block) -> str:
    return bytes(block.input).decode() if given(block.input) else "{}"


class AnthropicReader:
    """The events of a messages stream: `read` the data of each of its events, then `end`."""

    def __init__(self) -> None:
        self._usage = AnthropicUsage()
        self._blocks: dict[int, _Block] = {}
        self._said: dict[int, list[str]] = {}

    def read(self, data: bytes) -> Iterator[Event]:
        try:
            event = _event(data)
            yield from self._read(event)
        except _UNREADABLE as error:
            raise BadAnswer(f"the provider sent an event that is none of a messages stream: {error}") from None

    def end(self) -> Iterator[Event]:
        """The provider closed. Only `message_stop` says that an answer is whole."""
        return iter(())

    def _read(self, event: _Event) -> Iterator[Event]:
        kind = event.type
        if kind == "content_block_delta" and given(event.delta):
            yield from self._delta(event.index, _delta_block(event.delta))
        elif kind == "content_block_start" and event.content_block is not None:
            yield from self._start(event.index, event.content_block)
        elif kind == "content_block_stop":
            yield from self._stop(event.index)
        elif kind == "message_start" and event.message is not None:
            yield Began(event.message.id, event.message.model)
            yield from self._counted(event.message.usage)
        elif kind == "message_delta" and given(event.delta):
            said = _message(event.delta)
            if said.stop_reason is not None:
                yield Finished(_finish(said))
            yield from self._counted(event.usage)
        elif kind == "message_stop":
            yield Closed()
        elif kind == "ping":
            yield Pinged()
        elif kind == "error":
            yield Failed(failed_inside(event.error if given(event.error) else b"{}"))

    def _counted(self, raw: Raw) -> Iterator[Event]:
        later = anthropic_block(raw) if given(raw) else None
        if later is not None:
            self._usage = self._usage.merged(later)
            yield UsageSaid(self._usage.usage(), encode(self._usage))

    def _start(self, index: int, block: _Block) -> Iterator[Event]:
        self._blocks[index], self._said[index] = block, []
        if block.type == "text":
            if block.text:
                yield TextPiece(block.text)
        elif block.type == "tool_use":
            yield CallBegan(index, block.id or f"call_{index}", block.name or "")
        elif block.type == "thinking":
            yield ReasoningPiece(block.thinking or "", "anthropic")
        elif block.type == "redacted_thinking":
            seal = unsealed("", block.data) or Reasoning("", "anthropic", data=block.data)
            yield ReasoningPiece("", "anthropic")
            yield ReasoningSealed(seal)
        else:
            yield Lost(Loss("answer_part", f"content[{index}]:{block.type}"))

    def _delta(self, index: int, delta: _Block) -> Iterator[Event]:
        if delta.type == "text_delta":
            yield TextPiece(delta.text or "")
        elif delta.type == "input_json_delta":
            block = self._blocks.get(index)
            if delta.partial_json and block is not None and block.type == "tool_use":
                self._said[index].append(delta.partial_json)
                yield CallPiece(index, delta.partial_json)
        elif delta.type == "thinking_delta":
            yield ReasoningPiece(delta.thinking or "", "anthropic")
        elif delta.type == "signature_delta" and index in self._blocks:
            self._blocks[index].signature = (self._blocks[index].signature or "") + (delta.signature or "")
        else:
            yield Lost(Loss("annotations" if delta.type == "citations_delta" else "answer_part", f"content[{index}]"))

    def _stop(self, index: int) -> Iterator[Event]:
        block = self._blocks.get(index)
        if block is None:
            return
        if block.type == "tool_use":
            arguments = _input(block)
            if not self._said[index]:
                # Either no arguments, or all of them at the start (some hosts).
                yield CallPiece(index, arguments)
            yield CallEnded(index)
        elif block.type == "thinking":
            seal = unsealed("", block.signature) or Reasoning("", "anthropic", block.signature or None)
            yield ReasoningSealed(seal)


def read_answer(body: bytes) -> Iterator[Event]:
    """The events of a JSON answer. Raises `BadAnswer`."""
    try:
        said = _message(body)
    except _UNREADABLE as error:
        raise BadAnswer(f"the provider's answer is no message: {error}") from None
    if given(said.error):
        yield Failed(failed_inside(said.error))
        return
    reader = AnthropicReader()
    yield Began(said.id, said.model)
    for index, block in enumerate(said.content):
        if block.type == "tool_use":
            arguments = _input(block)
            yield CallBegan(index, block.id or f"call_{index}", block.name or "")
            yield CallPiece(index, invalid_json_of(arguments) or arguments)
            yield CallEnded(index)
            continue
        yield from reader._start(index, block)
        yield from reader._stop(index)
        if block.citations:
            yield Lost(Loss("annotations", f"content[{index}]"))
    yield from reader._counted(said.usage)
    if said.stop_reason is not None:
        yield Finished(_finish(said))
        yield Closed()


# --- written ----------------------------------------------------------------------------------------------------------


def _signature(thought: Reasoning) -> str:
    """Anthropic's own, or ours: a thinking block must have one to be sent back."""
    if thought.source == "anthropic" and thought.data is None:
        return thought.signature or ""
    return sealed(thought)


def _ending(finish: Finish | None, refused: bool, called: bool) -> Json:
    reason = finish.reason if finish is not None else "stop"
    if reason == "stop" and refused:
        reason = "filter"
    elif reason == "stop" and called:
        reason = "calls"
    ending: Json = {
        "stop_reason": STOP_OF[reason].anthropic,
        "stop_sequence": finish.sequence if finish is not None else None,
    }
    if reason == "filter" and finish is not None and finish.explanation is not None:
        ending["stop_details"] = {"type": "refusal", "category": None, "explanation": finish.explanation}
    return ending


def write_answer(answer: Answer, asked: Conversation, envelope: Envelope) -> bytes:
    content: list[Json] = []
    for part in answer.parts:
        if isinstance(part, Text | Refusal):
            content.append({"type": "text", "text": part.text})
        elif isinstance(part, Call):
            content.append({"type": "tool_use", "id": part.id, "name": part.name, "input": tool_input(part.arguments)})
        elif part.source == "anthropic" and part.data is not None:
            content.append({"type": "redacted_thinking", "data": part.data})
        else:
            content.append({"type": "thinking", "thinking": part.text, "signature": _signature(part)})
    refused = any(isinstance(part, Refusal) for part in answer.parts)
    called = any(isinstance(part, Call) for part in answer.parts)
    body: Json = {
        "id": answer.id or envelope.id,
        "type": "message",
        "role": "assistant",
        "model": answer.model or asked.model,
        "content": content,
        **_ending(answer.finish, refused, called),
        "usage": to_anthropic(answer.usage),
    }
    return encode(body)


class AnthropicWriter:
    """A messages stream, event by event: one block at a time, `message_start` first, `message_stop` last."""

    def __init__(self, asked: Conversation, envelope: Envelope) -> None:
        self._id, self._model = envelope.id, asked.model
        self._began = False
        self._index = -1
        self._ordered = Ordered()
        self._usage = to_anthropic(None)
        self._finish: Finish | None = None

    def write(self, event: Event) -> bytes:
        if isinstance(event, Began):
            self._id, self._model = event.id or self._id, event.model or self._model
            return self._begin()
        if isinstance(event, Pinged):
            return _sse("ping", {"type": "ping"}) if self._began else b": ping\n\n"
        if isinstance(event, Failed):
            return self.fail(event.failure)
        if isinstance(event, UsageSaid):
            self._usage = to_anthropic(event.usage)
        elif isinstance(event, Finished):
            self._finish = event.finish
        elif isinstance(event, Closed):
            return self._close()
        else:
            steps = b"".join(map(self._step, self._ordered.add(event)))
            return self._begin() + steps if steps else b""
        return b""

    def fail(self, failure: Failure) -> bytes:
        """Never followed by `message_stop`."""
        return b"event: error\ndata: " + write_failure("anthropic", failure) + b"\n\n"

    def _begin(self) -> bytes:
        if self._began:
            return b""
        self._began = True
        message: Json = {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            # What there is so far; the counts of the answer come with `message_delta`.
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }
        return _sse("message_start", {"type": "message_start", "message": message})

    def _step(self, step: Step) -> bytes:
        if isinstance(step, Opened):
            return self._open(step.block)
        if isinstance(step, Piece):
            return self._delta(step.block, step.text)
        return self._shut(step.block)

    def _open(self, block: Block) -> bytes:
        self._index += 1
        content: Json
        if block.call is not None:
            content = {"type": "tool_use", "id": block.call.id, "name": block.call.name, "input": {}}
        elif block.kind == "reasoning":
            seal = block.seal
            if seal is not None and seal.source == "anthropic" and seal.data is not None:
                content = {"type": "redacted_thinking", "data": seal.data}
            else:
                content = {"type": "thinking", "thinking": "", "signature": ""}
        else:
            content = {"type": "text", "text": ""}
        event: Json = {"type": "content_block_start", "index": self._index, "content_block": content}
        return _sse("content_block_start", event)

    def _delta(self, block: Block, text: str) -> bytes:
        delta: Json
        if block.call is not None:
            delta = {"type": "input_json_delta", "partial_json": text}
        elif block.kind == "reasoning":
            delta = {"type": "thinking_delta", "thinking": text}
        else:
            delta = {"type": "text_delta", "text": text}
        return _sse("content_block_delta", {"type": "content_block_delta", "index": self._index, "delta": delta})

    def _shut(self, block: Block) -> bytes:
        signed = b""
        if block.kind == "reasoning":
            thought = block.reasoning()
            if thought.source != "anthropic" or thought.data is None:
                delta: Json = {"type": "signature_delta", "signature": _signature(thought)}
                event: Json = {"type": "content_block_delta", "index": self._index, "delta": delta}
                signed = _sse("content_block_delta", event)
        return signed + _sse("content_block_stop", {"type": "content_block_stop", "index": self._index})

    def _close(self) -> bytes:
        written = self._begin() + b"".join(map(self._step, self._ordered.close()))
        kinds = {block.kind for block in self._ordered.done}
        ending = _ending(self._finish, "refusal" in kinds, "call" in kinds)
        last: Json = {"type": "message_delta", "delta": ending, "usage": self._usage}
        return written + _sse("message_delta", last) + _sse("message_stop", {"type": "message_stop"})


def _sse(name: str, event: Json) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), encode(event))
