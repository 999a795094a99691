"""The recorded answers of the open-weight model: do they belong to the sample that ships beside them?"""

import datetime

from weighbridge.samples.items import recorded_pairs, sample_sha256, support_items
from weighbridge.samples.local_model import SMOLLM2


def test_every_item_has_one_recorded_pair_with_the_items_own_gold_and_incumbent_answer() -> None:
    assert [(pair.id, pair.slice, pair.gold, pair.incumbent_answer) for pair in recorded_pairs()] == [
        (item.id, item.slice, item.gold, item.incumbent_answer) for item in support_items()
    ]


def test_the_pairs_were_recorded_of_the_sample_as_it_ships() -> None:
    assert {pair.sample_sha256 for pair in recorded_pairs()} == {sample_sha256()}


def test_every_pair_names_the_model_its_weights_the_engine_and_the_day() -> None:
    assert {(pair.candidate, pair.weights_sha256) for pair in recorded_pairs()} == {(SMOLLM2.model, SMOLLM2.sha256)}
    assert all(pair.engine.startswith("llama.cpp (xllamacpp ") for pair in recorded_pairs())
    assert all(datetime.date.fromisoformat(pair.date) >= datetime.date(2026, 1, 1) for pair in recorded_pairs())


def test_every_pair_says_that_it_is_a_sample_and_that_the_incumbent_is_hand_written() -> None:
    for pair in recorded_pairs():
        assert pair.note.startswith("Sample, invented, not real customers.")
        assert "hand-written" in pair.note


def test_a_recorded_answer_is_within_the_items_limit_of_tokens_and_says_when_it_was_cut() -> None:
    limits = {item.id: item.max_tokens for item in support_items()}
    for pair in recorded_pairs():
        assert 0 < pair.completion_tokens <= limits[pair.id]
        assert pair.finish_reason in ("stop", "length"), pair.id
        assert pair.finish_reason == "stop" or pair.completion_tokens == limits[pair.id], pair.id
