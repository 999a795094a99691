"""A backup file: whole or not there, readable by any tar program, and no byte of it changes unnoticed."""

import random
import subprocess
from pathlib import Path

import pytest

from weighbridge.errors import StoreError
from weighbridge.exchanges.archive import MANIFEST, Sign, read_archive, unpack, write_archive
from weighbridge.exchanges.chain import SigningKey
from weighbridge.records.backup import SIGNED_AS, Facts

KEY = SigningKey(bytes(32))
FACTS = Facts(
    version="1.2.3", made_ns=1_795_608_000_000_000_000, signing_key=KEY.public, master_key=False, ledger="sqlite",
    live=("0123456789abcdef",),
)  # fmt: skip


def sign(body: bytes) -> bytes:
    return KEY.sign(SIGNED_AS + body)


def content(folder: Path) -> Path:
    chance = random.Random(1)
    store = folder / "content"
    for number in range(12):
        path = store / f"bodies/2026-11-{number:02}/{'t' * (10 * number + 1)}/objects-{number}.bin"
        path.parent.mkdir(parents=True)
        path.write_bytes(chance.randbytes(chance.randrange(3_000)))
    (store / "empty").touch()
    return store


def archive(folder: Path, signing: Sign = sign) -> Path:
    to = folder / "store.backup"
    write_archive(content(folder), FACTS, to, signing)
    return to


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_was_written_is_unpacked_byte_for_byte_with_the_facts_that_it_was_made_with(tmp_path: Path) -> None:
    made = archive(tmp_path)
    manifest = unpack(made, tmp_path / "back")
    assert files(tmp_path / "content") == files(tmp_path / "back")
    assert FACTS == manifest.facts
    assert manifest == read_archive(made).manifest


def test_any_tar_program_reads_it(tmp_path: Path) -> None:
    made = archive(tmp_path)
    (tmp_path / "tar").mkdir()
    subprocess.run(["tar", "-x", "-f", made, "-C", tmp_path / "tar"], check=True)
    assert files(tmp_path / "content") == {
        name: body for name, body in files(tmp_path / "tar").items() if name != MANIFEST
    }


def flips(tmp_path: Path, count: int, seed: int) -> None:
    made = archive(tmp_path)
    chance = random.Random(seed)
    whole = made.read_bytes()
    for at in chance.sample(range(len(whole)), count):
        changed = bytearray(whole)
        changed[at] ^= chance.randrange(1, 256)
        made.write_bytes(changed)
        with pytest.raises(StoreError, match="backup"):
            read_archive(made)
    made.write_bytes(whole)
    read_archive(made)


@pytest.mark.promise(12)
def test_each_of_many_changed_bytes_is_found(tmp_path: Path) -> None:
    flips(tmp_path, 300, seed=1)


@pytest.mark.promise(12)
@pytest.mark.long
def test_each_of_a_thousand_changed_bytes_is_found(tmp_path: Path) -> None:
    flips(tmp_path, 1_000, seed=2)


def test_an_archive_that_was_cut_or_grew_is_found(tmp_path: Path) -> None:
    made = archive(tmp_path)
    whole = made.read_bytes()
    for size in (0, 1, 511, 512, len(whole) // 2, len(whole) - 1024, len(whole) - 1):
        made.write_bytes(whole[:size])
        with pytest.raises(StoreError):
            read_archive(made)
    made.write_bytes(whole + b"\0")
    with pytest.raises(StoreError):
        read_archive(made)


def test_one_that_another_key_signed_in_the_name_of_this_one_is_refused(tmp_path: Path) -> None:
    made = archive(tmp_path, SigningKey(bytes([1]) * 32).sign)
    with pytest.raises(StoreError, match="signature"):
        read_archive(made)


def test_a_damaged_archive_is_not_unpacked_whole(tmp_path: Path) -> None:
    made = archive(tmp_path)
    whole = bytearray(made.read_bytes())
    whole[-1] = 1
    made.write_bytes(whole)
    with pytest.raises(StoreError, match="its end is not as it was written"):
        unpack(made, tmp_path / "back")


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    to = tmp_path / "there"
    to.write_text("mine")
    with pytest.raises(StoreError, match="not overwritten"):
        write_archive(content(tmp_path), FACTS, to, sign)
    assert "mine" == to.read_text()


def test_where_signing_fails_nothing_is_left(tmp_path: Path) -> None:
    def refuses(body: bytes) -> bytes:
        raise StoreError("no")

    with pytest.raises(StoreError):
        archive(tmp_path, refuses)
    assert ["content"] == [path.name for path in tmp_path.iterdir()]


def test_a_member_that_leads_out_of_the_store_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "relative_to", lambda self, other: Path("..") / self.name)
    made = archive(tmp_path)
    monkeypatch.undo()
    with pytest.raises(StoreError, match="leads out of the store"):
        unpack(made, tmp_path / "deep" / "back")
