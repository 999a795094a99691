"""A store with traffic whose money is known: frames written by the real log writer, priced by published tables."""

from pathlib import Path
from typing import get_args

import msgspec

from tests.exchanges.loop import Bench, attempted, finished, held, posted, store
from tests.exchanges.stores import Keeper
from weighbridge.config import Loaded, loads
from weighbridge.records.canonical import canonical
from weighbridge.records.frames import Outcome, Purpose
from weighbridge.records.table import Arm, Capture, Endpoint, Limits, Route, RouteTable
from weighbridge.records.usage import PastContext, Price, ServiceTier, Usage, cost_nanousd
from weighbridge.store.database import Database
from weighbridge.store.layout import Layout

NOV_1_NS = 1_793_491_200_000_000_000  # 2026-11-01 00:00 UTC
DAY_NS = 86_400 * 10**9
HOUR_NS = 3_600 * 10**9

CLOSED = Price(
    5 * 10**9, 30 * 10**9, 5 * 10**8, 6 * 10**9, 10 * 10**9, 30 * 10**9, 0, 272_000, web_search_nanousd=10_000_000,
    tiers=(PastContext(272_000, Price(10 * 10**9, 45 * 10**9, 10**9, reasoning=45 * 10**9)),),
    services=(ServiceTier("flex", Price(25 * 10**8, 15 * 10**9, 25 * 10**7, reasoning=15 * 10**9)),),
)  # fmt: skip
OPEN = Price(333_333_333, 777_777_777, 33_333_333, reasoning=777_777_777, per_request_nanousd=1_000)
PRICES = {"closed": CLOSED, "open": OPEN}
VERSIONS = {"closed": "book 1 closed", "open": "config:open"}

CONFIG = """
[[endpoint]]
name = "closed-api"
base_url = "https://closed.example.com/v1"
provider = "openai"
region = "us"
[[endpoint]]
name = "own"
base_url = "http://127.0.0.1:9/v1"
[[arm]]
name = "closed"
endpoint = "closed-api"
model = "gpt-5.5"
weights = "closed"
[[arm]]
name = "open"
endpoint = "own"
model = "qwen"
weights = "open"
price = { input = "0.333333333", output = "0.777777777", cache_read = "0.033333333", per_request = "0.000001" }
[[route]]
name = "assistant"
incumbent = "closed"
candidates = ["open"]
[[key]]
name = "app"
secret = "env:APP_KEY"
"""


def loaded(more: str = "") -> Loaded:
    return loads(CONFIG + more)


class Books:
    """Writes requests into a store, and keeps its own sum of what they cost."""

    def __init__(self, folder: Path) -> None:
        self.layout: Layout = store(folder)
        self.bench = Bench(self.layout, bodies=False)
        self.keeper = Keeper(self.bench)
        self.booked = 0
        database = Database(self.layout.database)
        database.publish(0, 7, canonical(table()), 1)
        database.close()

    def request(
        self,
        usage: Usage | None,
        *,
        arm: str = "closed",
        at_ns: int = NOV_1_NS,
        purpose: Purpose = "user",
        team: str | None = "support",
        key: str = "app",
        user: str | None = None,
        cost: int | None = None,
        estimated: bool = False,
        outcome: Outcome = "ok",
        trial: str | None = None,
        item: str | None = None,
    ) -> str:
        """One request with one attempt; `cost` instead of what the price makes of the usage."""
        if usage is not None:
            cost = cost_nanousd(usage, PRICES[arm])
        self.booked += cost or 0
        frame = msgspec.structs.replace(
            held("-"), id=self.bench.next_id(), time_ns=at_ns, purpose=purpose, team=team, key=key, user=user,
            trial=trial, item=item,
        )  # fmt: skip
        assert outcome in get_args(Outcome)
        log, identity = self.bench.log, frame.id
        log.append(frame)
        model = {"closed": ("closed-api", "gpt-5.5"), "open": ("own", "qwen")}[arm]
        log.append(msgspec.structs.replace(attempted(identity), arm=arm, endpoint=model[0], model=model[1]))
        log.append(
            msgspec.structs.replace(
                posted(identity), usage=usage, cost_nanousd=cost, price_version=VERSIONS[arm], estimated=estimated
            )
        )
        log.append(msgspec.structs.replace(finished(identity, outcome=outcome), cost_nanousd=cost))
        self.bench.loop.turn()
        return identity

    def seal(self) -> None:
        self.bench.log.roll()
        self.keeper.seal()

    def close(self) -> None:
        self.bench.close()


def table() -> RouteTable:
    return RouteTable(
        schema="route-table/1", number=7, created_ns=1, config_digest="0" * 64, trial_key="0" * 64,
        durability="process", capture=Capture(), limits=Limits(),
        endpoints=(
            Endpoint(name="closed-api", dialect="openai", base_url="https://closed.example.com/v1"),
            Endpoint(name="own", dialect="openai", base_url="http://127.0.0.1:9/v1"),
        ),
        arms=(
            Arm(name="closed", endpoint="closed-api", model="gpt-5.5", price=CLOSED, price_version="book 1 closed"),
            Arm(name="open", endpoint="own", model="qwen", price=OPEN, price_version="config:open"),
        ),
        routes=(Route(name="assistant", incumbent="closed"),), keys=(),
    )  # fmt: skip
