from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.provider import FakeProvider
from tests.gateway.running import Running, table


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running


@pytest.fixture
def gateway(tmp_path: Path, provider: FakeProvider) -> Iterator[Running]:
    with Running(tmp_path, table(provider.url)) as running:
        yield running
