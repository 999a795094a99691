"""A real PostgreSQL for this folder, started once."""

from collections.abc import Iterator

import pytest

from tests.fakes import postgres


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    with postgres.server() as url:
        yield url
