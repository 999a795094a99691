"""Logged requests and answers into the exchange log, as if the gateway had been in their path.

The importer is one more writer of the log, with an incarnation of its own: readers, the keeper and `verify` need to
know nothing of it. Each exchange carries the tag `imported`, whose value is the mark of its row: a row that is there
already is passed over, so that importing a file again, or going on after a crash, adds what is missing and no more.
"""

import asyncio
import fcntl
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import Literal

import msgspec

from weighbridge.errors import StoreError
from weighbridge.exchanges.framing import new_incarnation
from weighbridge.exchanges.incoming import Incoming, Refused
from weighbridge.exchanges.reader import read
from weighbridge.exchanges.writer import LogWriter, Sealer
from weighbridge.records.frames import Attempted, Finished, Held, Posted
from weighbridge.records.slices import SliceFacts, slice_of
from weighbridge.records.usage import Price, cost_nanousd
from weighbridge.store.layout import Layout
from weighbridge.wire import openai

TAG = "imported"
KEY = "imported"
"""Stands in place of a client key: no key of ours let these requests in."""
TURN = 256
"""Rows between two writes."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """The arm that a row's model stands for."""

    arm: str
    endpoint: str
    model: str


PriceAt = Callable[[str, int], tuple[Price, str] | None]
"""(arm, nanoseconds since 1970) -> its price then and where that comes from; `None`: unknown."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Where rows go. `by_model`: the name in a request or an answer -> its arm; `every`: the arm of all, if given."""

    route: str
    slice_by: tuple[str, ...]
    by_model: Mapping[str, Target]
    every: Target | None
    tags: tuple[tuple[str, str], ...]
    team: str | None
    redact: tuple[str, ...]
    durability: Literal["process", "power"]


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """The documented JSON shape of `exchanges import --json`."""

    imported: int
    known: int
    """Rows that were in the log, or earlier in the files, already."""
    refused: dict[str, int]
    """Reason -> rows; they were written aside."""
    cost_unknown: int
    """Imported exchanges whose cost is unknown."""


@contextmanager
def _alone(layout: Layout) -> Iterator[None]:
    """One import at a time: two would not see each other's rows."""
    fd = os.open(layout.run / "import.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(f"another import into {layout.root} is running; wait for its end") from None
        yield
    finally:
        os.close(fd)


def import_rows(
    layout: Layout,
    rows: Iterable[Incoming | Refused],
    plan: Plan,
    price_at: PriceAt,
    sealer: Sealer,
    aside: Callable[[Refused], object],
) -> Imported:
    """Bring rows into the log of an existing store. Raises `StoreError` where the log cannot be written any more.

    What was imported before that stays; importing again goes on behind it.
    """
    with _alone(layout):
        known = {value for one in read(layout, route=plan.route, key=KEY) for name, value in one.tags if name == TAG}
        return asyncio.run(_Import(layout, plan, price_at, sealer, aside, known).run(rows))


class _Import:
    def __init__(
        self,
        layout: Layout,
        plan: Plan,
        price_at: PriceAt,
        sealer: Sealer,
        aside: Callable[[Refused], object],
        known: set[str],
    ) -> None:
        self._layout, self._plan, self._price_at, self._sealer = layout, plan, price_at, sealer
        self._aside, self._seen = aside, known
        self._incarnation, self._number = new_incarnation(), 0
        self._known = self._unknown = 0
        self._refused: Counter[str] = Counter()

    async def run(self, rows: Iterable[Incoming | Refused]) -> Imported:
        loop = asyncio.get_running_loop()
        log = LogWriter(
            self._layout,
            self._incarnation,
            durability=self._plan.durability,
            call_soon=loop.call_soon,
            call_threadsafe=loop.call_soon_threadsafe,
            sealer=self._sealer,
        )
        try:
            for number, row in enumerate(rows, 1):
                self._take(log, row)
                if number % TURN == 0:
                    await self._written(log)
            await self._written(log)
        finally:
            log.close()
        return Imported(
            imported=self._number, known=self._known, refused=dict(self._refused.most_common()),
            cost_unknown=self._unknown,
        )  # fmt: skip

    async def _written(self, log: LogWriter) -> None:
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        log.when_written(lambda: done.set_result(True), lambda: done.set_result(False))
        if not await done or log.state != "ok":
            raise StoreError(
                f"the exchange log takes no more: {log.reason}. Make room and import again: what is there is kept."
            )

    def _take(self, log: LogWriter, row: Incoming | Refused) -> None:
        if isinstance(row, Incoming):
            if row.mark in self._seen:
                self._known += 1
                return
            target = self._plan.every or next(
                (found for model in row.models if (found := self._plan.by_model.get(model)) is not None), None
            )
            if target is not None:
                self._seen.add(row.mark)
                self._write(log, row, target)
                return
            names = " or ".join(repr(one) for one in row.models) or "no model"
            row = Refused(
                line=row.line, reason=f"{names}: not the model of an arm of this route", row=row.request.decode()
            )
        self._refused[row.reason] += 1
        self._aside(row)

    def _write(self, log: LogWriter, row: Incoming, target: Target) -> None:
        plan, parsed = self._plan, row.parsed
        self._number += 1
        identity = f"{self._incarnation}-{self._number:x}"
        tags = (*plan.tags, *row.tags, (TAG, row.mark))
        facts = openai.read_answer(row.answer)
        priced = self._price_at(target.arm, row.time_ns)
        cost = None if priced is None or facts.usage is None else cost_nanousd(facts.usage, priced[0])
        self._unknown += cost is None
        turns = openai.turns_of(parsed)
        slice_name = slice_of(
            plan.slice_by,
            SliceFacts(KEY, tags, turns.system, openai.tools_of(parsed), openai.response_schema(parsed)),
        )
        conversation = sha256(KEY.encode() + b"\0" + turns.first_user).hexdigest()[:16]
        duration = row.duration_ns or 0
        team = row.team or plan.team
        held = Held(
            identity, row.time_ns, "user", plan.route, 0, KEY, team, row.user, tags, slice_name, conversation,
            False, len(row.request), parsed.max_tokens, None, None,
        )  # fmt: skip
        finished = Finished(
            identity, row.time_ns + duration, "ok", 200, 1, duration, None, len(row.answer), None, cost
        )  # fmt: skip
        log.capture(held, team, row.request, plan.redact)
        log.append(Attempted(identity, 1, row.time_ns, target.arm, target.endpoint, target.model, (), False))
        version = None if priced is None else priced[1]
        log.append(
            Posted(
                identity, 1, 200, facts.usage, facts.usage_raw, cost, version, duration, None,
                finish_reason=facts.finish_reason,
            )
        )  # fmt: skip
        log.capture(finished, team, row.answer, plan.redact)


def targets(arms: Sequence[Target]) -> dict[str, Target]:
    """By model. A model that two arms share stands for the first, the incumbent."""
    found: dict[str, Target] = {}
    for one in arms:
        found.setdefault(one.model, one)
    return found
