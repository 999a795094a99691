"""The shipped sample: is it what it says, and is every gold answer right?"""

import hashlib
import itertools
import json
import re
from decimal import Decimal
from functools import cache

import jsonschema
import pytest

from weighbridge.samples.items import (
    EXTRACT_FIELDS,
    LABELS,
    TASKS,
    ExtractFacts,
    RefundFacts,
    SampleItem,
    extract_answer,
    gold_lines,
    prompt_sha256,
    refund_of,
    sample_file,
    support_items,
)

NUMBER_WORDS = {
    "one": 1,
    "two": 2,
    "both": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
    "eleven": 11,
    "twelve": 12,
    "fifteen": 15,
    "twenty": 20,
    "forty": 40,
    "half a dozen": 6,
    "half a year": 6,
}
MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
NEGATED = re.compile(r"\b(unopened|not|no|never|none|nothing)|n't|seal|intact", re.IGNORECASE)


@cache
def items(task: str | None = None) -> tuple[SampleItem, ...]:
    return tuple(item for item in support_items() if task in (None, item.tags.task))


def refund_facts(item: SampleItem) -> RefundFacts:
    assert isinstance(item.facts, RefundFacts)
    return item.facts


def extract_facts(item: SampleItem) -> ExtractFacts:
    assert isinstance(item.facts, ExtractFacts)
    return item.facts


def numbers_in(quote: str) -> set[Decimal]:
    """Every number that a quote states, in digits or in words; of a span of months, how many it covers."""
    found = {Decimal(number) for number in re.findall(r"\d+(?:\.\d+)?", quote)}
    found |= {Decimal(value) for word, value in NUMBER_WORDS.items() if re.search(rf"\b{word}\b", quote.lower())}
    months = [MONTHS.index(word) for word in re.findall(r"[A-Z][a-z]+", quote) if word in MONTHS]
    if len(months) == 2:
        found.add(Decimal(months[1] - months[0] + 1))
    return found


def test_there_are_three_slices_of_150_requests() -> None:
    assert TASKS == ("triage", "extract", "refund")
    assert [len(items(task)) for task in TASKS] == [150, 150, 150]
    assert [f"{task}-{number:03d}" for task in TASKS for number in range(1, 151)] == [item.id for item in items()]


def test_every_line_says_that_it_is_invented_and_its_incumbent_answer_hand_written() -> None:
    for line in sample_file("support.jsonl").read_text(encoding="utf-8").splitlines():
        raw = json.loads(line)
        assert raw["incumbent"] == "hand-written"
        assert raw["note"].startswith("Sample, invented, not real customers.")
        assert "hand-written" in raw["note"]


def test_a_request_is_one_system_turn_shared_by_its_slice_and_one_user_turn() -> None:
    for task in TASKS:
        assert len({item.system for item in items(task)}) == 1
    assert all([turn.role for turn in item.messages] == ["system", "user"] for item in items())


def test_requests_are_short() -> None:
    assert max(len(item.system.split()) for item in items()) <= 50
    assert max(len(item.text.split()) for item in items()) <= 60
    assert {item.tags.task: item.max_tokens for item in items()} == {"triage": 8, "extract": 48, "refund": 12}


def test_no_two_messages_are_the_same_or_nearly_the_same() -> None:
    def words(text: str) -> list[str]:
        return ["#" if word.isdigit() else word for word in re.findall(r"[a-z']+|\d+", text.lower())]

    singles = {item.id: frozenset(words(item.text)) for item in items()}
    doubles = {item.id: frozenset(itertools.pairwise(words(item.text))) for item in items()}
    for one, other in itertools.combinations(singles, 2):
        for sets, limit in ((singles, 0.5), (doubles, 0.33)):
            shared, either = sets[one] & sets[other], sets[one] | sets[other]
            assert len(shared) <= limit * len(either), (one, other, sorted(map(str, shared)))


def test_few_messages_of_a_slice_open_with_the_same_two_words() -> None:
    for task in TASKS:
        openings = [" ".join(item.text.lower().split()[:2]) for item in items(task)]
        assert max(openings.count(opening) for opening in openings) <= 6


def test_no_order_number_stands_for_two_orders() -> None:
    orders = [facts.order for item in items("extract") if (facts := extract_facts(item)).order is not None]
    assert len(set(orders)) == len(orders)
    assert 130 < len(orders) < 150


def test_each_triage_label_is_the_gold_of_25_messages_and_is_named_in_the_prompt() -> None:
    golds = [item.gold for item in items("triage")]
    assert dict.fromkeys(LABELS, 25) == {label: golds.count(label) for label in LABELS}
    for label in LABELS:
        assert f"{label} (" in items("triage")[0].system


def test_each_extract_gold_is_valid_against_the_schema_and_names_the_four_fields() -> None:
    schema = json.loads(sample_file("extract.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for item in items("extract"):
        assert list(validator.iter_errors(json.loads(item.gold))) == []
        assert list(EXTRACT_FIELDS) == list(json.loads(item.gold))


def test_each_extract_gold_is_the_json_of_its_facts() -> None:
    for item in items("extract"):
        assert extract_answer(extract_facts(item)) == item.gold


def test_each_quote_is_in_its_message() -> None:
    quoted = [(item, quote) for item in items() for quotes in item.quotes.values() for quote in quotes]
    assert len(quoted) > 900
    for item, quote in quoted:
        assert quote in item.text, item.id


def test_each_extract_field_is_quoted_from_the_message_or_follows_from_the_rule_of_the_prompt() -> None:
    for item in items("extract"):
        facts = extract_facts(item)
        product, reason = item.quotes["product"][0], item.quotes["reason"][0]
        singular = product.title().replace("Knives", "Knife").replace("Shelves", "Shelf")
        assert facts.product in (singular, singular.removesuffix("s")), item.id
        assert reason
        if facts.order is None:
            assert "order" not in item.quotes
            assert not re.search(r"PM-?\d|\b\d{5}\b", item.text, re.IGNORECASE), item.id
        else:
            assert facts.order.removeprefix("PM-") == re.sub(r"\D", "", item.quotes["order"][0])
        if "quantity" in item.quotes:
            assert Decimal(facts.quantity) in numbers_in(item.quotes["quantity"][0]), item.id
        else:
            assert facts.quantity == 1


def test_a_message_with_two_order_numbers_is_about_the_quoted_one() -> None:
    several = [item for item in items("extract") if len(re.findall(r"PM-\d{5}", item.text)) > 1]
    assert len(several) >= 5
    for item in several:
        assert extract_facts(item).order == item.quotes["order"][0]


def test_each_reason_occurs_30_times() -> None:
    reasons = [extract_facts(item).reason for item in items("extract")]
    assert {reason: reasons.count(reason) for reason in set(reasons)} == {
        "faulty": 30,
        "wrong": 30,
        "missing": 30,
        "late": 30,
        "unwanted": 30,
    }


def test_each_refund_gold_is_what_the_rules_give_for_its_facts() -> None:
    for item in items("refund"):
        assert f"{refund_of(refund_facts(item)):.2f}" == item.gold, item.id


def test_each_number_of_a_refund_is_quoted_from_the_message() -> None:
    for item in items("refund"):
        facts, quotes = refund_facts(item), item.quotes
        stated: list[tuple[Decimal | int | None, str]] = [
            (facts.discount_percent, "discount_percent"),
            (facts.yearly_price, "yearly_price"),
            (facts.months_used, "months_used"),
            (facts.months_unused, "months_unused"),
        ]
        for value, name in stated:
            assert (value is None) == (name not in quotes), (item.id, name)
            assert value is None or Decimal(value) in numbers_in(quotes[name][0]), (item.id, name)
        if facts.shipping == 0:
            assert "free" in quotes["shipping"][0]
        elif facts.shipping is not None:
            assert facts.shipping in numbers_in(quotes["shipping"][0]), item.id
        assert [line.price for line in facts.basket] == [Decimal(price) for price in quotes.get("price", ())]
        for line in facts.basket:
            assert (line.quantity == 1) == ("quantity" not in quotes), item.id
            assert line.quantity == 1 or line.quantity in numbers_in(quotes["quantity"][0]), item.id


def test_each_condition_of_a_change_of_mind_is_quoted_from_the_message() -> None:
    returned = [item for item in items("refund") if refund_facts(item).rule == "mind"]
    assert len(returned) == 50
    for item in returned:
        facts = refund_facts(item)
        opened, label = item.quotes["opened"][0], item.quotes["our_label"][0]
        assert facts.opened == (NEGATED.search(opened) is None), (item.id, opened)
        assert facts.our_label == ("label" in label.lower() and "need not" not in label), (item.id, label)
    combinations = {(facts.opened, facts.our_label) for item in returned for facts in [refund_facts(item)]}
    assert {(True, True), (True, False), (False, True), (False, False)} == combinations


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        (RefundFacts(rule="plan", yearly_price=Decimal("100.00"), months_used=5), "a fraction of a cent"),
        (RefundFacts(rule="plan", yearly_price=Decimal("96.00")), "months used or unused"),
        (RefundFacts(rule="late"), "needs 'shipping'"),
        (RefundFacts(rule="mind", opened=True), "needs `opened` and `our_label`"),
    ],
)
def test_facts_without_one_right_answer_are_refused(facts: RefundFacts, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        refund_of(facts)


@pytest.mark.parametrize(("task", "mistakes"), [("triage", 4), ("extract", 5), ("refund", 6)])
def test_the_incumbent_is_right_in_95_to_99_percent_of_each_slice(task: str, mistakes: int) -> None:
    wrong = [item for item in items(task) if item.incumbent_answer != item.gold]
    assert mistakes == len(wrong)
    assert 0.95 <= 1 - len(wrong) / len(items(task)) <= 0.99


def test_the_incumbents_mistakes_have_the_form_of_an_answer() -> None:
    assert all(item.incumbent_answer in LABELS for item in items("triage"))
    assert all(list(EXTRACT_FIELDS) == list(json.loads(item.incumbent_answer)) for item in items("extract"))
    assert all(re.fullmatch(r"\d+\.\d\d", item.incumbent_answer) for item in items("refund"))


def test_the_gold_file_has_the_answer_of_each_message_under_the_hash_of_its_text() -> None:
    assert [(prompt_sha256(item.text), item.gold) for item in items()] == [
        (line.prompt_sha256, line.answer) for line in gold_lines()
    ]
    assert len({line.prompt_sha256 for line in gold_lines()}) == 450


def test_the_sample_is_still_the_one_that_was_fixed_before_any_model_answered_it() -> None:
    # To change it on purpose: change the sample, gold.jsonl and this digest together, then record the answers afresh
    # with scripts/record_sample.py. Never change it to suit an answer.
    fixed = "fdee501b5540f119cd1f91508628e6d541d4e4ea15769f6b826db70a1b872d88"
    assert hashlib.sha256(sample_file("support.jsonl").read_bytes()).hexdigest() == fixed
