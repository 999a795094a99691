"""Candidates beside each other: verdict, difference, and cost on the same rows. Pure."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from weighbridge.records.evidence import Evidence, Verdict
from weighbridge.records.exchange import Exchange
from weighbridge.records.usage import NANOUSD
from weighbridge.trials.frame import Item
from weighbridge.trials.money import cost_of, total_cost
from weighbridge.trials.sweep.record import Saved, SweepRow
from weighbridge.trials.sweep.walk import Lane

_RANK = {"non_inferior": 0, "undecided": 1, "inferior": 2}


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """USD per request, weighted by traffic, of both arms on the same rows; `None` where a part of it is unknown."""

    incumbent: float | None
    candidate: float | None


def costs_of(evidence: Evidence, items: Mapping[str, Item], replays: Mapping[str, Exchange]) -> Costs:
    """What the pairs of an evidence cost. Each slice counts by its traffic weight among the slices with pairs."""
    sums: dict[str, tuple[int, int | None, int | None]] = {}
    for pair in evidence.pairs:
        count, old, new = sums.get(pair.slice, (0, 0, 0))
        item, replay = items.get(pair.item), replays.get(pair.replay or "")
        sums[pair.slice] = (
            count + 1,
            _plus(old, None if item is None else item.cost_nanousd),
            _plus(new, None if replay is None else cost_of(replay)),
        )
    total = sum(evidence.weights[name] for name in sums)
    if not sums or total <= 0.0:
        return Costs(incumbent=None, candidate=None)
    old_mean = new_mean = 0.0
    known_old = known_new = True
    for name, (count, old, new) in sums.items():
        weight = evidence.weights[name] / total
        known_old, known_new = known_old and old is not None, known_new and new is not None
        old_mean += weight * (old or 0) / count / NANOUSD
        new_mean += weight * (new or 0) / count / NANOUSD
    return Costs(incumbent=old_mean if known_old else None, candidate=new_mean if known_new else None)


def _plus(total: int | None, value: int | None) -> int | None:
    return None if total is None or value is None else total + value


def row_of(
    lane: Lane, evidence: Evidence, digest: str, verdict: Verdict, costs: Costs, replays: Iterable[Exchange]
) -> SweepRow:
    """One candidate's row; `frontier` is still to be said."""
    spent = total_cost(replays)
    saving = None
    if costs.incumbent and costs.candidate is not None:
        saving = 1.0 - costs.candidate / costs.incumbent
    whole = verdict.overall
    return SweepRow(
        candidate=lane.candidate,
        trial=lane.plan.trial,
        evidence=digest,
        overall=whole.verdict,
        slices={row.slice: row.verdict for row in verdict.verdicts},
        difference=whole.difference,
        interval=whole.interval,
        pairs=len(evidence.pairs),
        incumbent_usd_per_1000=None if costs.incumbent is None else 1000.0 * costs.incumbent,
        candidate_usd_per_1000=None if costs.candidate is None else 1000.0 * costs.candidate,
        saving=saving,
        frontier=False,
        spent_usd=None if spent is None else spent / NANOUSD,
        spared=sum(lane.spared.values()),
        settled=sum(lane.settled.values()),
        left_out_at=lane.left_out_at,
        reasons=whole.reasons,
    )


def ranked(rows: Sequence[SweepRow]) -> tuple[SweepRow, ...]:
    """By verdict on the whole, then by cost (unknown last), then by name; the frontier marked."""
    marked = [msgspec.structs.replace(row, frontier=_on_frontier(row, rows)) for row in rows]

    def key(row: SweepRow) -> tuple[int, bool, float, str]:
        cost = row.candidate_usd_per_1000
        return _RANK[row.overall], cost is None, cost or 0.0, row.candidate

    return tuple(sorted(marked, key=key))


def _on_frontier(row: SweepRow, rows: Sequence[SweepRow]) -> bool:
    if row.overall == "inferior" or row.candidate_usd_per_1000 is None or row.difference is None:
        return False
    return not any(_beats(other, row) for other in rows if other is not row and other.overall != "inferior")


def _beats(one: SweepRow, other: SweepRow) -> bool:
    """Is one as cheap and as good as the other, and not the same in both?"""
    if one.candidate_usd_per_1000 is None or one.difference is None:
        return False
    assert other.candidate_usd_per_1000 is not None  # noqa: S101 (asked by the caller)
    assert other.difference is not None  # noqa: S101
    here = (-one.candidate_usd_per_1000, one.difference)
    there = (-other.candidate_usd_per_1000, other.difference)
    return here != there and here[0] >= there[0] and here[1] >= there[1]


def saved(rows: Sequence[SweepRow], replays: Mapping[str, int], planned: int) -> Saved:
    """What stopping early saved. replays: made, by candidate; planned: of the plan, over all candidates."""
    spared_usd: float | None = 0.0
    for row in rows:
        made = replays[row.candidate]
        if not row.spared:
            continue
        if row.spent_usd is None or not made:
            spared_usd = None
            break
        spared_usd = (spared_usd or 0.0) + row.spared * row.spent_usd / made
    total = sum(replays.values())
    spared, settled = sum(row.spared for row in rows), sum(row.settled for row in rows)
    return Saved(
        replays=total,
        spared=spared,
        settled=settled,
        spared_usd=spared_usd,
        unplanned=max(0, planned - total - spared - settled),
    )
