"""The record and its reasons: what is missing, how many labels would be enough, what the data could have shown."""

import json
from pathlib import Path

import numpy as np
import pytest

from weighbridge.records.canonical import canonical, parse
from weighbridge.records.evidence import Verdict
from weighbridge.trials.pairs.conclude import Conclusion, conclude, points
from weighbridge.trials.pairs.read import read


def concluded(folder: Path, rows: list[dict[str, object]], margin: float = 0.05, seed: int | None = 0) -> Conclusion:
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return conclude(read(path), margin, 0.05, seed)


def scored(n: int, worse: float, better: float, slice_name: str = "a") -> list[dict[str, object]]:
    """n pairs with exact shares of worse and better answers, spread evenly."""
    rows: list[dict[str, object]] = []
    for i in range(n):
        share = (i * 0.6180339887) % 1.0
        rows.append(
            {
                "incumbent": 0 if share > 1.0 - better else 1,
                "candidate": 0 if share < worse else 1,
                "slice": slice_name,
            }
        )
    return rows


def test_the_record_is_that_of_a_trial_without_route_and_candidate(tmp_path: Path) -> None:
    made = concluded(tmp_path, scored(300, 0.0, 0.0))
    verdict = parse(canonical(made.verdict), Verdict)
    assert verdict == made.verdict
    assert (None, None, None, None) == (verdict.route, verdict.candidate, verdict.trial, verdict.cost_usd)
    assert ("verdict/1", 0.05, 0.05, 0) == (verdict.schema, verdict.margin, verdict.alpha, verdict.seed)
    row = verdict.verdicts[0]
    assert ("a", 300, 300, 0.0, "non_inferior", "check") == (
        row.slice, row.n, row.clusters, row.difference, row.verdict, row.label_source
    )  # fmt: skip
    assert "overall" == verdict.overall.slice
    assert "order: shuffled with seed 0" in verdict.method


def test_the_same_file_gives_the_same_bytes(tmp_path: Path) -> None:
    rows = scored(500, 0.1, 0.08) + scored(300, 0.0, 0.05, "b")
    first, second = (canonical(concluded(tmp_path, rows).verdict) for _ in range(2))
    assert first == second


def test_without_a_column_the_slice_is_called_all(tmp_path: Path) -> None:
    made = concluded(tmp_path, [{"incumbent": 1, "candidate": 1}] * 3)
    assert "all" == made.verdict.verdicts[0].slice


def test_a_decided_row_says_where_its_interval_lies(tmp_path: Path) -> None:
    good, bad = concluded(tmp_path, scored(900, 0.03, 0.03)), concluded(tmp_path, scored(400, 0.5, 0.0))
    assert "lower end" in good.verdict.overall.reasons[0]
    assert "lies above the margin (-5.0 points)" in good.verdict.overall.reasons[0]
    assert "lies below the margin (-5.0 points)" in bad.verdict.overall.reasons[0]


def test_an_undecided_row_says_how_many_more_pairs_and_what_these_could_have_shown(tmp_path: Path) -> None:
    made = concluded(tmp_path, scored(150, 0.1, 0.1))
    needs, shown = made.verdict.overall.reasons
    assert needs.startswith("needs about ")
    assert needs.endswith(" more pairs, if it goes on as it did")
    resolution = made.resolutions[-1]
    assert resolution is not None
    assert f"the smallest difference that these units could have shown is {100 * resolution:.1f} points" == shown
    assert 0.05 < resolution < 0.3


def test_the_pairs_said_to_be_missing_suffice_about_half_of_the_time(tmp_path: Path) -> None:
    """Twice the pairs that were asked for, of the same kind, decide."""
    reason = concluded(tmp_path, scored(300, 0.05, 0.05)).verdict.overall.reasons[0]
    missing = int("".join(char for char in reason if char.isdigit()))
    assert "non_inferior" == concluded(tmp_path, scored(300 + 2 * missing, 0.05, 0.05)).verdict.overall.verdict


def test_more_pairs_do_not_help_a_candidate_at_the_margin(tmp_path: Path) -> None:
    reasons = concluded(tmp_path, scored(200, 0.06, 0.0)).verdict.overall.reasons
    assert "more pairs will not help: the estimate (-6.0 points) is at or below the margin (-5.0 points)" == reasons[0]
    assert "would show it to be inferior" in reasons[1]


def test_pairs_are_counted_in_rows_where_units_are_clusters(tmp_path: Path) -> None:
    rows = [{**row, "cluster": i // 10} for i, row in enumerate(scored(300, 0.1, 0.1))]
    made = concluded(tmp_path, rows, margin=0.02)
    assert (300, 30) == (made.verdict.overall.n, made.verdict.overall.clusters)
    assert made.clusters == 30
    assert "the rows of a cluster within a slice, by their mean" in made.verdict.method


def test_clusters_of_unequal_size_say_whose_mean_it_is(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"incumbent": 1, "candidate": 0, "cluster": "long"}] * 3
    rows += [{"incumbent": 1, "candidate": 1, "cluster": "short"}]
    made = concluded(tmp_path, rows)
    assert -0.5 == made.verdict.overall.difference
    assert "Clusters have 1 to 3 rows in a slice: each counts the same" in made.verdict.note
    assert "Clusters have" not in concluded(tmp_path, rows[:3]).verdict.note


def judged(n: int, labels: int, judge: tuple[float, float] = (0.5, 0.5)) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for i in range(n):
        row: dict[str, object] = {"incumbent_judge": judge[0], "candidate_judge": judge[1]}
        if i < labels:
            row |= {"incumbent_human": i % 2, "candidate_human": i % 2}
        rows.append(row)
    return rows


@pytest.mark.parametrize("judge", [(0.5, 0.5), (0.0, 1.0)])
def test_a_judge_without_labels_is_told_how_many_would_be_enough(tmp_path: Path, judge: tuple[float, float]) -> None:
    made = concluded(tmp_path, judged(3_000, 0, judge))
    row = made.verdict.overall
    assert ("undecided", "judge", None) == (row.verdict, row.label_source, row.decided_at)
    assert "no human labels: a judge alone never certifies" in row.reasons[0]
    assert "human labels on rows drawn at random would be enough for an equal candidate" in row.reasons[1]
    assert (None, None) == made.resolutions


def test_the_labels_said_to_be_enough_are(tmp_path: Path) -> None:
    """As many labels as four of five cases ask for, at the spread that was assumed: most of 30 files decide."""
    reason = concluded(tmp_path, judged(4_000, 0), 0.08).verdict.overall.reasons[1]
    enough = int("".join(char for char in reason.partition("(")[2].partition(" in four")[0] if char.isdigit()))
    decided = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        truth = rng.choice([-1, 0, 1], 4_000, p=[0.075, 0.85, 0.075])
        rows: list[dict[str, object]] = []
        for i, d in enumerate(truth.tolist()):
            row: dict[str, object] = {"incumbent_judge": 0.5, "candidate_judge": 0.5}
            if i < enough:  # the shuffle makes any choice that does not look at the outcome a random one
                row |= {"incumbent_human": int(d < 0), "candidate_human": int(d > 0)}
            rows.append(row)
        decided += concluded(tmp_path, rows, 0.08).verdict.overall.verdict == "non_inferior"
    assert decided >= 18


def test_too_few_labels_are_counted(tmp_path: Path) -> None:
    reasons = concluded(tmp_path, judged(1_000, 10)).verdict.overall.reasons
    assert "10 of 1,000 rows have a human label" in reasons[0]
    assert "there are 1,000 rows" not in reasons[0]


def test_what_was_assumed_is_said(tmp_path: Path) -> None:
    rows = [{**row, "slice": "ab"[i % 2], "prompt": "x"} for i, row in enumerate(judged(600, 300))]
    note = concluded(tmp_path, rows, seed=None).verdict.note
    assert "Rows were read in the order of the file (--no-shuffle)" in note
    assert "There is no `weight`: the whole takes each slice's share of the rows" in note
    assert "There is no `label_probability`: labels are taken as drawn uniformly" in note
    assert "(300 of 600 rows that need one)" in note
    assert "Columns not used: prompt." in note
    assert "no licence was looked at" in note
    assert "SHA-256" in note


def test_what_was_given_is_not_said_to_be_assumed(tmp_path: Path) -> None:
    rows = [
        {**row, "slice": "ab"[i % 2], "weight": 0.5, "label_probability": 0.5} for i, row in enumerate(judged(600, 300))
    ]
    note = concluded(tmp_path, rows).verdict.note
    assert "There is no" not in note
    assert "--no-shuffle" not in note


def test_the_whole_names_what_it_cannot_leave_out(tmp_path: Path) -> None:
    rows = scored(400, 0.0, 0.0) + [{**row, "slice": "judged"} for row in judged(100, 0)]
    row = concluded(tmp_path, rows).verdict.overall
    assert ("undecided", "judge", None) == (row.verdict, row.label_source, row.interval)
    assert "20.0% of the traffic cannot be decided for want of human labels (judged)" in row.reasons[0]


def test_points_are_told_apart_by_more_digits() -> None:
    assert "-3.0 points" == points(-0.03)
    assert "-2.98 points" == points(-0.0298, -0.03)
    assert "0.0 points" == points(-0.00001)
