"""Gateways that serve one route know together what each of them has seen: once, whoever starts anew or is cut off."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from tests.fakes import postgres
from tests.keeper.processes import write_config
from tests.ramp.made import PLAN, at
from tests.ramp.test_watch import TABLE, outcome, request, written
from weighbridge.config import Loaded, load
from weighbridge.errors import StoreError
from weighbridge.exchanges.telling import tell
from weighbridge.ramp.gathering import GONE_S, SILENT_S, Gathering, silent
from weighbridge.ramp.watch import Watch
from weighbridge.records.frames import Finished, Frame, Held
from weighbridge.records.ramp import RampState
from weighbridge.store.layout import Layout
from weighbridge.store.sightings import Heard, OtherHost, SharedSightings

STATE = msgspec.structs.replace(
    at("half"), plan=msgspec.structs.replace(PLAN, guardrails=("errors", "outcomes")), time_ns=1000
)  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres.server() as url:
        yield url


@pytest.fixture
def url(server: str) -> str:
    return postgres.database(server)


class Host:
    """One store with its log, what its keeper tells and hears, and what it counts."""

    def __init__(self, folder: Path, url: str, state: RampState = STATE) -> None:
        self.loaded: Loaded = load(write_config(folder))
        self.layout = Layout(folder / "weighbridge-data")
        self.layout.create()
        self.name, self.url, self.state = folder.name, url, state
        self.start()

    def start(self) -> None:
        """A keeper that knows nothing yet."""
        self.sharing = SharedSightings(self.url, self.name, self.name)
        self.gathering = Gathering(self.layout, self.loaded, self.state, TABLE, self.sharing)
        self.watch = Watch(self.state, TABLE, None)

    def again(self) -> None:
        self.sharing.close()
        self.start()

    def look(self, newest: int = TABLE) -> bool:
        self.gathering.own(self.watch, newest)
        self.sharing.here("")
        return self.gathering.others(self.watch, newest)

    def saw(self, numbers: range, *, failing: bool = False, table: int = TABLE) -> None:
        frames: list[Frame] = []
        for number in numbers:
            made = request(number, "candidate" if number % 2 else "incumbent", 2000 + number)
            held, finished = made[0], made[3]
            assert isinstance(held, Held)
            assert isinstance(finished, Finished)
            made[0] = msgspec.structs.replace(held, table=table)
            if failing and number % 2:
                made[3] = msgspec.structs.replace(finished, outcome="upstream_error")
            frames += made
        written(self.layout, frames)

    def errors(self) -> tuple[int | None, ...]:
        view = self.watch.monitor.evidence(0.0).streams[0]
        return view.candidate_bad, view.candidate_n, view.control_bad, view.control_n


@pytest.fixture
def hosts(tmp_path: Path, url: str) -> Iterator[tuple[Host, Host]]:
    made = Host(tmp_path / "a", url), Host(tmp_path / "b", url)
    for one in made:
        one.look()
    yield made
    for one in made:
        one.sharing.close()


def all_look(*hosts: Host) -> None:
    for _ in range(2):  # what one tells in its look, the other hears in its next
        for one in hosts:
            assert one.look()


def test_each_host_counts_what_both_have_seen(hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    a.saw(range(20))
    b.saw(range(100, 124), failing=True)
    all_look(a, b)
    assert (12, 22, 0, 22) == a.errors() == b.errors()
    assert [False, False] == [one.watch.monitor.alarmed for one in hosts]
    a.saw(range(200, 224), failing=True)  # either host alone has too little for an alarm
    all_look(a, b)
    assert [True, True] == [one.watch.monitor.alarmed for one in hosts]


def test_a_keeper_that_starts_anew_tells_nothing_twice_and_knows_all_again(hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    a.saw(range(4))
    b.saw(range(100, 110), failing=True)
    all_look(a, b)
    before = a.errors()
    b.again()
    all_look(a, b)
    assert before == a.errors() == b.errors()
    b.saw(range(200, 202), failing=True)
    all_look(a, b)
    assert (6, 8, 0, 8) == a.errors() == b.errors()


def test_a_host_that_joins_late_knows_what_was_seen_before(hosts: tuple[Host, Host], tmp_path: Path) -> None:
    a, b = hosts
    a.saw(range(10), failing=True)
    b.saw(range(100, 104))
    all_look(a, b)
    late = Host(tmp_path / "c", a.url)
    assert late.look()
    assert (5, 7, 0, 7) == a.errors() == late.errors()
    late.sharing.close()


def test_what_belongs_to_a_stage_that_has_not_begun_here_waits_for_it(hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    a.saw(range(10), table=TABLE + 1)
    a.look(TABLE + 1)
    b.saw(range(100, 102), table=TABLE + 1)
    b.look(TABLE)
    assert (0, 0, 0, 0) == b.errors()
    b.look(TABLE + 1)
    assert (0, 6, 0, 6) == b.errors()


def test_an_outcome_told_on_one_host_counts_for_a_conversation_on_another_one(hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    tell(b.layout, [outcome(1, 0.0, 3000)], "process")
    all_look(a, b)
    a.saw(range(4))
    all_look(a, b)
    for one in hosts:
        view = next(row for row in one.watch.monitor.evidence(0.0).streams if row.name == "outcomes")
        assert (1, 1) == (view.candidate_bad, view.candidate_n)


def test_what_ramps_that_are_over_and_stages_of_before_have_shown_is_forgotten(hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    b.saw(range(10))
    all_look(a, b)
    ramp = STATE.ramp
    a.sharing.forget({ramp: TABLE})
    assert 1 == len(a.sharing.hear(ramp, {}))
    a.sharing.forget({ramp: TABLE + 1})
    assert () == tuple(a.sharing.hear(ramp, {}))
    number = b.sharing.number()
    b.sharing.tell(ramp, number, TABLE + 1, b"x")
    assert [number] == [row.number for row in a.sharing.hear(ramp, {"b": number - 1})]  # numbers go on
    a.sharing.forget({})
    assert () == tuple(a.sharing.hear(ramp, {}))


def test_a_host_that_leaves_in_order_is_not_waited_for(hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    assert [False] == [one.left for one in a.sharing.hosts()]
    b.sharing.leave()
    assert [True] == [one.left for one in a.sharing.hosts()]
    b.look()
    assert [False] == [one.left for one in a.sharing.hosts()]


@dataclass
class CutOff:
    """A database that is out of reach when it is told to be, and may be so after it has kept what it was told."""

    real: SharedSightings
    reachable: bool = True
    after: bool = False
    told: list[int] = field(default_factory=list)

    def _reach(self) -> None:
        if not self.reachable:
            raise StoreError("out of reach")

    def mine(self, ramp: str) -> Iterator[bytes]:
        self._reach()
        return self.real.mine(ramp)

    def number(self) -> int:
        self._reach()
        return self.real.number()

    def tell(self, ramp: str, number: int, table: int, body: bytes) -> None:
        self._reach()
        self.told.append(number)
        self.real.tell(ramp, number, table, body)
        if self.after:
            self.after = False
            raise StoreError("nobody knows whether it was kept")

    def here(self, trouble: str) -> None:
        self._reach()

    def hear(self, ramp: str, after: Mapping[str, int]) -> Sequence[Heard]:
        self._reach()
        return self.real.hear(ramp, after)

    def hosts(self) -> Sequence[OtherHost]:
        return self.real.hosts()

    def forget(self, ramps: Mapping[str, int]) -> None:
        self._reach()

    def leave(self) -> None:
        self._reach()


def test_a_host_that_is_cut_off_watches_its_own_log_and_tells_all_of_it_once_when_it_is_back(
    hosts: tuple[Host, Host],
) -> None:
    a, b = hosts
    between = CutOff(b.sharing, reachable=False)
    b.gathering = Gathering(b.layout, b.loaded, STATE, TABLE, between)
    for start in (100, 200):
        b.saw(range(start, start + 10), failing=True)
        b.gathering.own(b.watch, TABLE)
        with pytest.raises(StoreError):
            b.gathering.others(b.watch, TABLE)
    assert (10, 10, 0, 10) == b.errors()
    between.reachable = between.after = True
    with pytest.raises(StoreError):
        b.gathering.others(b.watch, TABLE)
    assert b.gathering.others(b.watch, TABLE)
    assert 1 == len(set(between.told)) < len(between.told)
    a.look()
    assert (10, 10, 0, 10) == a.errors()


def host(age_s: float, trouble: str = "", *, left: bool = False) -> OtherHost:
    return OtherHost(site="s", host="b", age_s=age_s, trouble=trouble, left=left)


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (host(1.0), None),
        (host(SILENT_S + 30), "has told nothing of its requests for 45 s"),
        (host(SILENT_S + 30, left=True), None),
        (host(GONE_S + 1), None),
        (host(1.0, "the log cannot be read"), "the log cannot be read"),
    ],
)
def test_a_host_that_says_nothing_is_missing_until_it_is_gone(one: OtherHost, said: str | None) -> None:
    found = silent([one])
    assert () == found if said is None else said in found[0]
