"""Client keys in the database."""

from pathlib import Path

import msgspec

from weighbridge.store.client_keys import StoredKey, StoredSecret
from weighbridge.store.database import Database

KEY = StoredKey(
    name="bot",
    team="support",
    routes=("assistant", "other"),
    budget="month",
    created_ns=1,
    secrets=(StoredSecret(digest="a" * 64, created_ns=1), StoredSecret(digest="b" * 64, created_ns=2, expires_ns=9)),
)


def test_what_was_put_is_read_again_by_the_next_keeper(tmp_path: Path) -> None:
    database = Database(tmp_path / "keeper.db")
    database.client_keys.put(KEY)
    database.client_keys.put(StoredKey(name="another", created_ns=3))
    database.close()
    assert ("another", "bot") == tuple(key.name for key in Database(tmp_path / "keeper.db").client_keys.all())
    assert KEY == Database(tmp_path / "keeper.db").client_keys.all()[1]


def test_a_change_of_a_key_is_a_change_of_its_ends_and_nothing_is_forgotten(tmp_path: Path) -> None:
    database = Database(tmp_path / "keeper.db")
    database.client_keys.put(KEY)
    first, second = KEY.secrets
    changed = msgspec.structs.replace(
        KEY,
        revoked_ns=20,
        secrets=(msgspec.structs.replace(first, revoked_ns=20), second, StoredSecret(digest="c" * 64, created_ns=5)),
    )
    database.client_keys.put(changed)
    assert (changed,) == database.client_keys.all()
