"""A store with everything in it: sealed and open segments, objects, erased bodies, a dead worker, a live one."""

from hashlib import sha256
from pathlib import Path

from tests.exchanges.loop import Bench, die, held, store
from weighbridge.exchanges.chain import Chain, SigningKey, put_object, signing_key
from weighbridge.exchanges.checkpoint import Checkpointer
from weighbridge.exchanges.erase import erase
from weighbridge.exchanges.reader import read
from weighbridge.exchanges.seal import Sealed, seal_all
from weighbridge.records.canonical import canonical
from weighbridge.records.evidence import Evidence, Finding, Pair, SliceVerdict, Span, Verdict
from weighbridge.records.exchange import Exchange

NOW_NS = 1_764_000_100_000_000_000


class Keeper:
    """What the keeper does to a store, by hand."""

    def __init__(self, bench: Bench) -> None:
        self.layout, self.bench = bench.layout, bench
        self.chain = Chain(bench.layout)
        self.key: SigningKey = signing_key(bench.layout)

    def seal(self) -> Sealed:
        return seal_all(self.layout, self.chain, self.key, self.bench.master, time_ns=NOW_NS)

    def checkpoint(self) -> None:
        assert [] == Checkpointer(self.layout, self.chain, self.key).run(NOW_NS)


def rich_store(folder: Path, *, live: bool = True) -> Keeper:
    layout = store(folder)
    bench = Bench(layout, segment_bytes_max=6000)
    keeper = Keeper(bench)
    items = [bench.request(b'{"q":%d}' % number, b'{"a":%d}' % number) for number in range(40)]
    replays = [bench.request(like=held("-", purpose="trial", trial="t-1", item=item)) for item in items[:5]]
    bench.log.roll()
    keeper.seal()
    erase(layout, keeper.chain, keeper.key, exchanges=items[-2:], time_ns=NOW_NS)
    by_id = {one.id: one for one in read(layout)}
    put_verdict(keeper, [(by_id[item], by_id[replay]) for item, replay in zip(items, replays, strict=False)])
    dead = Bench(layout)
    for _ in range(3):
        dead.request()
    dead.begin()
    dead.loop.turn()
    bench.request()
    keeper.checkpoint()
    dead.request()
    die(dead)
    bench.request()
    if not live:
        bench.close()
    return keeper


def put_verdict(keeper: Keeper, pairs: list[tuple[Exchange, Exchange]]) -> str:
    """A plan, evidence over the pairs, a finding and a verdict; returns the verdict's digest."""
    span = "".join(f"{item.id} {item.digest}\n" for item, _ in pairs)
    plan = b'{"trial":"t-1","units":[%b]}' % b",".join(b'{"items":["%b"]}' % item.id.encode() for item, _ in pairs)
    put_object(keeper.layout, keeper.chain, keeper.key, "trial", "assistant/qwen", plan, NOW_NS)
    evidence = Evidence(
        schema="evidence/1",
        trial="t-1",
        route="assistant",
        incumbent="gpt-4o",
        candidate="qwen",
        table=7,
        span=Span(
            route="assistant", first_time_ns=1, last_time_ns=2, exchanges=len(pairs), left_out={},
            digest=sha256(span.encode()).hexdigest(),
        ),
        graders=(),
        margin=0.1,
        alpha=0.05,
        seed=1,
        shuffled=True,
        weights={"task=refund": 1.0},
        pairs=tuple(
            Pair(
                item=item.id, item_digest=item.digest, replay=replay.id, replay_digest=replay.digest, cluster=item.id,
                slice="task=refund", incumbent=1.0, candidate=1.0, note="both said 42",
            )
            for item, replay in pairs
        ),
        failed={},
    )  # fmt: skip
    finding = Finding(
        schema="finding/1", arm="qwen", terms=None, verdict="unclear", obligations=(), reasons=(), on="2026-11-25"
    )
    layout, chain, key = keeper.layout, keeper.chain, keeper.key
    digests = [
        put_object(layout, chain, key, "evidence", "assistant/qwen", canonical(evidence), NOW_NS).digest,
        put_object(layout, chain, key, "finding", "assistant/qwen", canonical(finding), NOW_NS).digest,
    ]
    row = SliceVerdict(
        slice="task=refund", n=len(pairs), clusters=len(pairs), difference=0.0, interval=(-0.3, 0.3),
        verdict="undecided", decided_at=None, label_source="gold", license="unclear", reasons=(),
    )  # fmt: skip
    verdict = Verdict(
        schema="verdict/1", route="assistant", candidate="qwen", verdicts=(row,), overall=row, margin=0.1, alpha=0.05,
        method="test", seed=1, cost_usd=None, trial="t-1", evidence=digests[0], findings=(digests[1],),
    )  # fmt: skip
    return put_object(layout, chain, key, "verdict", "assistant/qwen", canonical(verdict), NOW_NS).digest
