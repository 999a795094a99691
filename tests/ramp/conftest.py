"""Fixtures of the ramp's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ramp.desk import Store, store_in


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = store_in(tmp_path / "a")
    yield made
    made.office.close()
    made.database.close()
