"""Captured bodies: encrypted, committed to, found again, and kept apart by day and team."""

import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.exchanges.loop import Bench, held, store
from weighbridge.clock import JumpingClock
from weighbridge.errors import StoreError
from weighbridge.exchanges.blocks import commitment_of
from weighbridge.exchanges.bodies import BodySealer
from weighbridge.exchanges.framing import Corrupt
from weighbridge.exchanges.keys import DataKeys, find_master_key, master_key, team_folder, team_of
from weighbridge.exchanges.reader import BodyReader, read
from weighbridge.records.frames import BodyRef
from weighbridge.store.layout import Layout

DAY_NS = 86_400_000_000_000


def sealed(sealer: BodySealer, team: str | None, body: bytes) -> BodyRef:
    frame = held("1-1")
    sealer.seal([(frame, team, body, ())])
    assert frame.request is not None
    return frame.request


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return store(tmp_path)


def test_no_body_is_on_disk_in_the_clear(layout: Layout) -> None:
    bench = Bench(layout)
    bench.request(b"a canary in the request", b"a canary in the answer")
    bench.close()
    for path in layout.root.rglob("*"):
        assert path.is_dir() or b"canary" not in path.read_bytes()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bodies=st.lists(st.binary(max_size=2000), min_size=1, max_size=8))
def test_whatever_was_captured_is_read_back(tmp_path_factory: pytest.TempPathFactory, bodies: list[bytes]) -> None:
    layout = store(tmp_path_factory.mktemp("bodies"))
    bench = Bench(layout)
    for body in bodies:
        bench.end(bench.begin(body).id, body[::-1])
    bench.loop.turn()
    reader = BodyReader(layout, bench.master)
    found = [(reader.get(one.request), reader.get(one.response)) for one in read(layout)]
    assert [(body, body[::-1]) for body in bodies] == found
    bench.close()


def test_the_same_body_twice_has_two_commitments(layout: Layout) -> None:
    sealer = BodySealer(layout, master_key(layout, None))
    first, second = sealed(sealer, None, b"same"), sealed(sealer, None, b"same")
    assert first.commitment != second.commitment
    assert 32 == len(first.commitment)
    assert ("-", 4) == (first.team, first.size)


def test_a_body_belongs_to_the_utc_day_of_its_capture(layout: Layout) -> None:
    clock = JumpingClock(1_764_115_199_000_000_000)  # 2025-11-25T23:59:59Z
    sealer = BodySealer(layout, master_key(layout, None), clock.wall_ns)
    before = sealed(sealer, "t", b"x")
    clock.advance(2)
    after = sealed(sealer, "t", b"x")
    assert ("2025-11-25", "2025-11-26") == (before.day, after.day)
    assert layout.body_folder("2025-11-26", "t").joinpath("key").exists()


def test_another_master_key_is_said_and_not_taken_for_damage(layout: Layout) -> None:
    bench = Bench(layout)
    bench.request()
    (exchange,) = read(layout)
    with pytest.raises(StoreError, match=r"capture\.encrypt_key") as caught:
        BodyReader(layout, bytes(32)).get(exchange.request)
    assert not isinstance(caught.value, Corrupt)
    bench.close()


def test_the_key_of_a_day_is_made_once_by_workers_that_race_for_it(layout: Layout) -> None:
    master = master_key(layout, None)
    barrier, ciphers = threading.Barrier(8), []

    def race() -> None:
        keys = DataKeys(layout, master)
        barrier.wait()
        ciphers.append(keys.create("2026-11-25", "t"))

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sealed = ciphers[0].encrypt(bytes(12), b"hello", b"")
    assert [b"hello"] * 8 == [cipher.decrypt(bytes(12), sealed, b"") for cipher in ciphers]
    assert ["key"] == [path.name for path in layout.body_folder("2026-11-25", "t").iterdir()]


def test_a_master_key_is_made_in_the_store_or_derived_from_a_secret(layout: Layout) -> None:
    assert find_master_key(layout, None) is None
    made = master_key(layout, None)
    assert made == master_key(layout, None) == find_master_key(layout, None)
    assert 0o600 == layout.master_key.stat().st_mode & 0o777
    assert made != master_key(layout, b"a secret") == find_master_key(layout, b"a secret")
    assert 32 == len(master_key(layout, b"a secret"))


@given(st.none() | st.text(min_size=1, max_size=300))
def test_a_team_name_is_one_safe_path_step(team: str | None) -> None:
    folder = team_folder(team)
    assert folder not in ("", ".", "..", "open")
    assert not set(folder) & set("/\\\0")
    assert not folder.startswith(".")
    assert len(folder.encode()) <= 200
    assert (folder == "-") == (team is None)
    if "~" not in folder:
        assert team == team_of(folder)


@given(st.text(min_size=1, max_size=300), st.text(min_size=1, max_size=300))
def test_two_teams_never_share_a_folder(one: str, other: str) -> None:
    assert (one == other) == (team_folder(one) == team_folder(other))


def test_a_commitment_needs_its_key(layout: Layout) -> None:
    assert commitment_of(b"yes", b"k" * 32) != commitment_of(b"yes", b"l" * 32)
