"""What happens while an answer streams, in no dialect, and its pieces put in an order that allows no overlap.

`Ordered` is what Anthropic's and OpenAI's responses clients need: one block at a time. Chat hosts may interleave the
arguments of parallel calls, so pieces of a later block wait until the open one is complete. Nothing is dropped: what
waits is written when its turn comes, at the latest at the end.
"""

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from weighbridge.records.usage import Usage
from weighbridge.wire.conversation import (
    Answer,
    BadAnswer,
    Call,
    CallKind,
    Failure,
    Finish,
    Loss,
    Reasoning,
    Refusal,
    Said,
    Text,
)


class Began(msgspec.Struct, frozen=True):
    id: str | None
    model: str | None


class TextPiece(msgspec.Struct, frozen=True):
    text: str


class RefusalPiece(msgspec.Struct, frozen=True):
    text: str


class ReasoningPiece(msgspec.Struct, frozen=True):
    text: str
    source: str


class ReasoningSealed(msgspec.Struct, frozen=True):
    """The end of a piece of reasoning, with what its maker wants back; its text came before."""

    seal: Reasoning


class CallBegan(msgspec.Struct, frozen=True):
    """`key` tells the calls of one answer apart."""

    key: int
    id: str
    name: str
    kind: CallKind = "function"


class CallPiece(msgspec.Struct, frozen=True):
    key: int
    text: str


class CallEnded(msgspec.Struct, frozen=True):
    key: int


class UsageSaid(msgspec.Struct, frozen=True):
    """Of the whole answer so far: a later one replaces it. `raw` is the provider's own block."""

    usage: Usage | None
    raw: bytes | None = None


class Finished(msgspec.Struct, frozen=True):
    finish: Finish


class Failed(msgspec.Struct, frozen=True):
    failure: Failure


class Lost(msgspec.Struct, frozen=True):
    loss: Loss


class Pinged(msgspec.Struct, frozen=True):
    pass


class Closed(msgspec.Struct, frozen=True):
    """The mark of the dialect that the answer is whole."""


Event = (
    Began | TextPiece | RefusalPiece | ReasoningPiece | ReasoningSealed | CallBegan | CallPiece | CallEnded | UsageSaid
    | Finished | Failed | Lost | Pinged | Closed
)  # fmt: skip

BlockKind = Literal["text", "refusal", "reasoning", "call"]

_MARKS = re.compile(r'["\\{}\[\]]')


@dataclass(slots=True)
class Block:
    kind: BlockKind
    call: CallBegan | None = None
    source: str = ""
    seal: Reasoning | None = None
    ended: bool = False
    """Nothing more belongs to it."""
    shut: bool = False
    """It was handed over, its end included."""
    waiting: list[str] = field(default_factory=list)
    """Pieces that came while another block was open."""
    written: list[str] = field(default_factory=list)
    depth: int = 0
    in_text: bool = False
    escape_open: bool = False

    @property
    def text(self) -> str:
        return "".join(self.written) + "".join(self.waiting)

    def said(self) -> Said:
        if self.kind == "text":
            return Text(self.text)
        if self.kind == "refusal":
            return Refusal(self.text)
        if self.call is not None:
            return Call(self.call.id, self.call.name, self.text, self.call.kind)
        return self.reasoning()

    def reasoning(self) -> Reasoning:
        seal = self.seal
        if seal is None:
            return Reasoning(self.text, self.source)
        return Reasoning(self.text, seal.source, seal.signature, seal.data, seal.id)

    def follow(self, piece: str) -> None:
        """Watch whether the arguments of a function are one whole JSON object: then the call has ended."""
        if not piece:
            return
        skip = 0 if self.escape_open else -1
        for mark in _MARKS.finditer(piece):
            at, sign = mark.start(), mark[0]
            if at == skip:
                continue
            if self.in_text:
                if sign == "\\":
                    skip = at + 1
                elif sign == '"':
                    self.in_text = False
            elif sign == '"':
                self.in_text = True
            elif sign in "{[":
                self.depth += 1
            elif sign in "}]":
                self.depth -= 1
                self.ended = self.ended or self.depth == 0
        # An escape at the very end takes the first sign of the next piece.
        self.escape_open = skip == len(piece)


class Opened(msgspec.Struct, frozen=True):
    block: Block


class Piece(msgspec.Struct, frozen=True):
    block: Block
    text: str


class Shut(msgspec.Struct, frozen=True):
    block: Block


Step = Opened | Piece | Shut


class ContinuedAfterEnd(BadAnswer):
    """A host went on with a call whose arguments were whole and had been handed over."""


class Ordered:
    """Blocks one after the other: `add` an event, get the steps that can be written; `close` writes what waits."""

    def __init__(self) -> None:
        self._line: deque[Block] = deque()
        self._calls: dict[int, Block] = {}
        self._open = False
        self.done: list[Block] = []

    def add(self, event: Event) -> Iterator[Step]:
        if isinstance(event, TextPiece | RefusalPiece):
            if event.text:
                yield from self._piece(self._of_kind("text" if isinstance(event, TextPiece) else "refusal"), event.text)
        elif isinstance(event, ReasoningPiece):
            block = self._of_kind("reasoning")
            block.source = event.source
            yield from self._piece(block, event.text)
        elif isinstance(event, ReasoningSealed):
            block = self._of_kind("reasoning")
            block.seal, block.source, block.ended = event.seal, event.seal.source, True
            yield from self._advance()
        elif isinstance(event, CallBegan):
            block = Block("call", call=event)
            self._calls[event.key] = block
            self._line.append(block)
            yield from self._advance()
        elif isinstance(event, CallPiece):
            call = self._calls.get(event.key)
            if call is None:
                raise BadAnswer("the provider sent arguments of a call that it had announced as something else")
            yield from self._piece(call, event.text)
        elif isinstance(event, CallEnded) and event.key in self._calls:
            self._calls[event.key].ended = True
            yield from self._advance()

    def _of_kind(self, kind: BlockKind) -> Block:
        if self._line and self._line[-1].kind == kind and not self._line[-1].ended:
            return self._line[-1]
        block = Block(kind)
        self._line.append(block)
        return block

    def _piece(self, block: Block, text: str) -> Iterator[Step]:
        if not text:
            return
        if block.shut:
            if text.strip():
                name = block.call.name if block.call is not None else ""
                raise ContinuedAfterEnd(f"the call of {name!r} went on after its arguments were whole")
            return
        block.waiting.append(text)
        if block.call is not None and block.call.kind == "function":
            block.follow(text)
        yield from self._advance()

    def _advance(self) -> Iterator[Step]:
        while self._line:
            front = self._line[0]
            if not self._open:
                self._open = True
                yield Opened(front)
            yield from self._written(front)
            # Text that goes on after something else is a new block; a call may go on until it is whole.
            if len(self._line) == 1 or (front.kind == "call" and not front.ended):
                return
            yield self._end(front)

    def _written(self, block: Block) -> Iterator[Step]:
        if block.waiting:
            text = "".join(block.waiting)
            block.waiting.clear()
            block.written.append(text)
            yield Piece(block, text)

    def _end(self, front: Block) -> Step:
        self._line.popleft()
        self._open = False
        front.shut = True
        self.done.append(front)
        return Shut(front)

    def close(self) -> Iterator[Step]:
        while self._line:
            front = self._line[0]
            if not self._open:
                self._open = True
                yield Opened(front)
            yield from self._written(front)
            yield self._end(front)


class Gathered:
    """The answer that a stream of events adds up to, and whether it is whole."""

    def __init__(self) -> None:
        self._ordered = Ordered()
        self.id: str | None = None
        self.model: str | None = None
        self.usage: Usage | None = None
        self.usage_raw: bytes | None = None
        self.finish: Finish | None = None
        self.failure: Failure | None = None
        self.losses: list[Loss] = []
        self.closed = False

    def add(self, event: Event) -> None:
        if isinstance(event, Began):
            self.id, self.model = event.id or self.id, event.model or self.model
        elif isinstance(event, UsageSaid):
            self.usage, self.usage_raw = event.usage, event.raw
        elif isinstance(event, Finished):
            self.finish = event.finish
        elif isinstance(event, Failed):
            self.failure = event.failure
        elif isinstance(event, Lost):
            if event.loss not in self.losses:
                self.losses.append(event.loss)
        elif isinstance(event, Closed):
            self.closed = True
        else:
            for _ in self._ordered.add(event):
                pass

    def answer(self) -> Answer:
        for _ in self._ordered.close():
            pass
        parts = tuple(block.said() for block in self._ordered.done)
        return Answer(
            parts=parts, finish=self.finish, usage=self.usage, id=self.id, model=self.model, losses=tuple(self.losses)
        )
