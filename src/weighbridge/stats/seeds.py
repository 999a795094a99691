"""Random numbers that are ours to draw: orders, slices, labels. The same on every machine and numpy version.

Each purpose has its own stream of a seed. One stream for two purposes would tie them together: a slice drawn and a
label drawn from the same number are no longer independent, and the guarantee of both is gone. Only raw output of the
bit generator is used, which numpy keeps fixed; the derived distributions it does not.
"""

import zlib

import numpy as np

from weighbridge.stats.bets import FloatArray, IntArray


def _raw(purpose: str, seed: int, count: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    if seed < 0:
        raise ValueError(f"seed is {seed!r}: allowed is a whole number, 0 or more")
    sequence = np.random.SeedSequence(seed, spawn_key=(zlib.crc32(purpose.encode()),))
    return np.asarray(np.random.PCG64(sequence).random_raw(count), dtype=np.uint64)


def uniforms(purpose: str, seed: int, count: int) -> FloatArray:
    """`count` uniform numbers in [0, 1), multiples of 2^-53."""
    return np.asarray((_raw(purpose, seed, count) >> np.uint64(11)) * 2.0**-53, dtype=np.float64)


def ranks(purpose: str, seed: int, count: int) -> IntArray:
    """A uniform permutation of 0 .. count - 1: the order of as many 64-bit numbers."""
    return np.argsort(_raw(purpose, seed, count), kind="stable").astype(np.int64)
