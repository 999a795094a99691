"""A trial's verdict and told outcomes for a store of made rows (`rows.made`), so that a report has all of its parts.

The compared calls are rows of that store; the scores are made, the verdict is the decider's own.
"""

from typing import NamedTuple

import duckdb
import msgspec

from tests.reports.made import SliceShape, trial
from weighbridge.exchanges.chain import Chain, put_object, signing_key
from weighbridge.exchanges.telling import tell
from weighbridge.records.canonical import canonical, digest
from weighbridge.records.frames import Told
from weighbridge.store.layout import Layout

ROUTE, INCUMBENT, CANDIDATE = "assistant", "closed", "open"
PAIRS_MAX = 2_000
TOLD_MAX = 50_000


class Judged(NamedTuple):
    pairs: int
    told: int


def judged(layout: Layout, now_ns: int) -> Judged:
    """Store a verdict on the candidate over rows of the log, and tell the outcomes of some conversations."""
    with duckdb.connect() as sql:
        source = str(layout.rows / "*.parquet")
        sql.execute(f"CREATE VIEW rows AS SELECT * FROM read_parquet('{source}') WHERE route = '{ROUTE}'")  # noqa: S608 (names of ours)
        items = sql.execute(
            "SELECT id FROM rows WHERE purpose = 'user' AND arm = ? AND outcome = 'ok' ORDER BY time LIMIT ?",
            [INCUMBENT, PAIRS_MAX],
        ).fetchall()
        replays = sql.execute(
            "SELECT id FROM rows WHERE purpose = 'trial' AND arm = ? AND outcome = 'ok' LIMIT ?",
            [CANDIDATE, PAIRS_MAX],
        ).fetchall()
        conversations = sql.execute(
            "SELECT DISTINCT conversation FROM rows WHERE purpose = 'user' LIMIT ?", [TOLD_MAX]
        ).fetchall()
    pairs = _verdict(layout, [str(row[0]) for row in items], [str(row[0]) for row in replays], now_ns)
    frames = [
        Told("made", now_ns, "app", ROUTE, str(row[0]), "task=chat", None, "resolved", float(number % 9 != 0))
        for number, row in enumerate(conversations)
    ]
    tell(layout, frames, "process")
    return Judged(pairs, len(frames))


def _verdict(layout: Layout, items: list[str], replays: list[str], now_ns: int) -> int:
    many = min(len(items), len(replays)) // 4
    shapes = {f"task={name}": SliceShape(0.9, 0.9, items=many) for name in ("refund", "triage", "extract", "chat")}
    made, _ = trial(shapes, candidate=CANDIDATE, name="t-made", created_ns=now_ns)
    assert made.evidence is not None
    pairs = tuple(
        msgspec.structs.replace(pair, item=item, replay=replay)
        for pair, item, replay in zip(made.evidence.pairs, items, replays, strict=False)
    )
    evidence = msgspec.structs.replace(made.evidence, incumbent=INCUMBENT, pairs=pairs)
    verdict = msgspec.structs.replace(made.verdict, incumbent=INCUMBENT, evidence=digest(canonical(evidence)))
    chain, key = Chain(layout), signing_key(layout)
    label = f"{ROUTE}/{CANDIDATE}"
    put_object(layout, chain, key, "finding", label, canonical(made.findings[0]), now_ns)
    put_object(layout, chain, key, "evidence", label, canonical(evidence), now_ns)
    put_object(layout, chain, key, "verdict", label, canonical(verdict), now_ns)
    return len(pairs)
