"""One site for all tests of a file; each test brings people of its own."""

from collections.abc import Iterator

import pytest

from tests.admin.site import AdminSite, admin_site
from tests.keeper.processes import write_config

TEAMS = """
[[route]]
name = "internal"
incumbent = "incumbent"
[[key]]
name = "red-app"
team = "red"
secret = "file:red.key"
routes = ["assistant"]
[[key]]
name = "blue-app"
team = "blue"
secret = "file:blue.key"
routes = ["assistant", "internal"]
[[team]]
name = "red"
budget = "for-red"
[[team]]
name = "blue"
budget = "for-blue"
[[budget]]
name = "company"
limit_usd = "1000"
[[budget]]
name = "for-red"
parent = "company"
limit_usd = "100"
[[budget]]
name = "for-blue"
parent = "company"
limit_usd = "100"
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdminSite]:
    file = write_config(tmp_path_factory.mktemp("admin"))
    for team in ("red", "blue"):
        (file.parent / f"{team}.key").write_text(f"wb-key-of-{team}-0123456789")
    file.write_text(file.read_text() + TEAMS)
    with admin_site(file) as made:
        yield made
