"""What kind of label each slice has, with which probability, and where nothing may be decided for want of labels."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from weighbridge.records.evidence import LabelSource
from weighbridge.stats.bets import FloatArray
from weighbridge.stats.judged import LABEL_PROBABILITY_MIN
from weighbridge.trials.pairs.rows import BoolArray, Pairs

Counts = NDArray[np.integer]
Blind = Literal["no labels", "too few labels"]
# Where labels were drawn uniformly, a slice may have none by chance; below this chance they were drawn otherwise.
_CHANCE_MIN = 1e-3
WEAKEST_FIRST: tuple[LabelSource, ...] = ("none", "judge", "judge+human", "human", "check")


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of one slice, or of the whole.

    source: the weakest kind in it. blind: why nothing may be decided, None where something may. rows: rows without
    scores of their own, which need a label. labelled: those that have one.
    """

    source: LabelSource
    blind: Blind | None
    rows: int
    labelled: int


@dataclass(frozen=True, slots=True)
class Labelled:
    """The rows of a file as one kind: a judge's difference everywhere, a true one where known, and how probably.

    judge: f, shape (n,), NaN where nothing stands for it. truth: y, shape (n,), NaN where unlabelled. probability: pi
    of each row in its slice's test, 1 where no label is needed; whole: the same in the test of the whole. slices:
    labels of each slice. overall: of the whole. uniform: pi was not given; it is the labelled share of each slice.
    """

    judge: FloatArray
    truth: FloatArray
    probability: FloatArray
    whole: FloatArray
    slices: tuple[Labels, ...]
    overall: Labels
    uniform: bool


def label(pairs: Pairs) -> Labelled:
    """Put scores, judge and human labels of all rows together."""
    count, scored = len(pairs.slices), pairs.scored
    truth = pairs.score.copy()
    if pairs.human is not None:
        np.copyto(truth, pairs.human, where=~scored)
    judge = pairs.score.copy()
    if pairs.judge is not None:
        np.copyto(judge, pairs.judge, where=~scored)
    labelled = ~scored & ~np.isnan(truth)
    rows = np.bincount(pairs.slice_ids[~scored], minlength=count)
    drawn = np.bincount(pairs.slice_ids[labelled], minlength=count)
    with np.errstate(invalid="ignore"):
        share = np.where(rows > 0, drawn / rows, 1.0)
    if pairs.probability is None:
        probability = np.where(scored, 1.0, share[pairs.slice_ids])
        explained, overall_share = _by_chance(rows, drawn)
        whole = np.where(scored, 1.0, np.where(explained, overall_share, share)[pairs.slice_ids])
    else:
        probability = whole = np.where(scored, 1.0, pairs.probability)
        explained = np.ones(count, dtype=np.bool_)
    certain = np.ones(count, dtype=np.bool_)
    certain[pairs.slice_ids[probability < 1.0]] = False
    few = np.zeros(count, dtype=np.bool_)
    few[pairs.slice_ids[probability < LABEL_PROBABILITY_MIN]] = True
    has_judge = pairs.judge is not None
    slices = tuple(
        Labels(
            _source(int(rows[s]), int(drawn[s]), has_judge and not certain[s]),
            _blind(int(rows[s]), int(drawn[s]), bool(few[s])),
            int(rows[s]),
            int(drawn[s]),
        )
        for s in range(count)
    )
    return Labelled(
        judge=judge,
        truth=truth,
        probability=probability,
        whole=whole,
        slices=slices,
        overall=_overall(slices, explained),
        uniform=pairs.probability is None and bool((share < 1.0).any()) and bool(drawn.any()),
    )


def _source(rows: int, drawn: int, judged: bool) -> LabelSource:
    if not rows:
        return "check"
    if judged:
        return "judge+human" if drawn else "judge"
    return "human" if drawn else "none"


def _blind(rows: int, drawn: int, few: bool) -> Blind | None:
    if rows and not drawn:
        return "no labels"
    return "too few labels" if few else None


def _by_chance(rows: Counts, drawn: Counts) -> tuple[BoolArray, float]:
    """Which slices have no label by chance, if labels were drawn with one probability everywhere, and that one."""
    share = float(drawn.sum() / rows.sum()) if rows.sum() else 1.0
    chance = (1.0 - share) ** rows
    return (drawn == 0) & (rows > 0) & (chance >= _CHANCE_MIN) & (share >= LABEL_PROBABILITY_MIN), share


def _overall(slices: tuple[Labels, ...], explained: BoolArray) -> Labels:
    if len(slices) == 1:
        return slices[0]
    rows, drawn = sum(one.rows for one in slices), sum(one.labelled for one in slices)
    blind: Blind | None = None
    for one, by_chance in zip(slices, explained.tolist(), strict=True):
        if one.blind is not None and not (one.blind == "no labels" and by_chance and drawn):
            blind = one.blind
    seen = [
        one.source for one, by_chance in zip(slices, explained.tolist(), strict=True) if not (one.blind and by_chance)
    ]
    source = min(seen, key=WEAKEST_FIRST.index, default=slices[0].source)
    return Labels(source, blind, rows, drawn)
