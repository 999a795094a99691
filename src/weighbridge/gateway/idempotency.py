"""`Idempotency-Key`: the same request of the same key is carried out once, however often and when it comes.

The keeper decides (`keeper.idempotency`); a worker asks it before an exchange sends anything, and hands over the answer
before the client has the end of it. So whoever has an answer gets the same one again, after a crash too.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import msgspec

from weighbridge.gateway.refusal import Refusal
from weighbridge.records.frames import Outcome
from weighbridge.store.control import (
    LINE_BYTES_MAX,
    Answer,
    Claim,
    Claimed,
    ClaimEnd,
    ClaimLost,
    ClaimMismatch,
    Failed,
    Replayed,
    SettleClaim,
    socket_address,
)
from weighbridge.store.layout import Layout
from weighbridge.store.lines import Message

if TYPE_CHECKING:
    from weighbridge.gateway.exchange import Exchange

log = logging.getLogger("worker")

KEY_CHARS_MAX: Final = 255
RETRY_S: Final = 0.25
UNREACHABLE_S_MAX: Final = 10.0
"""How long a keeper that does not answer is asked again, before a request is refused or an answer goes out unkept."""

Write = Callable[[bytes], None]

_ANSWER: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)


class Unanswered(Exception):  # noqa: N818 (what is the case)
    """The keeper could not be reached, or refused."""


class ClaimDesk:
    """Asks the keeper, each time on a connection of its own: an answer may take as long as the request it waits for."""

    def __init__(self, layout: Layout | None) -> None:
        """`None`: there is no keeper, and every key is refused."""
        self._layout = layout
        self.asking_max = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.asking = 0
        self.outcomes: dict[str, int] = {}

    def count(self, outcome: str) -> None:
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1

    def start(self, run: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(run)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def call(self, request: Message) -> Answer:
        """Raises `Unanswered`."""
        unreachable_s = 0.0
        while True:
            try:
                return await self._once(request)
            except (OSError, ValueError, msgspec.MsgspecError) as error:
                if unreachable_s >= UNREACHABLE_S_MAX:
                    raise Unanswered(f"the keeper cannot be reached ({error})") from None
            await asyncio.sleep(RETRY_S)
            unreachable_s += RETRY_S

    async def _once(self, request: Message) -> Answer:
        if self._layout is None:
            raise Unanswered("there is no keeper")
        with socket_address(self._layout.control) as address:
            reader, writer = await asyncio.open_unix_connection(address, limit=LINE_BYTES_MAX)
        try:
            writer.write(msgspec.json.encode(request) + b"\n")
            await writer.drain()
            line = await reader.readline()
            if not line.endswith(b"\n"):
                raise ConnectionError("it closed the connection")
            said = _ANSWER.decode(line)
        finally:
            writer.close()
        if isinstance(said, Failed):
            raise Unanswered(said.message)
        return said

    def close(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()


class Held:
    """The claim of one exchange on its idempotency key."""

    __slots__ = ("_body", "_bytes", "_desk", "_end", "_exchange", "_key", "_most", "_pieces", "_token", "granted")

    def __init__(self, desk: ClaimDesk, exchange: "Exchange", key: str, token: str, request: bytes, most: int) -> None:
        self._desk, self._exchange, self._key, self._token = desk, exchange, key, token
        self._body = sha256(request).hexdigest()
        self._pieces: list[bytes] = []
        self._bytes, self._most = 0, most
        self._end: ClaimEnd | None = None
        self.granted = False
        """This exchange carries it out."""

    # --- before anything is sent --------------------------------------------------------------------------------------

    def ask(self) -> None:
        client, desk = self._exchange.client, self._desk
        if client is not None and client.plain:
            message = "the header Idempotency-Key needs HTTP/1.1: an answer is kept as it was sent"
            self._exchange.refuse_unless_done(_refusal("http_version", 400, message))
            return
        if desk.asking >= desk.asking_max:
            message = f"{desk.asking} requests with an Idempotency-Key wait for the keeper already; nothing was sent"
            self._exchange.refuse_unless_done(_refusal("idempotency_unavailable", 503, message, 1))
            return
        self._desk.asking += 1
        self._desk.start(self._ask())

    async def _ask(self) -> None:
        exchange = self._exchange
        claim = Claim(client_key=self._key, token=self._token, body=self._body, owner=exchange.id)
        try:
            said = await self._desk.call(claim)
        except Unanswered as error:
            exchange.refuse_unless_done(_refusal("idempotency_unavailable", 503, f"{error}; nothing was sent", 1))
            return
        finally:
            self._desk.asking -= 1
        self._desk.count(type(said).__name__)
        if isinstance(said, Claimed):
            self.granted = True
            if exchange.done:  # the client left meanwhile: somebody else may
                await self._settle("released")
            else:
                exchange.begin()
        elif isinstance(said, Replayed):
            exchange.replay(said.answer)
        elif isinstance(said, ClaimMismatch):
            message = "this Idempotency-Key came with another request before; send a new key with a new request"
            exchange.refuse_unless_done(_refusal("idempotency_key_reused", 422, message))
        elif isinstance(said, ClaimLost):
            message = (
                "the first request with this Idempotency-Key may have been carried out, and its answer is not there "
                "any more; to ask again, and pay again, send a new key"
            )
            exchange.refuse_unless_done(_refusal("idempotent_answer_lost", 409, message))

    # --- what the client is sent --------------------------------------------------------------------------------------

    def tee(self, write: Write) -> Write:
        """Keeps a copy of everything that is written."""

        def both(data: bytes) -> None:
            self._keep(data)
            write(data)

        return both

    def _keep(self, data: bytes) -> None:
        self._bytes += len(data)
        if self._bytes <= self._most:
            self._pieces.append(data)
        else:
            self._pieces.clear()

    # --- the end ------------------------------------------------------------------------------------------------------

    def ended(self, outcome: Outcome, *, whole: bool, cost: int | None, status: int | None) -> None:
        """The exchange is finished. Unless there is an answer to come, that is what the keeper is told."""
        if not self.granted:
            return
        if whole:
            self._end = "answered"
        elif cost == 0 or (outcome == "upstream_error" and status is not None and status >= 400):
            self._end = "released"  # an error status is no completion: a client that tries again shall be served
        else:
            self._end = "lost"
        if self._end != "answered":
            self._desk.start(self._settle(self._end))

    def keeps(self, last: bytes, then: Callable[[], None]) -> bool:
        """The end of an answer is there: hand it over, `then` go on. False where there is nothing to wait for."""
        if self._end != "answered":
            return False
        self._keep(last)
        self._desk.start(self._answered(then))
        return True

    async def _answered(self, then: Callable[[], None]) -> None:
        if self._bytes > self._most:
            await self._settle("lost")
        else:
            await self._settle("answered", without_close(b"".join(self._pieces)))
        then()

    async def _settle(self, end: ClaimEnd, answer: bytes = b"") -> None:
        said = SettleClaim(client_key=self._key, token=self._token, owner=self._exchange.id, end=end, answer=answer)
        try:
            await self._desk.call(said)
        except Unanswered as error:
            log.error("the answer of %s could not be kept for its idempotency key: %s", self._exchange.id, error)


def token_of(header: bytes) -> str | None:
    """The key as it was sent; `None` where it is none."""
    if not 0 < len(header) <= KEY_CHARS_MAX or not header.isascii():
        return None
    token = header.decode()
    return token if token.isprintable() else None


def without_close(answer: bytes) -> bytes:
    """A whole HTTP answer as it may be sent on another connection."""
    head, end, body = answer.partition(b"\r\n\r\n")
    return head.replace(b"\r\nconnection: close", b"") + end + body


def marked(answer: bytes, *, close: bool) -> tuple[int, bytes]:
    """A kept answer for whoever asks again: its status, and its bytes with what it costs now."""
    head, end, body = answer.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.startswith(b"x-weighbridge-cost-nanousd:")]
    lines += [
        b"x-weighbridge-replayed: yes",
        b"x-weighbridge-cost-nanousd: 0",
        *((b"connection: close",) if close else ()),
    ]
    return int(head[9:12]), b"\r\n".join(lines) + end + body


def _refusal(code: str, status: int, message: str, retry_after_s: int | None = None) -> Refusal:
    return Refusal(status=status, code=code, message=message, retry_after_s=retry_after_s)
