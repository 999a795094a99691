"""The keeper as a process: answers on its socket, pushes events, gives way, and is not ended by one bad call."""

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.keeper.processes import (
    CLIENT_KEY,
    KeeperProcess,
    first_word,
    running_keeper,
    start_keeper,
    write_config,
)
from weighbridge.errors import ControlError
from weighbridge.keeper.parent import Ready, Refused
from weighbridge.records.canonical import parse
from weighbridge.records.table import RouteTable
from weighbridge.store.control import (
    Done,
    Hello,
    IssueToken,
    ListObjects,
    ObjectList,
    ObjectRow,
    Ping,
    Pong,
    PutObject,
    Reload,
    Stop,
    TableChanged,
    TableNumber,
    TokenText,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_config(tmp_path)


@pytest.fixture
def keeper(file: Path) -> Iterator[KeeperProcess]:
    with running_keeper(file) as started:
        yield started


class Worker:
    """The worker's side of the control socket."""

    def __init__(self, keeper: KeeperProcess, incarnation: str = "0194f0c1a2b3abcd") -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(keeper.layout.control))
        self.socket.settimeout(20)
        self.lines = self.socket.makefile("rb")
        self.say(Hello(incarnation=incarnation, pid=1, listen="127.0.0.1:7"))
        assert self.hear(Done) == Done()

    def say(self, message: msgspec.Struct) -> None:
        self.socket.sendall(msgspec.json.encode(message) + b"\n")

    def hear(self, kind: type[msgspec.Struct]) -> msgspec.Struct:
        return msgspec.json.decode(self.lines.readline(), type=kind)

    def close(self) -> None:
        self.lines.close()
        self.socket.close()


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_it_is_ready_with_a_published_table_and_a_private_socket(keeper: KeeperProcess) -> None:
    assert isinstance(keeper.said[0], Ready)
    assert keeper.said[0].table == 1
    assert keeper.layout.control.stat().st_mode & 0o777 == 0o600
    table = parse(keeper.layout.table.read_bytes(), RouteTable)
    assert table.number == 1
    with keeper.client() as control:
        assert control.call(Ping(), Pong) == Pong(pid=keeper.process.pid, table=1, workers=0, listen=None, clients=1)


def test_everything_it_makes_is_its_users_alone(keeper: KeeperProcess) -> None:
    for path in (keeper.layout.root, *keeper.layout.root.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path


def test_no_client_key_is_anywhere_in_the_store(keeper: KeeperProcess) -> None:
    keeper.end()
    for path in keeper.layout.root.rglob("*"):
        if path.is_file():
            assert CLIENT_KEY.encode() not in path.read_bytes(), path


def test_a_reload_publishes_and_tells_the_workers(keeper: KeeperProcess, file: Path) -> None:
    worker = Worker(keeper)
    edit(file, 'slice_by = ["tag:task"]', 'slice_by = ["key"]')
    with keeper.client() as control:
        assert control.call(Reload(), TableNumber).number == 2
    assert worker.hear(TableChanged) == TableChanged(number=2)
    worker.close()


def test_a_reload_without_a_change_keeps_the_number(keeper: KeeperProcess) -> None:
    with keeper.client() as control:
        assert control.call(Reload(), TableNumber).number == 1


def test_a_bad_reload_says_why_and_keeps_the_old_table(keeper: KeeperProcess, file: Path) -> None:
    good = keeper.layout.table.read_bytes()
    edit(file, 'incumbent = "incumbent"', 'incumbent = "nobody"')
    with keeper.client() as control, pytest.raises(ControlError, match=r"route\[assistant\]\.incumbent.*'nobody'"):
        control.call(Reload(), TableNumber)
    assert keeper.layout.table.read_bytes() == good


def test_a_reload_cannot_move_the_store(keeper: KeeperProcess, file: Path) -> None:
    edit(file, "[capture]", '[store]\npath = "elsewhere"\n[capture]')
    with keeper.client() as control, pytest.raises(ControlError, match=r"store\.path is now .*elsewhere.*restart"):
        control.call(Reload(), TableNumber)


def test_a_worker_is_counted_while_it_is_connected(keeper: KeeperProcess) -> None:
    worker = Worker(keeper)
    with keeper.client() as control:
        pong = control.call(Ping(), Pong)
        assert (pong.workers, pong.listen, pong.clients) == (1, "127.0.0.1:7", 1)
        worker.close()
        while control.call(Ping(), Pong).workers:
            pass


def test_objects_are_stored_once_and_listed_in_order(keeper: KeeperProcess) -> None:
    with keeper.client() as control:
        rows = [
            control.call(PutObject(kind="gold", label="assistant", body=body), ObjectRow)
            for body in (b'{"a":1}', b'{"b":2}', b'{"a":1}')
        ]
        control.call(PutObject(kind="verdict", label="assistant/candidate", body=b"{}"), ObjectRow)
        listed = control.call(ListObjects(kind="gold"), ObjectList).rows
        everything = control.call(ListObjects(), ObjectList).rows
    assert rows[0] == rows[2]
    assert listed == (rows[0], rows[1])
    assert len(everything) == 3
    assert keeper.layout.object(rows[1].digest).read_bytes() == b'{"b":2}'


def test_an_object_of_many_megabytes_goes_through(keeper: KeeperProcess) -> None:
    body = b"x" * (24 << 20)
    with keeper.client() as control:
        row = control.call(PutObject(kind="evidence", label="big", body=body), ObjectRow)
    assert keeper.layout.object(row.digest).read_bytes() == body


def test_a_token_is_issued_for_the_current_table_only(keeper: KeeperProcess) -> None:
    with keeper.client() as control:
        token = control.call(IssueToken(trial="t-1", route="assistant", arm="candidate", budget_nanousd=5), TokenText)
        assert token.text.count(".") == 1
        with pytest.raises(ControlError, match="no arm 'other'"):
            control.call(IssueToken(trial="t-1", route="assistant", arm="other", budget_nanousd=5), TokenText)


@pytest.mark.parametrize(
    "line", [b"\n", b"{}\n", b'{"op":"nope"}\n', b"\xff\xfe\n", b'{"op":"put_object"}\n', b"[" * 9999 + b"\n"]
)
def test_a_line_that_is_no_request_is_refused_and_nothing_else_happens(keeper: KeeperProcess, line: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(keeper.layout.control))
        raw.sendall(line)
        answer = raw.makefile("rb").readline()
    assert b'"op":"failed"' in answer
    with keeper.client() as control:
        control.call(Ping(), Pong)


def test_stop_ends_it_but_not_under_a_worker(keeper: KeeperProcess) -> None:
    worker = Worker(keeper)
    with keeper.client() as control:
        with pytest.raises(ControlError, match="1 workers are serving"):
            control.call(Stop(), Done)
        worker.close()
        while control.call(Ping(), Pong).workers:
            pass
        control.call(Stop(), Done)
    assert keeper.process.wait(30) == 0
    assert not keeper.layout.control.exists()


def test_sigterm_ends_it_in_order(keeper: KeeperProcess) -> None:
    assert keeper.end() == 0
    assert not keeper.layout.control.exists()


def test_it_ends_when_its_starter_is_gone(keeper: KeeperProcess) -> None:
    keeper.parent.close()
    assert keeper.process.wait(30) == 0


def test_a_second_keeper_refuses_with_the_pid_of_the_first(keeper: KeeperProcess, file: Path) -> None:
    second = start_keeper(file)
    said = first_word(second)
    assert second.process.wait(30) == 1
    assert isinstance(said, Refused)
    assert said.locked
    assert f"pid {keeper.process.pid}" in said.message


def test_after_kill_9_the_next_keeper_takes_over_at_once(file: Path) -> None:
    with running_keeper(file) as first:
        first.end(signal.SIGKILL)
        assert first.layout.control.exists()
        with running_keeper(file) as second, second.client() as control:
            assert control.call(Ping(), Pong).table == 1


def test_a_configuration_that_cannot_be_served_is_refused_with_its_exit_code(file: Path) -> None:
    (file.parent / "app.key").unlink()
    keeper = start_keeper(file)
    said = first_word(keeper)
    assert isinstance(said, Refused)
    assert "key[app].secret" in said.message
    assert "app.key cannot be read" in said.message
    assert keeper.process.wait(30) == 64


def test_a_restarted_keeper_goes_on_with_the_last_table_where_the_configuration_went_bad(file: Path) -> None:
    with running_keeper(file) as first:
        first.end()
    (file.parent / "app.key").unlink()
    file.write_text("not a configuration")
    with running_keeper(file, "--resume", str(first.layout.root)) as second:
        assert second.said[0] == Ready(table=1, warnings=())
        with second.client() as control, pytest.raises(ControlError, match="is not TOML"):
            control.call(Reload(), TableNumber)


def test_a_restarted_keeper_does_not_publish_an_edit_that_nobody_reloaded(file: Path) -> None:
    with running_keeper(file) as first:
        first.end()
    edit(file, 'slice_by = ["tag:task"]', 'slice_by = ["key"]')
    with running_keeper(file, "--resume", str(first.layout.root)) as second, second.client() as control:
        assert control.call(Ping(), Pong).table == 1
        assert control.call(Reload(), TableNumber).number == 2


def test_a_keeper_for_a_command_needs_no_secret_and_publishes_nothing(file: Path) -> None:
    (file.parent / "app.key").unlink()
    with running_keeper(file, "--for-command") as keeper:
        assert not keeper.layout.table.exists()
        with keeper.client() as control:
            assert control.call(ListObjects(), ObjectList) == ObjectList(rows=())


def test_a_store_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    file = write_config(tmp_path)
    (tmp_path / "taken").write_text("a file")
    edit(file, "[capture]", '[store]\npath = "taken"\n[capture]')
    said = first_word(start_keeper(file))
    assert isinstance(said, Refused)
    assert "taken cannot be created" in said.message
