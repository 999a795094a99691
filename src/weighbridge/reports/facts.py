"""What a report has to know beside the log: licences as read today, the supplier, dates of prices, plans, labels.

Read once at the edge; building the report is pure. What is absent is unknown.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from weighbridge.config import Loaded
from weighbridge.config.tree import CommitmentSection
from weighbridge.errors import UsageError, WeighbridgeError
from weighbridge.ledger.book import book_version, listed, listed_models
from weighbridge.ledger.stated import paid
from weighbridge.licenses import load
from weighbridge.licenses.answer import Answer
from weighbridge.licenses.check import check
from weighbridge.licenses.profile import Profile, profile
from weighbridge.licenses.provenance import Provenance, provenance
from weighbridge.licenses.supplier import Supplier, supplier
from weighbridge.ramp.plan import plan_of, section_of
from weighbridge.records.evidence import Verdict
from weighbridge.records.ramp import RampPlan
from weighbridge.records.table import Arm, RouteTable
from weighbridge.records.usage import nanousd_per_million
from weighbridge.store.layout import Layout
from weighbridge.trials.labelbook import LabelBook


@dataclass(frozen=True, slots=True)
class Terms:
    """The licence of an arm as it reads today for this organisation."""

    answer: Answer
    texts: tuple[tuple[str, tuple[str, ...]], ...]
    """Terms id -> SHA-256 of the texts that the record was read from; empty: none is recorded."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What the installed price book says of a model over time."""

    book: str
    model: str
    deprecated: bool
    changes: tuple[str, ...]
    """Days from which another price holds, past and announced."""


@dataclass(frozen=True, slots=True)
class ArmKnowledge:
    terms: Terms | None = None
    supplier: Supplier | None = None
    listing: Listing | None = None
    provenance: Provenance | None = None
    commitment: CommitmentSection | None = None
    """What pays for its endpoint instead of a price for tokens, today."""
    indemnity: str | None = None
    """What its provider indemnifies against, as the configuration states it; `none`: nothing."""


@dataclass(frozen=True, slots=True)
class Facts:
    on: str | None = None
    """The day, ISO (UTC)."""
    arms: Mapping[str, ArmKnowledge] = field(default_factory=dict)
    plans: Mapping[str, RampPlan] = field(default_factory=dict)
    """Digest or trial of a verdict -> the ramp that the configuration would make of it."""
    fresh_days: Mapping[str, float] = field(default_factory=dict)
    """Route -> days after which its verdicts allow nothing more."""
    critical: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Route -> slices (or `*`) whose grader calls a score of 0 a critical failure."""
    staff: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Route -> (hours of people in the first year, nano-dollars of one), as the configuration states them."""
    labels: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Trial -> (labels that people gave, people)."""


NO_FACTS = Facts()
NOTHING = ArmKnowledge()


def facts_of(
    layout: Layout | None, loaded: Loaded, table: RouteTable, verdicts: Iterable[Verdict], now_ns: int
) -> Facts:
    """`layout` `None`: there is no store behind it, so there are no labels.

    Raises `ConfigError` for a profile that cannot be read, `WeighbridgeError` for labels that cannot."""
    now = datetime.fromtimestamp(now_ns // 10**9, UTC)
    on = f"{now:%Y-%m-%d}"
    who = profile(loaded.config.organization, loaded.file)
    known = {arm.name: _arm(loaded, table, arm, who, now) for arm in table.arms}
    plans: dict[str, RampPlan] = {}
    labels: dict[str, tuple[int, int]] = {}
    for one in verdicts:
        if one.trial is None or one.route is None:
            continue
        plans[one.trial] = plan_of(loaded, one.route, one)
        if layout is None:
            continue
        given = LabelBook(layout.trial(one.trial)).labels()
        people = {person for by in given.values() for person in by}
        labels[one.trial] = (sum(len(by) for by in given.values()), len(people))
    critical: dict[str, tuple[str, ...]] = {}
    for row in loaded.config.grader:
        if row.critical:
            critical[row.route] = (*critical.get(row.route, ()), row.slice)
    return Facts(
        on=on,
        arms=known,
        plans=plans,
        fresh_days={route.name: section_of(loaded, route.name).verdict_days for route in table.routes},
        critical=critical,
        staff={
            row.name: (row.staff_hours, nanousd_per_million(row.usd_per_staff_hour))
            for row in loaded.config.route
            if row.staff_hours is not None and row.usd_per_staff_hour is not None
        },
        labels=labels,
    )


def _arm(loaded: Loaded, table: RouteTable, arm: Arm, who: Profile, now: datetime) -> ArmKnowledge:
    endpoint = table.endpoint(arm.endpoint)
    on = f"{now:%Y-%m-%d}"
    terms = None
    if arm.weights != "closed":
        try:
            answer = check(arm.terms or arm.model, who, on)
            texts = tuple((name, load.terms(name).text_sha256) for name in answer.terms if name in load.ids())
            terms = Terms(answer, texts)
        except UsageError:
            pass  # it names nothing that is recorded: unknown
    listing = None
    if endpoint.provider is not None:
        found = listed(endpoint.provider, arm.model)
        if found is not None:
            days = tuple(day.isoformat() for day in found.changes)
            listing = Listing(book_version(), found.id, found.deprecated, days)
    pays = (row for row in loaded.config.commitment if row.endpoint == arm.endpoint and paid(row, now))
    try:
        made = supplier(arm.terms or arm.model, listed_models()) if arm.weights != "closed" else None
    except WeighbridgeError:
        made = None
    return ArmKnowledge(
        terms=terms,
        supplier=made,
        listing=listing,
        provenance=provenance(arm, endpoint.provider, on, who),
        commitment=next(pays, None),
        indemnity=next((row.indemnity for row in loaded.config.endpoint if row.name == arm.endpoint), None),
    )
