"""Routes of embeddings: found by their model's name or by what they say, and nothing else may answer on them."""

import pytest

from weighbridge.config import Config, loads
from weighbridge.config.vectors import serves_embeddings
from weighbridge.errors import ConfigError


def config(model: str, route: str = "", more: str = "") -> Config:
    text = f"""
[[endpoint]]
name = "host"
base_url = "https://host.example/v1"
[[arm]]
name = "used"
endpoint = "host"
model = "{model}"
[[arm]]
name = "other"
endpoint = "host"
model = "other-model"
[[route]]
name = "search"
incumbent = "used"
{route}
{more}
"""
    return loads(text).config


def test_of_a_route_that_says_nothing_the_incumbents_name_decides() -> None:
    for model, embeds in (
        ("text-embedding-3-large", True), ("BAAI/bge-m3", True), ("intfloat/e5-mistral-7b-instruct", True),
        ("voyage-3.5", True), ("nomic-embed-text", True), ("gte-Qwen2-7B", True),
        ("gpt-4o", False), ("Qwen2.5-72B-Instruct", False), ("gemma-3n-e4b-it", False), ("phi-3.5-moe", False),
    ):  # fmt: skip
        made = config(model)
        assert (model, embeds) == (model, serves_embeddings(made, made.route[0]))


def test_what_a_route_says_of_itself_decides() -> None:
    for model, says, embeds in (("gpt-4o", "true", True), ("text-embedding-3-large", "false", False)):
        made = config(model, f"embeddings = {says}")
        assert embeds is serves_embeddings(made, made.route[0])


@pytest.mark.parametrize("key", ["candidates", "fallbacks"])
@pytest.mark.parametrize(("model", "says"), [("text-embedding-3-large", ""), ("gpt-4o", "embeddings = true")])
def test_another_arm_on_a_route_of_embeddings_is_refused_with_the_reason(model: str, says: str, key: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config(model, f'{says}\n{key} = ["other"]')
    said = str(refused.value)
    assert f"route[search].{key}" in said
    assert "vectors of two models do not compare, so an index that holds both is corrupted" in said
    assert "embeddings = false" in said


def test_a_ramp_of_a_route_of_embeddings_is_refused_and_one_of_every_route_is_not() -> None:
    with pytest.raises(ConfigError, match="never ramps"):
        config("text-embedding-3-large", more='[[ramp]]\nroute = "search"')
    assert config("text-embedding-3-large", more='[[ramp]]\nroute = "*"').ramp


def test_a_route_that_only_chats_keeps_its_candidates_whatever_its_model_is_called() -> None:
    made = config("my-embedded-chat-model", 'embeddings = false\ncandidates = ["other"]')
    assert ("other",) == made.route[0].candidates
