"""The A/A check on a file: `incumbent` is a first run of the incumbent, `candidate` its own second run. Pure."""

import msgspec
import numpy as np

from weighbridge.errors import WeighbridgeError
from weighbridge.stats.aa import AACheck, check_differences
from weighbridge.trials.pairs.rows import Pairs
from weighbridge.trials.pairs.units import units_of

RERUN_SCHEMA = "aa/1"


class RerunSlice(msgspec.Struct, frozen=True, kw_only=True):
    """One slice: see `stats.aa.AACheck`. pairs_50, pairs_80: for an equal candidate at this noise."""

    slice: str
    units: int
    difference: float
    variance: float
    discordance: float
    interval: tuple[float, float]
    even_handed: bool
    pairs_50: int | None
    pairs_80: int | None
    smallest_margin: float | None


class Rerun(msgspec.Struct, frozen=True, kw_only=True):
    """The documented JSON shape of `verdict --aa --json`."""

    schema: str
    margin: float
    alpha: float
    seed: int | None
    slices: tuple[RerunSlice, ...]
    even_handed: bool


def rerun(pairs: Pairs, margin: float, alpha: float, seed: int | None = 0) -> Rerun:
    """How noisy and how even-handed the grader is, by slice; slices share alpha.

    Raises `WeighbridgeError` where rows have no scores of their own or a slice has a single unit; ValueError for a
    margin or alpha out of range.
    """
    if not pairs.scored.all():
        raise WeighbridgeError(
            "--aa: some rows have no `incumbent` and `candidate`: allowed are scores of the same grader for both runs"
        )
    units = units_of(pairs, seed)
    d = units.means(pairs.score)
    rows = []
    for at, name in enumerate(pairs.slices):
        mine = d[units.slice_ids == at]
        if mine.size < 2:
            raise WeighbridgeError(f"--aa: slice {name!r} has {mine.size} unit: allowed are 2 or more, 100 are useful")
        rows.append(row_of(name, check_differences(np.ascontiguousarray(mine), margin, alpha, len(pairs.slices))))
    return Rerun(
        schema=RERUN_SCHEMA,
        margin=margin,
        alpha=alpha,
        seed=seed,
        slices=tuple(rows),
        even_handed=all(row.even_handed for row in rows),
    )


def row_of(name: str, found: AACheck) -> RerunSlice:
    """The check of one slice, as it is printed and stored."""
    return RerunSlice(
        slice=name,
        units=found.n,
        difference=found.difference,
        variance=found.variance,
        discordance=found.discordance,
        interval=found.interval,
        even_handed=found.even_handed,
        pairs_50=found.plan.n50,
        pairs_80=found.plan.n80,
        smallest_margin=found.smallest_margin,
    )
