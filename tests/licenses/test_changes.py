"""What changed, in meaning: between two texts, and date by date in a family."""

import re

import pytest

from weighbridge.licenses import load
from weighbridge.licenses.changes import between, changes, families, sentence, told
from weighbridge.licenses.diff import compare


@pytest.mark.parametrize("change", changes(), ids=lambda row: f"{row.family} {row.date} {row.model}")
def test_each_dated_change_is_one_plain_sentence(change: object) -> None:
    row = next(one for one in changes() if one is change)
    text = sentence(row)
    assert text.startswith(f"{row.date}: {row.model} came under ")
    assert text.endswith(".")
    assert not re.search(r"\.\s+[A-Z]", text.replace("incl. ", ""))
    assert len(text) < 330
    assert told(row).source


def test_there_are_66_of_them_in_11_families() -> None:
    assert 66 == len(changes())
    assert {"minimax", "kimi", "qwen", "deepseek", "glm", "llama", "gemma", "mistral"} <= set(families())


def test_a_text_differs_in_nothing_from_itself() -> None:
    for terms in load.everything():
        made = compare(terms, terms)
        assert ((), ()) == (made.differences, made.roles)


def test_a_lowered_line_an_exemption_and_a_gate_are_told() -> None:
    made = compare(load.terms("kimi-k3"), load.terms("qwen3.8-max"))
    texts = {(one.direction, one.text) for one in made.differences}
    assert any(d == "loosened" and "raised from US$20 million to US$50 million" in t for d, t in texts)
    assert any("AI Work Assistant" in t for _, t in texts)
    assert any(d == "tightened" and t.startswith("An exemption is gone") for d, t in texts)
    assert ("work_assistant", "permission_fee_expected") in {(one.role, one.after) for one in made.roles}


def test_the_other_way_round_what_was_tightened_is_loosened() -> None:
    for before, after in (("llama-2", "llama-3"), ("kimi-k2-modified-mit", "kimi-k3"), ("mit", "glm-5.3")):
        there, back = (compare(load.terms(a), load.terms(b)) for a, b in ((before, after), (after, before)))
        count = {d: sum(one.direction == d for one in there.differences) for d in ("tightened", "loosened")}
        assert count["tightened"] == sum(one.direction == "loosened" for one in back.differences)
        assert count["loosened"] == sum(one.direction == "tightened" for one in back.differences)
        assert {(r.role, r.size, r.before, r.after) for r in there.roles} == {
            (r.role, r.size, r.after, r.before) for r in back.roles
        }


def test_llama_3_1_let_outputs_train_others() -> None:
    made = compare(load.terms("llama-3"), load.terms("llama-3.1"))
    assert any(
        one.direction == "loosened" and "Training other models on outputs" in one.text for one in made.differences
    )


def test_m2_5_dropped_the_lines_of_m2_and_so_caught_everybody() -> None:
    made = compare(load.terms("minimax-m2-modified-mit"), load.terms("minimax-m2.5-modified-mit"))
    assert ("product", "below every line", "allowed", "obligations") in {
        (one.role, one.size, one.before, one.after) for one in made.roles
    }


def test_a_dated_change_is_found_between_its_texts() -> None:
    assert ["2026-07-27"] == [row.date for row in between("kimi-k2-modified-mit", "kimi-k3")]
