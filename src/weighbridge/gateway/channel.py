"""A worker's two lines: to its supervisor (an inherited socket) and to the keeper (`control.sock`)."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial

import msgspec

from weighbridge.gateway.meter import Sample
from weighbridge.gateway.purse import Purse
from weighbridge.store.control import (
    Answer,
    CallBack,
    Done,
    Event,
    Failed,
    Funds,
    Hello,
    Released,
    Rolled,
    RollSegments,
    TableChanged,
    Void,
    socket_address,
)
from weighbridge.store.layout import Layout
from weighbridge.store.lines import Message

log = logging.getLogger("worker")

LINE_BYTES_MAX = 1 << 20
RETRY_S_MIN, RETRY_S_MAX = 0.25, 4.0


class WorkerReady(msgspec.Struct, frozen=True, tag="ready", tag_field="op"):
    listen: str
    incarnation: str


class MetricsAnswer(msgspec.Struct, frozen=True, tag="metrics", tag_field="op"):
    samples: list[Sample]


class ModulesAnswer(msgspec.Struct, frozen=True, tag="modules", tag_field="op"):
    modules: list[str]


class AskMetrics(msgspec.Struct, frozen=True, tag="metrics", tag_field="op"):
    pass


class AskModules(msgspec.Struct, frozen=True, tag="modules", tag_field="op"):
    pass


_ASKED: msgspec.json.Decoder[AskMetrics | AskModules] = msgspec.json.Decoder(AskMetrics | AskModules)
_PUSHED: msgspec.json.Decoder[Answer | Event] = msgspec.json.Decoder(Answer | Event)


class SupervisorLine(asyncio.Protocol):
    """JSON lines over the inherited socket. Its end means that the supervisor is gone."""

    def __init__(
        self, samples: Callable[[], list[Sample]], modules: Callable[[], list[str]], gone: Callable[[], object]
    ) -> None:
        self._samples, self._modules, self._gone = samples, modules, gone
        self._buffer = b""
        self._transport: asyncio.WriteTransport | None = None

    def say(self, message: msgspec.Struct) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(msgspec.json.encode(message) + b"\n")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's transports have no common base class

    def data_received(self, data: bytes) -> None:
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            try:
                asked = _ASKED.decode(line)
            except msgspec.MsgspecError as error:
                log.error("the supervisor asked something unknown: %s", error)
                continue
            if isinstance(asked, AskMetrics):
                self.say(MetricsAnswer(self._samples()))
            else:
                self.say(ModulesAnswer(self._modules()))

    def connection_lost(self, error: Exception | None) -> None:
        self._gone()


class KeeperLine:
    """Says hello to the keeper and hears of new tables. Without one the worker goes on, and tries again quietly."""

    def __init__(
        self,
        layout: Layout,
        hello: Hello,
        *,
        table_changed: Callable[[], object],
        roll: Callable[[], int],
        purse: Purse,
    ) -> None:
        self._layout, self._hello, self._table_changed, self._roll = layout, hello, table_changed, roll
        self._purse = purse

    async def run(self) -> None:
        """Until cancelled."""
        delay_s = RETRY_S_MIN
        while True:
            try:
                with socket_address(self._layout.control) as address:
                    reader, writer = await asyncio.open_unix_connection(address, limit=LINE_BYTES_MAX)
            except OSError:
                self._table_changed()  # somebody may have gone back by hand: nobody is there to tell us
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, RETRY_S_MAX)
                continue
            try:
                _write(writer, self._hello)
                self._purse.connected(partial(_write, writer))
                while line := await reader.readline():
                    delay_s = RETRY_S_MIN
                    self._hear(line, writer)
            except (OSError, ValueError, msgspec.MsgspecError) as error:
                log.warning("the line to the keeper broke: %s", error)
            finally:
                self._purse.lost()
                writer.close()
            await asyncio.sleep(delay_s)

    def _hear(self, line: bytes, writer: asyncio.StreamWriter) -> None:
        said = _PUSHED.decode(line)
        if isinstance(said, Funds):
            self._purse.funds(said)
        elif isinstance(said, CallBack):
            self._purse.call_back(said)
        elif isinstance(said, Released):
            self._purse.released(said.leases)
        elif isinstance(said, Void):
            self._purse.void(said.leases)
        elif isinstance(said, TableChanged | Done):
            # `Done` answers the hello: from now on it tells us. What was published until now it told nobody.
            self._table_changed()
        elif isinstance(said, RollSegments):
            _write(writer, Rolled(incarnation=self._hello.incarnation, segment=self._roll()))
        elif isinstance(said, Failed):
            log.warning("the keeper refused us: %s", said.message)


def _write(writer: asyncio.StreamWriter, message: Message) -> None:
    writer.write(msgspec.json.encode(message) + b"\n")
