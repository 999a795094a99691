"""Bytes from strangers, on every surface: a seed of it here, minutes of it under atheris with `--long`."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.fuzz import fuzzed
from tests.fuzz.found import FOUND
from tests.fuzz.seeds import SEEDS
from tests.fuzz.targets import TARGETS

pytestmark = pytest.mark.promise(29)

CPU_S = float(os.environ.get("FUZZ_SECONDS", "600"))


@st.composite
def spoiled(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A seed with a few places changed, taken out, doubled, or exchanged for a piece of another."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.sampled_from([0, 1, 1, 2, 8, 40])))
        other = draw(st.sampled_from(seeds))
        start = draw(st.integers(0, len(other)))
        piece = draw(
            st.sampled_from(
                [b"", bytes(data[at:end]) * 2, other[start : start + 20], b"\0", b"\xff", b"\r\n", b'"', b"{" * 600]
            )
            | st.binary(max_size=6)
        )
        data[at:end] = piece
    return bytes(data)


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_breaks_on_bytes_of_any_kind(name: str) -> None:
    target = TARGETS[name]

    @settings(max_examples=150, suppress_health_check=list(HealthCheck))
    @given(spoiled(SEEDS[name]) | st.binary(max_size=200))
    def feed(data: bytes) -> None:
        target(data)

    for seed in SEEDS[name]:
        target(seed)
    feed()


@pytest.mark.parametrize("name", FOUND)
def test_what_broke_something_once_breaks_nothing_any_more(name: str) -> None:
    for data in FOUND[name]:
        TARGETS[name](data)


@pytest.mark.long
@pytest.mark.parametrize("name", TARGETS)
def test_nothing_breaks_in_ten_minutes_of_looking_for_it(name: str, tmp_path: Path) -> None:
    row = fuzzed(name, CPU_S, tmp_path)
    assert [] == row.finds
    assert 0 < row.runs
