"""Names of models, terms, expressions, hashes, stacks; nothing is guessed."""

import pytest

from weighbridge.errors import UsageError
from weighbridge.licenses import catalogue, load
from weighbridge.licenses.resolve import Recorded, Service, Unknown, resolve


@pytest.mark.parametrize(
    ("name", "terms"),
    [
        ("kimi-k3", ["kimi-k3"]),
        ("KIMI-K3", ["kimi-k3"]),
        ("moonshotai/Kimi-K3", ["kimi-k3"]),
        ("meta-llama/Llama-3.1-70B-Instruct", ["llama-3.1"]),
        ("Meta-Llama-3.1-70B-Instruct", ["llama-3.1"]),
        ("llama3.1:8b", ["llama-3.1"]),
        ("Qwen2.5-72B-Instruct", ["qwen-2024"]),
        ("Qwen2.5-7B-Instruct", ["apache-2.0"]),
        ("Qwen/Qwen2.5-3B-Instruct", ["qwen-research-2024"]),
        ("Qwen3-235B-A22B-Instruct-2507", ["apache-2.0"]),
        ("DeepSeek-V3", ["deepseek-model-1.0"]),
        ("deepseek-ai/DeepSeek-V3-0324", ["mit"]),
        ("gemma-2-2b-it", ["gemma-2024"]),
        ("google/gemma-3-27b-it", ["gemma-2025"]),
        ("Mistral-Large-2", ["mistral-mrl-0.1"]),
        ("Mistral-Medium-3.5-128B", ["mistral-modified-mit"]),
        ("openai/gpt-oss-120b", ["gpt-oss"]),
        ("zai-org/GLM-5.3-FP8", ["glm-5.3"]),
        ("Qwen2.5-72B-Instruct-GGUF-Q4_K_M", ["qwen-2024"]),
        ("MiniMax-M2.5", ["minimax-m2.5-modified-mit", "minimax-model-2025-01"]),
        ("Apache-2.0", ["apache-2.0"]),
        ("mit AND Apache-2.0", ["mit", "apache-2.0"]),
        ("GPL-3.0-only OR MIT", ["mit"]),
        ("LicenseRef-Kimi-K3", ["kimi-k3"]),
        ("qwen-2024 + llama-3.1", ["qwen-2024", "llama-3.1"]),
        ("sha256:59b99642b95ea21630e311198ddbfffbfe05aadba0c2f5d884cbdf4efcc90f44", ["minimax-h3-community"]),
    ],
)
def test_a_name_leads_to_its_terms(name: str, terms: list[str]) -> None:
    assert terms == [part.terms.id for part in resolve(name) if isinstance(part, Recorded)]


@pytest.mark.parametrize(
    "name",
    [
        "DeepSeek-R1-Distill-Llama-70B",
        "nvidia/Llama-3.1-Nemotron-70B",
        "Qwen3-Coder-480B-A35B-Instruct",
        "Kimi-K4",
        "other",
        "GPL-3.0-only",
        "Apache-2.0 WITH LLVM-exception",
        "0" * 64,
        "hosted:nobody",
        "MiniMax-M2.1",
        "Mistral Large 4",
    ],
)
def test_what_is_not_recorded_is_unknown_and_says_what_to_do(name: str) -> None:
    (part,) = resolve(name)
    assert isinstance(part, Unknown)
    assert part.why
    assert part.next_step


def test_a_hosted_service_has_terms_of_its_own() -> None:
    (part,) = resolve("hosted:openai")
    assert isinstance(part, Service)
    assert "OpenAI" == part.terms.provider


@pytest.mark.parametrize("query", ["", "   ", "kimi-k3 + ", " + mit"])
def test_an_empty_name_is_refused(query: str) -> None:
    with pytest.raises(UsageError, match="names no model or terms"):
        resolve(query)


def test_every_recorded_model_is_found_by_its_own_name_and_each_way_of_writing_it() -> None:
    for model in catalogue.models():
        for name in (model.name, *model.match):
            assert catalogue.find(name) is model, name


def test_names_that_look_alike_are_offered() -> None:
    assert "Kimi-K3" in catalogue.near("kimi-k33")


def test_every_text_is_reached_by_its_id() -> None:
    for ident in load.ids():
        (part,) = resolve(ident)
        assert isinstance(part, Recorded)
        assert ident == part.terms.id
