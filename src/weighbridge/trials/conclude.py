"""From a walk to the records that are kept: evidence, and the verdict drawn from it. Pure."""

from collections.abc import Mapping, Sequence

import msgspec

from weighbridge.records.evidence import (
    EVIDENCE_SCHEMA,
    VERDICT_SCHEMA,
    Evidence,
    Finding,
    GraderUse,
    LabelSource,
    Pair,
    SliceVerdict,
    Span,
    Verdict,
)
from weighbridge.records.exchange import Exchange
from weighbridge.records.usage import NANOUSD
from weighbridge.stats.verdict import SliceState
from weighbridge.trials import reasons as why
from weighbridge.trials.arrivals import cache_reads
from weighbridge.trials.frame import Item
from weighbridge.trials.replay import Stopped
from weighbridge.trials.walk import Walk, measure_of

METHOD = (
    "paired e-processes (five-bet mixture), {family} by closed e-testing, whole by importance weights; "
    "unit: a conversation's requests within a slice, by their mean; order: {order}"
)
_LABEL_SOURCE: dict[str, LabelSource] = {"gold": "gold", "incumbent": "agreement", "none": "check"}
_WEAKEST_FIRST: tuple[LabelSource, ...] = ("none", "agreement", "judge", "judge+human", "human", "gold", "check")
NOTE_CHARS_MAX = 200
ERASED_MEANWHILE = "erased while the trial ran"
HAND_WRITTEN = "The incumbent's answers are hand-written, not a model's: this says nothing about any incumbent model."
TUNED = "The candidate's prompt was tuned on split A of the traffic; every pair is of split B."
UNSHUFFLED = "Read in the order of the log (--no-shuffle): where quality drifts over time, verdicts can be wrong."


def conclude(
    walk: Walk,
    items: Mapping[str, Item],
    replays: Mapping[str, Exchange],
    finding: Finding,
    stopped: Stopped,
    last_broken: str,
    cost_nanousd: int | None,
    created_ns: int,
    said: Sequence[str] = (),
) -> tuple[Evidence, Verdict]:
    """Evidence and verdict of a walk; the verdict's `evidence` and `findings` are still to be filled with digests.

    replays: the trial's own exchanges out of the log, by id; `cost_nanousd` is their sum.
    said: why no more was asked, beside what `stopped` says.
    """
    plan, settings = walk.plan, walk.plan.settings
    notes = [*_notes(walk), *_step_notes(walk, items), *_cost_notes(replays)]
    cache = cache_reads(plan, replays)
    evidence = Evidence(
        schema=EVIDENCE_SCHEMA,
        trial=plan.trial,
        route=settings.route,
        incumbent=plan.incumbent,
        candidate=settings.candidate,
        table=plan.table,
        span=_span(walk),
        graders=plan.graders,
        margin=settings.margin,
        alpha=settings.alpha,
        seed=settings.seed,
        shuffled=settings.shuffle,
        weights=plan.weights,
        pairs=tuple(_pairs(walk, items, replays)),
        failed={name: len(rows) for name, rows in sorted(walk.unjudged.items())},
        split=settings.split,
        cache=cache,
        only_slice=settings.only_slice,
        note=" ".join(notes),
    )
    early = [*why.stopped_early(stopped, last_broken), *said]
    license_line = why.license_line(finding)
    tail = [line for line in (license_line, *_looks(walk)) if line]
    rows = [_slice(walk, name, finding, stopped, early, tail) for name in sorted(plan.weights)]
    verdict = Verdict(
        schema=VERDICT_SCHEMA,
        route=settings.route,
        candidate=settings.candidate,
        verdicts=tuple(rows),
        overall=_whole(walk, finding, stopped, early, tail),
        margin=settings.margin,
        alpha=settings.alpha,
        method=METHOD.format(
            family=f"slices of {len(settings.family)} candidates" if settings.family else "slices",
            order=f"shuffled, seed {settings.seed}" if settings.shuffle else "as logged",
        ),
        seed=settings.seed if settings.shuffle else None,
        cost_usd=None if cost_nanousd is None else cost_nanousd / NANOUSD,
        trial=plan.trial,
        incumbent=plan.incumbent,
        created_ns=created_ns,
        cache=cache,
        note=" ".join(notes),
    )
    return evidence, verdict


def _span(walk: Walk) -> Span:
    """The plan's span, with what was erased while the trial ran counted as left out."""
    span = walk.plan.span
    if not walk.gone:
        return span
    return msgspec.structs.replace(span, left_out={**span.left_out, ERASED_MEANWHILE: walk.gone})


def _notes(walk: Walk) -> list[str]:
    plan = walk.plan
    notes = []
    if plan.hand_written:
        notes.append(HAND_WRITTEN)
    if not plan.settings.shuffle:
        notes.append(UNSHUFFLED)
    if plan.settings.split is not None:
        notes.append(TUNED)
    if walk.gone:
        notes.append(f"{walk.gone} requests of the plan were erased while the trial ran and are left out.")
    seen: dict[str, set[str]] = {}
    for unit in plan.units:
        seen.setdefault(unit.cluster, set()).add(unit.slice)
    crossing = sum(len(slices) > 1 for slices in seen.values())
    if crossing:
        notes.append(f"{crossing} conversations lie in several slices; their parts count as units of their slices.")
    return notes


def _step_notes(walk: Walk, items: Mapping[str, Item]) -> list[str]:
    """Agents and conversations: what a verdict by steps does not say."""
    judged = [items[one.item] for _, scored in walk.taken for one in scored]
    later = sum(item.later for item in judged)
    if not later:
        return []
    return [
        f"{later:,} of {len(judged):,} judged requests are later turns or steps of an agent. Each was judged by itself "
        "on the recorded context, as the incumbent left it: this says how the candidate goes on from there, not "
        "how many steps it takes or whether it finishes a task, and it cannot price one. That takes "
        "outcomes (see the ramp)."
    ]


def _cost_notes(replays: Mapping[str, Exchange]) -> list[str]:
    guessed = sum(any(attempt.estimated for attempt in one.attempts) for one in replays.values())
    if not guessed:
        return []
    return [f"{guessed} replays broke off before their usage was told; the cost counts them at an upper bound."]


def _looks(walk: Walk) -> list[str]:
    if walk.plan.look == 1:
        return []
    return [
        f"look {walk.plan.look} at this route and candidate: the error level holds for each trial by itself, "
        "not for picking the best of several"
    ]


def _pairs(walk: Walk, items: Mapping[str, Item], replays: Mapping[str, Exchange]) -> list[Pair]:
    rows = []
    for unit, scored in walk.taken:
        for one in scored:
            replay = replays.get(one.replay) if one.replay is not None else None
            item = items[one.item]
            rows.append(
                Pair(
                    item=one.item,
                    item_digest=item.digest,
                    replay=one.replay,
                    replay_digest=None if replay is None else replay.digest,
                    cluster=unit.cluster,
                    slice=unit.slice,
                    incumbent=one.incumbent,
                    candidate=one.candidate,
                    failure=one.failure,
                    note=_note(item.note, one.note),
                    length=one.length,
                )
            )
    return rows


def _note(incumbent: str, candidate: str) -> str | None:
    parts = [f"{who}: {text}" for who, text in (("incumbent", incumbent), ("candidate", candidate)) if text]
    return "; ".join(parts)[:NOTE_CHARS_MAX] or None


def _source(use: GraderUse | None) -> LabelSource:
    if use is None:
        return "none"
    return measure_of(use) or _LABEL_SOURCE[use.reference]


def _slice(
    walk: Walk, name: str, finding: Finding, stopped: Stopped, early: list[str], tail: list[str]
) -> SliceVerdict:
    plan = walk.plan
    use = next((row for row in plan.graders if row.slice == name), None)
    source = _source(use)
    if name in plan.unjudged:
        return _nothing(name, source, finding, [plan.unjudged[name], *tail])
    state = walk.state(name)
    assert state is not None  # noqa: S101 (a judged slice has a test)
    broken = walk.unjudged.get(name)
    if name in walk.agreement:
        reasons = [why.NEVER_CERTIFIES[walk.measured[name]], *([why.failed(broken)] if broken else []), *early]
        return _row(name, walk.pairs_of(name), state, source, finding, [*reasons, *tail], certifies=False)
    if broken:
        return _row(
            name, walk.pairs_of(name), state, source, finding, [why.failed(broken), *early, *tail], certifies=False
        )
    if state.verdict == "undecided":
        reasons = [*why.undecided_slice(walk, name, state, stopped), *early]
    else:
        reasons = [why.decided(state, plan.settings.margin)]
    return _row(name, walk.pairs_of(name), state, source, finding, [*reasons, *tail], certifies=True)


def _whole(walk: Walk, finding: Finding, stopped: Stopped, early: list[str], tail: list[str]) -> SliceVerdict:
    plan = walk.plan
    judged = plan.judged
    sources = [_source(row) for row in plan.graders if row.slice in judged] + ["none"] * (not judged)
    source = min(sources, key=_WEAKEST_FIRST.index)
    reasons = _why_no_whole(walk)
    if walk.decider is None:
        return _nothing("overall", source, finding, [*reasons, *tail])
    state = walk.decider.overall(walk.candidate)
    single = len(walk.decider.slices) == 1
    pairs = walk.pairs_of(next(iter(walk.decider.slices))) if single else sum(len(row) for _, row in walk.whole_taken)
    if not reasons:
        if state.verdict == "undecided":
            reasons = [*_undecided_whole(walk, state, stopped), *early]
            return _row("overall", pairs, state, source, finding, [*reasons, *tail], certifies=True)
        reasons = [why.decided(state, plan.settings.margin)]
        return _row("overall", pairs, state, source, finding, [*reasons, *tail], certifies=True)
    return _row("overall", pairs, state, source, finding, [*reasons, *early, *tail], certifies=False)


def _undecided_whole(walk: Walk, state: SliceState, stopped: Stopped) -> list[str]:
    if len(walk.plan.judged) == 1:
        return why.undecided_slice(walk, next(iter(walk.plan.judged)), state, stopped)
    return why.undecided_whole(walk, state, stopped)


def _why_no_whole(walk: Walk) -> list[str]:
    """Why the whole can have no verdict, whatever its figures say."""
    plan, found = walk.plan, []
    if plan.unjudged:
        share = sum(plan.weights[name] for name in plan.unjudged)
        names = ", ".join(sorted(plan.unjudged))
        found.append(
            f"{share:.1%} of the traffic cannot be judged ({names}); a verdict on the whole must not leave it out"
        )
    if walk.agreement:
        for measure in sorted(set(walk.measured.values())):
            names = ", ".join(sorted(name for name in walk.agreement if walk.measured[name] == measure))
            if names:
                found.append(f"{names}: {why.NEVER_CERTIFIES[measure]}")
    if walk.unjudged:
        found.append(why.failed([row for rows in walk.unjudged.values() for row in rows]))
    return found


def _nothing(name: str, source: LabelSource, finding: Finding, reasons: list[str]) -> SliceVerdict:
    return SliceVerdict(
        slice=name,
        n=0,
        clusters=0,
        difference=None,
        interval=None,
        verdict="undecided",
        decided_at=None,
        label_source=source,
        license=finding.verdict,
        reasons=tuple(reasons),
    )


def _row(
    name: str,
    pairs: int,
    state: SliceState,
    source: LabelSource,
    finding: Finding,
    reasons: list[str],
    *,
    certifies: bool,
) -> SliceVerdict:
    return SliceVerdict(
        slice=name,
        n=pairs,
        clusters=state.n,
        difference=state.difference,
        interval=state.interval if state.n else None,
        verdict=state.verdict if certifies else "undecided",
        decided_at=state.decided_at if certifies else None,
        label_source=source,
        license=finding.verdict,
        reasons=tuple(reasons),
    )
