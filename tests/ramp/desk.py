"""An office on a real database, signed log and route tables, without a process; its clock stands still until told."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tests.keeper.processes import write_config
from weighbridge.clock import JumpingClock
from weighbridge.config import Loaded, load
from weighbridge.exchanges.chain import Chain, put_object, signing_key
from weighbridge.keeper.publish import Publisher
from weighbridge.keeper.ramps import Desk, Ramps
from weighbridge.ramp.office import RampOffice
from weighbridge.records.canonical import canonical
from weighbridge.records.drill import DrillInForce
from weighbridge.records.evidence import (
    EVIDENCE_SCHEMA,
    VERDICT_SCHEMA,
    Evidence,
    SliceVerdict,
    Span,
    Verdict,
    VerdictWord,
)
from weighbridge.records.ramp import RampState, RampStatus, Stage
from weighbridge.records.table import RouteTable
from weighbridge.records.trial import trial_id
from weighbridge.store.control import ObjectKind, RampAct, RampAction, RampShow
from weighbridge.store.database import Database
from weighbridge.store.layout import Layout
from weighbridge.store.ramps import RampChange
from weighbridge.store.sightings import SharedSightings

RAMP = """
[[ramp]]
route = "assistant"
hold_s = { shadow = 60, canary = 60, few = 60, quarter = 60, half = 60, all = 60 }
conversations_min = { shadow = 0, canary = 0, few = 0, quarter = 0, half = 0, all = 0 }
pairs_min = { shadow = 0, canary = 0, few = 0, quarter = 0, half = 0, all = 0 }
guardrails = ["errors"]
candidate_per_minute = 1000
incumbent_per_minute = 1000
"""


@dataclass
class Store:
    """As the keeper is for a desk; `keeper()` is what a restart finds."""

    file: Path
    clock: JumpingClock = field(default_factory=JumpingClock)
    serving: bool = True
    leader: str | None = None
    sharing: SharedSightings | None = None
    alerts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.layout = Layout(self.file.parent / "weighbridge-data")
        self.layout.create()
        self.key = signing_key(self.layout)
        self.chain = Chain(self.layout)
        self.open()
        self.publisher.publish(self.loaded)

    def open(self) -> None:
        self.loaded: Loaded = load(self.file)
        self.database = Database(self.layout.database)
        self.publisher = Publisher(self.layout, self.database, self.clock, self.key.public)
        self.desk = Desk(self.layout, self.database, self.clock, self, self.sharing)
        self.office = RampOffice(self.desk)

    def again(self) -> None:
        """The keeper died, another one starts."""
        self.office.close()
        self.database.close()
        self.open()
        self.publisher.publish(self.loaded)

    # --- what a keeper does -------------------------------------------------------------------------------------------

    async def put(self, kind: ObjectKind, label: str, body: bytes) -> str:
        return put_object(self.layout, self.chain, self.key, kind, label, body, self.clock.wall_ns()).digest

    def publish_ramp(self, change: RampChange, ramps: Ramps) -> int:
        return self.publisher.publish_ramp(change, ramps, self.loaded).table.number

    def publish_drills(self, drills: Mapping[str, DrillInForce]) -> int:
        return self.publisher.publish_drills(drills).table.number

    def publish_override(self, routes: frozenset[str]) -> int:
        return self.publisher.publish_override(routes).table.number

    def current_table(self) -> RouteTable | None:
        return self.publisher.current

    # --- what a test does ---------------------------------------------------------------------------------------------

    def verdict(self, word: VerdictWord = "non_inferior", candidate: str = "candidate") -> str:
        span = Span(route="assistant", first_time_ns=1, last_time_ns=2, exchanges=1, left_out={}, digest="s")
        trial = trial_id("assistant", self.loaded.arm_identity(candidate), "s", 0.03, 0.05, 1)
        evidence = Evidence(
            schema=EVIDENCE_SCHEMA, trial=trial, route="assistant", incumbent="incumbent", candidate=candidate, table=1,
            span=span, graders=(), margin=0.03, alpha=0.05, seed=1, shuffled=True, weights={"all": 1.0}, pairs=(),
            failed={},
        )  # fmt: skip
        row = SliceVerdict(
            slice="all", n=0, clusters=0, difference=0.0, interval=None, verdict=word, decided_at=1,
            label_source="gold", license="allowed", reasons=("made for a test",),
        )  # fmt: skip
        named = self._stored("evidence", canonical(evidence))
        made = Verdict(
            schema=VERDICT_SCHEMA, route="assistant", candidate=candidate, verdicts=(row,),
            overall=msgspec.structs.replace(row, slice="overall"), margin=0.03, alpha=0.05, method="test", seed=1,
            cost_usd=None, trial=trial, incumbent="incumbent", evidence=named, created_ns=self.clock.wall_ns(),
        )  # fmt: skip
        return self._stored("verdict", canonical(made))

    def _stored(self, kind: ObjectKind, body: bytes) -> str:
        return put_object(self.layout, self.chain, self.key, kind, "assistant/candidate", body, 1).digest

    async def act(self, action: RampAction, *, up_to: Stage | None = None, accepts: tuple[str, ...] = (),
                  verdict: str | None = None, token: str | None = None) -> RampStatus:  # fmt: skip
        asked = RampAct(action=action, route="assistant", up_to=up_to, accepts=accepts, verdict=verdict, token=token)
        return (await self.office.act(asked)).ramps[0]

    async def begin(self, up_to: Stage = "settled") -> RampStatus:
        """Proposed, approved, started."""
        await self.act("propose", verdict=self.verdict())
        await self.act("approve", up_to=up_to, accepts=("headroom", "way_back", "licence"))
        return await self.act("start")

    async def until(self, stage: Stage, *, ticks: int = 80) -> RampStatus:
        """Ten seconds a tick, as long as the stage is another one."""
        for _ in range(ticks):
            if (status := await self.status()).state.stage == stage:
                return status
            self.clock.advance(10)
            await self.office.tick()
        raise AssertionError(await self.status())

    async def status(self) -> RampStatus:
        return (await self.office.show(RampShow())).ramps[0]

    @property
    def state(self) -> RampState:
        return self.desk.stored()[0][0]

    def share(self) -> int:
        """Of the candidate, as workers read it from the disk."""
        table = msgspec.json.decode(self.layout.table.read_bytes(), type=RouteTable)
        route = table.route("assistant")
        assert route is not None
        return sum(row.basis_points for row in route.shares if row.arm == "candidate")


def store_in(folder: Path) -> Store:
    file = write_config(folder)
    file.write_text(file.read_text() + RAMP)
    return Store(file)


def climb_to(stage: Stage, file: Path) -> None:
    """Take the ramp of a store up to a stage, before anything serves it."""
    store = Store(file, JumpingClock(time.time_ns()))

    async def climb() -> None:
        await store.begin(stage)
        await store.until(stage)

    asyncio.run(climb())
    store.office.close()
    store.database.close()
