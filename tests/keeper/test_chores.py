"""The keeper's work on the exchange log, on a store with real traffic."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from tests.app.serving import Serving, ask, serving, write_config
from tests.fakes.provider import FakeProvider, Script
from tests.keeper.processes import running_keeper
from weighbridge.clock import JumpingClock
from weighbridge.config import load
from weighbridge.errors import ControlError
from weighbridge.exchanges.chain import FIRST_PREV, Chain, Head, Line, SigningKey, fingerprint, sign, split
from weighbridge.exchanges.keys import key_line, master_key
from weighbridge.exchanges.reader import BodyReader, read
from weighbridge.exchanges.verify import verify
from weighbridge.keeper.chores import Chores
from weighbridge.keeper.parent import Ready
from weighbridge.keeper.server import ControlServer
from weighbridge.store.control import Answer, Erase, ErasedCount, Request, Seal, SealedCount
from weighbridge.store.database import Database, remembered
from weighbridge.store.layout import Layout


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running


@pytest.fixture
def file(tmp_path: Path, provider: FakeProvider) -> Path:
    return write_config(tmp_path, provider.url)


@pytest.fixture
def served(file: Path) -> Iterator[Serving]:
    with serving(file) as started:
        yield started


def open_segments(layout: Layout) -> list[str]:
    return sorted(path.name for folder in (layout.open_log, layout.open_bodies) for path in folder.iterdir())


def verified(layout: Layout) -> None:
    report = verify(layout, master=master_key(layout, None), known=remembered(layout.database))
    assert report.ok, report.problems


def test_seal_rolls_the_worker_and_seals_what_it_wrote(served: Serving) -> None:
    ids = [ask(served.listen).id for _ in range(3)]
    with served.control() as control:
        assert control.call(Seal(), SealedCount).segments == 2  # one of frames, one of bodies
    after = ask(served.listen).id
    assert [exchange.id for exchange in read(served.layout)] == [*ids, after]
    assert len(list(served.layout.sealed_log.iterdir())) == 1
    assert len(list(served.layout.rows.iterdir())) == 1
    verified(served.layout)


def test_an_orderly_end_seals_everything(served: Serving) -> None:
    answer = ask(served.listen)
    assert served.end() == 0
    assert open_segments(served.layout) == []
    assert [exchange.id for exchange in read(served.layout)] == [answer.id]
    verified(served.layout)


def test_the_segments_of_a_killed_worker_are_sealed_while_its_successor_serves(served: Serving) -> None:
    answer = ask(served.listen)
    os.kill(served.worker_pids()[0], signal.SIGKILL)
    served.until("worker 0 is back")
    served.until(r"keeper: sealed \d+ segments with 1 exchanges")
    other = ask(served.listen)
    assert [exchange.id for exchange in read(served.layout)] == [answer.id, other.id]
    verified(served.layout)


def test_open_segments_are_signed_every_few_seconds(served: Serving) -> None:
    ask(served.listen)
    chain = Chain(served.layout)
    while not _signed_frames(chain):
        pass
    verified(served.layout)


def _signed_frames(chain: Chain) -> bool:
    head = chain.head()
    return head is not None and any(prefix.file.endswith(".wbx") for prefix in head.open)


def test_erasing_an_exchange_takes_its_text_off_the_disk_and_leaves_the_rest(
    served: Serving, provider: FakeProvider
) -> None:
    provider.answers["model-a"] = Script(text="CANARY in an answer")
    gone, kept = ask(served.listen).id, ask(served.listen).id
    assert gone is not None
    assert kept is not None
    with served.control() as control:
        done = control.call(Erase(exchanges=(gone,)), ErasedCount)
        again = control.call(Erase(exchanges=(gone,)), ErasedCount)
    assert (done.exchanges, done.bodies, done.notes) == (1, 2, ())
    assert (again.exchanges, again.bodies) == (0, 0)
    bodies = BodyReader(served.layout, master_key(served.layout, None))
    states = {exchange.id: bodies.get(exchange.response) for exchange in read(served.layout) if exchange.response}
    assert states[gone] == "erased"
    left = states[kept]
    assert isinstance(left, bytes)
    assert b"CANARY" in left
    verified(served.layout)


def test_erasing_by_client_key_erases_all_of_it(served: Serving) -> None:
    for _ in range(3):
        ask(served.listen)
    with served.control() as control:
        assert control.call(Erase(key="app"), ErasedCount).exchanges == 3
    verified(served.layout)


@pytest.mark.parametrize("asked", [Erase(), Erase(key="a", user="b"), Erase(exchanges=("x",), key="a")])
def test_an_erasure_that_does_not_say_what_is_refused(served: Serving, asked: Erase) -> None:
    with served.control() as control, pytest.raises(ControlError, match="exactly one of: exchanges, key, user"):
        control.call(asked, ErasedCount)


def test_a_chain_put_back_to_an_older_state_is_said_at_the_next_start(served: Serving, file: Path) -> None:
    ask(served.listen)
    with served.control() as control:
        control.call(Seal(), SealedCount)
    older = {path: path.read_bytes() for path in served.layout.chain.parent.iterdir() if path.is_file()}
    ask(served.listen)
    with served.control() as control:
        control.call(Seal(), SealedCount)
    served.end()
    for path, content in older.items():
        path.write_bytes(content)
    with running_keeper(file) as keeper:
        said = keeper.said[0]
        assert isinstance(said, Ready)
        assert any("was changed" in warning and "is remembered" in warning for warning in said.warnings)
    report = verify(served.layout, known=remembered(served.layout.database))
    assert any("the keeper remembers line" in problem.what for problem in report.problems)


def test_an_old_head_put_back_over_a_cut_tail_is_found_also_after_the_next_keeper_signed_on(
    served: Serving, file: Path
) -> None:
    layout, chain = served.layout, Chain(served.layout)
    ask(served.listen)
    while not _signed_frames(chain):
        pass
    head = chain.head()
    assert head is not None
    old, before = chain.head_path.read_bytes(), {one.file: one.bytes for one in head.open}
    ask(served.listen)
    while remembered_number(layout) <= head.number or chain.head() == head:
        pass
    for pid in (served.process.pid, served.keeper_pid(), *served.worker_pids()):
        os.kill(pid, signal.SIGKILL)
    served.process.wait()
    chain.head_path.write_bytes(old)
    for path in (*layout.open_log.iterdir(), *layout.open_bodies.iterdir()):
        data, kept = path.read_bytes(), before[path.relative_to(layout.root).as_posix()]
        path.write_bytes(data[:kept] + bytes(len(data) - kept))
    assert verify(layout).ok  # nothing in the log's own files shows it
    found = [problem.what for problem in verify(layout, known=remembered(layout.database)).problems]
    newest = remembered_number(layout)
    assert [f"it is head {head.number}, head {newest} is remembered: an old head was put back"] == found
    for _ in range(2):
        with running_keeper(file) as keeper:
            said = keeper.said[0]
            assert isinstance(said, Ready)
            assert any("an old head was put back" in warning for warning in said.warnings)
    problems = verify(layout, known=remembered(layout.database)).problems
    assert any("an old head was put back" in problem.what for problem in problems)


def remembered_number(layout: Layout) -> int:
    known = remembered(layout.database)
    return 0 if known is None or known.head is None else known.head.number


def test_a_log_signed_anew_with_another_key_is_found_by_the_key_that_is_remembered(served: Serving, file: Path) -> None:
    ask(served.listen)
    served.end()
    layout, key, previous = served.layout, SigningKey(b"k" * 32), FIRST_PREV
    mine = []
    for raw in Chain(layout).lines():
        line = msgspec.structs.replace(msgspec.json.decode(split(raw)[0], type=Line), prev=previous)
        mine.append(sign(key, line))
        previous = sha256(mine[-1]).hexdigest()
    layout.chain.write_bytes(b"\n".join(mine) + b"\n")
    Chain(layout).head_path.write_bytes(sign(key, Head(seq=len(mine), digest=previous, time_ns=1, number=99)) + b"\n")
    layout.signing_public.write_bytes(key_line("public", bytes.fromhex(key.public)))
    layout.signing_key.write_bytes(key_line("signing", b"k" * 32))
    assert verify(layout).ok
    problems = verify(layout, known=remembered(layout.database)).problems
    assert any(f"is key {fingerprint(key.public)}" in problem.what for problem in problems)
    with running_keeper(file) as keeper:
        said = keeper.said[0]
        assert isinstance(said, Ready)
        assert any("was changed" in warning for warning in said.warnings)


def test_bodies_and_rows_past_their_days_are_retired_once_a_day(served: Serving, file: Path) -> None:
    ask(served.listen)
    served.end()
    layout, clock, database = served.layout, JumpingClock(time.time_ns()), Database(served.layout.database)
    chores = Chores(layout, database, clock, load(file))
    server = ControlServer(layout, _no_answer, lambda worker, said: None)

    def after(days: float) -> tuple[int, int]:
        """Folders of bodies and sealed segments that are left."""
        clock.advance(days * 86_400)
        asyncio.run(chores.tick(server))
        folders = [path for path in layout.bodies.glob("*/*") if path.parent != layout.open_bodies]
        return len(folders), len(list(layout.sealed_log.iterdir()))

    assert after(29) == (1, 1)
    assert after(3) == (0, 1)
    assert [exchange.outcome for exchange in read(layout)] == ["ok"]
    verified(layout)
    assert after(760) == (0, 1)
    assert after(12) == (0, 0)
    verified(layout)
    chores.close()
    database.close()


async def _no_answer(request: Request) -> Answer:
    raise AssertionError(request)
