"""OpenAI chat answers: JSON and event streams, read."""

from collections.abc import Iterator

import msgspec

from weighbridge.wire.carried import FROM_OPENAI
from weighbridge.wire.conversation import (
    BadAnswer,
    CallKind,
    Failure,
    Finish,
    Loss,
    Reasoning,
)
from weighbridge.wire.dialects.chat_reasoning import SEALED_FORMAT, Detail, merged
from weighbridge.wire.dialects.events import (
    Began,
    CallBegan,
    CallPiece,
    Closed,
    Event,
    Failed,
    Finished,
    Lost,
    ReasoningPiece,
    ReasoningSealed,
    RefusalPiece,
    TextPiece,
    UsageSaid,
)
from weighbridge.wire.dialects.failures import failed_inside
from weighbridge.wire.dialects.fields import NOTHING, Raw, given
from weighbridge.wire.dialects.reasoning import unsealed
from weighbridge.wire.usage import tier_of, usage_of


class _Thought(msgspec.Struct):
    text: str = ""


class _ContentPiece(msgspec.Struct):
    """Mistral streams content as a list, its reasoning among it."""

    type: str
    text: str | None = None
    thinking: list[_Thought] | None = None


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None
    input: str | None = None


class _CallRow(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    type: str | None = None
    function: _Function | None = None
    custom: _Function | None = None


class _Message(msgspec.Struct):
    """A message, or the delta of one."""

    content: str | list[_ContentPiece] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: list[Detail] | None = None
    tool_calls: list[_CallRow] | None = None
    function_call: _Function | None = None
    annotations: list[Raw] | None = None
    audio: Raw = NOTHING


class _Choice(msgspec.Struct):
    index: int = 0
    message: _Message | None = None
    delta: _Message | None = None
    finish_reason: str | None = None
    logprobs: Raw = NOTHING


class _Whole(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: Raw = NOTHING
    service_tier: Raw = NOTHING
    error: Raw = NOTHING
    object: str | None = None
    message: str | None = None


_whole = msgspec.json.Decoder(_Whole).decode


class ChatReader:
    """The events of a chat stream: `read` the data of each of its events, then `end`."""

    def __init__(self) -> None:
        self._began = False
        self._finished = False
        self._keys: dict[int, int] = {}
        self._ids: dict[int, str | None] = {}
        self._count = 0
        self._unnamed: dict[int, _CallRow] = {}
        self._details: list[Detail] = []
        self._source: str | None = None

    def read(self, data: bytes) -> Iterator[Event]:
        if data.strip() == b"[DONE]":
            yield from self.end()
            return
        try:
            chunk = _whole(data)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise BadAnswer(f"the provider sent an event that is no chat completion chunk: {error}") from None
        if given(chunk.error):
            yield Failed(failed_inside(chunk.error))
            return
        if chunk.object == "error":
            yield Failed(Failure("server", chunk.message or "the provider sent an error without a message", 500))
            return
        if not self._began:
            self._began = True
            yield Began(chunk.id, chunk.model)
        for choice in chunk.choices or ():
            yield from self._choice(choice)
        if given(chunk.usage):
            yield UsageSaid(usage_of(chunk.usage, tier_of(chunk.service_tier)), bytes(chunk.usage))

    def end(self) -> Iterator[Event]:
        """The provider closed, or said `[DONE]`. An answer without a finish reason is not whole."""
        yield from self._sealed()
        yield from self._named(list(self._unnamed))
        if self._finished:
            yield Closed()

    def _choice(self, choice: _Choice) -> Iterator[Event]:
        if choice.index != 0:
            yield Lost(Loss("choices", f"choices[{choice.index}]"))
            return
        if given(choice.logprobs):
            yield Lost(Loss("logprobs", "choices[0].logprobs"))
        said = choice.delta or choice.message
        if said is not None:
            yield from self._message(said)
        if choice.finish_reason is not None and not self._finished:
            self._finished = True
            yield from self._sealed()
            yield from self._named(list(self._unnamed))
            yield Finished(Finish(FROM_OPENAI.get(choice.finish_reason, "stop")))

    def _message(self, said: _Message) -> Iterator[Event]:
        yield from self._reasoning(said)
        content = said.content
        if isinstance(content, str):
            if content:
                yield from self._sealed()
                yield TextPiece(content)
        elif content is not None:
            for piece in content:
                yield from self._piece(piece)
        if said.refusal:
            yield from self._sealed()
            yield RefusalPiece(said.refusal)
        for row in said.tool_calls or ():
            yield from self._call(row)
        if said.function_call is not None:
            yield from self._call(_CallRow(0, None, "function", said.function_call))
        if said.annotations:
            yield Lost(Loss("annotations", "choices[0].message.annotations"))
        if given(said.audio):
            yield Lost(Loss("answer_part", "choices[0].message.audio"))

    def _piece(self, piece: _ContentPiece) -> Iterator[Event]:
        if piece.type == "thinking":
            for thought in piece.thinking or ():
                self._source = "reasoning_content"
                yield ReasoningPiece(thought.text, "reasoning_content")
        elif piece.text is not None:
            yield from self._sealed()
            yield TextPiece(piece.text)
        else:
            yield Lost(Loss("answer_part", f"choices[0].message.content:{piece.type}"))

    def _reasoning(self, said: _Message) -> Iterator[Event]:
        text, source = said.reasoning_content, "reasoning_content"
        if text is None:
            text, source = said.reasoning, "reasoning"
        if said.reasoning_details and all(row.format == SEALED_FORMAT for row in said.reasoning_details):
            yield from self._unsealed(said.reasoning_details)
            return
        if said.reasoning_details:
            self._details += said.reasoning_details
            if text is None:
                text = "".join(row.text or row.summary or "" for row in said.reasoning_details)
        if self._details:
            source = "reasoning_details"
        if text or said.reasoning_details:
            self._source = source
            yield ReasoningPiece(text or "", source)

    def _unsealed(self, rows: list[Detail]) -> Iterator[Event]:
        """Rows of our own: in a stream each follows its text, in a message each has it beside the joined text."""
        told = self._source is not None
        self._source = None
        for row in rows:
            thought = unsealed(row.text or "", row.data)
            if thought is None:
                continue
            if not told:
                yield ReasoningPiece(thought.text, thought.source)
            told = False
            yield ReasoningSealed(thought)

    def _sealed(self) -> Iterator[Event]:
        """Reasoning is over once something else begins."""
        if self._details:
            yield ReasoningSealed(Reasoning("", "reasoning_details", data=merged(self._details)))
        elif self._source is not None:
            yield ReasoningSealed(Reasoning("", self._source))
        self._details, self._source = [], None

    def _call(self, row: _CallRow) -> Iterator[Event]:
        """Hosts differ: some number all calls 0 and tell them apart by id, some send the name late, some repeat id and
        name in every piece."""
        yield from self._sealed()
        index = row.index
        if index is None:
            index = max(self._keys) if self._keys and row.id is None else self._count
        known = self._ids.get(index)
        if index not in self._keys or (row.id and known and row.id != known):
            yield from self._named([key for key in self._unnamed if key == self._keys.get(index)])
            key = self._keys[index] = self._count
            self._count += 1
            self._unnamed[key] = _CallRow(key, None, row.type, _Function("", ""))
        key = self._keys[index]
        self._ids[index] = self._ids.get(index) if known and not row.id else (row.id or None)
        inner = row.function or row.custom or _Function()
        text = inner.arguments or inner.input or ""
        waiting = self._unnamed.get(key)
        if waiting is None:
            if text:
                yield CallPiece(key, text)
            return
        waiting.id = waiting.id or row.id
        if row.custom is not None:
            waiting.type = "custom"
        held = waiting.function or _Function()
        if inner.name and inner.name != held.name:
            held.name = (held.name or "") + inner.name
        held.arguments = (held.arguments or "") + text
        if held.name and held.arguments:
            # Those before it that have their name begin first, so that calls keep their order.
            named = [one for one, row in self._unnamed.items() if one < key and row.function and row.function.name]
            yield from self._named([*named, key])

    def _named(self, keys: list[int]) -> Iterator[Event]:
        """Calls whose name is known by now begin."""
        for key in keys:
            row = self._unnamed.pop(key)
            held = row.function or _Function()
            kind: CallKind = "custom" if row.type == "custom" else "function"
            yield CallBegan(key, row.id or f"call_{key}", held.name or "", kind)
            if held.arguments:
                yield CallPiece(key, held.arguments)


def read_answer(body: bytes) -> Iterator[Event]:
    """The events of a JSON answer. Raises `BadAnswer`."""
    reader = ChatReader()
    yield from reader.read(body)
    yield from reader.end()
