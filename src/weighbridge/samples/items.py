"""The sample's records, and the functions that read them.

Every file is parsed here, once, into frozen records; a line that does not fit raises `ValueError` with its number.
"""

import hashlib
import json
from decimal import Decimal
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Literal, TypeVar

import msgspec

T = TypeVar("T")

Task = Literal["triage", "extract", "refund"]
Label = Literal["delivery", "return", "billing", "bug", "account", "product"]
Reason = Literal["faulty", "wrong", "missing", "late", "unwanted"]
Rule = Literal["faulty", "wrong", "late", "mind", "plan"]

TASKS: tuple[Task, ...] = ("triage", "extract", "refund")
LABELS: tuple[Label, ...] = ("delivery", "return", "billing", "bug", "account", "product")
EXTRACT_FIELDS: tuple[str, ...] = ("order", "product", "quantity", "reason")


class Message(msgspec.Struct, frozen=True):
    """One turn in OpenAI's chat form."""

    role: Literal["system", "user"]
    content: str


class Tags(msgspec.Struct, frozen=True):
    """What a client would send as `x-weighbridge-tag: task=...`."""

    task: Task


class BasketLine(msgspec.Struct, frozen=True):
    """So many pieces at this price each, in euros, before a discount."""

    quantity: int
    price: Decimal


class ExtractFacts(msgspec.Struct, frozen=True, tag="extract", tag_field="task", forbid_unknown_fields=True):
    """What an `extract` message says. `order` is None where the message names none."""

    order: str | None
    product: str
    quantity: int
    reason: Reason


class RefundFacts(
    msgspec.Struct, frozen=True, tag="refund", tag_field="task", forbid_unknown_fields=True, omit_defaults=True
):
    """What a `refund` message says. Only what the rule in force needs is there; the rest is None. Amounts in euros."""

    rule: Rule
    basket: tuple[BasketLine, ...] = ()
    shipping: Decimal | None = None
    discount_percent: int | None = None
    opened: bool | None = None
    our_label: bool | None = None
    yearly_price: Decimal | None = None
    months_used: int | None = None
    months_unused: int | None = None


class SampleItem(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One request of the sample with its checkable answer.

    `quotes` holds, for each of the `facts` (and for the rule), the words of the message that state it; a price or a
    quantity that occurs twice has two. `facts` is None for `triage`, whose gold is a judgement, not a computation.
    """

    id: str
    tags: Tags
    messages: tuple[Message, ...]
    max_tokens: int
    gold: str
    incumbent_answer: str
    incumbent: Literal["hand-written"]
    note: str
    facts: ExtractFacts | RefundFacts | None = None
    quotes: dict[str, tuple[str, ...]] = {}

    @property
    def slice(self) -> str:
        """The slice's name as reports print it, e.g. `task=refund`."""
        return f"task={self.tags.task}"

    @property
    def system(self) -> str:
        return self.messages[0].content

    @property
    def text(self) -> str:
        """The customer's message: the last user turn."""
        return self.messages[-1].content


class GoldLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of a gold file: the sha256 of the last user text (UTF-8, stripped), and the right answer."""

    prompt_sha256: str
    answer: str


class RecordedPair(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The incumbent's and a candidate's answer to one item, as recorded on `date` (ISO 8601, UTC day).

    `candidate_answer` is the model's text, unchanged, whatever it is. `weights_sha256` names the very file that ran,
    `sample_sha256` the `support.jsonl` that it was asked.
    """

    id: str
    slice: str
    incumbent_answer: str
    candidate_answer: str
    gold: str
    candidate: str
    weights_sha256: str
    sample_sha256: str
    engine: str
    date: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    note: str


def sample_file(name: str) -> Traversable:
    """A file of this package by name; `resources.as_file` gives a path where one is needed."""
    return resources.files(__package__ or "weighbridge.samples").joinpath(name)


def support_items() -> tuple[SampleItem, ...]:
    """All 450 items in file order: triage, extract, refund, 150 each."""
    return _read("support.jsonl", SampleItem)


def gold_lines() -> tuple[GoldLine, ...]:
    """The gold file's lines, in the order of `support_items`."""
    return _read("gold.jsonl", GoldLine)


def recorded_pairs() -> tuple[RecordedPair, ...]:
    """The recorded answers of the open-weight model, in the order of `support_items`."""
    return _read("recorded_pairs.jsonl", RecordedPair)


def sample_sha256() -> str:
    """The sha256 in hex of `support.jsonl` as it lies here; recorded pairs carry it."""
    return hashlib.sha256(sample_file("support.jsonl").read_bytes()).hexdigest()


def prompt_sha256(text: str) -> str:
    """The key of a gold line: sha256 in hex of the last user text, stripped, in UTF-8."""
    return hashlib.sha256(text.strip().encode()).hexdigest()


def refund_of(facts: RefundFacts) -> Decimal:
    """The refund in euros that the rules of the refund slice give for these facts, from the facts alone.

    Raises:
        ValueError: the facts lack what their rule needs, or the rules give a fraction of a cent.
    """
    if facts.rule == "plan":
        unused = facts.months_unused
        if unused is None and facts.months_used is not None:
            unused = 12 - facts.months_used
        if facts.yearly_price is None or unused is None:
            raise ValueError(f"a refund of a plan needs its yearly price and the months used or unused, got {facts}")
        return _whole_cents(facts.yearly_price * unused / 12, facts)
    if facts.rule == "late":
        return _whole_cents(_known(facts.shipping, "shipping", facts), facts)
    paid = sum((line.price * line.quantity for line in facts.basket), Decimal(0))
    paid -= paid * (facts.discount_percent or 0) / 100
    if facts.rule in ("faulty", "wrong"):
        return _whole_cents(paid + _known(facts.shipping, "shipping", facts), facts)
    if facts.opened is None or facts.our_label is None:
        raise ValueError(f"a change of mind needs `opened` and `our_label`, got {facts}")
    if facts.opened:
        paid -= paid / 10
    if facts.our_label:
        paid -= Decimal("4.50")
    return _whole_cents(paid, facts)


def extract_answer(facts: ExtractFacts) -> str:
    """The gold answer of an `extract` item: one line of JSON with the four fields in the order of the prompt."""
    fields = {"order": facts.order, "product": facts.product, "quantity": facts.quantity, "reason": facts.reason}
    return json.dumps(fields, ensure_ascii=False)


def _known(amount: Decimal | None, name: str, facts: RefundFacts) -> Decimal:
    if amount is None:
        raise ValueError(f"rule {facts.rule!r} needs {name!r}, got {facts}")
    return amount


def _whole_cents(amount: Decimal, facts: RefundFacts) -> Decimal:
    # No rule of the prompt says how to round, so an item that would need rounding has no right answer.
    rounded = amount.quantize(Decimal("0.01"))
    if rounded != amount:
        raise ValueError(f"the rules give {amount}, a fraction of a cent, for {facts}")
    return rounded


def _read(name: str, kind: type[T]) -> tuple[T, ...]:
    decoder = msgspec.json.Decoder(kind)
    items: list[T] = []
    for number, line in enumerate(sample_file(name).read_bytes().splitlines(), start=1):
        try:
            items.append(decoder.decode(line))
        except msgspec.DecodeError as error:
            raise ValueError(f"{name}, line {number}: {error}") from error
    return tuple(items)
