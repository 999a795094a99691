"""The organisation as licences see it: figures and bands, places, roles, businesses. What is absent is unknown."""

import re
import tomllib
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path

import msgspec

from weighbridge.config.shape import converted, refuse_unknown
from weighbridge.config.tree import ROLES, Band, Config, OrganizationSection
from weighbridge.errors import ConfigError
from weighbridge.licenses.model import Route

EUROPEAN_UNION = frozenset(
    {
        *("AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IT", "LT", "LU"),
        *("LV", "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK"),
    }
)
BUSINESSES = ("model_service", "ai_work_assistant")

REVENUE_FIELDS = (
    "product_month",
    "product_year",
    "product_recurring_year",
    "entity_year",
    "group_12_months",
    "consolidated_month",
    "employer_consolidated_month",
)


class Range(msgspec.Struct, frozen=True):
    """A figure known to lie between `low` and `high`, both included; an exact figure has both the same."""

    low: float
    high: float

    def hull(self, other: "Range") -> "Range":
        return Range(min(self.low, other.low), max(self.high, other.high))


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """A checked `[organization]`. Empty `roles`, `established_in`, `users_in` and `None` are unknown."""

    roles: frozenset[str] = frozenset()
    not_roles: frozenset[str] = frozenset()
    """Where `roles` is unknown: what this use is certainly not."""
    commercial: bool | None = None
    established_in: frozenset[str] = frozenset()
    users_in: frozenset[str] = frozenset()
    figures: dict[str, Range] = {}
    """By field, e.g. `revenue_usd.group_12_months`, `users_monthly.product`."""
    all_products_on: dict[str, Range] = {}
    """ISO day -> users of all products."""
    output_tokens_month: Range | None = None
    """Tokens that the model in question produced in a month: metered, no field of the configuration."""
    via: Route | None = None
    businesses: frozenset[str] | None = None
    """`model_service`, `ai_work_assistant`, and `competes_with:NAME` in lower case; `None` is unknown."""
    publishes_derivatives: bool | None = None
    trained_on_outputs_of: tuple[str, ...] = ()


EMPTY = Profile()


def profile(section: OrganizationSection, file: str = "weighbridge.toml") -> Profile:
    """Check an `[organization]` and turn it into a profile. Raises `ConfigError`."""
    for role in section.roles:
        if role not in ROLES:
            raise ConfigError(file, "organization.roles", "is not a role", value=role, allowed=", ".join(ROLES))
    if set(section.roles) == {"personal"} and section.commercial:
        raise ConfigError(
            file,
            "organization.commercial",
            'contradicts roles = ["personal"], which means an individual and not for gain',
            value=True,
            allowed='false, or another role such as "internal" or "product"',
        )
    figures: dict[str, Range] = {}
    for name in REVENUE_FIELDS:
        band = getattr(section.revenue_usd, name)
        if band is not None:
            figures[f"revenue_usd.{name}"] = _range(file, f"organization.revenue_usd.{name}", band)
    for name in ("product", "all_products"):
        band = getattr(section.users_monthly, name)
        if band is not None:
            figures[f"users_monthly.{name}"] = _range(file, f"organization.users_monthly.{name}", band)
    history: dict[str, Range] = {}
    for day, band in section.users_monthly.all_products_on.items():
        key = f"organization.users_monthly.all_products_on.{day}"
        try:
            date.fromisoformat(day)
        except ValueError:
            raise ConfigError(file, key, "is not a day", value=day, allowed="YYYY-MM-DD") from None
        history[day] = _range(file, key, band)
    return Profile(
        roles=frozenset(section.roles),
        commercial=section.commercial,
        established_in=_places(file, "organization.established_in", section.established_in),
        users_in=_places(file, "organization.users_in", section.users_in),
        figures=figures,
        all_products_on=history,
        via=section.use.via,
        businesses=_businesses(file, section.use.businesses),
        publishes_derivatives=section.use.publishes_derivatives,
        trained_on_outputs_of=section.use.trained_on_outputs_of or (),
    )


def load_profile(file: str | Path) -> Profile:
    """The `[organization]` of a TOML file; nothing else needs to be in it. Raises `ConfigError`."""
    try:
        tree = tomllib.loads(Path(file).read_bytes().decode())
    except FileNotFoundError:
        raise ConfigError(
            str(file), "file", "does not exist; --profile names a TOML file with [organization]"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(file), "file", f"cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(file), "file", f"is not TOML: {error}") from None
    if "organization" not in tree:
        raise ConfigError(
            str(file), "organization", "is missing", allowed="a table [organization], see docs/licenses.md"
        )
    refuse_unknown(str(file), "", tree, Config)
    try:
        section = msgspec.convert(tree["organization"], OrganizationSection, strict=True)
    except msgspec.ValidationError as error:
        raise converted(str(file), tree["organization"], error) from None
    return profile(section, str(file))


def _range(file: str, key: str, band: Band) -> Range:
    ends = band if isinstance(band, tuple) else (band, band)
    low, high = (_number(file, key, end) for end in ends)
    if low > high:
        raise ConfigError(file, key, "is a band with its ends the wrong way round", value=list(ends))
    return Range(low, high)


def _number(file: str, key: str, text: float | str) -> float:
    try:
        number = Decimal(str(text))
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or number < 0:
        raise ConfigError(file, key, "is not a figure", value=text, allowed='0 or more, or a band ["0", "20000000"]')
    return float(number)


def _places(file: str, key: str, codes: tuple[str, ...]) -> frozenset[str]:
    found = set()
    for code in codes:
        upper = code.strip().upper()
        if not re.fullmatch("[A-Z]{2}", upper):
            raise ConfigError(
                file, key, "is not a country", value=code, allowed="ISO 3166 codes such as DE, US, GB; or EU"
            )
        found.add("GB" if upper == "UK" else upper)
    return frozenset(found)


def _businesses(file: str, names: tuple[str, ...] | None) -> frozenset[str] | None:
    if names is None:
        return None
    for name in names:
        rival = name.removeprefix("competes_with:").strip() if name.startswith("competes_with:") else ""
        if name not in BUSINESSES and not rival:
            raise ConfigError(
                file,
                "organization.use.businesses",
                "is not a business that licences ask about",
                value=name,
                allowed=", ".join((*BUSINESSES, "competes_with:LICENSOR")),
            )
    return frozenset(name.lower() for name in names)


def in_place(code: str, region: str) -> bool:
    """Is the country `code` (or `EU`) in `region`, a country or `EU`?"""
    return code == region or (region == "EU" and code in EUROPEAN_UNION)
