"""The sampling frame: which captured exchanges of a route a trial can use, and in which order it will use them.

The order is fixed by the seed before anything is spent. A unit is a conversation's requests within one slice; slices
take turns with known probabilities (`stats.overall.draw_order`), units within a slice come shuffled.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from hashlib import sha256
from typing import NamedTuple

import msgspec

from weighbridge.config.tree import ArmSection
from weighbridge.grading.answers import Answer, Question, answer_of, question_of
from weighbridge.grading.book import GraderBook, grade
from weighbridge.grading.build import SliceGrader
from weighbridge.grading.gold import GoldBook
from weighbridge.grading.own import OwnGraderError
from weighbridge.records.evidence import Span
from weighbridge.records.exchange import BodyState, Exchange
from weighbridge.records.frames import BodyRef
from weighbridge.records.trial import Split, split_of
from weighbridge.stats.clusters import order
from weighbridge.stats.overall import Draw, draw_order
from weighbridge.wire.conversation import Dialect
from weighbridge.wire.dialects import DIALECTS

SLOW_AHEAD_MAX = 256
"""Answers held in memory while graders that wait for a process are at work."""

NOT_A_CONVERSATION = "not a conversation"
EMBEDDINGS = "embeddings"
TUNED_ON = "of the split that the candidate's prompt was tuned on"
JUDGED_ON = "of the split that verdicts come from"
NO_GRADER = "no grader"
NO_GOLD = "no gold answer"
NOT_SAMPLED = "not sampled"
OTHER_INCUMBENT = "answered while another model or endpoint stood behind the incumbent's name"
HAND_WRITTEN_TAG = ("incumbent", "hand-written")

ReadBody = Callable[[BodyRef], BodyState]


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One usable request: what is needed to replay and grade it, without its text."""

    id: str
    digest: str
    time_ns: int
    slice: str
    cluster: str
    tags: tuple[tuple[str, str], ...] = ()
    asked: Dialect = "openai"
    """In which dialect it was asked: it is replayed by the same path."""
    request: BodyRef
    response: BodyRef
    """The incumbent's captured answer, for judges who compare."""
    request_bytes: int
    max_tokens: int | None
    output_tokens: int | None
    """What the incumbent wrote."""
    reference: str | None
    incumbent: float
    """The incumbent's score, from its captured answer."""
    note: str = ""
    hand_written: bool = False
    cost_nanousd: int | None = None
    """What the incumbent's answer cost."""
    later: bool = False
    """A later turn or an agent's step: it is replayed on the recorded context."""


class SliceTraffic(msgspec.Struct, frozen=True, kw_only=True):
    """What the log span says of a slice, usable or not. Sums over its answered user exchanges."""

    slice: str
    exchanges: int
    weight: float
    cost_nanousd: int | None
    """`None` where one of them is unknown."""
    input_tokens: int | None
    output_tokens: int | None
    duration_ns: int
    usable: int
    left_out: dict[str, int]


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """All usable items of a route (or one slice of it), in log order."""

    route: str
    items: tuple[Item, ...]
    traffic: tuple[SliceTraffic, ...]
    """Every slice with answered traffic, by name."""
    left_out: dict[str, int]

    def slice(self, name: str) -> SliceTraffic:
        return next(row for row in self.traffic if row.slice == name)

    @property
    def weights(self) -> dict[str, float]:
        """Share of each slice in the answered user exchanges of the span; they sum to 1."""
        return {row.slice: row.weight for row in self.traffic}


class _Tally:
    def __init__(self) -> None:
        self.exchanges = self.duration_ns = self.usable = 0
        self.cost: int | None = 0
        self.input: int | None = 0
        self.output: int | None = 0
        self.left_out: Counter[str] = Counter()

    def add(self, exchange: Exchange) -> None:
        self.exchanges += 1
        self.duration_ns += exchange.duration_ns or 0
        usage = exchange.usage
        self.cost = _sum(self.cost, exchange.cost_nanousd)
        self.input = _sum(self.input, None if usage is None else usage.input_total)
        self.output = _sum(self.output, None if usage is None else usage.output + usage.reasoning)


def _sum(total: int | None, value: int | None) -> int | None:
    return None if total is None or value is None else total + value


def build_frame(
    exchanges: Iterable[Exchange],
    route: str,
    incumbent: ArmSection,
    graders: GraderBook,
    gold: GoldBook,
    body: ReadBody,
    only_slice: str | None = None,
    split: Split | None = None,
) -> Frame:
    """Look at every user exchange of the route, grade the incumbent's answers, count what cannot be used by reason."""
    tallies: dict[str, _Tally] = {}
    graded = _Graded(graders)
    unanswered = 0
    for exchange in exchanges:
        if exchange.purpose != "user" or exchange.route != route or only_slice not in (None, exchange.slice):
            continue
        if exchange.outcome != "ok":
            unanswered += 1
            continue
        tally = tallies.setdefault(exchange.slice, _Tally())
        tally.add(exchange)
        if split is not None and split_of(exchange.conversation) != split:
            tally.left_out[TUNED_ON if split == "b" else JUDGED_ON] += 1
            continue
        found = _ready(exchange, incumbent, graders.of(exchange.slice), gold, body)
        if isinstance(found, str):
            tally.left_out[found] += 1
        else:
            tally.usable += 1
            graded.add(found)
    items = graded.all()
    total = sum(tally.exchanges for tally in tallies.values())
    traffic = tuple(
        SliceTraffic(
            slice=name,
            exchanges=tally.exchanges,
            weight=tally.exchanges / total,
            cost_nanousd=tally.cost,
            input_tokens=tally.input,
            output_tokens=tally.output,
            duration_ns=tally.duration_ns,
            usable=tally.usable,
            left_out=dict(sorted(tally.left_out.items())),
        )
        for name, tally in sorted(tallies.items())
    )
    left_out = sum((tally.left_out for tally in tallies.values()), Counter[str]())
    if unanswered:
        left_out["not answered"] = unanswered
    items.sort(key=lambda item: (item.time_ns, item.id))
    return Frame(route=route, items=tuple(items), traffic=traffic, left_out=dict(sorted(left_out.items())))


class _Read(NamedTuple):
    dialect: Dialect
    request: BodyRef
    response: BodyRef
    question: Question
    answer: Answer


def _read(exchange: Exchange, body: ReadBody) -> _Read | str:
    """What was asked and answered, or why that cannot be had."""
    dialect = exchange.asked
    if dialect not in DIALECTS:
        return EMBEDDINGS if dialect == "openai-embeddings" else NOT_A_CONVERSATION
    if exchange.redacted:
        return "changed by redaction"
    if exchange.request is None or exchange.response is None:
        return "no body captured"
    request, response = body(exchange.request), body(exchange.response)
    if request == "erased" or response == "erased":
        return "erased"
    if request is None or response is None:
        return "body missing"
    try:
        return _Read(dialect, exchange.request, exchange.response, question_of(request), answer_of(response))
    except ValueError:
        return "not readable"


class _Ready(NamedTuple):
    exchange: Exchange
    read: _Read
    grader: SliceGrader
    reference: str | None


def _ready(
    exchange: Exchange, incumbent: ArmSection, grader: SliceGrader | None, gold: GoldBook, body: ReadBody
) -> _Ready | str:
    """What of an exchange is to be graded, or why it is left out."""
    if grader is None:
        return NO_GRADER
    if exchange.arm != incumbent.name:
        return "answered by another arm"
    answered = exchange.attempts[-1]
    if (answered.endpoint, answered.model) != (incumbent.endpoint, incumbent.model):
        return OTHER_INCUMBENT
    read = _read(exchange, body)
    if isinstance(read, str):
        return read
    question, answer = read.question, read.answer
    reference: str | None = None
    if grader.reference == "gold":
        reference = gold.find(question.text, exchange.tags)
        if reference is None:
            return NO_GOLD
        if grader.grader.reference_problem(reference) is not None:
            return "gold answer does not fit the grader"
    elif grader.reference == "incumbent":
        reference = grader.grader.reference_of(answer)
        if reference is None:
            return "nothing to compare in the incumbent's answer"
    return _Ready(exchange, read, grader, reference)


class _Graded:
    """Items being made. Graders that wait for a process have several answers at once; errors in the log's order."""

    def __init__(self, graders: GraderBook) -> None:
        self._graders = graders
        self._items: list[Item] = []
        self._waiting: deque[Future[Item]] = deque()

    def add(self, ready: _Ready) -> None:
        if not ready.grader.slow:
            self._items.append(_item(ready))
            return
        self._waiting.append(self._graders.later(_item, ready))
        if len(self._waiting) > SLOW_AHEAD_MAX:
            self._take()

    def all(self) -> list[Item]:
        while self._waiting:
            self._take()
        return self._items

    def _take(self) -> None:
        try:
            self._items.append(self._waiting.popleft().result())
        except BaseException:
            for one in self._waiting:
                one.cancel()
            raise


def _item(ready: _Ready) -> Item:
    exchange, read, grader, reference = ready
    try:
        graded = grade(grader, read.answer, reference, read.question)
    except OwnGraderError as error:
        # Left out, the rest would be the answers that this grader finds easy.
        raise OwnGraderError(
            f"{error}, on the incumbent's answer in exchange {exchange.id}; nothing was sent: mend it and run again"
        ) from None
    usage = exchange.usage
    return Item(
        id=exchange.id,
        digest=exchange.digest,
        time_ns=exchange.time_ns,
        slice=exchange.slice,
        cluster=exchange.conversation,
        tags=exchange.tags,
        asked=read.dialect,
        request=read.request,
        response=read.response,
        request_bytes=exchange.request_bytes,
        max_tokens=exchange.max_tokens,
        output_tokens=None if usage is None else usage.output + usage.reasoning,
        reference=reference,
        incumbent=graded.score,
        note=graded.note,
        hand_written=HAND_WRITTEN_TAG in exchange.tags,
        cost_nanousd=exchange.cost_nanousd,
        later=read.question.later,
    )


class Unit(msgspec.Struct, frozen=True, kw_only=True):
    """One step of the tests: all requests of one conversation within one slice, in log order."""

    slice: str
    cluster: str
    items: tuple[str, ...]


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """The units in the order in which they will be used."""

    units: tuple[Unit, ...]
    counts: dict[str, int]
    """Units of each judged slice in the whole frame; with weights and seed they give the draws again."""
    left_out: int
    """Items of the frame that were not sampled."""


def order_items(
    items: Sequence[Item], weights: Mapping[str, float], seed: int, *, shuffle: bool = True, sample: int | None = None
) -> Order:
    """Put a frame into its order. `weights`: of the judged slices. `sample`: at least so many items, whole units."""
    if not weights:
        return Order(units=(), counts={}, left_out=0)
    grouped: dict[tuple[str, str], list[str]] = {}
    for item in items:
        grouped.setdefault((item.slice, item.cluster), []).append(item.id)
    units = [Unit(slice=name, cluster=cluster, items=tuple(ids)) for (name, cluster), ids in grouped.items()]
    if shuffle:
        units = [units[at] for at in order(len(units), seed).tolist()]
    counts = dict.fromkeys(weights, 0)
    queues: dict[str, list[Unit]] = {name: [] for name in weights}
    for unit in units:
        counts[unit.slice] += 1
        queues[unit.slice].append(unit)
    if shuffle:
        taken = dict.fromkeys(weights, 0)
        units = []
        for draw in draw_order(weights, counts, seed):
            units.append(queues[draw.slice][taken[draw.slice]])
            taken[draw.slice] += 1
    if sample is not None:
        size = 0
        for at, unit in enumerate(units):
            size += len(unit.items)
            if size >= sample:
                units = units[: at + 1]
                break
    used = sum(len(unit.items) for unit in units)
    return Order(units=tuple(units), counts=counts, left_out=len(items) - used)


def draws_of(
    counts: Mapping[str, int], weights: Mapping[str, float], seed: int, units: Sequence[Unit], shuffled: bool
) -> list[Draw]:
    """The draws behind an order. Unshuffled traffic draws its slices itself, in proportion to its weights: 1 each."""
    if shuffled:
        return draw_order(weights, counts, seed)[: len(units)]
    total = sum(weights.values())
    return [Draw(unit.slice, weights[unit.slice] / total, 1.0, 1.0, True) for unit in units]


def span_of(route: str, items: Sequence[Item], left_out: Mapping[str, int]) -> Span:
    """The span of these items, in the trial's order."""
    times = [item.time_ns for item in items]
    body = "".join(f"{item.id} {item.digest}\n" for item in items)
    return Span(
        route=route,
        first_time_ns=min(times, default=0),
        last_time_ns=max(times, default=0),
        exchanges=len(items),
        left_out=dict(left_out),
        digest=sha256(body.encode()).hexdigest(),
    )
