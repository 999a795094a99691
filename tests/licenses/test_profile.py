"""`[organization]` becomes a profile: figures, bands, places; contradictions and slips are refused."""

from pathlib import Path

import pytest

from tests.licenses.profiles import org
from weighbridge.errors import ConfigError
from weighbridge.licenses.profile import EMPTY, Range, in_place, load_profile


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "us.toml"
    file.write_text(text)
    return file


def test_a_file_with_nothing_but_an_organization_is_enough(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        """
        [organization]
        roles = ["product"]
        commercial = true
        established_in = ["DE"]
        [organization.revenue_usd]
        product_month = 5
        group_12_months = ["0", "20000000"]
        [organization.users_monthly]
        product = 10
        all_products_on = { "2025-04-05" = 7 }
        [organization.use]
        via = "self_hosted"
        businesses = []
        """,
    )
    who = load_profile(file)
    assert Range(5, 5) == who.figures["revenue_usd.product_month"]
    assert Range(0, 20e6) == who.figures["revenue_usd.group_12_months"]
    assert {"2025-04-05": Range(7, 7)} == who.all_products_on
    assert frozenset() == who.businesses


def test_absent_is_unknown_and_an_empty_list_of_businesses_is_an_answer(tmp_path: Path) -> None:
    who = load_profile(written(tmp_path, "[organization]\n"))
    assert who == EMPTY
    assert who.businesses is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[organization]\nroles = ['seller']", ("organization.roles", "'seller'", "model_service")),
        ("[organization]\nrole = ['product']", ("organization.role", "did you mean 'roles'?")),
        ("[organization]\nroles = ['personal']\ncommercial = true", ("organization.commercial", "contradicts")),
        ("[organization]\nestablished_in = ['Germany']", ("organization.established_in", "'Germany'", "ISO 3166")),
        ("[organization.revenue_usd]\nentity_year = ['9', '1']", ("entity_year", "wrong way round")),
        ("[organization.revenue_usd]\nentity_year = -1", ("entity_year", "-1", "0 or more")),
        ("[organization.revenue_usd]\nentity_year = ['a lot', '1']", ("entity_year", "'a lot'")),
        ("[organization.users_monthly]\nall_products_on = { spring = 1 }", ("all_products_on", "spring", "YYYY-MM-DD")),
        ("[organization.use]\nbusinesses = ['banking']", ("organization.use.businesses", "'banking'", "competes_with")),
        ("[organization.use]\nvia = 'api'", ("use.via", "'api'")),
        ("[other]\nx = 1", ("organization", "is missing")),
        ("[organization", ("is not TOML",)),
    ],
)
def test_a_slip_names_file_key_value_and_what_is_allowed(tmp_path: Path, text: str, says: tuple[str, ...]) -> None:
    file = written(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        load_profile(file)
    assert str(file) in str(error.value)
    for part in says:
        assert part in str(error.value)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_profile(tmp_path / "none.toml")


def test_countries_are_read_as_people_write_them() -> None:
    assert {"GB", "DE"} == org("product", established_in=("UK", "de")).established_in
    assert in_place("DE", "EU")
    assert in_place("EU", "EU")
    assert not in_place("GB", "EU")
