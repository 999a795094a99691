"""One site for all tests of a file; each test brings people of its own."""

from collections.abc import Iterator

import pytest

from tests.admin.site import AdminSite, admin_site
from tests.keeper.processes import write_config

TEAMS = '\n[[team]]\nname = "red"\n[[team]]\nname = "blue"\n'


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdminSite]:
    file = write_config(tmp_path_factory.mktemp("admin"))
    file.write_text(file.read_text() + TEAMS)
    with admin_site(file) as made:
        yield made
