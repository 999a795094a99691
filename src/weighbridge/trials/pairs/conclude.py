"""From states to the `Verdict` record, with reasons in plain words. Pure; nothing is decided here."""

import math
from dataclasses import dataclass

from weighbridge.records.evidence import VERDICT_SCHEMA, SliceVerdict, Verdict
from weighbridge.stats.family import Family
from weighbridge.stats.planner import pairs_still_needed, pairs_until_halt
from weighbridge.stats.sequential import PairTest
from weighbridge.trials.pairs.decide import Decided, Row, decide
from weighbridge.trials.pairs.power import labels_enough, resolutions, units_left
from weighbridge.trials.pairs.read import PairsFile

# A judge that agrees with people this well is a good one (two people agree about as well on pairwise preference).
GOOD_JUDGE = 0.6


@dataclass(frozen=True, slots=True)
class Conclusion:
    """A verdict and what is shown beside it.

    resolutions: the smallest margin that an equal candidate passes in four of five cases with the units of each slice,
    and last of the whole; None where nothing could be shown. pairs, clusters: rows and clusters of the file (None: each
    row is its own). order: how rows were ordered. notes: what the reader must know; also in the verdict's note.
    """

    verdict: Verdict
    resolutions: tuple[float | None, ...]
    pairs: int
    clusters: int | None
    order: str
    notes: tuple[str, ...]


def conclude(file: PairsFile, margin: float, alpha: float, seed: int | None = 0) -> Conclusion:
    """The verdict of a file of pairs. seed: of the shuffle, None keeps the order of the file. Errors: ValueError."""
    decided = decide(file.pairs, margin, alpha, seed)
    resolved = resolutions(decided)
    required = _required(decided)
    rows = tuple(
        _verdict(decided, row, resolution, required.get(row.name), whole=False)
        for row, resolution in zip(decided.rows, resolved[:-1], strict=True)
    )
    overall = _verdict(decided, decided.overall, resolved[-1], required.get(decided.rows[0].name), whole=True)
    order, notes = _order(decided), _notes(decided, file)
    verdict = Verdict(
        schema=VERDICT_SCHEMA,
        route=None,
        candidate=None,
        verdicts=rows,
        overall=overall,
        margin=decided.margin,
        alpha=decided.alpha,
        method=(
            "paired e-processes (five-bet mixture), slices by closed e-testing, whole by importance weights; "
            f"unit: {'a pair' if decided.clusters is None else 'the rows of a cluster within a slice, by their mean'}; "
            f"order: {order}"
        ),
        seed=decided.seed,
        cost_usd=None,
        note=" ".join(notes),
    )
    return Conclusion(verdict, resolved, file.pairs.n, decided.clusters, order, notes)


def points(value: float, other: float | None = None) -> str:
    """A difference of scores as points: -0.034 is `-3.4 points`; with more digits where they tell it from the other."""
    return f"{_digits(value, other)} points"


def _digits(value: float, other: float | None) -> str:
    for digits in (1, 2, 3):
        text = f"{100 * value:+.{digits}f}"
        if other is None or text != f"{100 * other:+.{digits}f}":
            break
    return text.replace("-0.0", "0.0") if not text.strip("+-0.") else text


def _order(decided: Decided) -> str:
    if decided.seed is None:
        return "as in the file"
    return f"shuffled with seed {decided.seed}{'' if decided.clusters is None else ', whole clusters'}"


def _notes(decided: Decided, file: PairsFile) -> tuple[str, ...]:
    pairs, columns = file.pairs, file.columns
    notes = [f"{file.name} (SHA-256 {file.sha256})."]
    if decided.seed is None:
        notes.append(
            "Rows were read in the order of the file (--no-shuffle): where quality drifts along it, verdicts can be "
            "wrong."
        )
    if pairs.weights is None and len(pairs.slices) > 1:
        notes.append(
            "There is no `weight`: the whole takes each slice's share of the rows as its share of the traffic."
        )
    if decided.uniform:
        needing = sum(row.labels.rows for row in decided.rows)
        labelled = sum(row.labels.labelled for row in decided.rows)
        notes.append(
            "There is no `label_probability`: labels are taken as drawn uniformly within each slice "
            f"({labelled:,} of {needing:,} rows that need one). If they were not (hard cases first, say), the verdict "
            "can be wrong."
        )
    small, large = decided.sizes
    if small != large:
        notes.append(
            f"Clusters have {small:,} to {large:,} rows in a slice: each counts the same, so the difference is that of "
            "the mean cluster, not of the mean row."
        )
    if decided.crossing:
        notes.append(
            f"{decided.crossing:,} clusters lie in several slices: their parts are units of their slices, and one unit "
            "of the whole."
        )
    for name, values in file.repeats:
        notes.append(
            f"Column {name} has about {values:,} values on {pairs.n:,} rows. If rows with the same value are runs or "
            f"turns of one thing they are one unit, and counted apart the verdict can be wrong: run it with "
            f"--cluster {name}."
        )
    if columns.unused:
        shown = ", ".join(columns.unused[:12]) + (f" and {len(columns.unused) - 12} more" * (len(columns.unused) > 12))
        notes.append(f"Columns not used: {shown}.")
    notes.append("Scores are taken as given, and no licence was looked at.")
    return tuple(notes)


def _required(decided: Decided) -> dict[str, float]:
    """What each undecided slice's log e-value must reach, all others staying as they are."""
    certified = [row.name for row in decided.rows if row.state.verdict == "non_inferior"]
    names = [row.name for row in decided.rows if row.labels.blind is None and row.name not in certified]
    if not names:
        return {}
    family: Family[str] = Family(decided.alpha, names)
    family.update({row.name: row.state.certify for row in decided.rows if row.name in family.undecided})
    return {name: family.required(name) for name in names}


def _verdict(
    decided: Decided, row: Row, resolution: float | None, required: float | None, *, whole: bool
) -> SliceVerdict:
    state = row.state
    if row.labels.blind is not None:
        reasons = _blind(decided, row, whole=whole)
    elif state.verdict != "undecided":
        reasons = [_decided(decided, row)]
    else:
        reasons = [*_missing(decided, row, required, whole=whole), *_shown(decided, resolution)]
    judged = row.labels.blind is not None and whole  # the judge alone on the whole: an estimate without a test
    return SliceVerdict(
        slice=row.name,
        n=row.pairs,
        clusters=state.n,
        difference=state.difference,
        interval=None if judged or not state.n else state.interval,
        verdict=state.verdict,
        decided_at=state.decided_at,
        label_source=row.labels.source,
        license="unclear",
        reasons=tuple(reasons),
    )


def _decided(decided: Decided, row: Row) -> str:
    low, high = row.state.interval
    margin = -decided.margin
    if row.state.verdict == "non_inferior":
        return f"the interval's lower end ({points(low, margin)}) lies above the margin ({points(margin, low)})"
    return f"the interval's upper end ({points(high, margin)}) lies below the margin ({points(margin, high)})"


def _shown(decided: Decided, resolution: float | None) -> list[str]:
    if resolution is None:
        return ["so few units could have shown no difference at all"]
    if resolution <= decided.margin:
        return []
    return [f"the smallest difference that these units could have shown is {100 * resolution:.1f} points"]


def _missing(decided: Decided, row: Row, required: float | None, *, whole: bool) -> list[str]:
    """What is missing for a row whose labels allow a verdict."""
    state, margin = row.state, decided.margin
    if state.difference is not None and state.difference <= -margin:
        reasons = [
            f"more pairs will not help: the estimate ({points(state.difference, -margin)}) is at or below the margin "
            f"({points(-margin, state.difference)})"
        ]
        more = _more(decided, row, required, whole=whole, halt=True)
        if more is not None:
            reasons.append(f"about {more} would show it to be inferior")
        return reasons
    more = _more(decided, row, required, whole=whole, halt=False)
    if more is None:
        return ["more pairs will not help: at the present estimate a certificate is out of reach"]
    return [f"needs about {more}, if it goes on as it did"]


def _more(decided: Decided, row: Row, required: float | None, *, whole: bool, halt: bool) -> str | None:
    """How many more pairs, in words; None where no number would do."""
    alone = -math.log(decided.alpha)
    needed = alone if required is None or halt or (whole and len(decided.rows) > 1) else required
    units: int | None
    if row.differences is not None:
        test = PairTest(decided.margin, decided.alpha)
        test.update_many(row.differences)
        units = pairs_until_halt(test) if halt else pairs_still_needed(test, needed)
    else:
        units = units_left(row, decided.margin, needed - (row.state.halt if halt else row.state.certify))
    if units is None:
        return None
    per_unit = row.pairs / row.state.n if row.state.n else 1.0
    pairs = max(1, math.ceil(units * per_unit))
    words = f"{_rounded(pairs):,} more {'pair' if pairs == 1 else 'pairs'}"
    truths = row.pairs - row.labels.rows + row.labels.labelled
    if truths < row.pairs:
        words += f" ({_rounded(max(1, math.ceil(pairs * truths / row.pairs))):,} of them labelled)"
    return words


def _rounded(number: int) -> int:
    """An estimate, with no more digits than it is worth."""
    digits = len(str(number)) - 2
    return number if digits < 1 else -(-number // 10**digits) * 10**digits


def _blind(decided: Decided, row: Row, *, whole: bool) -> list[str]:
    """Why a row without labels is not decided, and how many labels would be enough."""
    labels = row.labels
    if whole and len(decided.rows) > 1:
        return [_blind_whole(decided)]
    if labels.blind == "too few labels":
        reasons = [
            f"{labels.labelled:,} of {labels.rows:,} rows have a human label: the correction of a judge needs a label "
            "probability of at least 2%; label more rows drawn at random"
        ]
    elif labels.source == "none":
        reasons = ["no row has a score or a human label"]
    else:
        reasons = ["no human labels: a judge alone never certifies; the difference shown is the judge's own"]
    comparisons = max(1, len(decided.rows))
    n50, n80 = labels_enough(row, comparisons, decided.margin, decided.alpha, 0.0)
    good50, good80 = labels_enough(row, comparisons, decided.margin, decided.alpha, GOOD_JUDGE)
    enough = (
        f"about {_rounded(n50):,} human labels on rows drawn at random would be enough for an equal candidate "
        f"({_rounded(n80):,} in four of five cases)"
    )
    if labels.source != "none" and good80 < n80:
        enough += f", about {_rounded(good50):,} ({_rounded(good80):,}) if the judge agrees well with people"
    if n80 > labels.rows:
        enough += f"; there are {labels.rows:,} rows"
    return [*reasons, enough]


def _blind_whole(decided: Decided) -> str:
    names = [row.name for row in decided.rows if row.labels.blind is not None]
    if len(names) == len(decided.rows):
        return "no slice can be decided for want of human labels"
    share = sum(w for w, row in zip(decided.weights, decided.rows, strict=True) if row.labels.blind is not None)
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return (
        f"{share:.1%} of the traffic cannot be decided for want of human labels ({shown}); a verdict on the whole must "
        "not leave it out"
    )
