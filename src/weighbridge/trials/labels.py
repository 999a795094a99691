"""Labels by people: which pairs they are shown, what they said, how well they agree, and the rows that a verdict reads.

A sample is drawn once per trial, by whole conversations, with a probability per slice that is written down before
anybody has seen a pair. Slices with more dollars behind them get more labels and come first. People see two answers,
not whose they are. `stats.judged` needs a label for every unit that was drawn: rows are cut before the first one that
lacks it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from hashlib import blake2b
from typing import Literal

import msgspec

from weighbridge.records.evidence import Evidence
from weighbridge.stats.judged import LABEL_PROBABILITY_MIN
from weighbridge.trials.plan import TrialPlan
from weighbridge.trials.rederive import walked
from weighbridge.trials.walk import measure_of

SAMPLE_SCHEMA = "label-sample/1"
OVERLAP = 0.2
"""Share of the drawn conversations that two people label, to see whether they agree."""

Word = Literal["incumbent", "candidate", "tie"]
SCORES: dict[Word, tuple[float, float]] = {"incumbent": (1.0, 0.0), "candidate": (0.0, 1.0), "tie": (0.5, 0.5)}


class SliceSample(msgspec.Struct, frozen=True, kw_only=True):
    slice: str
    units: int
    probability: float
    """With which each conversation of the slice was drawn, in [0.02, 1]."""
    spend_nanousd: int | None
    """What the slice cost in the span; `None` where that is unknown."""


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """Drawn before anybody has seen a pair; never changed afterwards."""

    schema: str
    trial: str
    seed: str
    slices: tuple[SliceSample, ...]
    """Most dollars first."""


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """What one person said of one pair. A later line of the same person and item replaces it."""

    item: str
    labeller: str
    word: Word
    time_ns: int


class ToLabel(msgspec.Struct, frozen=True, kw_only=True):
    """A pair that was drawn."""

    item: str
    replay: str
    slice: str
    cluster: str
    people: int
    """How many are to label it: one, or two."""


def _uniform(*parts: str) -> float:
    digest = blake2b("\0".join(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def judged_slices(evidence: Evidence) -> tuple[str, ...]:
    """Slices that a panel judged: those that people can help."""
    return tuple(use.slice for use in evidence.graders if measure_of(use) == "judge")


def draw(evidence: Evidence, spend: Mapping[str, int | None], labels: int, seed: str) -> Sample:
    """The sample of a trial. labels: about how many conversations people will label. seed: random, drawn by us.

    Slices share the labels by their spend; where any spend is unknown, by their traffic. Raises `ValueError` where no
    slice was judged.
    """
    names = judged_slices(evidence)
    units = {name: len({pair.cluster for pair in evidence.pairs if pair.slice == name}) for name in names}
    names = tuple(name for name in names if units[name])
    if not names:
        raise ValueError(
            f"trial {evidence.trial} has no slice that a panel judged, so there is nothing to label; graders of kind "
            "`judge` or `rubric` make some"
        )
    known = [cost for name in names if (cost := spend.get(name)) is not None]
    by_spend = len(known) == len(names) and sum(known) > 0
    share = {name: float(spend.get(name) or 0) if by_spend else evidence.weights[name] for name in names}
    total = sum(share.values())
    rows = [
        SliceSample(
            slice=name,
            units=units[name],
            probability=min(1.0, max(LABEL_PROBABILITY_MIN, labels * share[name] / total / units[name])),
            spend_nanousd=spend.get(name),
        )
        for name in names
    ]
    rows.sort(key=lambda row: (-share[row.slice], row.slice))
    return Sample(schema=SAMPLE_SCHEMA, trial=evidence.trial, seed=seed, slices=tuple(rows))


def is_drawn(sample: Sample, row: SliceSample, cluster: str) -> bool:
    return _uniform(sample.seed, "draw", row.slice, cluster) < row.probability


def to_label(sample: Sample, evidence: Evidence) -> list[ToLabel]:
    """The drawn pairs in the order in which people see them: slices by dollars, pairs as planned.

    A failed replay has no answer to look at; it was scored without a judge.
    """
    found = []
    for row in sample.slices:
        for pair in evidence.pairs:
            if pair.slice != row.slice or pair.replay is None or pair.failure is not None:
                continue
            if is_drawn(sample, row, pair.cluster):
                twice = _uniform(sample.seed, "overlap", pair.slice, pair.cluster) < OVERLAP
                found.append(
                    ToLabel(
                        item=pair.item, replay=pair.replay, slice=pair.slice, cluster=pair.cluster,
                        people=2 if twice else 1,
                    )
                )  # fmt: skip
    return found


def latest(labels: Iterable[Label]) -> dict[str, dict[str, Label]]:
    """Item -> person -> what they said last."""
    found: dict[str, dict[str, Label]] = {}
    for label in labels:
        found.setdefault(label.item, {})[label.labeller] = label
    return found


def candidate_left(sample: Sample, item: str, labeller: str) -> bool:
    """Which side shows whose answer; another one for each person and pair."""
    return _uniform(sample.seed, "side", item, labeller) < 0.5


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """How well two people agree on the same pairs."""

    pairs: int
    equal: float | None
    """Share of pairs with the same word."""
    alpha: float | None
    """Krippendorff's alpha for three ordered words (candidate worse, tie, better); 1 is perfect, 0 is chance."""


def agreement(labels: Mapping[str, Mapping[str, Label]]) -> Agreement:
    """Inter-annotator agreement over pairs with two labels or more.

    alpha = 1 - D_o / D_e with interval distance (x - y)^2 on -1, 0, 1: D_o over pairs of labels of one item, each item
    weighted by 1 / (labels - 1); D_e over all pairs of labels. Source: Krippendorff 2011, "Computing Krippendorff's
    alpha-reliability". `None` where nobody varied or nothing overlaps.
    """
    value = {"incumbent": -1.0, "tie": 0.0, "candidate": 1.0}
    units = [[value[one.word] for one in people.values()] for people in labels.values() if len(people) > 1]
    if not units:
        return Agreement(pairs=0, equal=None, alpha=None)
    flat = [one for unit in units for one in unit]
    observed = sum(sum((a - b) ** 2 for a in unit for b in unit) / (len(unit) - 1) for unit in units) / len(flat)
    mean = sum(flat) / len(flat)
    expected = 2.0 * sum((one - mean) ** 2 for one in flat) / (len(flat) - 1)
    return Agreement(
        pairs=len(units),
        equal=sum(len(set(unit)) == 1 for unit in units) / len(units),
        alpha=None if math.isclose(expected, 0.0) else 1.0 - observed / expected,
    )


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """The panel beside people, in one slice."""

    slice: str
    drawn: int
    labelled: int
    probability: float
    judge_mean: float
    """Of the panel's differences over all pairs, its liking for length taken out."""
    bias: float | None
    """Panel minus people, mean over the labelled pairs."""
    correlation: float | None
    """Of the panel's differences with people's; `None` below three labels or where one of them never varies."""


def human_scores(people: Mapping[str, Label]) -> tuple[float, float]:
    """(incumbent, candidate) of a pair: the mean over its people."""
    scores = [SCORES[one.word] for one in people.values()]
    return sum(one for one, _ in scores) / len(scores), sum(other for _, other in scores) / len(scores)


def calibrate(
    sample: Sample, plan: TrialPlan, evidence: Evidence, labels: Mapping[str, Mapping[str, Label]]
) -> list[Calibration]:
    """The panel's calibration per slice, in the sample's order."""
    judge = walked(plan, evidence).judge_differences
    drawn = to_label(sample, evidence)
    rows = []
    for row in sample.slices:
        mine = [one for one in drawn if one.slice == row.slice]
        known = [(judge[one.item], _difference(labels[one.item])) for one in mine if labels.get(one.item)]
        f = [judge[pair.item] for pair in evidence.pairs if pair.slice == row.slice]
        rows.append(
            Calibration(
                slice=row.slice,
                drawn=len(mine),
                labelled=len(known),
                probability=row.probability,
                judge_mean=sum(f) / len(f),
                bias=sum(a - b for a, b in known) / len(known) if known else None,
                correlation=_correlation(known),
            )
        )
    return rows


def _difference(people: Mapping[str, Label]) -> float:
    old, new = human_scores(people)
    return new - old


def _correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    if len(pairs) < 3:
        return None
    a_mean, b_mean = sum(a for a, _ in pairs) / len(pairs), sum(b for _, b in pairs) / len(pairs)
    aa, bb = sum((a - a_mean) ** 2 for a, _ in pairs), sum((b - b_mean) ** 2 for _, b in pairs)
    ab = sum((a - a_mean) * (b - b_mean) for a, b in pairs)
    return None if aa == 0.0 or bb == 0.0 else ab / math.sqrt(aa * bb)


class PairRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a file for `weighbridge verdict`."""

    slice: str
    cluster: str
    weight: float
    incumbent: float | None
    candidate: float | None
    incumbent_judge: float | None
    candidate_judge: float | None
    incumbent_human: float | None
    candidate_human: float | None
    label_probability: float | None


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    rows: tuple[PairRow, ...]
    waiting: dict[str, int]
    """Slice -> pairs behind the first drawn conversation that lacks a label; they are not in the rows."""
    erased: int = 0
    """Pairs of drawn conversations that were erased before anybody labelled them."""


def pair_rows(
    sample: Sample | None,
    plan: TrialPlan,
    evidence: Evidence,
    labels: Mapping[str, Mapping[str, Label]],
    gone: Set[str] = frozenset(),
) -> Rows:
    """A trial's pairs in the planned order, with the panel's scores and people's.

    A slice ends before the first drawn conversation that is not labelled whole: to leave out only the unlabelled ones
    would let whoever labels choose. gone: unlabelled items whose texts were erased; their conversations are left out,
    since whoever had them erased knew no label.
    """
    judge = walked(plan, evidence).judge_differences
    samples = {row.slice: row for row in sample.slices} if sample is not None else {}
    judged = judged_slices(evidence)
    units: dict[tuple[str, str], bool] = {}
    for pair in evidence.pairs:
        row = samples.get(pair.slice)
        if sample is not None and row is not None and is_drawn(sample, row, pair.cluster):
            key = (pair.slice, pair.cluster)
            done = pair.failure is not None or pair.replay is None or bool(labels.get(pair.item))
            units[key] = units.get(key, True) and done
    lost = {(pair.slice, pair.cluster) for pair in evidence.pairs if pair.item in gone}
    erased = sum((pair.slice, pair.cluster) in lost for pair in evidence.pairs)
    found: list[PairRow] = []
    waiting: dict[str, int] = {}
    for pair in evidence.pairs:
        if pair.slice not in judged:
            found.append(_row(evidence, pair.slice, pair.cluster, checked=(pair.incumbent, pair.candidate)))
            continue
        if (pair.slice, pair.cluster) in lost:
            continue
        drawn = units.get((pair.slice, pair.cluster))
        if pair.slice in waiting or drawn is False:
            waiting[pair.slice] = waiting.get(pair.slice, 0) + 1
            continue
        f = judge[pair.item]
        human: tuple[float, float] | None = None
        if drawn:
            people = labels.get(pair.item)
            # Nothing came back: nobody has to look to say which answer is worse.
            human = human_scores(people) if people else (1.0, 0.0)
        row = samples.get(pair.slice)
        found.append(
            _row(
                evidence, pair.slice, pair.cluster, judge=(0.5 - f / 2, 0.5 + f / 2), human=human,
                probability=None if row is None else row.probability,
            )
        )  # fmt: skip
    return Rows(rows=tuple(found), waiting=waiting, erased=erased)


def _row(
    evidence: Evidence,
    slice_name: str,
    cluster: str,
    *,
    checked: tuple[float, float] | None = None,
    judge: tuple[float, float] | None = None,
    human: tuple[float, float] | None = None,
    probability: float | None = None,
) -> PairRow:
    nothing = (None, None)
    return PairRow(
        slice=slice_name,
        cluster=cluster,
        weight=evidence.weights[slice_name],
        incumbent=(checked or nothing)[0],
        candidate=(checked or nothing)[1],
        incumbent_judge=(judge or nothing)[0],
        candidate_judge=(judge or nothing)[1],
        incumbent_human=(human or nothing)[0],
        candidate_human=(human or nothing)[1],
        label_probability=probability,
    )
