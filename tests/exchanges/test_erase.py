"""Erasing takes a body away everywhere, says so, and nothing else changes."""

import fcntl
import itertools
from pathlib import Path

import pytest
import zstandard

from tests.exchanges.loop import Bench, held, store
from tests.exchanges.stores import NOW_NS, Keeper, put_verdict
from weighbridge.exchanges.blocks import open_block
from weighbridge.exchanges.bodystore import object_records, open_record
from weighbridge.exchanges.chain import Chain, signing_key
from weighbridge.exchanges.erase import Erased, erase
from weighbridge.exchanges.framing import Scan
from weighbridge.exchanges.keys import DataKeys
from weighbridge.exchanges.reader import BodyReader, read
from weighbridge.exchanges.verify import verify

CANARY = b"the canary sings at dawn"


def clear_texts(keeper: Keeper) -> list[tuple[Path, bytes]]:
    """All bytes of the store, and all that can be had from them with its keys: decrypted, decompressed."""
    layout, keys = keeper.layout, DataKeys(keeper.layout, keeper.bench.master)
    found = []
    for path in layout.root.rglob("*"):
        if not path.is_file():
            continue
        data = path.read_bytes()
        found.append((path, data))
        if path.suffix == ".zst":
            found.append((path, zstandard.ZstdDecompressor().decompress(data)))
        elif path.suffix == ".wbo":
            day, team = path.parent.parent.name, path.parent.name
            cipher = keys.find(day, team)
            assert cipher is not None
            found += [(path, open_record(payload, cipher, day, team).body) for _, payload in object_records(path, data)]
        elif path.suffix == ".wbb":
            days = [day.name for day in layout.bodies.iterdir() if day != layout.open_bodies]
            for (_, payload), name in itertools.product(Scan(data), days):
                cipher = keys.find(name, "support")
                if cipher is not None:
                    found += [(path, stored.body) for stored in open_block(payload, cipher)]
    return found


def has_canary(keeper: Keeper) -> set[str]:
    return {path.name for path, text in clear_texts(keeper) if CANARY in text}


def erase_by(keeper: Keeper, *, ids: tuple[str, ...] = (), key: str | None = None, user: str | None = None) -> Erased:
    return erase(keeper.layout, keeper.chain, keeper.key, exchanges=ids, client_key=key, user=user, time_ns=NOW_NS)


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    return Keeper(Bench(store(tmp_path)))


def test_a_planted_canary_is_found_nowhere_afterwards_and_verify_says_how_many_bodies_are_gone(keeper: Keeper) -> None:
    bench = keeper.bench
    other = bench.request(b"an ordinary question", b"an ordinary answer")
    planted = bench.request(b"q: " + CANARY, b"a: " + CANARY)
    bench.request(b"replayed: " + CANARY, b"again: " + CANARY, like=held("-", purpose="trial", trial="t", item=planted))
    bench.log.roll()
    keeper.seal()
    assert has_canary(keeper)
    done = erase_by(keeper, ids=(planted,))
    assert (2, 4, 0) == (done.exchanges, done.bodies, done.still_open)
    assert set() == has_canary(keeper)
    assert "intact, 4 bodies erased" == verify(keeper.layout, master=bench.master).summary
    reader = BodyReader(keeper.layout, bench.master)
    states = {one.id: reader.get(one.request) for one in read(keeper.layout)}
    assert ("erased", b"an ordinary question") == (states[planted], states[other])
    bench.close()


def test_a_body_in_an_open_segment_reads_as_erased_at_once_and_is_gone_when_it_is_sealed(keeper: Keeper) -> None:
    bench = keeper.bench
    planted = bench.request(CANARY, CANARY)
    bench.request(b"another", b"body")
    assert 2 == erase_by(keeper, ids=(planted,)).still_open
    assert "erased" == BodyReader(keeper.layout, bench.master).get(next(read(keeper.layout, ids=[planted])).request)
    bench.log.roll()
    keeper.seal()
    assert set() == has_canary(keeper)
    assert "intact, 2 bodies erased" == verify(keeper.layout, master=bench.master).summary
    bench.close()


def test_a_reader_that_had_found_the_body_before_does_not_give_it_any_more(keeper: Keeper) -> None:
    bench = keeper.bench
    planted = bench.request(CANARY)
    (exchange,) = read(keeper.layout)
    reader = BodyReader(keeper.layout, bench.master)
    assert CANARY == reader.get(exchange.request)
    bench.log.roll()
    keeper.seal()
    assert CANARY == reader.get(exchange.request)
    erase_by(keeper, ids=(planted,))
    assert "erased" == reader.get(exchange.request)
    bench.close()


def test_everything_of_a_key_or_of_a_user_goes(keeper: Keeper) -> None:
    bench = keeper.bench
    bench.request(like=held("-", key="bot"))
    bench.request(like=held("-", user="ann"))
    bench.request(like=held("-", user="bob"))
    bench.log.roll()
    keeper.seal()
    assert 1 == erase_by(keeper, key="bot").exchanges
    assert 1 == erase_by(keeper, user="ann").exchanges
    assert 0 == erase_by(keeper, user="nobody").exchanges
    reader = BodyReader(keeper.layout, bench.master)
    assert ["erased", "erased", b'{"q":1}'] == [reader.get(one.request) for one in read(keeper.layout)]
    bench.close()


def test_asking_twice_changes_nothing(keeper: Keeper) -> None:
    planted = keeper.bench.request(CANARY)
    keeper.bench.log.roll()
    keeper.seal()
    erase_by(keeper, ids=(planted,))
    before = keeper.chain.snapshot().seq
    assert (0, 0) == (erase_by(keeper, ids=(planted, "no-such")).exchanges, keeper.chain.snapshot().seq - before)
    keeper.bench.close()


def test_trial_journals_forget_the_exchange_and_a_running_one_is_named(keeper: Keeper) -> None:
    planted, kept = keeper.bench.request(CANARY), keeper.bench.request()
    lines = [b'{"item":"%b","note":"%b"}\n' % (identity.encode(), CANARY) for identity in (planted, kept)]
    for trial in ("t-1", "t-2"):
        keeper.layout.trial(trial).mkdir()
        (keeper.layout.trial(trial) / "items.jsonl").write_bytes(b'{"type":"head"}\n' + b"".join(lines))
    with (keeper.layout.trial("t-2") / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert ("t-2",) == erase_by(keeper, ids=(planted,)).busy_trials
    left = (keeper.layout.trial("t-1") / "items.jsonl").read_bytes()
    assert b'{"type":"head"}\n' + lines[1] == left
    keeper.bench.close()


def test_signed_evidence_with_a_note_about_the_exchange_is_named(keeper: Keeper) -> None:
    item, replay = keeper.bench.request(), keeper.bench.request()
    found = {one.id: one for one in read(keeper.layout)}
    put_verdict(keeper, [(found[item], found[replay])])
    assert 1 == len(erase_by(keeper, ids=(item,)).evidence)
    keeper.bench.close()


def test_wherever_erasing_stops_the_next_run_ends_it(tmp_path: Path) -> None:
    class Stop(Exception):  # noqa: N818 (not an error: the machine stops here)
        pass

    for stop_at in ("object written", "committed"):
        bench = Bench(store(tmp_path / stop_at))
        keeper = Keeper(bench)
        planted = bench.request(CANARY, b"x" * 100)
        bench.request(b"ordinary")
        bench.close()
        keeper.seal()

        def step(name: str, stop_at: str = stop_at) -> None:
            if name == stop_at:
                raise Stop

        with pytest.raises(Stop):
            erase(
                keeper.layout, Chain(keeper.layout), signing_key(keeper.layout), exchanges=[planted], time_ns=NOW_NS,
                step=step,
            )  # fmt: skip
        report = verify(keeper.layout, master=bench.master)
        assert report.ok, (stop_at, report.problems)
        erase_by(keeper, ids=(planted,))
        assert set() == has_canary(keeper)
        assert "intact, 2 bodies erased" == verify(keeper.layout, master=bench.master).summary


def test_a_tombstone_cannot_be_planted_without_the_key(keeper: Keeper) -> None:
    planted = keeper.bench.request()
    keeper.bench.log.roll()
    keeper.seal()
    erase_by(keeper, ids=(planted,))
    lines = keeper.layout.chain.read_bytes().splitlines(keepends=True)
    keeper.layout.chain.write_bytes(b"".join([*lines[:-1], lines[-1].replace(b'"erased"', b'"lost"')]))
    assert not verify(keeper.layout).ok
    keeper.bench.close()
