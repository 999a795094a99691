"""Publishing: numbers go up only, the same content keeps its number, a crash between number and file mends itself."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from weighbridge.clock import JumpingClock
from weighbridge.config import Loaded, loads
from weighbridge.errors import ConfigError, StoreError
from weighbridge.keeper import publish
from weighbridge.keeper.compile import key_digest
from weighbridge.keeper.publish import Publisher
from weighbridge.records.canonical import parse
from weighbridge.records.table import RouteTable
from weighbridge.store.client_keys import StoredKey, StoredSecret
from weighbridge.store.database import Database
from weighbridge.store.layout import Layout

CONFIG = """
[[endpoint]]
name = "openai"
base_url = "https://api.openai.com/v1"
provider = "PROVIDER"
[[arm]]
name = "gpt"
endpoint = "openai"
model = "MODEL"
[[route]]
name = "ROUTE"
incumbent = "gpt"
[[key]]
name = "app"
secret = "env:APP_KEY"
"""


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.setenv("APP_KEY", "sk-app")
    made = Layout(tmp_path / "store")
    made.create()
    return made


def config(route: str = "assistant", provider: str = "openai", model: str = "gpt-4o-2024-08-06") -> Loaded:
    return loads(CONFIG.replace("ROUTE", route).replace("PROVIDER", provider).replace("MODEL", model))


def publisher(layout: Layout, clock: JumpingClock | None = None) -> Publisher:
    return Publisher(layout, Database(layout.database), clock or JumpingClock(), "ab" * 32)


def on_disk(path: Path) -> RouteTable:
    return parse(path.read_bytes(), RouteTable)


def test_the_first_table_is_number_one_and_lies_where_workers_read_it(layout: Layout) -> None:
    published = publisher(layout).publish(config())
    assert published.changed
    assert published.table.number == 1
    assert on_disk(layout.table) == published.table
    assert on_disk(layout.table_last_good) == published.table
    assert layout.table.stat().st_mode & 0o777 == 0o600


def test_the_same_content_keeps_its_number_also_after_a_restart(layout: Layout) -> None:
    publisher(layout).publish(config())
    again = publisher(layout)
    assert again.current is not None
    assert not again.publish(config()).changed
    assert again.current.number == 1


def test_a_change_gets_the_next_number_and_the_old_table_is_kept_beside_it(layout: Layout) -> None:
    keeper = publisher(layout)
    first = keeper.publish(config()).table
    second = keeper.publish(config("support")).table
    assert second.number == 2
    assert on_disk(layout.table) == second
    assert on_disk(layout.table_last_good) == first


def test_a_bad_configuration_changes_nothing(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = publisher(layout)
    first = keeper.publish(config()).table
    monkeypatch.delenv("APP_KEY")
    with pytest.raises(ConfigError, match="APP_KEY"):
        keeper.publish(config("support"))
    assert keeper.current == first
    assert on_disk(layout.table) == first


def test_after_a_crash_between_number_and_file_the_file_catches_up(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = publisher(layout)
    first = keeper.publish(config()).table

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as crashing:
        crashing.setattr(publish, "write_durably", crash)
        with pytest.raises(KeyboardInterrupt):
            keeper.publish(config("support"))
    assert on_disk(layout.table) == first
    restarted = publisher(layout)
    assert on_disk(layout.table).number == 2
    assert restarted.current == on_disk(layout.table)


def test_a_lost_database_does_not_bring_numbers_back(layout: Layout) -> None:
    keeper = publisher(layout)
    keeper.publish(config("one"))
    keeper.publish(config("two"))
    for file in layout.root.glob("keeper.db*"):
        file.unlink()
    assert publisher(layout).publish(config("three")).table.number == 3


def test_a_broken_table_file_is_written_again(layout: Layout) -> None:
    first = publisher(layout).publish(config()).table
    layout.table.write_bytes(b'{"schema":"route-ta')
    assert publisher(layout).current == first
    assert on_disk(layout.table) == first


def test_a_missing_table_file_is_written_again_even_without_the_database(layout: Layout) -> None:
    first = publisher(layout).publish(config()).table
    layout.table.unlink()
    for file in layout.root.glob("keeper.db*"):
        file.unlink()
    keeper = publisher(layout)
    assert keeper.current == first
    keeper.publish(config())
    assert on_disk(layout.table) == first


def test_a_number_that_somebody_else_took_is_not_overwritten(layout: Layout) -> None:
    keeper, database = publisher(layout), Database(layout.database)
    first = keeper.publish(config()).table
    real = database.last_table
    assert real() is not None

    class Late(Database):
        """Reads the highest number a moment too early."""

        def last_table(self) -> tuple[int, bytes] | None:
            return None

    with pytest.raises(StoreError, match="published by somebody else"):
        Publisher(layout, Late(layout.database), JumpingClock(), "ab" * 32).publish(config("support"))
    assert on_disk(layout.table) == first


def test_a_full_disk_is_an_error_that_names_the_file(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    keeper = publisher(layout)
    monkeypatch.setattr(publish, "write_durably", full)
    with pytest.raises(StoreError, match=r"current\.json: No space left"):
        keeper.publish(config())


def test_a_table_knows_the_hours_at_which_a_price_changes(layout: Layout) -> None:
    clock = JumpingClock(wall_ns=1_795_608_000_000_000_000)  # 2026-11-25 12:00 UTC, off peak
    keeper = publisher(layout, clock)
    timed = config(provider="deepseek", model="deepseek-v4-pro")
    noon = keeper.publish(timed)
    assert noon.valid_until_ns is not None
    assert not keeper.publish(timed).changed
    arm = noon.table.arm("gpt")
    assert arm.price is not None
    at_peak = arm.later[0]
    assert datetime(2026, 11, 26, 1, tzinfo=UTC).timestamp() * 1e9 == at_peak.from_ns
    assert at_peak.price is not None
    assert at_peak.price.input == 2 * arm.price.input
    assert "01:00-04:00 UTC" in (at_peak.version or "")
    clock.advance((noon.valid_until_ns - clock.wall_ns()) / 1e9 + 1)
    assert keeper.publish(timed).changed


def test_a_keeper_that_is_gone_for_days_leaves_no_old_price_behind(layout: Layout) -> None:
    clock = JumpingClock(wall_ns=1_795_608_000_000_000_000)
    arm = publisher(layout, clock).publish(config(provider="deepseek", model="deepseek-v4-pro")).table.arm("gpt")
    assert (None, None) == (arm.later[-1].price, arm.later[-1].version)
    assert arm.later[-1].from_ns - clock.wall_ns() > 3 * 86_400 * 10**9


def test_a_restart_does_not_load_the_price_book_again(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    publisher(layout).publish(config())

    def loaded_again(*_: object) -> None:
        raise AssertionError("looked up again")

    monkeypatch.setattr(publish, "compile_schedule", loaded_again)
    assert not publisher(layout).publish(config()).changed


def bot(digest: str = "b" * 64) -> StoredKey:
    return StoredKey(name="bot", created_ns=1, secrets=(StoredSecret(digest=digest, created_ns=1),))


def test_a_made_key_gets_into_the_next_table_and_changes_nothing_else_of_it(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(layout.database)
    keeper = Publisher(layout, database, JumpingClock(), "ab" * 32)
    first = keeper.publish(config()).table
    database.client_keys.put(bot())
    monkeypatch.delenv("APP_KEY")  # compiling the configuration would fail now
    published = keeper.publish_keys(config())
    assert published is not None
    assert (2, ["app", "bot"]) == (published.table.number, [key.name for key in published.table.keys])
    assert msgspec.structs.replace(published.table, number=1, keys=first.keys) == first
    assert on_disk(layout.table) == published.table


def test_a_made_key_stays_over_a_publication_of_the_configuration(layout: Layout) -> None:
    database = Database(layout.database)
    database.client_keys.put(bot())
    keeper = Publisher(layout, database, JumpingClock(), "ab" * 32)
    assert ["app", "bot"] == [key.name for key in keeper.publish(config()).table.keys]
    published = keeper.publish_keys(config())
    assert published is not None
    assert not published.changed


def test_a_made_key_with_the_secret_of_a_key_in_the_file_is_a_refused_configuration(layout: Layout) -> None:
    database = Database(layout.database)
    database.client_keys.put(bot(key_digest("sk-app")))
    with pytest.raises(ConfigError, match="same secret as that of key 'bot'"):
        Publisher(layout, database, JumpingClock(), "ab" * 32).publish(config())


def test_the_table_holds_until_the_next_secret_ends(layout: Layout) -> None:
    database, clock = Database(layout.database), JumpingClock()
    ends_ns = clock.wall_ns() + 60_000_000_000
    secret = StoredSecret(digest="b" * 64, created_ns=1, expires_ns=ends_ns)
    database.client_keys.put(StoredKey(name="bot", created_ns=1, secrets=(secret,)))
    keeper = Publisher(layout, database, clock, "ab" * 32)
    assert ends_ns == keeper.publish(config()).valid_until_ns
    clock.advance(60)
    assert ["app"] == [key.name for key in keeper.publish(config()).table.keys]


def test_a_table_that_workers_could_not_read_is_not_published(layout: Layout) -> None:
    keeper = publisher(layout)
    first = keeper.publish(config()).table
    tree = config("support")
    limits = msgspec.structs.replace(tree.config.limits, first_byte_s_max=float("inf"))  # past the checks of the file
    broken = msgspec.structs.replace(tree, config=msgspec.structs.replace(tree.config, limits=limits))
    with pytest.raises(StoreError, match="cannot be read back, so it is not published and the old one stays"):
        keeper.publish(broken)
    assert (keeper.current, on_disk(layout.table)) == (first, first)
    assert keeper.publish(config("support")).table.number == 2
