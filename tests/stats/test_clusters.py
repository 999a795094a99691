"""Units are whole clusters, in a seeded order."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.stats.clusters import RequestTest, cluster_means, gather, order
from weighbridge.stats.sequential import PairTest

KEYS = st.lists(st.sampled_from(["a", "b", "c", "d", 1, None]), max_size=40)


@given(KEYS, st.integers(0, 5))
def test_a_shuffle_moves_whole_clusters_and_keeps_the_order_inside_them(keys: list[object], seed: int) -> None:
    permutation = order(keys, seed).tolist()
    assert sorted(permutation) == list(range(len(keys)))
    shuffled = [keys[i] for i in permutation]
    assert len([key for key, _ in itertools.groupby(shuffled)]) == len(set(keys))
    for key in set(keys):
        rows = [i for i in permutation if keys[i] == key]
        assert rows == sorted(rows)


def test_the_seed_decides_the_order_and_different_seeds_differ() -> None:
    assert order(50, 7).tolist() == order(50, 7).tolist()
    assert order(50, 7).tolist() != order(50, 8).tolist()
    assert sorted(order(50, 7).tolist()) == list(range(50))


def test_every_order_of_the_clusters_is_equally_likely() -> None:
    seen = [tuple(order(["a", "b", "b", "c"], seed).tolist()) for seed in range(600)]
    counts = [seen.count(order_) for order_ in set(seen)]
    assert len(counts) == 6
    assert min(counts) > 60


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.floats(-1, 1)), min_size=1, max_size=30))
def test_a_cluster_counts_with_its_mean(rows: list[tuple[str, float]]) -> None:
    gathered = gather([d for _, d in rows], [key for key, _ in rows])
    for key, size, mean in zip(gathered.keys, gathered.sizes.tolist(), gathered.means.tolist(), strict=True):
        own = [d for k, d in rows if k == key]
        assert size == len(own)
        assert mean == pytest.approx(sum(own) / len(own), abs=1e-12)


def test_a_missing_cluster_key_or_a_bad_difference_is_refused() -> None:
    with pytest.raises(ValueError, match="2 differences but 1 cluster keys"):
        cluster_means([0.0, 0.1], ["a"])
    with pytest.raises(ValueError, match="difference at position 1 is nan"):
        cluster_means([0.0, math.nan], ["a", "a"])


def test_by_request_the_mean_e_value_is_one_where_the_mean_over_requests_is_at_the_margin() -> None:
    """Large clusters are bad, small ones good: the mean over requests sits at -m, the mean over clusters above it."""
    m, p_large = 0.25, 0.4
    small, large = [0.5], [-1.0, -0.4, -0.4]
    law = [(small, 1.0 - p_large), (large, p_large)]
    m = -(0.6 * 0.5 + 0.4 * -1.8) / (0.6 * 1 + 0.4 * 3)
    certify = halt = 0.0
    for path in itertools.product(law, repeat=7):
        test = RequestTest(m, 0.05, 3, 1.8)
        for cluster, _ in path:
            test.update(cluster)
        chance = math.prod(p for _, p in path)
        certify += chance * math.exp(test.certify)
        halt += chance * math.exp(test.halt)
    assert [certify, halt] == pytest.approx([1.0, 1.0], abs=1e-9)


def test_clusters_of_one_request_give_nearly_the_same_verdict_either_way() -> None:
    d = np.random.default_rng(1).choice([-1.0, 0.0, 1.0], p=[0.05, 0.9, 0.05], size=800)
    units, requests = PairTest(0.1, 0.05), RequestTest(0.1, 0.05, 1)
    units.update_many(d)
    for value in d.tolist():
        requests.update([value])
    assert requests.mean == pytest.approx(units.mean)
    assert requests.interval() == pytest.approx(units.interval(), abs=0.003)


def test_a_cluster_above_the_cap_is_refused_and_so_are_impossible_caps() -> None:
    with pytest.raises(ValueError, match="cluster of 3 requests: allowed are 1 to 2"):
        RequestTest(0.1, 0.05, 2).update([0.0, 0.0, 0.0])
    with pytest.raises(ValueError, match="size_cap is 0"):
        RequestTest(0.1, 0.05, 0)
    with pytest.raises(ValueError, match="size_mean is 5"):
        RequestTest(0.1, 0.05, 4, 5.0)
