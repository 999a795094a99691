"""The address to listen on: free, ours until the end, and shared with nobody by accident."""

import socket
from collections.abc import Iterator

import pytest

from weighbridge.app.addresses import reachable, reserve
from weighbridge.config import Loaded, loads
from weighbridge.errors import ConfigError, WeighbridgeError

KEY = "server.listen"


@pytest.fixture
def loaded() -> Loaded:
    return loads("", file="wb.toml")


def listening(*options: int) -> socket.socket:
    made = socket.socket()
    for option in options:
        made.setsockopt(socket.SOL_SOCKET, option, 1)
    made.bind(("127.0.0.1", 0))
    made.listen()
    return made


@pytest.fixture(params=[(), (socket.SO_REUSEPORT,)], ids=["a plain server", "a server that would share the port"])
def other(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    made = listening(*request.param)
    yield made
    made.close()


def test_port_0_takes_a_free_port_and_keeps_it(loaded: Loaded) -> None:
    taken = reserve(loaded, KEY, "127.0.0.1:0")
    assert taken.port > 0
    with socket.socket() as second, pytest.raises(OSError, match="in use"):
        second.bind(("127.0.0.1", taken.port))
    taken.close()


def test_workers_can_listen_on_a_reserved_port(loaded: Loaded) -> None:
    taken = reserve(loaded, KEY, "127.0.0.1:0")
    workers = [socket.socket(), socket.socket()]
    for worker in workers:
        worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        worker.bind((taken.host, taken.port))
        worker.listen()
    with socket.create_connection((taken.host, taken.port)):
        pass
    for worker in workers:
        worker.close()
    taken.close()


def test_a_port_in_use_is_refused_with_key_value_and_what_to_do(loaded: Loaded, other: socket.socket) -> None:
    text = f"127.0.0.1:{other.getsockname()[1]}"
    with pytest.raises(WeighbridgeError, match=rf"wb\.toml: server\.listen: {text} is in use.*another port"):
        reserve(loaded, KEY, text, pause=lambda _: None)


def test_a_port_that_is_given_up_in_time_is_taken(loaded: Loaded) -> None:
    dying = listening(socket.SO_REUSEPORT)
    text = f"127.0.0.1:{dying.getsockname()[1]}"
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            dying.close()

    reserve(loaded, KEY, text, pause=pause).close()
    assert len(pauses) == 2


def test_an_address_of_another_machine_is_refused(loaded: Loaded) -> None:
    with pytest.raises(WeighbridgeError, match=r"cannot listen on 192\.0\.2\.1:8400"):
        reserve(loaded, KEY, "192.0.2.1:8400")


def test_a_text_that_is_no_address_is_a_configuration_error(loaded: Loaded) -> None:
    with pytest.raises(ConfigError, match="HOST:PORT"):
        reserve(loaded, KEY, "8400")


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("127.0.0.1:1", "127.0.0.1:1"),
        ("0.0.0.0:1", "127.0.0.1:1"),
        ("[::]:1", "[::1]:1"),
        ("[::1]:1", "[::1]:1"),
        ("gateway.local:1", "gateway.local:1"),
    ],
)
def test_an_address_that_listens_everywhere_is_reached_on_loopback(listen: str, address: str) -> None:
    assert reachable(listen) == address
