"""Gateways of two stores that share one real PostgreSQL serve one table, one ramp and the same keys.

With real processes. How fast is printed; the bound is wide, because a busy machine proves nothing about the product.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from hashlib import blake2b
from pathlib import Path

import pytest

from tests.app.serving import Serving, ask, gone, serving
from tests.fakes import postgres
from tests.fakes.provider import FakeProvider, Script
from tests.keeper.processes import running_keeper, write_config
from tests.ramp.desk import RAMP, climb_to
from weighbridge.errors import ControlError
from weighbridge.ramp.custody import check
from weighbridge.store.control import CreateKey, KeyRow, RampAct, RampAnswer, RampShow, RevokeKey
from weighbridge.store.database import stored_tables

WAIT_S = 60.0
ROUTE = "assistant"


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Running]:
    with postgres.running() as one:
        yield one


def member(folder: Path, provider: FakeProvider, url: str) -> Path:
    file = write_config(folder, provider.url)
    (folder / "shared.url").write_text(url)
    file.write_text(f'{file.read_text()}{RAMP.replace("= 60", "= 0")}\n[store]\nurl = "file:shared.url"\n')
    return file


def at_half(file: Path) -> Path:
    """A ramp of this store in half, before it serves."""
    climb_to("half", file)
    return file


def arms(served: Serving, count: int = 40) -> set[str]:
    return {ask(served.listen, conversation=f"c-{number}").arm or "" for number in range(count)}


def table(served: Serving) -> int:
    return int(ask(served.listen).table or 0)


def becomes(what: str, met: Callable[[], bool], within_s: float = WAIT_S) -> float:
    """Asks until it holds; how long that took."""
    began = time.monotonic()
    while not met():
        assert time.monotonic() - began < within_s, what
        time.sleep(0.02)
    return time.monotonic() - began


def rollback(served: Serving) -> RampAnswer:
    with served.control() as control:
        return control.call(RampAct(action="rollback", route=ROUTE), RampAnswer)


def over(served: Serving) -> bool:
    with served.control() as control:
        return control.call(RampShow(), RampAnswer).ramps[0].state.over


def sound(*gateways: Serving) -> None:
    for one in gateways:
        assert () == check(one.layout, stored_tables(one.layout.database)).broken


def create(served: Serving, name: str, secret: str) -> KeyRow:
    digest = blake2b(secret.encode(), digest_size=32).hexdigest()
    with served.control() as control:
        return control.call(CreateKey(name=name, digest=digest), KeyRow)


def test_both_serve_one_table_and_the_same_keys_and_a_rollback_said_on_the_follower_reaches_both(
    tmp_path: Path, provider: FakeProvider, server: postgres.Running
) -> None:
    url = server.database()
    with (
        serving(at_half(member(tmp_path / "a", provider, url))) as a,
        serving(at_half(member(tmp_path / "b", provider, url))) as b,  # it was on its own, with numbers of its own
    ):
        becomes("numbers agree", lambda: table(a) == table(b))
        assert {"incumbent", "candidate"} == arms(a) == arms(b)

        create(a, "made-at-a", "wb-made-at-a")
        took_s = becomes("the key lets in", lambda: ask(b.listen, key="wb-made-at-a").status == 200)
        print(f"a key made on the leader lets in on the other host after {took_s:.2f} s")
        with pytest.raises(ControlError, match=r"leads the gateways .* say it there"):
            create(b, "made-at-b", "wb-made-at-b")
        with a.control() as control:
            control.call(RevokeKey(name="made-at-a"), KeyRow)
        becomes("the key is revoked", lambda: ask(b.listen, key="wb-made-at-a").status == 401)
        with b.control() as control, pytest.raises(ControlError, match="leads"):
            control.call(RampAct(action="pause", route=ROUTE), RampAnswer)

        before, lines, began = table(b), len(b.log), time.monotonic()
        assert any("leads the gateways" in note for note in rollback(b).notes)
        b.until(r"worker 0: route table \d+", after=lines)
        print(f"a rollback on a follower is on its own worker after {time.monotonic() - began:.2f} s")
        becomes("the leader rolls back", lambda: over(a))
        print(f"and decided by the leader after {time.monotonic() - began:.2f} s")
        becomes("one table everywhere", lambda: table(a) == table(b))
        assert before < table(a)
        assert {"incumbent"} == arms(a) == arms(b)
        becomes("no override is left", lambda: over(b) and "[]" in b.layout.table_override.read_text())
        sound(a, b)


def test_a_candidate_that_fails_on_the_host_that_follows_alone_is_taken_back_by_the_leader(
    tmp_path: Path, provider: FakeProvider, server: postgres.Running
) -> None:
    url = server.database()
    with (
        serving(at_half(member(tmp_path / "a", provider, url))) as a,
        serving(member(tmp_path / "b", provider, url)) as b,
    ):
        becomes("numbers agree", lambda: table(a) == table(b))
        for number in range(20):
            ask(b.listen, conversation=f"good-{number}")
        provider.answers["model-b"] = Script(status=500)
        asked = 0

        def taken_back() -> bool:
            nonlocal asked
            ask(b.listen, conversation=f"bad-{asked}")
            asked += 1
            return over(a)

        took_s = becomes("the leader takes it back", taken_back)
        print(f"faults on the other host alone: back after {asked} requests there and {took_s:.2f} s")
        becomes("one table everywhere", lambda: table(a) == table(b))
        with a.control() as control:
            state = control.call(RampShow(), RampAnswer).ramps[0].state
        assert "controller" == state.by
        assert "errors rose" in state.reasons[0]
        provider.answers.clear()
        assert {"incumbent"} == arms(a) == arms(b)
        sound(a, b)


def test_when_the_leader_is_killed_another_one_leads_and_no_number_goes_down(
    tmp_path: Path, provider: FakeProvider, server: postgres.Running
) -> None:
    url = server.database()
    file_a = at_half(member(tmp_path / "a", provider, url))
    with ExitStack() as later:
        with serving(file_a) as a:
            b = later.enter_context(serving(member(tmp_path / "b", provider, url)))
            create(a, "made-at-a", "wb-made-at-a")
            becomes("both have it", lambda: table(a) == table(b))
            before = table(a)
            keeper = a.keeper_pid()
            a.process.kill()
            os.kill(keeper, signal.SIGKILL)
            began = time.monotonic()
            assert gone(keeper)
            b.until(r"\(site \w+\) leads the gateways")
            print(f"another keeper leads {time.monotonic() - began:.2f} s after the leader was killed")
        assert {"incumbent", "candidate"} == arms(b)  # what was allowed goes on
        assert 200 == ask(b.listen, key="wb-made-at-a").status
        create(b, "made-at-b", "wb-made-at-b")  # it leads now
        becomes("the new key lets in", lambda: ask(b.listen, key="wb-made-at-b").status == 200)
        assert before < table(b)
        again = later.enter_context(serving(file_a))
        again.until(r"leads; its route tables are served here")
        becomes("it has what was published meanwhile", lambda: table(again) == table(b))
        lines = len(again.log)
        decided_ns = rollback(b).ramps[0].state.time_ns
        again.until(r"worker 0: route table \d+", after=lines)
        print(f"a rollback is on the other host's worker after {(time.time_ns() - decided_ns) / 1e9:.2f} s")
        assert {"incumbent"} == arms(again) == arms(b)
        becomes("one table everywhere", lambda: table(again) == table(b))
        assert 200 == ask(again.listen, key="wb-made-at-b").status
        sound(again, b)


def test_a_rollback_said_while_nothing_serves_here_is_carried_out_by_the_leader_once_this_host_is_back(
    tmp_path: Path, provider: FakeProvider, server: postgres.Running
) -> None:
    file = at_half(member(tmp_path / "a", provider, server.database()))
    for options, is_over in ((("--for-command",), False), ((), True)):
        with running_keeper(file, *options) as keeper:
            with keeper.client() as control:
                if not is_over:
                    answer = control.call(RampAct(action="rollback", route=ROUTE), RampAnswer)
                    assert any("the leader hears of it" in note for note in answer.notes)
                    with pytest.raises(ControlError, match="on the host that leads"):
                        control.call(CreateKey(name="one", digest="0" * 64), KeyRow)
                ramp = control.call(RampShow(), RampAnswer).ramps[0]
                assert (is_over, not is_over) == (ramp.state.over, ramp.override)
            keeper.end()  # and with it its session in PostgreSQL


def test_without_the_database_each_serves_on_and_a_rollback_said_meanwhile_reaches_all_when_it_is_back(
    tmp_path: Path, provider: FakeProvider
) -> None:
    with postgres.running() as own:
        url = own.database()
        with (
            serving(at_half(member(tmp_path / "a", provider, url))) as a,
            serving(member(tmp_path / "b", provider, url)) as b,
        ):
            before = table(b)
            own.stop()
            for one in (a, b):
                one.until(r"going on with route table \d+: the database that gateways share cannot be used")
            assert {"incumbent", "candidate"} == arms(a) == arms(b)
            with pytest.raises(ControlError, match="database"):
                create(a, "late", "wb-late")
            lines = len(a.log)
            assert not rollback(a).ramps[0].state.over
            a.until(r"worker 0: route table \d+", after=lines)
            assert {"incumbent"} == arms(a)
            assert {"incumbent", "candidate"} == arms(b)  # nobody can tell it
            highest = table(a)
            own.start()
            becomes("all are back", lambda: arms(b, 10) == {"incumbent"} and table(a) == table(b))
            assert before < highest <= table(a)
            becomes("it is decided", lambda: over(a) and over(b))
            sound(a, b)
