"""Half an hour under load while configuration, providers and keeper break: no leak, equal books, nothing left open."""

import os
from pathlib import Path

import pytest

from bench.harness.soaking import soak

MINUTES = float(os.environ.get("SOAK_MINUTES", "30"))


@pytest.mark.promise(1, 17, 18)
@pytest.mark.long
def test_thirty_minutes_of_cuts_kills_and_reloads_leak_nothing_and_the_books_are_equal(tmp_path: Path) -> None:
    run = soak(tmp_path, MINUTES)
    assert [] == run.wrong
    assert run.books.exact > run.books.bounded > 0
    assert set(run.told) >= {"whole", "left", "error", "broken"}
