"""How long answers usually are is looked at once a day, and told only where it says something new."""

import asyncio
from pathlib import Path

import pytest

from tests.ledger.made import DAY_NS, NOV_1_NS, Books
from tests.ledger.test_usual import answers
from weighbridge.errors import StoreError
from weighbridge.keeper.usual import UsualOutputs, remembered_usual
from weighbridge.ledger import usual
from weighbridge.records.table import UsualOutput
from weighbridge.store.database import Database

NOW_NS = NOV_1_NS + 5 * DAY_NS


async def looked(outputs: UsualOutputs, now_ns: int) -> None:
    outputs.tick(now_ns)
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        await asyncio.wait(others)


def test_it_is_looked_at_once_a_day_and_told_when_it_has_changed(tmp_path: Path) -> None:
    books = Books(tmp_path)
    database, told = Database(books.layout.database), []
    outputs = UsualOutputs(books.layout, database, lambda: told.append(1))
    asyncio.run(looked(outputs, NOW_NS))
    assert ({}, 0) == (remembered_usual(database).routes, len(told))
    answers(books, range(1, 801))
    asyncio.run(looked(outputs, NOW_NS + 1))
    assert {} == remembered_usual(database).routes  # the same day
    asyncio.run(looked(outputs, NOW_NS + DAY_NS))
    assert {"assistant": (UsualOutput(arm="closed", tokens=1024),)} == remembered_usual(database).routes
    asyncio.run(looked(outputs, NOW_NS + 2 * DAY_NS))
    assert 1 == len(told)
    database.close()
    books.close()


def test_a_log_that_cannot_be_read_leaves_what_was_known_until_tomorrow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = Books(tmp_path)
    database, looks = Database(books.layout.database), []

    def fails(*_: object) -> tuple[()]:
        looks.append(1)
        raise StoreError("damaged")

    monkeypatch.setattr(usual, "usual_output", fails)
    outputs = UsualOutputs(books.layout, database, lambda: None)
    for at_ns in (NOW_NS, NOW_NS + 1, NOW_NS + DAY_NS):
        asyncio.run(looked(outputs, at_ns))
    assert 2 == len(looks)
    database.close()
    books.close()
