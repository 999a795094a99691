"""Licence terms as typed data: what one record of `terms/` holds.

A record is one version of one licence, as facts in our own words. Every fact names the clause it stands in and the
source it was read from; a source says whether the text itself was seen (`read`) or only described by others
(`reported`). Nothing here decides anything: `rules` does.
"""

from typing import Literal

import msgspec

from weighbridge.records.evidence import LicenseWord

Confidence = Literal["read", "reported", "unverified"]
Axis = Literal[
    "mau_product",
    "mau_all_products",
    "revenue_product_monthly",
    "revenue_product_annual",
    "revenue_product_annual_recurring",
    "revenue_entity_annual",
    "revenue_entity_aggregate",
    "revenue_consolidated_monthly",
    "output_tokens",
    "business_type",
    "competing_product",
]
AsOf = Literal["ongoing", "model_release_date"]
Consequence = Literal[
    "display_name",
    "notify_licensor",
    "written_authorisation",
    "no_rights_until_licensed",
    "separate_agreement",
    "separate_agreement_before_any_commercial_use",
    "security_review_before_any_commercial_use",
    "licence_terminates",
    "paid_licence",
]
DutyKind = Literal[
    "licence_copy", "retain_notice", "change_notice", "notice_file", "display_text", "display_text_encouraged",
    "name_prefix", "flow_down", "acceptable_use", "notify_licensor", "written_authorisation", "separate_agreement",
    "security_review", "register", "safeguards", "ai_disclosure", "disclose_provider", "downstream_notice", "statement",
    "trademark_statement", "transparency", "back_fees", "update", "attribution",
]  # fmt: skip
Event = Literal[
    "copies_passed_on",
    "modified_files_passed_on",
    "derivative_published",
    "trained_model_published",
    "outputs_published",
    "licence_ends",
    "unlicensed_use",
    "cosmos_model",
    "encouraged",
]
"""What has to happen besides the use itself before a duty starts."""

RoleOrGroup = Literal[
    "personal", "internal", "product", "work_assistant", "model_service",
    "relay", "integrator", "distributor", "distiller", "military",
    "any_use", "organisation", "offering", "copies", "nobody",
]  # fmt: skip
"""A role of the profile, or a group of roles (`conditions.GROUPS`)."""

Route = Literal["self_hosted", "licensor_api", "certified_partner", "third_party_product"]
Business = Literal["model_service", "ai_work_assistant", "competes_with:licensor"]
PlaceTest = Literal["established_in", "users_in"]


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of everything that a terms file holds."""


class Source(Record, frozen=True, kw_only=True):
    how: Confidence
    ref: str
    """Where the text or the report of it lies, precise enough to find it again where `located`."""
    note: str | None = None
    located: bool = True


class Fact(Record, frozen=True, kw_only=True):
    """One statement about a licence. `confidence` is given where it differs from that of its source."""

    text: str
    source: str
    clause: str | None = None
    confidence: Confidence | None = None


class When(Record, frozen=True, kw_only=True):
    """A condition on the profile: every field given must hold; within a field, any value does (`only_roles`: all)."""

    roles: tuple[RoleOrGroup, ...] = ()
    not_roles: tuple[RoleOrGroup, ...] = ()
    only_roles: tuple[RoleOrGroup, ...] = ()
    commercial: Literal[True] | None = None
    businesses: tuple[Business, ...] = ()
    routes: tuple[Route, ...] = ()
    above: tuple[str, ...] = ()
    """Thresholds by id: at least one applies (its line is crossed, its gate is met, no exemption lifts it)."""
    not_above: tuple[str, ...] = ()
    """Thresholds by id: none of them applies."""


class Threshold(Record, frozen=True, kw_only=True):
    """A line on one axis. `when` is its gate as a condition, `gate` the same as recorded, for people."""

    id: str
    axis: Axis
    op: Literal[">", ">="]
    value: int
    unit: Literal["USD", "CNY", "users", "tokens", "product"]
    window: str
    as_of: AsOf
    scope: str
    affiliates: Literal["counted", "consolidated", "not_recorded"]
    gate: str
    consequence: Consequence
    verdict: LicenseWord
    source: str
    when: When = When()
    clause: str | None = None
    confidence: Confidence | None = None
    note: str | None = None


class Rule(Record, frozen=True, kw_only=True):
    """A restriction without a figure. `unclear` as verdict: the sources do not settle it."""

    id: str
    verdict: LicenseWord
    text: str
    source: str
    when: When = When()
    clause: str | None = None
    confidence: Confidence | None = None


class Territory(Record, frozen=True, kw_only=True):
    """Places without a grant, as ISO 3166 codes and `EU`; `tests` says whose place counts."""

    excluded: tuple[str, ...]
    tests: tuple[PlaceTest, ...]
    verdict: LicenseWord
    text: str
    source: str
    multimodal_only: bool = False
    clause: str | None = None
    confidence: Confidence | None = None


class Exemption(Record, frozen=True, kw_only=True):
    """What lifts thresholds, rules (by id) or `territory`. Only facts that were read may lift anything."""

    id: str
    text: str
    lifts: tuple[str, ...]
    when: When
    source: str
    clause: str | None = None
    confidence: Confidence | None = None


class Mail(Record, frozen=True, kw_only=True):
    to: str
    subject: str | None = None


class Duty(Record, frozen=True, kw_only=True):
    """Something to do. `show` is the exact string to reproduce, the only words of a licence kept in a record."""

    id: str
    kind: DutyKind
    text: str
    moment: str
    """When it starts, as recorded."""
    when: When
    source: str
    show: str | None = None
    or_show: tuple[str, ...] = ()
    """Strings that do as well, for instance for another version of the model."""
    event: Event | None = None
    mail: Mail | None = None
    clause: str | None = None
    confidence: Confidence | None = None


class Training(Record, frozen=True, kw_only=True):
    """Whether other models may be trained on outputs. `when` limits a ban, `ask` is what the profile cannot say."""

    verdict: LicenseWord
    text: str
    source: str
    when: When = When()
    ask: str | None = None
    clause: str | None = None
    confidence: Confidence | None = None


class Conflict(Record, frozen=True, kw_only=True):
    text: str
    source: str
    confidence: Confidence | None = None


class Facts(Record, frozen=True, kw_only=True):
    commercial_use: Fact
    who_counts: Fact | None = None
    hosting: Fact | None = None
    output_limits: Fact | None = None
    derivative_definition: Fact | None = None
    field_of_use: Fact | None = None
    territory: Fact | None = None
    termination: Fact | None = None
    patent: Fact | None = None
    governing_law: Fact | None = None
    permission_route: Fact | None = None
    licensor_can_change: Fact | None = None


class RoleReading(Record, frozen=True, kw_only=True):
    """What a reviewer concluded by role, inside the territory. A check on the rules, never an input to them."""

    personal: LicenseWord
    internal: LicenseWord
    product_below: LicenseWord
    product_above: LicenseWord
    host_below: LicenseWord
    host_above: LicenseWord
    military: LicenseWord


class Terms(Record, frozen=True, kw_only=True):
    """One version of one licence."""

    schema: Literal["licence-terms/1"]
    id: str
    name: str
    licensor: str
    family: str
    version: str
    """The date of the version as recorded; it may be a month, a year or a range."""
    spdx: str
    kind: str
    confidence: Confidence
    read_scope: str
    whole_text_read: bool
    facts: Facts
    training: Training
    reading: RoleReading
    models_named: tuple[str, ...]
    first_day: str | None = None
    """First and last day (ISO) that `version` can mean; `None` for an undated standard text."""
    last_day: str | None = None
    supersedes: str | None = None
    supersedes_note: str | None = None
    text_sha256: tuple[str, ...] = ()
    """Of licence files with this text, byte for byte as they lay beside the weights."""
    hub_tag: str | None = None
    scancode_key: str | None = None
    notes: str | None = None
    threshold: tuple[Threshold, ...] = ()
    rule: tuple[Rule, ...] = ()
    territory: Territory | None = None
    exemption: tuple[Exemption, ...] = ()
    duty: tuple[Duty, ...] = ()
    conflict: tuple[Conflict, ...] = ()
