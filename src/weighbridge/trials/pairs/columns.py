"""The columns of a file of pairs, and what is said of a column that is missing, doubled or nearly right."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from weighbridge.errors import UsageError, WeighbridgeError

INCUMBENT, CANDIDATE = "incumbent", "candidate"
SLICE, CLUSTER, WEIGHT = "slice", "cluster", "weight"
LABEL_PROBABILITY = "label_probability"
SCORES = ((INCUMBENT, CANDIDATE), ("incumbent_judge", "candidate_judge"), ("incumbent_human", "candidate_human"))
"""Scores that people check or compute, scores of a judge, scores by humans; each as a pair."""
KNOWN = (*(name for pair in SCORES for name in pair), SLICE, CLUSTER, WEIGHT, LABEL_PROBABILITY)
_NEAR = 0.85


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column of a file holds what. scores: the pairs of `SCORES` that are there, shortest name first."""

    scores: tuple[tuple[str, str], ...]
    slice: str | None
    cluster: str | None
    weight: bool
    label_probability: bool
    unused: tuple[str, ...]

    @property
    def has_judge(self) -> bool:
        return SCORES[1] in self.scores

    @property
    def has_human(self) -> bool:
        return SCORES[2] in self.scores


def find(where: str, names: Sequence[str], slice_column: str | None, cluster_column: str | None) -> Columns:
    """What the columns of a file mean. `where` names the file in errors.

    slice_column, cluster_column: other names for `slice` and `cluster`. UsageError where they are not there;
    WeighbridgeError for a column that is there twice, missing, or spelled almost like a known one.
    """
    doubled = sorted({name for name in names if list(names).count(name) > 1})
    if doubled:
        places = ", ".join(str(i + 1) for i, name in enumerate(names) if name == doubled[0])
        raise WeighbridgeError(
            f"{where}: column {doubled[0]!r} is there more than once (columns {places}): allowed is each name once; "
            "rename or remove one"
        )
    for option, asked in (("--slice", slice_column), ("--cluster", cluster_column)):
        if asked is not None and asked not in names:
            raise UsageError(f"{option} {asked}: {where} has no such column; it has {_listed(names)}")
    found = tuple(pair for pair in SCORES if pair[0] in names or pair[1] in names)
    for pair in found:
        for here, there in (pair, pair[::-1]):
            if there not in names:
                raise WeighbridgeError(
                    f"{where}: there is a column {here!r} but none {there!r}: pairs need both; "
                    f"it has {_listed(names)}{_meant(there, names)}"
                )
    if not found:
        raise WeighbridgeError(
            f"{where}: there are no scores: allowed are columns `incumbent` and `candidate` with numbers from 0 to 1, "
            f"or `incumbent_judge`, `candidate_judge`, `incumbent_human`, `candidate_human`; it has {_listed(names)}"
            f"{_meant(INCUMBENT, names)}"
        )
    by_slice = slice_column or (SLICE if SLICE in names else None)
    by_cluster = cluster_column or (CLUSTER if CLUSTER in names else None)
    used = {name for pair in found for name in pair} | {by_slice, by_cluster, WEIGHT, LABEL_PROBABILITY}
    unused = tuple(name for name in names if name not in used)
    absent = [name for name in KNOWN if name not in names and not _replaced(name, slice_column, cluster_column)]
    for name in unused:
        near = [known for known in absent if _alike(name, known)]
        if near:
            raise WeighbridgeError(
                f"{where}: unknown column {name!r}: did you mean {near[0]!r}? A column with a known name changes the "
                "verdict, so a near miss is not passed over: rename it"
            )
    return Columns(
        scores=found,
        slice=by_slice,
        cluster=by_cluster,
        weight=WEIGHT in names,
        label_probability=LABEL_PROBABILITY in names,
        unused=unused,
    )


def printable(text: str) -> str:
    """Text out of a file as an error shows it: nothing in it may move a terminal's cursor."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _replaced(name: str, slice_column: str | None, cluster_column: str | None) -> bool:
    return (name == SLICE and slice_column is not None) or (name == CLUSTER and cluster_column is not None)


def _alike(name: str, known: str) -> bool:
    plain = name.strip().lower().replace("-", "_").replace(" ", "_")
    return plain == known or difflib.SequenceMatcher(None, plain, known).ratio() >= _NEAR


def _meant(name: str, names: Sequence[str]) -> str:
    near = [other for other in names if other not in KNOWN and _alike(other, name)]
    return f" (did you mean {near[0]!r}?)" if near else ""


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(printable(name) for name in names[:20]) or "no column at all"
    return f"{shown} and {len(names) - 20} more" if len(names) > 20 else shown
