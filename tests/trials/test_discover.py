"""Slices found in prompts: the same in any order, readable, and rules for prompts to come."""

import random

import pytest

from weighbridge.trials.discover import OTHER, Prompt, discover, language_of, template_of

TOPICS = {
    "refund": ["refund", "parcel", "damaged", "money", "return", "shipping", "order", "late"],
    "code": ["python", "function", "error", "traceback", "compile", "variable", "loop", "import"],
    "cook": ["recipe", "oven", "flour", "butter", "sugar", "bake", "minutes", "dough"],
}


def made(count: int, topics: tuple[str, ...] = ("refund", "code", "cook"), **more: object) -> list[Prompt]:
    draw = random.Random(3)
    found = []
    for number in range(count):
        topic = topics[number % len(topics)]
        text = "please help me with the " + " ".join(draw.choices(TOPICS[topic], k=8)) + f" number{number % 7}"
        fields = {"system": "You are helpful.", "tools": (), "schema": "none", **more}
        found.append(Prompt(id=f"{topic}-{number}", text=text, **fields))  # type: ignore[arg-type]
    return found


def topics_of(prompts: list[Prompt]) -> dict[str, set[str]]:
    """Slice id -> the topics of its prompts."""
    slices = discover(prompts)
    found: dict[str, set[str]] = {}
    for prompt in prompts:
        found.setdefault(slices.of(prompt), set()).add(prompt.id.partition("-")[0])
    return found


def test_what_texts_are_about_is_told_apart_and_named_by_its_words() -> None:
    prompts = made(300)
    slices = discover(prompts)
    assert 3 == len(slices.slices)
    assert [1, 1, 1] == [len(topics) for topics in topics_of(prompts).values()]
    for one in slices.slices:
        words = one.name.removeprefix("about ").split(", ")
        assert any(set(words) <= set(known) for known in TOPICS.values()), one.name
        assert 3 == len(one.examples)


def test_the_order_of_the_prompts_changes_nothing() -> None:
    prompts = made(300)
    shuffled = random.Random(9).sample(prompts, len(prompts))
    assert discover(prompts) == discover(shuffled)


def test_prompts_to_come_are_told_apart_by_the_rules() -> None:
    slices = discover(made(300))
    by_topic: dict[str, set[str]] = {}
    for prompt in made(600)[300:]:
        by_topic.setdefault(prompt.id.partition("-")[0], set()).add(slices.of(prompt))
    assert [1, 1, 1] == [len(ids) for ids in by_topic.values()]
    assert OTHER == slices.of(made(1, system="Something else entirely.")[0])


def test_ids_stay_where_more_of_the_same_traffic_comes() -> None:
    assert {one.id for one in discover(made(300)).slices} == {one.id for one in discover(made(420)).slices}


def test_one_kind_of_text_is_one_slice() -> None:
    assert 1 == len(discover(made(200, ("cook",))).slices)


def test_templates_tools_and_schemas_are_slices_however_alike_the_texts() -> None:
    prompts = [
        *made(40, ("cook",)), *made(40, ("cook",), system="Answer as a chef would."),
        *made(40, ("cook",), tools=("search",)), *made(40, ("cook",), schema="abcd1234"),
    ]  # fmt: skip
    slices = discover(prompts).slices
    assert 4 == len(slices)
    assert any("tools search" in one.name for one in slices)
    assert any("schema abcd1234" in one.name for one in slices)
    assert len(slices) == len({one.name for one in slices})


def test_small_groups_are_everything_else() -> None:
    slices = discover([*made(200, ("cook",)), *made(2, ("cook",), system="Rare.")]).slices
    assert ["everything else"] == [one.name for one in slices if one.id == OTHER]
    assert 2 == slices[-1].prompts
    assert 1.0 == pytest.approx(sum(one.share for one in slices))


def test_a_template_is_what_stays_from_request_to_request() -> None:
    first = "Today is 2026-11-25. You help Ann Smith (ann@example.com) with order 4711."
    assert template_of(first) == template_of("Today is 2026-01-02. You help Bob Jones (bob@x.org) with order 12.")
    assert template_of(first) != template_of("You translate.")
    assert "none" == template_of("  ")


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("What is the capital of France and how do you get there?", "en"),
        ("Wie wird das Wetter und was ist mit dem Zug für die Reise?", "de"),
        ("Quelle est la différence entre les deux, et pour qui ?", "fr"),
        ("¿Cuál es la mejor manera para los que no tienen una casa?", "es"),
        ("今天天气怎么样", "zh"), ("これはペンです", "ja"), ("Как дела сегодня", "ru"),
        ("12345", "unknown"), ("", "unknown"),
    ],
)  # fmt: skip
def test_the_language_of_a_text(text: str, language: str) -> None:
    assert language == language_of(text)


@pytest.mark.parametrize("prompts", [[], made(1), [Prompt(id="x", system="", tools=(), schema="none", text="")]])
def test_few_or_empty_prompts_are_no_problem(prompts: list[Prompt]) -> None:
    assert len(prompts) == discover(prompts).prompts
