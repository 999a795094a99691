"""Bytes from strangers, on every surface. Minutes of it with `--long`, under atheris, which looks for new paths."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.seeds import SEEDS
from tests.fuzz.targets import TARGETS

CPU_S = int(os.environ.get("FUZZ_SECONDS", "600"))
SPOILERS = (b"\0", b"\xff", b"\r\n", b'"', b"{" * 600)
ROOT = Path(__file__).parents[2]


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


@pytest.mark.long
@pytest.mark.parametrize("name", TARGETS)
def test_nothing_breaks_in_ten_minutes_of_looking_for_it(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz.run", name, str(CPU_S), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert 0 == done.returncode, done.stderr[-4000:]
    assert 0 < json.loads(done.stdout.splitlines()[-1])["runs"]
