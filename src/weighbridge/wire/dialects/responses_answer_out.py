"""OpenAI responses answers: JSON and event streams, written.

A stream numbers its events and says everything thrice: piece by piece, whole when a part ends, and all of it in the
response at its end.
"""

from weighbridge.records.usage import Usage
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
    Said,
    Text,
)
from weighbridge.wire.dialects.events import (
    Began,
    Block,
    Closed,
    Event,
    Failed,
    Finished,
    Opened,
    Ordered,
    Piece,
    Pinged,
    RefusalPiece,
    Step,
    UsageSaid,
)
from weighbridge.wire.dialects.fields import encode
from weighbridge.wire.dialects.reasoning import sealed
from weighbridge.wire.dialects.usages import to_responses

Json = dict[str, object]

_ERROR_CODES = {"rate_limit": "rate_limit_exceeded", "invalid_request": "invalid_prompt"}
"""The codes that a failed response may have; all else is `server_error`."""


def _item(said: Said, item_id: str, status: str) -> Json:
    if isinstance(said, Text | Refusal):
        return {"id": item_id, "type": "message", "status": status, "role": "assistant", "content": [_part(said)]}
    if isinstance(said, Call):
        custom = said.kind == "custom"
        kind, name = ("custom_tool_call", "input") if custom else ("function_call", "arguments")
        return {
            "id": item_id, "type": kind, "status": status, "call_id": said.id, "name": said.name, name: said.arguments,
        }  # fmt: skip
    item: Json = {"id": item_id, "type": "reasoning", "summary": [], "status": status}
    if said.source == "responses":
        item["summary"] = [{"type": "summary_text", "text": said.text}] if said.text else []
        item["encrypted_content"] = said.data
    else:
        item["content"] = [_part(said)]
        item["encrypted_content"] = sealed(said)
    return item


def _part(said: Said) -> Json:
    if isinstance(said, Text):
        return {"type": "output_text", "text": said.text, "annotations": [], "logprobs": []}
    if isinstance(said, Refusal):
        return {"type": "refusal", "refusal": said.text}
    return {"type": "reasoning_text", "text": said.text if isinstance(said, Reasoning) else ""}


def _item_id(response_id: str, place: int, said: Said) -> str:
    if isinstance(said, Reasoning) and said.source == "responses" and said.id is not None:
        return said.id
    kind = "rs" if isinstance(said, Reasoning) else "fc" if isinstance(said, Call) else "msg"
    return f"{kind}_{response_id}_{place}"


class _Frame:
    """The response around an answer: what was asked, said again, as the dialect does."""

    def __init__(self, asked: Conversation, envelope: Envelope) -> None:
        self.id, self.model, self.created_s = envelope.id, asked.model, envelope.created_s
        self.asked = asked

    def named(self, answer_id: str | None, model: str | None) -> None:
        self.id, self.model = answer_id or self.id, model or self.model

    def response(self, status: str, output: list[Json], usage: Usage | None, **more: Json | None) -> Json:
        echo = dict(self.asked.echo)
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created_s,
            "status": status,
            "error": more.get("error"),
            "incomplete_details": more.get("incomplete_details"),
            "instructions": echo.get("instructions"),
            "max_output_tokens": echo.get("max_output_tokens"),
            "model": self.model,
            "output": output,
            "parallel_tool_calls": echo.get("parallel_tool_calls", True),
            "previous_response_id": None,
            "reasoning": echo.get("reasoning", {"effort": None, "summary": None}),
            "store": False,
            "temperature": echo.get("temperature"),
            "text": echo.get("text", {"format": {"type": "text"}}),
            "tool_choice": echo.get("tool_choice", "auto"),
            "tools": echo.get("tools", []),
            "top_p": echo.get("top_p"),
            "truncation": echo.get("truncation", "disabled"),
            "usage": to_responses(usage),
            "user": echo.get("user"),
            "metadata": echo.get("metadata", {}),
        }

    def ended(self, output: list[Json], finish: Finish | None, usage: Usage | None) -> Json:
        status, reason = STOP_OF[finish.reason if finish is not None else "stop"].responses
        return self.response(status, output, usage, incomplete_details=None if reason is None else {"reason": reason})


def write_answer(answer: Answer, asked: Conversation, envelope: Envelope) -> bytes:
    frame = _Frame(asked, envelope)
    frame.named(answer.id, answer.model)
    output = [_item(part, _item_id(frame.id, place, part), "completed") for place, part in enumerate(answer.parts)]
    if answer.finish is not None and answer.finish.explanation is not None:
        refusal = Refusal(answer.finish.explanation)
        output.append(_item(refusal, _item_id(frame.id, len(output), refusal), "completed"))
    return encode(frame.ended(output, answer.finish, answer.usage))


class ResponsesWriter:
    """A responses stream, event by event: `response.created` first, the ended response last."""

    def __init__(self, asked: Conversation, envelope: Envelope) -> None:
        self._frame = _Frame(asked, envelope)
        self._began = False
        self._number = 0
        self._index = -1
        self._id = ""
        self._ordered = Ordered()
        self._output: list[Json] = []
        self._usage: Usage | None = None
        self._finish: Finish | None = None

    def write(self, event: Event) -> bytes:
        if isinstance(event, Began):
            self._frame.named(event.id, event.model)
            return self._begin()
        if isinstance(event, Pinged):
            return b": ping\n\n"
        if isinstance(event, Failed):
            return self.fail(event.failure)
        if isinstance(event, UsageSaid):
            self._usage = event.usage
        elif isinstance(event, Finished):
            self._finish = event.finish
        elif isinstance(event, Closed):
            return self._close()
        else:
            steps = list(self._ordered.add(event))
            if steps:
                return self._begin() + b"".join(map(self._step, steps))
        return b""

    def fail(self, failure: Failure) -> bytes:
        """A failed response; before anything was said, the dialect's `error`."""
        if not self._began:
            return self._sse("error", {"code": failure.code, "message": failure.message, "param": failure.param})
        code = _ERROR_CODES.get(failure.kind, "server_error")
        response = self._frame.response(
            "failed", self._output, self._usage, error={"code": code, "message": failure.message}
        )
        return self._sse("response.failed", {"response": response})

    def _begin(self) -> bytes:
        if self._began:
            return b""
        self._began = True
        response = self._frame.response("in_progress", [], None)
        return self._sse("response.created", {"response": response}) + self._sse(
            "response.in_progress", {"response": response}
        )

    def _step(self, step: Step) -> bytes:
        if isinstance(step, Opened):
            return self._open(step.block)
        if isinstance(step, Piece):
            return self._delta(step.block, step.text)
        return self._shut(step.block)

    def _open(self, block: Block) -> bytes:
        self._index += 1
        said = _said(block, "")
        self._id = _item_id(self._frame.id, self._index, said)
        item = _item(said, self._id, "in_progress")
        if "content" in item:
            item["content"] = []
        item.pop("encrypted_content", None)
        added = self._sse("response.output_item.added", {"output_index": self._index, "item": item})
        if block.kind == "call":
            return added
        return added + self._sse("response.content_part.added", {**self._place(), "part": _part(said)})

    def _place(self) -> Json:
        return {"item_id": self._id, "output_index": self._index, "content_index": 0}

    def _delta(self, block: Block, text: str) -> bytes:
        if block.call is not None:
            place: Json = {"item_id": self._id, "output_index": self._index}
            return self._sse(f"response.{_arguments(block)}.delta", {**place, "delta": text})
        more: Json = {"logprobs": []} if block.kind == "text" else {}
        return self._sse(f"response.{_NAMES[block.kind]}.delta", {**self._place(), "delta": text, **more})

    def _shut(self, block: Block) -> bytes:
        said = block.said()
        item = _item(said, self._id, "completed")
        self._output.append(item)
        return self._part_done(block, said) + self._sse(
            "response.output_item.done", {"output_index": self._index, "item": item}
        )

    def _part_done(self, block: Block, said: Said) -> bytes:
        if isinstance(said, Call):
            name = "input" if said.kind == "custom" else "arguments"
            place: Json = {"item_id": self._id, "output_index": self._index, name: said.arguments}
            return self._sse(f"response.{_arguments(block)}.done", place)
        field = "refusal" if block.kind == "refusal" else "text"
        more: Json = {"logprobs": []} if block.kind == "text" else {}
        whole = self._sse(f"response.{_NAMES[block.kind]}.done", {**self._place(), field: said.text, **more})
        return whole + self._sse("response.content_part.done", {**self._place(), "part": _part(said)})

    def _close(self) -> bytes:
        written = self._begin()
        if self._finish is not None and self._finish.explanation is not None:
            written += b"".join(map(self._step, self._ordered.add(RefusalPiece(self._finish.explanation))))
        written += b"".join(map(self._step, self._ordered.close()))
        response = self._frame.ended(self._output, self._finish, self._usage)
        return written + self._sse(f"response.{response['status']}", {"response": response})

    def _sse(self, kind: str, event: Json) -> bytes:
        whole = {"type": kind, "sequence_number": self._number, **event}
        self._number += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), encode(whole))


_NAMES = {"text": "output_text", "refusal": "refusal", "reasoning": "reasoning_text"}


def _arguments(block: Block) -> str:
    custom = block.call is not None and block.call.kind == "custom"
    return "custom_tool_call_input" if custom else "function_call_arguments"


def _said(block: Block, text: str) -> Said:
    """What the block will be, while nothing of it was said."""
    if block.call is not None:
        return Call(block.call.id, block.call.name, text, block.call.kind)
    if block.kind == "reasoning":
        return Reasoning(text, "reasoning_content")
    return Refusal(text) if block.kind == "refusal" else Text(text)
