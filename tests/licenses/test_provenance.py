"""Whose terms a stored answer came under, and whether a model may be trained on it."""

import pytest

from tests.licenses.profiles import ON, org
from weighbridge.licenses.profile import EMPTY
from weighbridge.licenses.provenance import provenance
from weighbridge.records.table import Arm, Weights


def arm(model: str, weights: Weights | None = "open", terms: str | None = None) -> Arm:
    return Arm(name="a", endpoint="e", model=model, weights=weights, terms=terms)


@pytest.mark.parametrize(
    ("model", "provider", "terms", "word", "permitted"),
    [
        ("Kimi-K3", None, ("kimi-k3",), "allowed", True),
        ("Kimi-K3", "moonshot", ("hosted:moonshot", "kimi-k3"), "unclear", False),
        ("Llama-3-8B", None, ("llama-3",), "prohibited", False),
        ("Llama-3.1-8B", None, ("llama-3.1",), "obligations", True),
        ("DeepSeek-V4-Pro", None, ("mit",), "unclear", False),
        ("deepseek-v3", "deepseek", ("hosted:deepseek", "deepseek-model-1.0"), "unclear", False),
        ("nobody-knows", None, ("nobody-knows",), "unclear", False),
    ],
)
def test_where_you_call_decides_besides_what_you_call(
    model: str, provider: str | None, terms: tuple[str, ...], word: str, permitted: bool
) -> None:
    found = provenance(arm(model), provider, ON)
    assert (terms, word, permitted) == (found.terms, found.training, found.permitted)
    assert found.reasons


def test_answers_of_a_closed_provider_are_under_its_contract() -> None:
    claude = provenance(arm("claude-opus-5-5", "closed"), "anthropic", ON)
    assert (("hosted:anthropic",), "permission") == (claude.terms, claude.training)
    rival = org("product", businesses=("competes_with:OpenAI",))
    assert "prohibited" == provenance(arm("gpt-5.5", "closed"), "openai", ON, rival).training
    assert "unclear" == provenance(arm("gpt-5.5", "closed"), "openai", ON, EMPTY).training
    assert "unclear" == provenance(arm("gpt-5.5", "closed"), None, ON).training
    assert "unclear" == provenance(arm("x", "closed"), "somebody", ON).training


def test_a_contract_says_nothing_of_a_day_before_it() -> None:
    assert "unclear" == provenance(arm("claude", "closed"), "anthropic", "2025-01-01").training
