"""The signed chain: lines follow from each other, heads are signed, objects are stored once."""

from hashlib import sha256
from pathlib import Path

import pytest

from tests.exchanges.loop import Bench, die, store
from tests.exchanges.stores import Keeper
from weighbridge.exchanges.chain import Chain, Tombstone, is_signed_by, public_key, put_object, signing_key, split
from weighbridge.exchanges.checkpoint import Checkpointer
from weighbridge.exchanges.framing import Corrupt
from weighbridge.exchanges.seal import sweep
from weighbridge.exchanges.verify import verify
from weighbridge.store.layout import Layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return store(tmp_path)


def put(layout: Layout, body: bytes, chain: Chain | None = None) -> str:
    entry = put_object(layout, chain or Chain(layout), signing_key(layout), "gold", "gold.jsonl", body, 5)
    return entry.digest


def test_the_signing_key_is_made_once_private_and_its_public_half_beside_it(layout: Layout) -> None:
    key = signing_key(layout)
    assert key.public == signing_key(layout).public == public_key(layout)
    assert 0o600 == layout.signing_key.stat().st_mode & 0o777
    assert is_signed_by(key.public, b"message", key.sign(b"message"))
    assert not is_signed_by(key.public, b"massage", key.sign(b"message"))


def test_an_object_is_stored_under_its_digest_and_once(layout: Layout) -> None:
    digest = put(layout, b"one")
    assert digest == put(layout, b"one")
    assert sha256(b"one").hexdigest() == digest
    assert b"one" == layout.object(digest).read_bytes()
    put(layout, b"two")
    assert [digest, sha256(b"two").hexdigest()] == [entry.digest for entry in Chain(layout).snapshot().objects]


def test_a_reader_that_is_kept_sees_new_lines(layout: Layout) -> None:
    chain = Chain(layout)
    assert 0 == chain.snapshot().seq
    put(layout, b"one")
    assert 1 == chain.snapshot().seq
    put(layout, b"two")
    assert 2 == chain.snapshot().seq


def test_each_line_names_the_one_before_it_and_is_signed(layout: Layout) -> None:
    for body in (b"one", b"two", b"three"):
        put(layout, body)
    previous = "0" * 64
    for raw in layout.chain.read_bytes().splitlines():
        signed, signature = split(raw)
        assert is_signed_by(public_key(layout), signed, signature)
        assert f'"prev":"{previous}"'.encode() in signed
        previous = sha256(raw).hexdigest()


def test_what_a_crash_left_of_a_line_is_written_over(layout: Layout) -> None:
    put(layout, b"one")
    with layout.chain.open("ab") as file:
        file.write(b'{"seq":2,"time')
    put(layout, b"two")
    assert 2 == len(layout.chain.read_bytes().splitlines())
    assert verify(layout).ok


def test_nothing_is_added_to_a_chain_that_lost_lines(layout: Layout) -> None:
    put(layout, b"one")
    put(layout, b"two")
    lines = layout.chain.read_bytes().splitlines(keepends=True)
    layout.chain.write_bytes(lines[0])
    with pytest.raises(Corrupt, match="ends at line 1"):
        put(layout, b"three")
    with pytest.raises(Corrupt):
        sweep(layout, Chain(layout))
    layout.chain.write_bytes(b"".join(lines))
    layout.chain.with_name("head.json").unlink()
    with pytest.raises(Corrupt, match="head is gone"):
        put(layout, b"three")


def test_a_head_that_was_not_written_yet_is_caught_up_with(layout: Layout) -> None:
    put(layout, b"one")
    head = layout.chain.with_name("head.json")
    before = head.read_bytes()
    put(layout, b"two")
    head.write_bytes(before)  # the machine stopped between the line and its head
    assert verify(layout).ok
    put(layout, b"three")
    assert verify(layout).ok


def test_a_line_with_another_order_or_link_is_not_followed(layout: Layout) -> None:
    for body in (b"one", b"two", b"three"):
        put(layout, body)
    lines = layout.chain.read_bytes().splitlines(keepends=True)
    for changed in ([lines[1], lines[0], lines[2]], [lines[0], lines[2]], [b"{}\n", *lines[1:]]):
        layout.chain.write_bytes(b"".join(changed))
        with pytest.raises(Corrupt):
            Chain(layout).snapshot()


def test_checkpoints_sign_what_open_segments_hold_without_adding_lines(layout: Layout) -> None:
    bench = Bench(layout)
    keeper = Keeper(bench)
    bench.request()
    checkpoints = Checkpointer(layout, keeper.chain, keeper.key)
    checkpoints.run(1)
    head = keeper.chain.head()
    assert head is not None
    assert ["bodies/open", "log/open"] == [Path(prefix.file).parent.as_posix() for prefix in head.open]
    assert 0 == verify(layout).counts.unsigned_bytes
    bench.request()
    assert verify(layout).counts.unsigned_bytes > 0
    checkpoints.run(2)
    assert 0 == verify(layout).counts.unsigned_bytes
    assert 0 == keeper.chain.snapshot().seq
    stamp = keeper.chain.head_path.stat().st_mtime_ns
    checkpoints.run(3)
    assert stamp == keeper.chain.head_path.stat().st_mtime_ns
    bench.log.roll()
    keeper.seal()
    checkpoints.run(4)
    assert verify(layout).ok
    bench.close()


def test_a_checkpoint_does_not_sign_over_what_an_earlier_one_had_signed(layout: Layout) -> None:
    bench = Bench(layout, bodies=False)
    keeper = Keeper(bench)
    for _ in range(3):
        bench.request()
    keeper.checkpoint()
    die(bench)
    path = layout.segment(bench.incarnation, 1)
    data = path.read_bytes()
    content = len(data.rstrip(b"\0"))
    path.write_bytes(data[: content - 100] + bytes(len(data) - content + 100))
    assert [str(path)] == [one.file for one in Checkpointer(layout, Chain(layout), keeper.key).run(2)]
    assert not verify(layout).ok
    path.unlink()
    assert [str(path)] == [one.file for one in Checkpointer(layout, Chain(layout), keeper.key).run(3)]
    assert not verify(layout).ok


def test_tombstones_are_found_by_commitment_and_by_day(layout: Layout) -> None:
    chain, key = Chain(layout), signing_key(layout)
    stones = (
        Tombstone(kind="erased", day="2026-11-25", team="t", commitment="ab" * 32, exchange="x-1"),
        Tombstone(kind="retired", day="2026-10-01", team="t"),
    )
    chain.append(key, time_ns=1, tombstones=stones)
    snapshot = Chain(layout).snapshot()
    assert "x-1" == snapshot.erased[bytes.fromhex("ab" * 32)].exchange
    assert frozenset({("2026-10-01", "t")}) == snapshot.retired


def test_a_changed_byte_anywhere_in_the_last_line_is_damage_and_no_surprise(layout: Layout) -> None:
    """No later line holds it in place, so it is read as it stands: a digest that is none any more, for one."""
    put(layout, b"one")
    stone = Tombstone(kind="erased", day="2026-11-25", team="t", commitment="ab" * 32, exchange="x-1")
    Chain(layout).append(signing_key(layout), time_ns=1, tombstones=(stone,))
    whole = layout.chain.read_bytes()
    for at in range(whole.rindex(b"\n", 0, -1) + 1, len(whole)):
        for by in (0x01, 0x20, 0x80):
            changed = bytearray(whole)
            changed[at] ^= by
            layout.chain.write_bytes(changed)
            assert not verify(layout).ok, at
    layout.chain.write_bytes(whole)
    assert verify(layout).ok
