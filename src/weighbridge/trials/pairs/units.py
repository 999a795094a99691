"""Units and their order: whole clusters, shuffled by a seed, or as the file has them."""

from dataclasses import dataclass

import numpy as np

from weighbridge.stats.bets import FloatArray, IntArray
from weighbridge.stats.seeds import ranks
from weighbridge.trials.pairs.rows import Pairs


@dataclass(frozen=True, slots=True)
class Units:
    """Rows in the order of the tests; the rows of a unit stand together.

    A unit is the part of a cluster that lies in one slice: in its slice it is one step. rows: row numbers in order,
    shape (n,). starts: the place of each unit's first row, shape (U,). sizes: rows of each unit. slice_ids: slice of
    each unit. clusters: the number of each whole cluster's first unit, shape (C,). crossing: clusters with units in
    several slices; where there are none, clusters are units.
    """

    rows: IntArray
    starts: IntArray
    sizes: IntArray
    slice_ids: IntArray
    clusters: IntArray
    crossing: int

    @property
    def single(self) -> bool:
        """Every row is a unit."""
        return self.starts.size == self.rows.size

    def means(self, values: FloatArray) -> FloatArray:
        """The mean of each unit, shape (U,), from values by row in the order of the file."""
        ordered = values[self.rows]
        return ordered if self.single else np.asarray(np.add.reduceat(ordered, self.starts) / self.sizes)


def units_of(pairs: Pairs, seed: int | None) -> Units:
    """The units of a file of pairs. seed: of the shuffle of whole clusters; None keeps the order of the file.

    In the order of the file a cluster stands where its last row does: a unit counts once it is complete.
    """
    n = pairs.n
    if pairs.clusters is None:
        rows = np.arange(n) if seed is None else _inverse(ranks("order", seed, n))
        every = np.arange(n)
        return Units(rows, every, np.broadcast_to(np.int64(1), n), pairs.slice_ids[rows], every, 0)
    count = int(pairs.clusters.max()) + 1
    if seed is None:
        rank = np.zeros(count, dtype=np.int64)
        rank[pairs.clusters] = np.arange(n)  # the last row of each wins
    else:
        rank = ranks("order", seed, count)
    key = rank[pairs.clusters]
    key *= len(pairs.slices)
    key += pairs.slice_ids
    rows = np.argsort(key, kind="stable")
    key = key[rows]
    starts = np.flatnonzero(np.concatenate(([True], key[1:] != key[:-1])))
    place, ids = np.divmod(key[starts], len(pairs.slices))
    del key
    clusters = np.flatnonzero(np.concatenate(([True], place[1:] != place[:-1])))
    crossing = int((np.diff(clusters, append=starts.size) > 1).sum())
    return Units(rows, starts, np.diff(starts, append=n), ids, clusters, crossing)


def _inverse(permutation: IntArray) -> IntArray:
    inverse = np.empty_like(permutation)
    inverse[permutation] = np.arange(permutation.size)
    return inverse
