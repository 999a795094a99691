"""Decide the shipped, recorded pairs: no model, no key, no gateway, no store; seconds.

The graders, the order, the tests and the reasons are those of a trial; only the answers come from a file in place of
an endpoint. There is no log behind it, so costs, latency and errors are unknown, and the report says so.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from importlib import resources

from weighbridge.config import Loaded, loads
from weighbridge.grading.answers import Answer, Question
from weighbridge.grading.book import GraderBook, grade
from weighbridge.grading.build import SliceGrader
from weighbridge.keeper.compile import World, compile_table
from weighbridge.ledger.prices import PriceAnswer, PriceUnknown
from weighbridge.licenses import finding
from weighbridge.records.canonical import canonical, digest
from weighbridge.records.frames import BodyRef
from weighbridge.records.table import RouteTable
from weighbridge.records.trial import trial_id
from weighbridge.reports.build import assemble
from weighbridge.reports.facts import facts_of
from weighbridge.reports.gather import Inputs, Judged, Seen
from weighbridge.reports.model import Report
from weighbridge.samples.demo_config import (
    ALPHA,
    CANDIDATE,
    MARGIN,
    ROUTE,
    SAMPLE_NOTE,
    SEED,
    Incumbent,
    demo_config,
)
from weighbridge.samples.items import RecordedPair, SampleItem, recorded_pairs, support_items
from weighbridge.trials.conclude import conclude
from weighbridge.trials.frame import Item, order_items, span_of
from weighbridge.trials.outcome import Scored
from weighbridge.trials.plan import PLAN_SCHEMA, Settings, TrialPlan
from weighbridge.trials.replay import Stopped
from weighbridge.trials.walk import Walk

NOWHERE = "http://127.0.0.1:9/v1"
"""An address that is never called: both arms' answers are recorded."""
NO_PRICE = PriceUnknown("recorded answers were not paid for")


@dataclass(frozen=True, slots=True)
class Decided:
    report: Report
    pairs: int
    """Recorded pairs, decided or not."""
    compared: int
    """Pairs that the tests took before everything was decided."""
    recorded_on: str
    candidate: str
    engine: str


def decide(now_ns: int) -> Decided:
    """Grade and decide every recorded pair. Raises `ValueError` where the shipped files do not fit each other."""
    pairs = recorded_pairs()
    by_id = {item.id: item for item in support_items()}
    with resources.as_file(resources.files("weighbridge.samples")) as folder:
        loaded = loads(demo_config(Incumbent(NOWHERE), NOWHERE), file="the demo's configuration", folder=folder)
        book = GraderBook(loaded, ROUTE)
        table = _table(loaded, now_ns)
    items: dict[str, Item] = {}
    outcomes: dict[str, Scored] = {}
    for pair in pairs:
        row = book.of(pair.slice)
        if row is None:
            raise ValueError(f"recorded pair {pair.id}: no grader for slice {pair.slice}")
        items[pair.id], outcomes[pair.id] = _graded(pair, by_id[pair.id], row)
    walk = Walk(_plan(items, book, table, now_ns))
    walk.advance(outcomes)
    license_finding = finding(table.arm(CANDIDATE), f"{datetime.fromtimestamp(now_ns / 1e9, UTC):%Y-%m-%d}")
    open_ = walk.whole_wanted or not all(walk.decided(name) for name in walk.plan.judged)
    stopped: Stopped = "exhausted" if open_ else "decided"
    evidence, verdict = conclude(walk, items, {}, license_finding, stopped, "", None, now_ns)
    judged = Judged(digest(canonical(verdict)), verdict, evidence, (license_finding,))
    facts = facts_of(None, loaded, table, [verdict], now_ns)
    inputs = Inputs(table=table, judged=(judged,), seen=Seen(), log_head=None, now_ns=now_ns, facts=facts)
    note = f"{SAMPLE_NOTE} The candidate's answers were recorded on {pairs[0].date}."
    report = assemble(inputs, note=note)
    return Decided(report, len(pairs), len(evidence.pairs), pairs[0].date, pairs[0].candidate, pairs[0].engine)


def _table(loaded: Loaded, now_ns: int) -> RouteTable:
    def no_secret(reference: str) -> str:
        raise LookupError(f"{reference} is not needed here")

    def no_text(path: str) -> str:
        raise FileNotFoundError(path)

    def no_price(*_: object) -> PriceAnswer:
        return NO_PRICE

    world = World(secret=no_secret, text=no_text, price=no_price)
    return compile_table(loaded, number=0, now_ns=now_ns, trial_key="0" * 64, world=world, client_keys="present").table


def _graded(pair: RecordedPair, item: SampleItem, row: SliceGrader) -> tuple[Item, Scored]:
    question = Question(text=item.text, body=b"{}")
    incumbent = grade(row, Answer(text=pair.incumbent_answer), pair.gold, question)
    answer = Answer(text=pair.candidate_answer, cut=pair.finish_reason == "length")
    candidate = grade(row, answer, pair.gold, question)
    text = f"{item.system}\n{item.text}".encode()
    nowhere = BodyRef(day=pair.date, team="-", commitment=sha256(text).digest(), size=len(text))
    described = Item(
        id=pair.id, digest=sha256(pair.incumbent_answer.encode()).hexdigest(), time_ns=0, slice=pair.slice,
        cluster=pair.id, request=nowhere, response=nowhere, request_bytes=len(text),
        max_tokens=item.max_tokens, output_tokens=None, reference=pair.gold,
        incumbent=incumbent.score, note=incumbent.note, hand_written=True,
    )  # fmt: skip
    scored = Scored(
        item=pair.id, replay=None, incumbent=incumbent.score, candidate=candidate.score, note=candidate.note
    )
    return described, scored


def _plan(items: dict[str, Item], book: GraderBook, table: RouteTable, now_ns: int) -> TrialPlan:
    settings = Settings(route=ROUTE, candidate=CANDIDATE, margin=MARGIN, alpha=ALPHA, seed=SEED)
    slices = sorted({item.slice for item in items.values()})
    weights = {name: sum(item.slice == name for item in items.values()) / len(items) for name in slices}
    order = order_items(list(items.values()), weights, SEED)
    span = span_of(ROUTE, [items[one] for unit in order.units for one in unit.items], {})
    return TrialPlan(
        schema=PLAN_SCHEMA, trial=trial_id(ROUTE, CANDIDATE, span.digest, MARGIN, ALPHA, SEED), settings=settings,
        incumbent=Incumbent(NOWHERE).arm, arm=CANDIDATE, table=table.number, span=span,
        weights=weights, counts=order.counts, units=order.units, gold=(), unjudged={}, hand_written=True, look=1,
        graders=tuple(row.use(name) for name in slices if (row := book.of(name)) is not None), created_ns=now_ns,
    )  # fmt: skip
