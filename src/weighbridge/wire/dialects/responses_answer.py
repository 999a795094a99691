"""OpenAI responses answers: JSON and event streams, read."""

from collections.abc import Iterator

import msgspec

from weighbridge.wire.conversation import BadAnswer, CallKind, Failure, Finish, FinishReason, Loss, Reasoning
from weighbridge.wire.dialects.events import (
    Began,
    CallBegan,
    CallEnded,
    CallPiece,
    Closed,
    Event,
    Failed,
    Finished,
    Lost,
    Pinged,
    ReasoningPiece,
    ReasoningSealed,
    RefusalPiece,
    TextPiece,
    UsageSaid,
)
from weighbridge.wire.dialects.failures import failed_inside
from weighbridge.wire.dialects.fields import NOTHING, Raw, encode, given
from weighbridge.wire.dialects.reasoning import unsealed
from weighbridge.wire.dialects.usages import responses_usage
from weighbridge.wire.usage import tier_of


class _Part(msgspec.Struct):
    type: str | None = None
    text: str | None = None
    refusal: str | None = None
    annotations: list[Raw] | None = None


class _Item(msgspec.Struct):
    type: str
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    input: str | None = None
    content: list[_Part] | None = None
    summary: list[_Part] | None = None
    encrypted_content: str | None = None


class _Incomplete(msgspec.Struct):
    reason: str | None = None


class _Response(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    status: str | None = None
    output: list[_Item] | None = None
    usage: Raw = NOTHING
    service_tier: Raw = NOTHING
    error: Raw = NOTHING
    incomplete_details: _Incomplete | None = None


class _Event(msgspec.Struct):
    type: str
    response: Raw = NOTHING
    item: _Item | None = None
    output_index: int = 0
    content_index: int = 0
    summary_index: int = 0
    delta: str | None = None
    message: str | None = None
    code: str | None = None
    param: str | None = None
    error: Raw = NOTHING


_event = msgspec.json.Decoder(_Event).decode
_response = msgspec.json.Decoder(_Response).decode
_UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)
_CALLS = ("function_call", "custom_tool_call")


class ResponsesReader:
    """The events of a responses stream: `read` the data of each of its events, then `end`."""

    def __init__(self) -> None:
        self._began = False
        self._called = False
        self._heard: dict[int, bool] = {}
        """Output items, and whether a piece of them has come."""

    def read(self, data: bytes) -> Iterator[Event]:
        if data.strip() == b"[DONE]":
            return
        try:
            yield from self._read(_event(data))
        except _UNREADABLE as error:
            raise BadAnswer(f"the provider sent an event that is none of a responses stream: {error}") from None

    def end(self) -> Iterator[Event]:
        """The provider closed. Only a `response` that has ended says that an answer is whole."""
        return iter(())

    def _read(self, event: _Event) -> Iterator[Event]:
        kind = event.type
        if kind in ("response.output_text.delta", "response.refusal.delta"):
            self._heard[event.output_index] = True
            text = event.delta or ""
            yield TextPiece(text) if kind == "response.output_text.delta" else RefusalPiece(text)
        elif kind in ("response.function_call_arguments.delta", "response.custom_tool_call_input.delta"):
            if event.delta and event.output_index in self._heard:
                self._heard[event.output_index] = True
                yield CallPiece(event.output_index, event.delta)
        elif kind in ("response.reasoning_text.delta", "response.reasoning_summary_text.delta"):
            self._heard[event.output_index] = True
            yield ReasoningPiece(event.delta or "", "responses")
        elif kind == "response.reasoning_summary_part.added":
            if event.summary_index:
                yield ReasoningPiece("\n\n", "responses")
        elif kind == "response.output_item.added" and event.item is not None:
            yield from self._added(event.output_index, event.item)
        elif kind == "response.output_item.done" and event.item is not None:
            yield from self._done(event.output_index, event.item)
        elif kind == "response.output_text.annotation.added":
            yield Lost(Loss("annotations", f"output[{event.output_index}]"))
        elif kind == "error":
            failure = {"message": event.message, "code": event.code, "param": event.param}
            yield Failed(failed_inside(event.error if given(event.error) else encode(failure)))
        elif given(event.response):
            yield from self._state(kind, _response(event.response))
        elif kind == "keepalive":
            yield Pinged()

    def _state(self, kind: str, said: _Response) -> Iterator[Event]:
        if not self._began:
            self._began = True
            yield Began(said.id, said.model)
        if kind in ("response.completed", "response.incomplete", "response.failed"):
            yield from self._ended(said)

    def _ended(self, said: _Response) -> Iterator[Event]:
        if given(said.usage):
            yield UsageSaid(responses_usage(said.usage, tier_of(said.service_tier)), bytes(said.usage))
        if said.status in ("failed", "cancelled"):
            if given(said.error):
                yield Failed(failed_inside(said.error))
            else:
                yield Failed(Failure("server", f"the response is {said.status}", 500))
            return
        reason: FinishReason = "calls" if self._called else "stop"
        if said.status == "incomplete":
            why = said.incomplete_details.reason if said.incomplete_details is not None else None
            reason = "filter" if why == "content_filter" else "length"
        yield Finished(Finish(reason))
        yield Closed()

    def _added(self, index: int, item: _Item) -> Iterator[Event]:
        self._heard[index] = False
        if item.type in _CALLS:
            self._called = True
            kind: CallKind = "custom" if item.type == "custom_tool_call" else "function"
            yield CallBegan(index, item.call_id or item.id or f"call_{index}", item.name or "", kind)
        elif item.type == "reasoning":
            yield ReasoningPiece("", "responses")
        elif item.type != "message":
            yield Lost(Loss("answer_part", f"output[{index}]:{item.type}"))

    def _done(self, index: int, item: _Item) -> Iterator[Event]:
        heard = self._heard.get(index)
        if heard is None:
            yield from self._added(index, item)
        if item.type in _CALLS:
            text = item.arguments if item.type == "function_call" else item.input
            if not heard and text:
                yield CallPiece(index, text)
            yield CallEnded(index)
        elif item.type == "reasoning":
            if not heard:
                pieces = item.content or item.summary or ()
                yield ReasoningPiece("\n\n".join(piece.text or "" for piece in pieces), "responses")
            own = unsealed("", item.encrypted_content)
            yield ReasoningSealed(own or Reasoning("", "responses", data=item.encrypted_content, id=item.id))
        elif item.type == "message" and not heard:
            for part in item.content or ():
                if part.refusal:
                    yield RefusalPiece(part.refusal)
                elif part.text:
                    yield TextPiece(part.text)
                if part.annotations:
                    yield Lost(Loss("annotations", f"output[{index}]"))


def read_answer(body: bytes) -> Iterator[Event]:
    """The events of a JSON answer. Raises `BadAnswer`."""
    try:
        said = _response(body)
    except _UNREADABLE as error:
        raise BadAnswer(f"the provider's answer is no response: {error}") from None
    reader = ResponsesReader()
    yield Began(said.id, said.model)
    for index, item in enumerate(said.output or ()):
        yield from reader._done(index, item)
    yield from reader._ended(said)
