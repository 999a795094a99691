"""`verdict --aa`: the incumbent against itself."""

import json
from pathlib import Path

import numpy as np
import pytest

from weighbridge.cli import root


def reruns(tmp_path: Path, second: float) -> Path:
    """Two runs over 600 requests of two kinds; the first is right in 80%, the second in `second`."""
    coin = np.random.default_rng(4)
    rows = [f"{'ab'[n % 2]},{int(coin.random() < 0.8)},{int(coin.random() < second)}" for n in range(600)]
    path = tmp_path / "reruns.csv"
    path.write_text("\n".join(["slice,incumbent,candidate", *rows]) + "\n")
    return path


def test_a_noisy_but_fair_grader_is_even_handed_and_says_how_many_pairs_it_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 0 == root.run(["verdict", "--aa", "--json", "--pairs", str(reruns(tmp_path, 0.8))])
    found = json.loads(capsys.readouterr().out)
    assert ("aa/1", True) == (found["schema"], found["even_handed"])
    assert [("a", 300), ("b", 300)] == [(row["slice"], row["units"]) for row in found["slices"]]
    for row in found["slices"]:
        assert 0.2 < row["discordance"] < 0.45
        assert row["pairs_50"] < row["pairs_80"]
        assert row["interval"][0] < 0.0 < row["interval"][1]


def test_a_grader_that_favours_one_run_of_the_same_model_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 2 == root.run(["verdict", "--aa", "--pairs", str(reruns(tmp_path, 0.4))])
    assert "One run is favoured in a and b" in capsys.readouterr().out.replace("\n", " ")


def test_an_aa_check_is_no_gate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert 64 == root.run(["verdict", "--aa", "--gate", "--pairs", str(reruns(tmp_path, 0.8))])
    assert "an A/A check is no verdict" in capsys.readouterr().err
