"""Made-up routes, calls and trials for the tests of the report: the verdicts come from the real decider."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from tests.reports.rowwise import see
from weighbridge.records.canonical import canonical, digest
from weighbridge.records.evidence import (
    EVIDENCE_SCHEMA,
    FINDING_SCHEMA,
    VERDICT_SCHEMA,
    Evidence,
    Finding,
    GraderUse,
    LicenseWord,
    Pair,
    SliceVerdict,
    Span,
    Verdict,
)
from weighbridge.records.exchange import Attempt, Exchange
from weighbridge.records.frames import Outcome, Purpose, Told
from weighbridge.records.table import SCHEMA, Arm, Capture, Endpoint, Limits, Route, RouteTable
from weighbridge.records.usage import Price, Usage
from weighbridge.reports.gather import Inputs, Judged
from weighbridge.stats.verdict import Decider

DAY_NS = 86_400_000_000_000
START_NS = 1_793_700_000_000_000_000  # 3 November 2026
SECOND_NS = 1_000_000_000

OPENAI = Endpoint(
    name="openai", dialect="openai", base_url="https://api.openai.com/v1", region="us", retention_days=30,
    trains_on_data=False, agreement="DPA 2026-03-01",
)  # fmt: skip
OWN = Endpoint(name="own-gpu", dialect="openai", base_url="http://127.0.0.1:9000/v1", loopback=True, precision="bf16")
HOSTED = Endpoint(name="host", dialect="openai", base_url="https://llm.example/v1", region="eu", retention_days=0)


def table(
    *candidates: Arm, route: Route | None = None, endpoints: Sequence[Endpoint] = (OPENAI, OWN, HOSTED)
) -> RouteTable:
    arms = candidates or (arm("qwen-72b"),)
    return RouteTable(
        schema=SCHEMA, number=7, created_ns=START_NS, config_digest="c" * 64, trial_key="0" * 64, durability="process",
        capture=Capture(), limits=Limits(), endpoints=tuple(endpoints),
        arms=(
            Arm(name="gpt-4o", endpoint="openai", model="gpt-4o-2024-08-06", weights="closed",
                price=Price(input=2_500_000_000, output=10_000_000_000), price_version="price book 1"),
            *arms,
        ),
        routes=(route or a_route(*(one.name for one in arms)),),
        keys=(),
    )  # fmt: skip


def a_route(*candidates: str, name: str = "assistant") -> Route:
    return Route(name=name, incumbent="gpt-4o", aliases=("gpt-4o",), candidates=candidates, slice_by=("tag:task",))


def arm(name: str, endpoint: str = "own-gpu") -> Arm:
    return Arm(name=name, endpoint=endpoint, model=name.upper(), weights="open", terms="Apache-2.0",
               price=Price(input=350_000_000, output=400_000_000), price_version="config:ab12")  # fmt: skip


def exchange(
    ident: str,
    *,
    purpose: Purpose = "user",
    arm: str = "gpt-4o",
    part: str = "task=refund",
    outcome: Outcome = "ok",
    time_ns: int = START_NS,
    usage: Usage | None = None,
    cost_nanousd: int | None = 1_000_000,
    duration_ns: int | None = SECOND_NS,
    first_byte_ns: int | None = SECOND_NS // 4,
    stream: bool = False,
    trial: str | None = None,
    item: str | None = None,
    finish_reason: str = "stop",
    conversation: str | None = None,
) -> Exchange:
    if usage is None:
        usage = Usage(200, 60)
    return Exchange(
        id=ident, time_ns=time_ns, purpose=purpose, route="assistant", arm=arm, key="app", team=None, user=None,
        tags=(("task", part.partition("=")[2]),), slice=part, conversation=conversation or ident, table=7,
        stream=stream,
        outcome=outcome, status=200, attempts=(Attempt(attempt=1, arm=arm, endpoint="e", model="m", status=200,
        finish_reason=finish_reason),), usage=usage, cost_nanousd=cost_nanousd,
        price_version=None if cost_nanousd is None else f"price of {arm}", duration_ns=duration_ns,
        first_byte_ns=first_byte_ns, request_bytes=900, response_bytes=700, max_tokens=None, held_nanousd=None,
        request=None, response=None, trial=trial, item=item, error=None, digest="d" * 64,
    )  # fmt: skip


@dataclass(frozen=True)
class SliceShape:
    """How a made slice turns out: the share of items that each arm gets right, of `items`."""

    incumbent: float
    candidate: float
    items: int = 400
    cheaper: float = 0.2
    """Cost of the candidate per cost of the incumbent."""
    cost_known: bool = True


def trial(
    shapes: dict[str, SliceShape],
    *,
    candidate: str = "qwen-72b",
    name: str = "t-0001",
    margin: float = 0.05,
    alpha: float = 0.05,
    seed: int = 5,
    word: LicenseWord = "allowed",
    created_ns: int = START_NS + 21 * DAY_NS,
    days: float = 20.0,
) -> tuple[Judged, list[Exchange]]:
    """A judged trial and the log behind it: user traffic over `days` and one replay per compared item."""
    rng = random.Random(seed)
    total = sum(shape.items for shape in shapes.values())
    weights = {part: shape.items / total for part, shape in shapes.items()}
    decider = Decider(margin, alpha, weights, (candidate,), seed)
    log: list[Exchange] = []
    pairs: list[Pair] = []
    made = dict.fromkeys(shapes, 0)
    for draw in decider.draws({part: shape.items for part, shape in shapes.items()}):
        shape, number = shapes[draw.slice], made[draw.slice]
        made[draw.slice] += 1
        item = f"{name}-{draw.slice}-{number}"
        at = START_NS + round(days * DAY_NS * len(log) / (2 * total))
        slow = rng.lognormvariate(0.0, 0.4)
        cost = round(1_000_000 * rng.uniform(0.7, 1.3))
        usage = Usage(rng.randint(150, 260), rng.randint(40, 90))
        log.append(exchange(item, part=draw.slice, time_ns=at, cost_nanousd=cost, duration_ns=round(1.4e9 * slow),
                            first_byte_ns=round(4e8 * slow), usage=usage))  # fmt: skip
        if decider.verdict(draw.slice, candidate) != "undecided":
            continue
        right = rng.random()
        # Mostly the same items are easy for both: discordance is what is left.
        incumbent = float(right < shape.incumbent)
        judged = right if rng.random() < 0.85 else rng.random()
        scored = float(judged < shape.candidate)
        replay = f"{item}-replay"
        log.append(exchange(replay, purpose="trial", arm=candidate, part=draw.slice, trial=name, item=item,
                            time_ns=created_ns - DAY_NS + number * SECOND_NS,
                            cost_nanousd=round(cost * shape.cheaper) if shape.cost_known else None,
                            duration_ns=round(0.9e9 * slow), first_byte_ns=round(2e8 * slow),
                            usage=Usage(rng.randint(160, 280), rng.randint(60, 120))))  # fmt: skip
        pairs.append(Pair(item=item, item_digest="a" * 64, replay=replay, replay_digest="b" * 64, cluster=item,
                          slice=draw.slice, incumbent=incumbent, candidate=scored))  # fmt: skip
        decider.feed(draw.slice, candidate, scored - incumbent, draw)
    evidence = Evidence(
        schema=EVIDENCE_SCHEMA, trial=name, route="assistant", incumbent="gpt-4o", candidate=candidate, table=7,
        span=Span(route="assistant", first_time_ns=START_NS, last_time_ns=START_NS + round(days * DAY_NS),
                  exchanges=total + 12, left_out={"no body": 9, "no gold answer": 3}, digest="5" * 64),
        graders=tuple(GraderUse(slice=s, kind="number", version="1", extract="json:answer", reference="gold",
                                settings_digest="e" * 64) for s in shapes),
        margin=margin, alpha=alpha, seed=seed, shuffled=True, weights=weights, pairs=tuple(pairs), failed={},
    )  # fmt: skip
    finding = a_finding(candidate, word)
    verdict = Verdict(
        schema=VERDICT_SCHEMA, route="assistant", candidate=candidate,
        verdicts=tuple(_slice_verdict(decider, s, candidate, word) for s in shapes),
        overall=_slice_verdict(decider, None, candidate, word), margin=margin, alpha=alpha, method="betting", seed=seed,
        cost_usd=0.42, trial=name, incumbent="gpt-4o", evidence=digest(canonical(evidence)),
        findings=(digest(canonical(finding)),), created_ns=created_ns,
    )  # fmt: skip
    return Judged(digest(canonical(verdict)), verdict, evidence, (finding,)), log


def a_finding(candidate: str, word: LicenseWord) -> Finding:
    return Finding(
        schema=FINDING_SCHEMA, arm=candidate, terms="Apache-2.0", verdict=word, obligations=("keep the notice",),
        reasons=("Apache-2.0 allows commercial use (section 2)",), on="2026-11-24",
    )  # fmt: skip


def _slice_verdict(decider: Decider, name: str | None, candidate: str, word: LicenseWord) -> SliceVerdict:
    state = decider.overall(candidate) if name is None else decider.state(name, candidate)
    reasons: tuple[str, ...] = ()
    if state.verdict == "undecided":
        more = None if name is None else decider.still_needed(name, candidate)
        reasons = ("more pairs will not help" if more is None else f"needs about {more} more pairs",)
    return SliceVerdict(
        slice=name or "*", n=state.n, clusters=state.n, difference=state.difference, interval=state.interval,
        verdict=state.verdict, decided_at=state.decided_at, label_source="gold", license=word, reasons=reasons,
    )  # fmt: skip


def inputs(
    judged: Sequence[Judged],
    log: Sequence[Exchange],
    *,
    table: RouteTable,
    log_head: str | None = "f" * 64,
    told: Sequence[Told] = (),
) -> Inputs:
    return Inputs(
        table=table, judged=tuple(judged), seen=see(log, judged, told), log_head=log_head, now_ns=START_NS + 22 * DAY_NS
    )
