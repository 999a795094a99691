"""Frames in a file: what is clean, what a crash cut, and what was changed."""

import random
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.errors import StoreError
from weighbridge.exchanges.framing import (
    FRAMES_MAGIC,
    HEADER_BYTES,
    SECTOR_BYTES,
    Corrupt,
    Scan,
    check_header,
    closed_frame,
    frame,
    header,
    new_incarnation,
)

# As real payloads are: they begin with the head of a MessagePack array and do not end with a zero.
payloads = st.lists(
    st.binary(min_size=1, max_size=900).map(lambda inside: b"\x94\x01" + inside.replace(b"\0", b"\1") + b"\xc0"),
    min_size=1,
    max_size=20,
)


def segment(frames: list[bytes], *, padding: int = 4096, closed: bool = False) -> bytes:
    whole = header(FRAMES_MAGIC) + b"".join(map(frame, frames))
    return whole + closed_frame(len(frames)) if closed else whole + bytes(padding)


def scanned(data: bytes) -> tuple[list[bytes], Scan]:
    scan = Scan(data)
    return [bytes(payload) for _, payload in scan], scan


@given(payloads)
def test_what_was_written_is_read_back(frames: list[bytes]) -> None:
    found, scan = scanned(segment(frames))
    assert (frames, "clean", None) == (found, scan.stop, scan.damage)
    found, scan = scanned(segment(frames, closed=True))
    assert (frames, "closed", None) == (found, scan.stop, scan.damage)


@given(payloads, st.data())
def test_a_write_cut_at_a_sector_is_torn_and_keeps_what_was_before_it(frames: list[bytes], data: st.DataObject) -> None:
    whole = segment(frames)
    last_frame = len(whole) - 4096
    first_sector = -(-(HEADER_BYTES + 1) // SECTOR_BYTES)
    sectors = range(first_sector, last_frame // SECTOR_BYTES + 1)
    if not sectors:
        return
    cut = data.draw(st.sampled_from(sectors)) * SECTOR_BYTES
    found, scan = scanned(whole[:cut] + bytes(len(whole) - cut))
    assert scan.stop in ("torn", "clean")
    assert scan.damage is None
    assert frames[: len(found)] == found
    assert scan.end <= cut


@given(payloads, st.data())
def test_a_lost_sector_in_an_unsynced_tail_is_torn_not_damage(frames: list[bytes], data: st.DataObject) -> None:
    whole = bytearray(segment(frames))
    sectors = range(1, (len(whole) - 4096) // SECTOR_BYTES)
    if not sectors:
        return
    sector = data.draw(st.sampled_from(sectors)) * SECTOR_BYTES
    whole[sector : sector + SECTOR_BYTES] = bytes(SECTOR_BYTES)
    found, scan = scanned(bytes(whole))
    assert ("torn", None) == (scan.stop, scan.damage)
    assert frames[: len(found)] == found


@pytest.mark.parametrize("closed", [False, True])
def test_every_changed_byte_is_found_and_its_frame_named(closed: bool) -> None:
    chance = random.Random(7)
    frames = [
        b"\x94\x01" + chance.randbytes(chance.randrange(20, 300)).replace(b"\0", b"x") + b"\xc0" for _ in range(9)
    ]
    whole = segment(frames, padding=2048, closed=closed)
    starts = [offset for offset, _ in Scan(whole)] + [len(whole)]
    missed = []
    for place in range(HEADER_BYTES, len(whole)):
        for change in (0x01, chance.randrange(1, 256)):
            data = bytearray(whole)
            data[place] ^= change
            scan = scanned(bytes(data))[1]
            if (scan.damage or scan.doubtful) is None:
                missed.append((place, change))
            elif place < starts[-2] and scan.damage is not None:
                assert starts[sum(start <= place for start in starts) - 1] == scan.damage[0]
    # All that can look like a cut write: the last byte of the last frame, zeroed, where it begins a sector; and the
    # first zero after the last frame, where it is one of the last four bytes of a sector. That one is no content.
    end = starts[-2] if closed else len(whole) - 2048
    assert [place for place, _ in missed if place not in (end - 1, end)] == []


def test_a_single_byte_behind_lost_sectors_is_doubtful_and_not_called_damage() -> None:
    whole = bytearray(segment([b"\x94\x01hello\xc0"]))
    whole[1024] = 0x93
    scan = scanned(bytes(whole))[1]
    assert ("torn", None, 1024) == (scan.stop, scan.damage, scan.doubtful and scan.doubtful[0])
    whole[1024], whole[1030] = 0, 0x93
    assert 1030 == (scanned(bytes(whole))[1].damage or (0, ""))[0]


def test_every_cut_of_a_closed_segment_is_found() -> None:
    whole = segment([b"\x94\x01hello\xc0"] * 5, closed=True)
    for size in range(HEADER_BYTES, len(whole)):
        assert scanned(whole[:size])[1].damage is not None, size


def test_a_cut_inside_a_frame_of_an_open_segment_is_found() -> None:
    whole = segment([b"\x94\x01hello\xc0"] * 5)
    for size in range(HEADER_BYTES, len(whole) - 4096 + 7):
        assert scanned(whole[:size])[1].damage is not None, size


def test_reading_can_go_on_behind_a_damaged_frame() -> None:
    frames = [b"\x94\x01" + bytes([97 + number]) * 50 + b"\xc0" for number in range(4)]
    for place in (HEADER_BYTES, HEADER_BYTES + 20):  # its length, its payload
        data = bytearray(segment(frames))
        data[place] ^= 3
        scan = scanned(bytes(data))[1]
        assert scan.resume is not None
        assert frames[1:] == [bytes(payload) for _, payload in Scan(bytes(data), scan.resume, None)]


def test_every_changed_byte_of_a_header_is_found_and_a_newer_version_is_told_apart() -> None:
    good = header(FRAMES_MAGIC)
    assert check_header(good + bytes(100), FRAMES_MAGIC, "f")
    for place in range(HEADER_BYTES):
        data = bytearray(good + bytes(100))
        data[place] ^= 0x10
        with pytest.raises(Corrupt):
            check_header(bytes(data), FRAMES_MAGIC, "f")
    newer = good[:4] + (9).to_bytes(4, "little") + bytes(4)
    with pytest.raises(StoreError, match="format version 9"):
        check_header(newer + crc32(newer).to_bytes(4, "little"), FRAMES_MAGIC, "f")


def test_a_segment_whose_header_never_reached_the_disk_is_empty() -> None:
    assert not check_header(bytes(4096), FRAMES_MAGIC, "f")
    assert not check_header(b"", FRAMES_MAGIC, "f")
    with pytest.raises(Corrupt, match="offset 300"):
        check_header(bytes(300) + b"x" + bytes(5000), FRAMES_MAGIC, "f")


def test_incarnations_are_sixteen_hex_digits_in_the_order_of_time() -> None:
    first, second = new_incarnation(), new_incarnation()
    assert 16 == len(first)
    assert int(first, 16) >> 20 <= int(second, 16) >> 20
