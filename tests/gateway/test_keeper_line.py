"""The line to the keeper: tables, rolls, and a keeper that goes away and comes back."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from tests.fakes.provider import FakeProvider
from tests.gateway.running import call, chat, table, until
from tests.gateway.test_worker import publish, worker
from weighbridge.records.canonical import canonical
from weighbridge.records.table import Route, RouteTable
from weighbridge.store.control import Done, Hello, Rolled, RollSegments, TableChanged
from weighbridge.store.layout import Layout
from weighbridge.store.lines import Message


class FakeKeeper:
    """Listens on the control socket and says what a test tells it to."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.heard: list[Hello | Rolled] = []
        self.before_answer: Callable[[], object] = lambda: None
        """Called before a hello is answered: what the keeper does meanwhile it tells nobody."""
        self._lines: list[socket.socket] = []

    def __enter__(self) -> "FakeKeeper":
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._layout.control.unlink(missing_ok=True)
        self._listener.bind(str(self._layout.control))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for line in self._lines:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
            line.close()
        self._layout.control.unlink(missing_ok=True)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                line, _ = self._listener.accept()
                self._lines.append(line)
                threading.Thread(target=self._hear, args=(line,), daemon=True).start()

    def _hear(self, line: socket.socket) -> None:
        decoder: Any = msgspec.json.Decoder(Hello | Rolled)
        with suppress(OSError, ValueError):
            for text in line.makefile("rb"):
                said = decoder.decode(text)
                self.heard.append(said)
                if isinstance(said, Hello):
                    self.before_answer()
                    line.sendall(msgspec.json.encode(Done()) + b"\n")

    def push(self, message: Message | bytes) -> None:
        data = message if isinstance(message, bytes) else msgspec.json.encode(message)
        for line in self._lines:
            with suppress(OSError):
                line.sendall(data + b"\n")

    def hellos(self) -> list[Hello]:
        return [said for said in self.heard if isinstance(said, Hello)]


def renamed(url: str, number: int, name: str) -> RouteTable:
    return table(url, number=number, routes=[Route(name=name, incumbent="closed")])


def serves(port: int, name: str) -> Callable[[], int]:
    return lambda: call(port, chat(name)).status


def ok(status: int) -> bool:
    return status == 200


def test_a_worker_says_hello_and_takes_a_table_it_is_told_of(tmp_path: Path, provider: FakeProvider) -> None:
    layout = publish(tmp_path, renamed(provider.url, 1, "one"))
    with FakeKeeper(layout) as keeper, worker(tmp_path) as process:
        port = process.ready()
        (hello,) = until(keeper.hellos, lambda seen: len(seen) == 1)
        assert (process.incarnation, process.process.pid, f"127.0.0.1:{port}") == (
            hello.incarnation, hello.pid, hello.listen,
        )  # fmt: skip
        assert 200 == serves(port, "one")()
        layout.table.write_bytes(canonical(renamed(provider.url, 2, "two")))
        keeper.push(TableChanged(number=2))
        until(serves(port, "two"), ok)
        assert 404 == serves(port, "one")()


def test_a_table_that_is_published_before_its_hello_is_taken_is_not_missed(
    tmp_path: Path, provider: FakeProvider
) -> None:
    layout = publish(tmp_path, renamed(provider.url, 1, "one"))
    next_table = canonical(renamed(provider.url, 2, "two"))
    with FakeKeeper(layout) as keeper:
        keeper.before_answer = lambda: layout.table.write_bytes(next_table)
        with worker(tmp_path) as process:
            until(serves(process.ready(), "two"), ok)


def test_an_older_table_is_not_taken_and_a_damaged_one_changes_nothing(tmp_path: Path, provider: FakeProvider) -> None:
    layout = publish(tmp_path, renamed(provider.url, 5, "five"))
    with FakeKeeper(layout) as keeper, worker(tmp_path) as process:
        port = process.ready()
        until(keeper.hellos, lambda seen: len(seen) == 1)
        for content in (canonical(renamed(provider.url, 4, "four")), b"{", b"", b'{"schema":"route-table/9"}'):
            layout.table.write_bytes(content)
            keeper.push(TableChanged(number=6))
            process.ask("metrics")
            assert 200 == serves(port, "five")()
        layout.table.write_bytes(canonical(renamed(provider.url, 7, "seven")))
        keeper.push(TableChanged(number=7))
        until(serves(port, "seven"), ok)


def test_a_worker_goes_on_without_a_keeper_and_finds_the_next_one_with_its_table(
    tmp_path: Path, provider: FakeProvider
) -> None:
    layout = publish(tmp_path, renamed(provider.url, 1, "one"))
    with worker(tmp_path) as process:
        port = process.ready()
        assert 200 == serves(port, "one")()
        with FakeKeeper(layout) as keeper:
            until(keeper.hellos, lambda seen: len(seen) == 1)
        assert 200 == serves(port, "one")()
        layout.table.write_bytes(canonical(renamed(provider.url, 2, "two")))  # told by nobody
        with FakeKeeper(layout) as keeper:
            until(keeper.hellos, lambda seen: len(seen) == 1)
            until(serves(port, "two"), ok)


def test_asked_to_roll_it_goes_on_in_a_new_segment_and_says_which(tmp_path: Path, provider: FakeProvider) -> None:
    layout = publish(tmp_path, table(provider.url))
    with FakeKeeper(layout) as keeper, worker(tmp_path) as process:
        port = process.ready()
        until(keeper.hellos, lambda seen: len(seen) == 1)
        call(port, chat())
        keeper.push(RollSegments())
        (rolled,) = until(
            lambda: [said for said in keeper.heard if isinstance(said, Rolled)], lambda seen: len(seen) == 1
        )
        assert (process.incarnation, 2) == (rolled.incarnation, rolled.segment)
        call(port, chat())
        assert layout.segment(process.incarnation, 2).exists()


def test_a_keeper_that_says_something_strange_is_left_and_found_again(tmp_path: Path, provider: FakeProvider) -> None:
    layout = publish(tmp_path, table(provider.url))
    with FakeKeeper(layout) as keeper, worker(tmp_path) as process:
        port = process.ready()
        until(keeper.hellos, lambda seen: len(seen) == 1)
        keeper.push(b"not json")
        until(keeper.hellos, lambda seen: len(seen) == 2)
        assert 200 == call(port, chat()).status


def test_a_table_that_was_written_while_no_keeper_answers_is_taken_within_seconds(
    tmp_path: Path, provider: FakeProvider
) -> None:
    layout = publish(tmp_path, renamed(provider.url, 1, "one"))
    with worker(tmp_path) as process:
        port = process.ready()
        assert 200 == serves(port, "one")()
        layout.table.write_bytes(canonical(renamed(provider.url, 2, "two")))  # as `ramp rollback` does then
        until(serves(port, "two"), lambda status: status == 200)
