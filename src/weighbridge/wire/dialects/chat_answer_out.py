"""OpenAI chat answers: JSON and event streams, written."""

from weighbridge.wire.carried import STOP_OF
from weighbridge.wire.conversation import (
    Answer,
    Call,
    Conversation,
    Envelope,
    Failure,
    Finish,
    Reasoning,
    Refusal,
    Text,
)
from weighbridge.wire.dialects.chat_reasoning import to_details
from weighbridge.wire.dialects.events import (
    Began,
    CallBegan,
    CallPiece,
    Closed,
    Event,
    Failed,
    Finished,
    Pinged,
    ReasoningPiece,
    ReasoningSealed,
    RefusalPiece,
    TextPiece,
    UsageSaid,
)
from weighbridge.wire.dialects.failures import write_failure
from weighbridge.wire.dialects.fields import encode
from weighbridge.wire.dialects.reasoning import sealed
from weighbridge.wire.dialects.usages import to_chat

Json = dict[str, object]
CHAT_SOURCES = ("reasoning_content", "reasoning")


def finish_of(answer: Answer) -> str:
    reason = answer.finish.reason if answer.finish is not None else "stop"
    if reason == "stop" and any(isinstance(part, Call) for part in answer.parts):
        reason = "calls"
    return STOP_OF[reason].openai


def write_answer(answer: Answer, asked: Conversation, envelope: Envelope) -> bytes:
    texts = [part.text for part in answer.parts if isinstance(part, Text)]
    refusals = [part.text for part in answer.parts if isinstance(part, Refusal)]
    calls = [_call_row(part) for part in answer.parts if isinstance(part, Call)]
    thoughts = [part for part in answer.parts if isinstance(part, Reasoning)]
    explanation = answer.finish.explanation if answer.finish is not None else None
    refusal = "".join(refusals) or explanation
    message: Json = {"role": "assistant", "content": "".join(texts) if texts else None, "refusal": refusal}
    if thoughts:
        message["reasoning_content"] = "".join(thought.text for thought in thoughts)
        rows = _details(thoughts)
        if rows:
            message["reasoning_details"] = rows
    if calls:
        message["tool_calls"] = calls
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_of(answer)}
    body: Json = {
        "id": answer.id or envelope.id,
        "object": "chat.completion",
        "created": envelope.created_s,
        "model": answer.model or asked.model,
        "choices": [choice],
    }
    if answer.usage is not None:
        body["usage"] = to_chat(answer.usage)
    return encode(body)


def _details(thoughts: list[Reasoning]) -> list[Json]:
    """Only what needs more than its text to go back."""
    if all(thought.source in CHAT_SOURCES for thought in thoughts):
        return []
    return [to_details(thought, place, sealed(thought)) for place, thought in enumerate(thoughts)]


def _call_row(call: Call) -> Json:
    if call.kind == "custom":
        return {"id": call.id, "type": "custom", "custom": {"name": call.name, "input": call.arguments}}
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


class ChatWriter:
    """A chat stream, event by event. Calls may overlap in this dialect, so nothing waits."""

    def __init__(self, asked: Conversation, envelope: Envelope) -> None:
        self._asked, self._envelope = asked, envelope
        self._id, self._model = envelope.id, asked.model
        self._began = False
        self._thoughts: list[str] = []
        self._sealed_count = 0
        self._indexes: dict[int, int] = {}
        self._customs: set[int] = set()
        self._usage: Json | None = None
        self._finish: Finish | None = None

    def write(self, event: Event) -> bytes:
        if isinstance(event, Began):
            self._id, self._model = event.id or self._id, event.model or self._model
            return self._begin()
        if isinstance(event, Pinged):
            return b": ping\n\n"
        if isinstance(event, Failed):
            return self.fail(event.failure)
        if isinstance(event, UsageSaid):
            self._usage = None if event.usage is None else to_chat(event.usage)
        elif isinstance(event, Finished):
            self._finish = event.finish
        elif isinstance(event, Closed):
            return self._close()
        else:
            delta = self._delta(event)
            if delta is not None:
                return self._begin() + self._chunk([{"index": 0, "delta": delta, "finish_reason": None}])
        return b""

    def fail(self, failure: Failure) -> bytes:
        """Never followed by `[DONE]`."""
        return b"data: " + write_failure("openai", failure) + b"\n\n"

    def _begin(self) -> bytes:
        if self._began:
            return b""
        self._began = True
        return self._chunk([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])

    def _delta(self, event: Event) -> Json | None:
        if isinstance(event, TextPiece):
            return {"content": event.text}
        if isinstance(event, RefusalPiece):
            return {"refusal": event.text}
        if isinstance(event, ReasoningPiece):
            self._thoughts.append(event.text)
            return {"reasoning_content": event.text} if event.text else None
        if isinstance(event, ReasoningSealed):
            return self._seal(event.seal)
        if isinstance(event, CallBegan):
            index = self._indexes[event.key] = len(self._indexes)
            if event.kind == "custom":
                self._customs.add(event.key)
            return {"tool_calls": [{"index": index, **_call_row(Call(event.id, event.name, "", event.kind))}]}
        if isinstance(event, CallPiece):
            inner = {"custom": {"input": event.text}} if event.key in self._customs else {
                "function": {"arguments": event.text}
            }  # fmt: skip
            return {"tool_calls": [{"index": self._indexes[event.key], **inner}]}
        return None

    def _seal(self, seal: Reasoning) -> Json | None:
        text = "".join(self._thoughts)
        self._thoughts = []
        if seal.source in CHAT_SOURCES:
            return None
        whole = Reasoning(text, seal.source, seal.signature, seal.data, seal.id)
        self._sealed_count += 1
        return {"reasoning_details": [to_details(whole, self._sealed_count - 1, sealed(whole))]}

    def _close(self) -> bytes:
        finish = self._finish or Finish("stop")
        reason = "calls" if finish.reason == "stop" and self._indexes else finish.reason
        begin = self._begin()
        delta: Json = {} if finish.explanation is None else {"refusal": finish.explanation}
        end = self._chunk([{"index": 0, "delta": delta, "finish_reason": STOP_OF[reason].openai}])
        usage = b""
        if self._asked.wants_usage and self._usage is not None:
            usage = self._chunk([], self._usage)
        return begin + end + usage + b"data: [DONE]\n\n"

    def _chunk(self, choices: list[Json], usage: Json | None = None) -> bytes:
        chunk: Json = {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": self._envelope.created_s,
            "model": self._model,
            "choices": choices,
        }
        if usage is not None:
            chunk["usage"] = usage
        return b"data: " + encode(chunk) + b"\n\n"
