"""Samples, labels, agreement, and the rows that a verdict reads."""

import json
import random
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from tests.trials.world import Traffic, asked
from weighbridge.records.evidence import Evidence, Finding
from weighbridge.stats.judged import LABEL_PROBABILITY_MIN
from weighbridge.trials.conclude import conclude
from weighbridge.trials.labelbook import LabelBook
from weighbridge.trials.labels import (
    Label,
    Sample,
    Word,
    agreement,
    calibrate,
    candidate_left,
    draw,
    is_drawn,
    latest,
    pair_rows,
    to_label,
)
from weighbridge.trials.outcome import Scored
from weighbridge.trials.plan import TrialPlan
from weighbridge.trials.walk import Walk

FINDING = Finding(
    schema="finding/1", arm="new", terms="Apache-2.0", verdict="allowed", obligations=(), reasons=(), on="2026-11-25"
)


def judged_trial(size: int, f: float = 0.5, weights: Mapping[str, int] | None = None) -> tuple[TrialPlan, Evidence]:
    """A trial of two slices, `a` judged by a panel and `b` checked."""
    traffic = Traffic()
    for number in range(size):
        traffic.ask("ab"[number % 2], conversation=f"c{number // 2}")
    plan, items = traffic.plan(asked(margin=0.05))
    uses = tuple(
        msgspec.structs.replace(use, kind="judge", reference="none") if use.slice == "task=a" else use
        for use in plan.graders
    )
    plan = msgspec.structs.replace(plan, graders=uses)
    walk = Walk(plan)
    draws = random.Random(1)
    walk.advance(
        {
            name: Scored(
                item=name, replay=f"r-{name}", incumbent=0.5 - f / 2 * (one := draws.choice((-1, 0, 1))),
                candidate=0.5 + f / 2 * one, length=0.0,
            )
            for name in items
        }
    )  # fmt: skip
    evidence, _ = conclude(walk, items, {}, FINDING, "exhausted", "", None, 0)
    return plan, evidence


def drawn(evidence: Evidence, labels: int = 1000, seed: str = "s") -> Sample:
    return draw(evidence, {"task=a": 7}, labels, seed)


def said(item: str, word: Word, labeller: str = "ann", time_ns: int = 0) -> Label:
    return Label(item=item, labeller=labeller, word=word, time_ns=time_ns)


def test_slices_share_the_labels_by_their_spend_and_come_most_dollars_first() -> None:
    _, evidence = judged_trial(400)
    uses = tuple(msgspec.structs.replace(use, kind="judge", reference="none") for use in evidence.graders)
    both = msgspec.structs.replace(evidence, graders=uses)
    sample = draw(both, {"task=a": 1_000, "task=b": 3_000}, 40, "s")
    assert ["task=b", "task=a"] == [row.slice for row in sample.slices]
    ratio = [row.probability * row.units for row in sample.slices]
    assert ratio[0] == pytest.approx(3 * ratio[1])
    unknown = draw(both, {"task=a": 1_000, "task=b": None}, 40, "s")
    assert unknown.slices[0].probability == pytest.approx(unknown.slices[1].probability, rel=0.1)
    assert unknown.slices[1].spend_nanousd is None or unknown.slices[0].spend_nanousd is None


def test_no_probability_is_below_the_smallest_that_the_correction_allows_nor_above_one() -> None:
    _, evidence = judged_trial(400)
    assert LABEL_PROBABILITY_MIN == drawn(evidence, labels=1).slices[0].probability
    assert 1.0 == drawn(evidence, labels=10**6).slices[0].probability


def test_conversations_are_drawn_with_their_probability_and_whole() -> None:
    _, evidence = judged_trial(40)
    row = draw(evidence, {}, 5, "s").slices[0]
    hits = [is_drawn(drawn(evidence, 5, f"seed {n}"), row, "c1") for n in range(4000)]
    assert sum(hits) / len(hits) == pytest.approx(row.probability, abs=4 * (0.25 / 4000) ** 0.5)


def test_a_trial_without_a_panel_has_nothing_to_label() -> None:
    _, evidence = judged_trial(20)
    checked = msgspec.structs.replace(evidence, graders=tuple(use for use in evidence.graders if use.kind != "judge"))
    with pytest.raises(ValueError, match="nothing to label"):
        drawn(checked)


def test_sides_change_by_person_and_pair() -> None:
    _, evidence = judged_trial(400)
    sample = drawn(evidence)
    left = [candidate_left(sample, pair.item, who) for pair in evidence.pairs for who in ("ann", "bob")]
    assert 0.4 < sum(left) / len(left) < 0.6


def test_agreement_is_krippendorffs_alpha() -> None:
    # A worked case: ann and bob agree on three of four pairs.
    words: list[tuple[Word, Word]] = [
        ("candidate", "candidate"), ("incumbent", "incumbent"), ("tie", "tie"), ("candidate", "tie"),
    ]  # fmt: skip
    labels = latest(
        said(f"i{n}", word, who) for n, pair in enumerate(words) for who, word in zip(("ann", "bob"), pair, strict=True)
    )
    found = agreement(labels)
    assert (4, 0.75) == (found.pairs, found.equal)
    # D_o = (0+0+0+1+1)/8; values 1,1,-1,-1,0,0,1,0: mean 1/8, sum of squares 5 - 8/64; D_e = 2 * 4.875 / 7
    assert found.alpha == pytest.approx(1 - (2 / 8) / (2 * 4.875 / 7))


def test_people_who_never_vary_have_no_alpha() -> None:
    labels = latest(said("i", "tie", who) for who in ("ann", "bob"))
    assert agreement(labels).alpha is None
    assert agreement({}).equal is None


def test_rows_end_before_the_first_drawn_conversation_without_a_label() -> None:
    plan, evidence = judged_trial(60)
    sample = drawn(evidence, labels=20)
    pairs = to_label(sample, evidence)
    missing = pairs[len(pairs) // 2]
    labels = latest(said(pair.item, "candidate") for pair in pairs if pair is not missing)
    rows = pair_rows(sample, plan, evidence, labels)
    judged = [pair for pair in evidence.pairs if pair.slice == "task=a"]
    at = next(n for n, pair in enumerate(judged) if pair.item == missing.item)
    mine = [row for row in rows.rows if row.slice == "task=a"]
    assert at == len(mine)
    assert {"task=a": len(judged) - at} == rows.waiting
    assert [row.candidate_human is not None for row in mine] == [
        is_drawn(sample, sample.slices[0], pair.cluster) for pair in judged[:at]
    ]
    assert {sample.slices[0].probability} == {row.label_probability for row in mine}
    assert all(row.incumbent is not None and row.candidate_judge is None for row in rows.rows if row.slice == "task=b")


def test_a_conversation_that_was_erased_unlabelled_is_left_out_and_stops_nothing() -> None:
    plan, evidence = judged_trial(60)
    sample = drawn(evidence)
    first, *others = to_label(sample, evidence)
    labels = latest(said(pair.item, "tie") for pair in others)
    rows = pair_rows(sample, plan, evidence, labels, {first.item})
    assert {} == rows.waiting
    assert rows.erased == len(evidence.pairs) - len(rows.rows) > 0


def test_without_a_sample_rows_carry_the_panel_alone() -> None:
    plan, evidence = judged_trial(40)
    rows = pair_rows(None, plan, evidence, {}).rows
    assert len(evidence.pairs) == len(rows)
    assert all(row.candidate_human is None and row.label_probability is None for row in rows)


def test_calibration_says_bias_and_correlation_of_the_panel() -> None:
    plan, evidence = judged_trial(200)
    sample = drawn(evidence)
    by_item = {pair.item: pair for pair in evidence.pairs}

    def people(item: str) -> Word:
        pair = by_item[item]
        f = pair.candidate - pair.incumbent
        return "candidate" if f > 0 else "incumbent" if f < 0 else "tie"

    labels = latest(said(pair.item, people(pair.item)) for pair in to_label(sample, evidence))
    row = calibrate(sample, plan, evidence, labels)[0]
    assert row.labelled == row.drawn
    assert row.correlation == pytest.approx(1.0)
    turned = latest(said(pair.item, "candidate") for pair in to_label(sample, evidence))
    assert calibrate(sample, plan, evidence, turned)[0].correlation is None
    assert (calibrate(sample, plan, evidence, turned)[0].bias or 0.0) < -0.8


def test_a_book_keeps_labels_through_a_torn_line_and_one_sample_for_good(tmp_path: Path) -> None:
    folder = tmp_path / "t-1"
    book = LabelBook(folder)
    _, evidence = judged_trial(20)
    first = book.draw(drawn(evidence, seed="one"))
    assert first == book.draw(drawn(evidence, seed="two"))
    book.add(said("i1", "tie"))
    book.add(said("i1", "candidate"))
    with (folder / "labels.jsonl").open("ab") as file:
        file.write(json.dumps({"item": "i2"})[:5].encode())
    book.add(said("i3", "tie", "bob"))
    found = LabelBook(folder).labels()
    assert {"i1": "candidate", "i3": "tie"} == {
        item: next(iter(people.values())).word for item, people in found.items()
    }
