"""The control socket's client: long paths, a keeper that is gone, refuses, or answers something else."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from weighbridge.errors import ControlError
from weighbridge.store.control import ControlClient, Done, Failed, Ping, Pong, PutObject, socket_address
from weighbridge.store.layout import Layout
from weighbridge.store.lines import Message


@contextmanager
def keeper_that_says(layout: Layout, answer: bytes) -> Iterator[list[bytes]]:
    heard: list[bytes] = []
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with socket_address(layout.control) as address:
        server.bind(address)
    server.listen()

    def serve() -> None:
        connection, _ = server.accept()
        with connection, connection.makefile("rb") as lines:
            heard.append(lines.readline())
            connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    yield heard
    thread.join()
    server.close()


@pytest.fixture(params=["short", "x" * 90 + "/" + "y" * 90], ids=["short path", "path longer than a socket name"])
def layout(request: pytest.FixtureRequest, tmp_path: Path) -> Layout:
    made = Layout(tmp_path / str(request.param))
    made.create()
    return made


def encoded(message: Message) -> bytes:
    import msgspec

    return msgspec.json.encode(message) + b"\n"


def test_an_answer_of_the_expected_kind_is_returned(layout: Layout) -> None:
    pong = Pong(pid=1, table=2, workers=3, listen="127.0.0.1:1")
    with keeper_that_says(layout, encoded(pong)) as heard, ControlClient(layout) as control:
        assert control.call(Ping(), Pong) == pong
    assert heard == [b'{"op":"ping"}\n']


def test_a_refusal_is_raised_with_its_own_words(layout: Layout) -> None:
    with (
        keeper_that_says(layout, encoded(Failed(message="no such route 'x'"))),
        ControlClient(layout) as control,
        pytest.raises(ControlError, match="no such route 'x'"),
    ):
        control.call(Ping(), Pong)


def test_an_answer_of_another_kind_is_an_error(layout: Layout) -> None:
    with (
        keeper_that_says(layout, encoded(Done())),
        ControlClient(layout) as control,
        pytest.raises(ControlError, match="answered Done to Ping"),
    ):
        control.call(Ping(), Pong)


def test_a_keeper_that_goes_away_in_the_middle_is_an_error(layout: Layout) -> None:
    with (
        keeper_that_says(layout, b'{"op":"po'),
        ControlClient(layout) as control,
        pytest.raises(ControlError, match="went away during PutObject"),
    ):
        control.call(PutObject(kind="gold", label="x", body=b"{}"), Pong)


def test_without_a_keeper_the_error_names_the_socket(layout: Layout) -> None:
    with pytest.raises(ControlError, match=r"no keeper answers at .*control\.sock"):
        ControlClient(layout)
