"""Units and their order: whole clusters (conversations, repeated runs, near-duplicates), shuffled by a seed.

Four correlated runs counted as four units give 30-48% false verdicts where 5% are allowed, and a drifting stream read
in time order 29-64%; a unit is therefore a whole cluster, updated when complete, and the frame is shuffled before
replay. Clusters of unequal size have two estimands, and the choice must be said:

- per unit: every conversation counts the same, D = mean over the cluster (`cluster_means`, then `PairTest`);
- per request: every request counts the same, X = sum over the cluster of (D_i + m) / M with M a size cap fixed in
  advance (`RequestTest`).
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from weighbridge.stats.bets import FloatArray, IntArray, check_differences
from weighbridge.stats.seeds import ranks
from weighbridge.stats.weighted import WeightedTest


@dataclass(frozen=True, slots=True)
class Clusters:
    """Differences gathered by cluster, clusters in the order of their first row.

    keys: length C. sizes: rows per cluster, shape (C,). sums: sum of the differences, shape (C,).
    """

    keys: tuple[Hashable, ...]
    sizes: IntArray
    sums: FloatArray

    @property
    def means(self) -> FloatArray:
        """The mean difference of each cluster, shape (C,)."""
        return np.asarray(self.sums / self.sizes, dtype=np.float64)


def _labels(clusters: Sequence[Hashable]) -> tuple[tuple[Hashable, ...], IntArray]:
    seen: dict[Hashable, int] = {}
    labels = np.fromiter((seen.setdefault(key, len(seen)) for key in clusters), dtype=np.int64, count=len(clusters))
    return tuple(seen), labels


def gather(differences: ArrayLike, clusters: Sequence[Hashable]) -> Clusters:
    """Sums and sizes per cluster. differences: shape (n,), each in [-1, 1]; clusters: n keys. Errors: ValueError."""
    d = check_differences(differences)
    if len(clusters) != d.size:
        raise ValueError(f"{d.size} differences but {len(clusters)} cluster keys: allowed is one key for each")
    keys, labels = _labels(clusters)
    sizes = np.bincount(labels, minlength=len(keys)).astype(np.int64)
    sums = np.bincount(labels, weights=d, minlength=len(keys))
    return Clusters(keys, sizes, np.asarray(sums, dtype=np.float64))


def cluster_means(differences: ArrayLike, clusters: Sequence[Hashable]) -> FloatArray:
    """One difference per cluster, its mean, shape (C,), in the order of first rows: the per-unit estimand."""
    return gather(differences, clusters).means


def order(clusters: Sequence[Hashable] | int, seed: int) -> IntArray:
    """A seeded permutation of the rows that shuffles whole clusters; rows of a cluster stay together and in order.

    clusters: one key per row, or the number of rows where each row is its own cluster. The same keys and seed always
    give the same order. Shape (n,).
    """
    if isinstance(clusters, int):
        return ranks("order", seed, clusters)
    keys, labels = _labels(clusters)
    rank = ranks("order", seed, len(keys))
    return np.argsort(rank[labels], kind="stable").astype(np.int64)


class RequestTest(WeightedTest):
    """Certify and halt by request: X = sum over the cluster of (D_i + m) / M, lo = (1 -/+ m), one step per cluster.

    size_cap: M, the largest cluster size, fixed in advance. size_mean: the expected size, for the bets only (the mean
    of the frame; default M). `mean` and `interval` are then per request. Errors: ValueError.
    """

    __slots__ = ("_cap",)

    def __init__(self, margin: float, alpha: float, size_cap: int, size_mean: float | None = None) -> None:
        if size_cap < 1:
            raise ValueError(f"size_cap is {size_cap!r}: allowed is 1 or more, the largest cluster size of the frame")
        mean = float(size_cap) if size_mean is None else size_mean
        if not 1.0 <= mean <= size_cap:
            raise ValueError(f"size_mean is {size_mean!r}: allowed is a number from 1 to the size cap {size_cap}")
        super().__init__(margin, alpha, mean / size_cap)
        self._cap = size_cap

    def update(self, differences: ArrayLike) -> None:
        """Step by one complete cluster: its differences, shape (size,), size at most the cap."""
        d = check_differences(differences)
        if not 1 <= d.size <= self._cap:
            raise ValueError(
                f"cluster of {d.size} requests: allowed are 1 to {self._cap}; fix a larger cap before the trial or "
                "count clusters by their means"
            )
        self._step(float(d.sum()) / self._cap, d.size / self._cap, 1.0)
