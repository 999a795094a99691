"""Audit: what was changed, by whom and why, out of the signed log."""

import msgspec

from weighbridge.admin.pages import words
from weighbridge.admin.pages.sources import Sources
from weighbridge.admin.people import Person
from weighbridge.errors import ControlError, WeighbridgeError
from weighbridge.exchanges.chain import ObjectEntry
from weighbridge.ledger.limits import LimitChange
from weighbridge.records.evidence import Verdict
from weighbridge.records.people import AuditEntry
from weighbridge.records.ramp import RampState
from weighbridge.records.usage import usd
from weighbridge.store.people_calls import AuditList, ShowAudit
from weighbridge.trials.plan import TrialPlan, read_object

SHOWN = 200


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One object of the signed log, newest first."""

    time_ns: int
    kind: str
    about: str
    by: str | None
    """`None`: this kind does not say."""
    what: str
    digest: str


def audit(sources: Sources) -> tuple[tuple[Entry, ...], int]:
    """The newest entries, and how many more there are."""
    objects = sources.chain().objects
    shown = list(reversed(objects))[:SHOWN]
    return tuple(_entry(sources, one) for one in shown), len(objects) - len(shown)


def book(sources: Sources, person: Person) -> tuple[tuple[AuditEntry, ...] | None, str]:
    """The newest entries of the book of changes, as the keeper gives them to this person; else why not."""
    try:
        with sources.keeper() as control:
            return control.call(person.asks(ShowAudit(rows_max=SHOWN)), AuditList).rows, ""
    except ControlError as error:
        return None, str(error)


def _entry(sources: Sources, entry: ObjectEntry) -> Entry:
    by, what = None, ""
    try:
        if entry.kind == "ramp":
            ramp = read_object(sources.layout, entry.digest, RampState)
            by = ramp.by or ramp.proposed_by
            what = f"{words.stage(ramp.stage)}, {ramp.basis_points / 100:g} %: {'; '.join(ramp.reasons)}"
        elif entry.kind == "limit":
            change = read_object(sources.layout, entry.digest, LimitChange)
            by = change.by
            limit = "back to the configuration's" if change.limit_nanousd is None else usd(change.limit_nanousd)
            what = (
                f"limit {limit}, the configuration says {usd(change.over_nanousd)}: {change.why or 'no reason given'}"
            )
        elif entry.kind == "verdict":
            verdict = read_object(sources.layout, entry.digest, Verdict)
            what = f"{words.verdict(verdict.overall.verdict)} on the whole, margin {100 * verdict.margin:g} points"
        elif entry.kind == "trial":
            plan = read_object(sources.layout, entry.digest, TrialPlan)
            what = f"{plan.trial}: {plan.settings.candidate} against {plan.incumbent}, {plan.items:,} items planned"
    except WeighbridgeError as error:
        what = str(error)
    return Entry(time_ns=entry.created_ns, kind=entry.kind, about=entry.label, by=by, what=what, digest=entry.digest)
