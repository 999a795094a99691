"""The configuration as one typed tree, one Section per table of the file."""

from typing import Literal

import msgspec

from weighbridge.records.table import Dialect, Limits, Weights

GRADER_KINDS = (
    "exact", "normalised", "number", "regex", "label", "json", "tool_call", "sql", "code", "similarity", "rubric",
    "judge",
)  # fmt: skip
"""Kinds a `[[grader]]` may name, besides `python:module:function`."""

SLICE_KEYS = ("key", "system_prompt", "tools", "schema")

ROLES = (
    "personal", "internal", "product", "work_assistant", "model_service",
    "relay", "integrator", "distributor", "distiller", "military",
)  # fmt: skip


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every table in the file."""


class Server(Section, frozen=True, kw_only=True):
    listen: str = "127.0.0.1:8400"
    workers: int = 1
    admin_listen: str = "127.0.0.1:8401"


class Store(Section, frozen=True, kw_only=True):
    path: str = "weighbridge-data"
    url: str | None = None
    log: str | None = None
    durability: Literal["process", "power"] = "process"


class CaptureSection(Section, frozen=True, kw_only=True):
    bodies: bool = False
    purpose: str = ""
    approved_by: str = ""
    sample: float = 1.0
    redact: tuple[str, ...] = ("secrets",)
    keep_days: int = 30
    keep_rows_days: int = 800
    encrypt_key: str | None = None


class EndpointSection(Section, frozen=True, kw_only=True):
    name: str
    dialect: Dialect = "openai"
    base_url: str
    api_key: str | None = None
    provider: str | None = None
    region: str | None = None
    retention_days: int | None = None
    trains_on_data: bool | None = None
    agreement: str | None = None
    precision: str = "unknown"
    ca_file: str | None = None


class PriceSection(Section, frozen=True, kw_only=True):
    """USD per million tokens, as strings so that no digit is lost."""

    input: str
    output: str
    cache_read: str | None = None
    cache_write: str | None = None
    cache_write_1h: str | None = None
    reasoning: str | None = None
    per_request: str | None = None


class ArmSection(Section, frozen=True, kw_only=True):
    name: str
    endpoint: str
    model: str
    weights: Weights | None = None
    terms: str | None = None
    price: PriceSection | None = None
    system_prompt_file: str | None = None


class RouteSection(Section, frozen=True, kw_only=True):
    name: str
    incumbent: str
    aliases: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    slice_by: tuple[str, ...] = ()
    allow_regions: tuple[str, ...] = ()
    allow_retention_days: int | Literal["any"] = 0
    allow_training_on_data: bool | Literal["any"] = False
    max_tokens_default: int | None = None


class GraderSection(Section, frozen=True, kw_only=True):
    route: str
    kind: str
    slice: str = "*"
    extract: str = "text"
    reference: Literal["gold", "incumbent", "none"] = "gold"
    tolerance: float | None = None
    labels: tuple[str, ...] = ()
    pattern: str | None = None
    schema: str | None = None
    fields: tuple[str, ...] = ()
    critical: bool = False
    tests: str | None = None


class TeamSection(Section, frozen=True, kw_only=True):
    name: str


class KeySection(Section, frozen=True, kw_only=True):
    name: str
    secret: str
    team: str | None = None
    routes: tuple[str, ...] = ("*",)
    budget: str | None = None


class BudgetSection(Section, frozen=True, kw_only=True):
    name: str
    limit_usd: str
    parent: str | None = None
    window: Literal["minute", "hour", "day", "week", "month", "year", "total"] = "month"
    time_zone: str = "UTC"
    hard: bool = False
    on_ledger_loss: Literal["closed", "open"] = "closed"
    per_user_usd: str | None = None


Band = float | tuple[str, str]


class RevenueSection(Section, frozen=True, kw_only=True):
    product_month: Band | None = None
    product_year: Band | None = None
    product_recurring_year: Band | None = None
    entity_year: Band | None = None
    group_12_months: Band | None = None
    consolidated_month: Band | None = None
    employer_consolidated_month: Band | None = None


class UsersSection(Section, frozen=True, kw_only=True):
    product: Band | None = None
    all_products: Band | None = None
    all_products_on: dict[str, Band] = {}


class UseSection(Section, frozen=True, kw_only=True):
    via: Literal["self_hosted", "licensor_api", "certified_partner", "third_party_product"] | None = None
    businesses: tuple[str, ...] = ()
    publishes_derivatives: bool | None = None
    trained_on_outputs_of: tuple[str, ...] = ()


class OrganizationSection(Section, frozen=True, kw_only=True):
    roles: tuple[str, ...] = ()
    commercial: bool | None = None
    established_in: tuple[str, ...] = ()
    users_in: tuple[str, ...] = ()
    revenue_usd: RevenueSection = RevenueSection()
    users_monthly: UsersSection = UsersSection()
    use: UseSection = UseSection()


class LimitsSection(Limits, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The gateway's limits; the defaults are those of `records.table.Limits`."""


class Config(Section, frozen=True, kw_only=True):
    server: Server = Server()
    store: Store = Store()
    capture: CaptureSection = CaptureSection()
    limits: LimitsSection = LimitsSection()
    endpoint: tuple[EndpointSection, ...] = ()
    arm: tuple[ArmSection, ...] = ()
    route: tuple[RouteSection, ...] = ()
    grader: tuple[GraderSection, ...] = ()
    team: tuple[TeamSection, ...] = ()
    key: tuple[KeySection, ...] = ()
    budget: tuple[BudgetSection, ...] = ()
    organization: OrganizationSection = OrganizationSection()
