"""Outcomes from a file into the log: a line names an exchange, a conversation or tags, and what became of it.

    {"id": "...", "name": "resolved", "score": 1, "time": "2026-11-25T10:00:00Z"}
    {"conversation": "ticket-4711", "key": "support-bot", "score": false}
    {"tags": {"ticket": "4711"}, "name": "merged", "score": true}

They become the same `told` frames that `POST /v1/feedback` writes. Telling again is harmless: the latest holds.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Literal, TypeVar

import msgspec

from weighbridge.errors import StoreError
from weighbridge.exchanges.framing import new_incarnation
from weighbridge.exchanges.lines import rows_of
from weighbridge.exchanges.reader import read
from weighbridge.exchanges.writer import LogWriter
from weighbridge.records.exchange import Exchange
from weighbridge.records.frames import Told
from weighbridge.records.told import problem_of
from weighbridge.store.control import FoundRow
from weighbridge.store.layout import Layout

TURN = 500
NAME = "outcome"


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    score: bool | float
    name: str = NAME
    id: str | None = None
    conversation: str | None = None
    key: str | None = None
    tags: dict[str, str] | None = None
    time: datetime | None = None


@dataclass(frozen=True)
class Row:
    """One line, checked."""

    line: int
    name: str
    score: float
    time_ns: int
    id: str | None = None
    conversation: str | None = None
    """As exchanges carry it: the hash of key and header."""
    tags: tuple[tuple[str, str], ...] = ()


@dataclass
class Matched:
    frames: list[Told] = field(default_factory=list)
    unmatched: list[int] = field(default_factory=list)
    """Lines that no exchange of the log fits."""


_line = msgspec.json.Decoder(_Line)
Place = TypeVar("Place")


def conversation_id(key: str, header: str) -> str:
    """What exchanges of this key with this `x-conversation-id` carry."""
    hashed = sha256(b"%b\0%b" % (key.encode(), header.encode())).digest()[:8]
    return f"{int.from_bytes(hashed, 'little'):016x}"


def read_rows(name: str, lines: Iterable[bytes], now_ns: int) -> list[Row]:
    """Check a whole file. Raises `UsageError` with the first problems, each with its line, field and rule."""
    nothing = (
        'An outcome is a JSON line such as {"id": "<x-weighbridge-id>", "score": 1}; '
        "conversation and key, or tags, may stand in for id."
    )
    return rows_of(name, lines, lambda number, line: _row(number, line, now_ns), nothing=nothing)


def _row(number: int, line: bytes, now_ns: int) -> Row:
    one = _line.decode(line)
    given = [name for name in ("id", "conversation", "tags") if getattr(one, name) is not None]
    if len(given) != 1:
        raise ValueError(f"exactly one of id, conversation, tags is needed, found {' and '.join(given) or 'none'}")
    if (one.conversation is not None) != (one.key is not None):
        raise ValueError("conversation and key go together: the name of the client key that asked")
    if one.tags is not None and not one.tags:
        raise ValueError('tags: must name one tag or more, e.g. {"ticket": "4711"}')
    problem = problem_of(one.name, float(one.score))
    if problem is not None:
        raise ValueError(problem)
    conversation = None
    if one.conversation is not None and one.key is not None:
        conversation = conversation_id(one.key, one.conversation)
    return Row(
        number, one.name, float(one.score), now_ns if one.time is None else _ns(one.time), one.id, conversation,
        tuple(sorted((one.tags or {}).items())),
    )  # fmt: skip


def _ns(time: datetime) -> int:
    if time.tzinfo is None:
        raise ValueError(f"time: {time.isoformat()} names no zone; write it like 2026-11-25T10:00:00Z")
    return round((time - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 1_000_000_000


class Matcher:
    """Finds the conversations that rows are about."""

    def __init__(self, rows: Sequence[Row], found: Mapping[str, FoundRow]) -> None:
        """`found`: the exchanges that rows name by id, as far as they are in the log."""
        self._rows, self._found = rows, found
        self._conversations = {row.conversation for row in rows if row.conversation is not None}
        self._names = {tuple(name for name, _ in row.tags) for row in rows if row.tags}
        self._by_conversation: dict[str, dict[str, Exchange]] = {}
        self._by_tags: dict[tuple[tuple[str, str], ...], dict[tuple[str, str], Exchange]] = {}

    @property
    def needs_log(self) -> bool:
        return bool(self._conversations or self._names)

    def see(self, exchange: Exchange) -> None:
        """One exchange of the log; the latest of a conversation stands for it."""
        if exchange.purpose != "user":
            return
        if exchange.conversation in self._conversations:
            _latest(self._by_conversation.setdefault(exchange.conversation, {}), exchange.route, exchange)
        tags = dict(exchange.tags)
        for names in self._names:
            if all(name in tags for name in names):
                key = tuple((name, tags[name]) for name in names)
                places = self._by_tags.setdefault(key, {})
                _latest(places, (exchange.route, exchange.conversation), exchange)

    def matched(self) -> Matched:
        done = Matched()
        for row in self._rows:
            frames = list(self._frames(row))
            done.frames += frames
            if not frames:
                done.unmatched.append(row.line)
        return done

    def _frames(self, row: Row) -> Iterable[Told]:
        if row.id is not None:
            one = self._found.get(row.id)
            if one is not None and one.purpose == "user":
                yield Told(
                    one.id, row.time_ns, one.key, one.route, one.conversation, one.slice, one.arm, row.name, row.score
                )
            return
        places: Iterable[Exchange] = (
            self._by_conversation.get(row.conversation, {}).values()
            if row.conversation is not None
            else self._by_tags.get(row.tags, {}).values()
        )
        for exchange in places:
            yield Told(
                exchange.id, row.time_ns, exchange.key, exchange.route, exchange.conversation, exchange.slice,
                exchange.arm, row.name, row.score,
            )  # fmt: skip


def _latest(places: dict[Place, Exchange], key: Place, exchange: Exchange) -> None:
    known = places.get(key)
    if known is None or known.time_ns <= exchange.time_ns:
        places[key] = exchange


def see_all(layout: Layout, matcher: Matcher) -> None:
    """The whole log, where rows name conversations or tags."""
    for exchange in read(layout, purpose="user"):
        matcher.see(exchange)


def tell(layout: Layout, frames: Sequence[Told], durability: Literal["process", "power"]) -> None:
    """Write them to the log. Raises `StoreError` where it takes no more; what was written by then stays."""
    asyncio.run(_tell(layout, frames, durability))


async def _tell(layout: Layout, frames: Sequence[Told], durability: Literal["process", "power"]) -> None:
    loop = asyncio.get_running_loop()
    log = LogWriter(
        layout, new_incarnation(), durability=durability, call_soon=loop.call_soon,
        call_threadsafe=loop.call_soon_threadsafe, sealer=None,
    )  # fmt: skip
    try:
        for start in range(0, len(frames), TURN):
            for frame in frames[start : start + TURN]:
                log.append(frame)
            done: asyncio.Future[bool] = loop.create_future()
            log.when_written(lambda done=done: done.set_result(True), lambda done=done: done.set_result(False))  # type: ignore[misc]
            if not await done or log.state != "ok":
                raise StoreError(
                    f"the exchange log takes no more: {log.reason}. Make room and import again: the latest holds."
                )
    finally:
        log.close()
