"""Reading what a report is made from: the route table in force, the signed objects, sums over the log."""

from collections.abc import Iterable

from weighbridge.config import Loaded
from weighbridge.errors import UsageError, WeighbridgeError
from weighbridge.exchanges.chain import Chain, ObjectEntry
from weighbridge.ramp.story import stories
from weighbridge.records.canonical import canonical, digest, parse
from weighbridge.records.evidence import Evidence, Finding, Verdict
from weighbridge.records.table import RouteTable
from weighbridge.reports.facts import facts_of
from weighbridge.reports.gather import Inputs, Judged, current
from weighbridge.reports.sums import seen
from weighbridge.store.layout import Layout
from weighbridge.trials.aa import LiveRerun
from weighbridge.trials.plan import read_object


def inputs_of(layout: Layout, loaded: Loaded, now_ns: int) -> Inputs:
    """Everything in the store that a report needs. Raises `WeighbridgeError` where it is not there or was changed."""
    table = table_of(layout)
    chain = Chain(layout).snapshot()
    judged = current(judged_of(layout, chain.objects))
    return Inputs(
        table=table,
        judged=judged,
        seen=seen(layout, judged),
        log_head=chain.digest if chain.seq else None,
        now_ns=now_ns,
        ramps=stories(layout, chain.objects),
        reruns=reruns_of(layout, chain.objects),
        facts=facts_of(layout, loaded, table, [one.verdict for one in judged], now_ns),
    )


def table_of(layout: Layout) -> RouteTable:
    try:
        stored = layout.table.read_bytes()
    except FileNotFoundError:
        raise WeighbridgeError(
            f"there is nothing to report: no route table was ever published in {layout.root}. Run `weighbridge serve`, "
            "send some traffic, then `weighbridge trial run`"
        ) from None
    try:
        return parse(stored, RouteTable)
    except ValueError as error:
        raise WeighbridgeError(f"{layout.table} cannot be read: {error}") from None


def judged_of(layout: Layout, objects: Iterable[ObjectEntry]) -> list[Judged]:
    """Every stored verdict with the evidence and findings that it names, each checked against its digest."""
    found: list[Judged] = []
    for entry in objects:
        if entry.kind != "verdict":
            continue
        verdict = read_object(layout, entry.digest, Verdict)
        evidence = read_object(layout, verdict.evidence, Evidence) if verdict.evidence is not None else None
        findings = tuple(read_object(layout, name, Finding) for name in verdict.findings)
        found.append(Judged(entry.digest, verdict, evidence, findings))
    return found


def reruns_of(layout: Layout, objects: Iterable[ObjectEntry]) -> dict[str, LiveRerun]:
    """The last A/A run of each route, each checked against its digest."""
    found = [read_object(layout, entry.digest, LiveRerun) for entry in objects if entry.kind == "aa"]
    return {one.route: one for one in sorted(found, key=lambda one: one.created_ns)}


def stale_note(loaded: Loaded, table: RouteTable) -> str:
    """Said when the configuration is not the one that the route table was made from; empty where it is."""
    if digest(canonical(loaded.config)) == table.config_digest:
        return ""
    return (
        f"The configuration was changed after route table {table.number} was published. Arms, prices and data terms on "
        "this page are those of the table."
    )


def check_route(table: RouteTable, name: str) -> str:
    """The route of a name or alias. Raises `UsageError` with the names there are."""
    route = table.route(name)
    if route is None:
        known = ", ".join(one.name for one in table.routes) or "none"
        raise UsageError(f"route {name!r} is not in route table {table.number}; it has: {known}")
    return route.name
