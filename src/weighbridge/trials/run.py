"""`trial run`: prepare, replay, conclude, store."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from decimal import Decimal

import msgspec

from weighbridge.config import Loaded
from weighbridge.errors import UsageError, WeighbridgeError
from weighbridge.grading.answers import Answer, answer_of, question_of
from weighbridge.grading.book import GraderBook, grade
from weighbridge.grading.judge import JUDGE_TOKENS_MAX, JudgeGrader
from weighbridge.licenses import Profile
from weighbridge.licenses import finding as license_finding
from weighbridge.licenses import profile as license_profile
from weighbridge.records.canonical import canonical
from weighbridge.records.evidence import Evidence, Finding, Verdict
from weighbridge.records.exchange import Exchange
from weighbridge.records.permission import arm_refusal
from weighbridge.records.table import Arm, Route, RouteTable
from weighbridge.records.usage import NANOUSD, usd
from weighbridge.store.control import ControlClient, ObjectKind, ObjectRow, PutObject
from weighbridge.store.layout import Layout
from weighbridge.trials.calls import Answered, BodyGone, NoAnswer, Sent, read
from weighbridge.trials.conclude import conclude
from weighbridge.trials.frame import Item
from weighbridge.trials.journal import Journal
from weighbridge.trials.judging import Judge, Panel
from weighbridge.trials.log import TrialLog
from weighbridge.trials.money import Purse, bound_nanousd, call_bound_nanousd, cost_of, output_bound, total_cost
from weighbridge.trials.outcome import Gone, Outcome, Scored, Scores, Unjudged
from weighbridge.trials.pace import Pace
from weighbridge.trials.plan import Settings, earlier_trials, label
from weighbridge.trials.prepare import Prepared, prepare, route_of
from weighbridge.trials.recall import Recall
from weighbridge.trials.replay import Progress, Replayer, Stopped
from weighbridge.trials.send import GatewaySend, SendSettings
from weighbridge.trials.walk import Walk

LOG_S_MAX = 10.0
"""How long the log may take to show the frames of replays whose answers we already have."""
POLL_EVERY_S = 0.25

USD_MAX = 1_000_000
"""The most that one trial may be allowed to spend."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How to carry a trial out. None of it can change what its verdict is, only how far it gets and how fast."""

    max_usd: Decimal | None = None
    concurrency: int = 16
    timeout_s: float = 600.0
    fresh: bool = False
    reuse: bool = False
    """Answers that earlier trials got from the same arm stand in for new ones."""


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    verdict: Verdict
    digest: str
    """Of the stored verdict."""
    evidence: Evidence
    stopped: Stopped
    complete: bool
    """Nothing is left to do for this plan: more needs new traffic, a larger cap or a mended endpoint."""
    paid_again: int
    """Replays found in the log without a captured answer, so that they were asked once more."""


def run_trial(
    loaded: Loaded,
    control: ControlClient,
    base_url: str,
    settings: Settings,
    options: Options,
    *,
    show: Callable[[Progress], None],
    say: Callable[[str], None],
) -> Ended:
    """Carry out one trial through the gateway at `base_url` (which ends in `/v1`), and store what came of it.

    Raises `WeighbridgeError` for everything a person can mend; finished replays are kept, and the next run goes on.
    """
    organization = license_profile(loaded.config.organization, loaded.file)
    log = TrialLog(loaded)
    table, route, arm = _permitted(loaded, log.layout, settings)
    judges = _permitted_judges(loaded, table, route)
    cap = _cap_nanousd(options.max_usd, (arm, *judges.values()))
    prepared = prepare(loaded, control, log, settings, table.number, fresh=options.fresh)
    for line in prepared.said:
        say(line)
    plan = prepared.plan
    graders = GraderBook(loaded, route.name)
    with Journal(log.layout.trial(plan.trial), plan) as journal:
        run = _Run(log, prepared, graders, journal)
        earlier = earlier_trials(control, log.layout, plan) if options.reuse else []
        paid_again = run.resume(earlier, judges, say)
        purse = run.purse(cap, arm, route)
        known = f", {len(run.outcomes)} of them known already" if run.outcomes else ""
        say(f"trial {plan.trial}: {plan.items} items of {len(plan.judged)} slices are planned{known}")
        how = SendSettings(concurrency=options.concurrency, timeout_s=options.timeout_s)
        send = GatewaySend(base_url, control, log, plan, how, purse)
        judge_sends = {name: GatewaySend(base_url, control, log, plan, how, purse, name, "judge") for name in judges}
        stopped, last_broken = asyncio.run(run.replay(send, judge_sends, judges, purse, arm, route, options, show))
        ended = run.conclude(control, arm, organization, stopped, last_broken, paid_again)
        if ended.complete:
            journal.finish()
        return ended


def _permitted(loaded: Loaded, layout: Layout, settings: Settings) -> tuple[RouteTable, Route, Arm]:
    """The published table, and that the send gate lets this candidate be asked at all."""
    section = route_of(loaded, settings.route, settings.candidate)
    try:
        table = msgspec.json.decode(layout.table.read_bytes(), type=RouteTable)
    except (OSError, msgspec.MsgspecError) as error:
        raise WeighbridgeError(f"the published route table {layout.table} cannot be read: {error}") from None
    route = table.route(section.name)
    if route is None or settings.candidate not in route.candidates:
        raise WeighbridgeError(
            f"route table {table.number} does not know {section.name}/{settings.candidate} yet: the configuration was "
            "edited since it was published. Reload it (SIGHUP to `weighbridge serve`)."
        )
    refused = arm_refusal(table, route, settings.candidate)
    if refused is not None:
        raise WeighbridgeError(f"a trial may not send prompts there: {refused}")
    return table, route, table.arm(settings.candidate)


def _permitted_judges(loaded: Loaded, table: RouteTable, route: Route) -> dict[str, Arm]:
    """The judges of a route, each let through by the send gate."""
    named = [name for row in loaded.config.grader if row.route == route.name for name in row.judges]
    for name in named:
        if name not in route.judges:
            raise WeighbridgeError(
                f"route table {table.number} does not know judge {name!r} of route {route.name!r} yet: the "
                "configuration was edited since it was published. Reload it (SIGHUP to `weighbridge serve`)."
            )
        refused = arm_refusal(table, route, name)
        if refused is not None:
            raise WeighbridgeError(f"judge {name!r} may not see prompts and answers: {refused}")
    return {name: table.arm(name) for name in named}


def _cap_nanousd(max_usd: Decimal | None, arms: Sequence[Arm]) -> int | None:
    if max_usd is None:
        return None
    if not max_usd.is_finite() or not 0 < max_usd <= USD_MAX:
        raise UsageError(f"--max-usd {max_usd}: allowed is an amount above 0, at most {USD_MAX:,}, e.g. 2.50")
    unknown = next((arm for arm in arms if arm.price is None), None)
    if unknown is not None:
        raise WeighbridgeError(
            f"--max-usd cannot be kept: the price of arm {unknown.name!r} ({unknown.model}) is unknown. Give it one "
            f'with `price = {{ input = "...", output = "..." }}` under [[arm]] {unknown.name}, or leave --max-usd out.'
        )
    return int(max_usd * NANOUSD)


class _Run:
    """One run of a plan: outcomes known and still to come."""

    def __init__(self, log: TrialLog, prepared: Prepared, graders: GraderBook, journal: Journal) -> None:
        self._log, self._graders, self._journal = log, graders, journal
        self.plan, self._items = prepared.plan, prepared.items
        self.outcomes: dict[str, Outcome] = {}
        self._replays: dict[str, Exchange] = {}
        self.walk = Walk(self.plan)
        self._recall = Recall(log.body)
        self._panel: Panel | None = None

    # --- what is known already ----------------------------------------------------------------------------------------

    def resume(self, earlier: Sequence[str], judges: Mapping[str, Arm], say: Callable[[str], None]) -> int:
        """Read the journal, then the log for what it lacks. Returns how many replays must be paid again.

        earlier: trials of the same arm whose answers stand in for new ones. judges: the arms that may be asked.
        """
        self.outcomes = self._journal.open()
        for trial in earlier:
            self._recall.learn(self._log.replays(trial))
        if earlier:
            said = sum(name not in self.outcomes and self._recalls(name) for name in self._items)
            say(f"{said} answers of {len(earlier)} earlier trials stand in for new ones (--reuse)")
        own = self._log.replays(self.plan.trial)
        self._replays.update((exchange.id, exchange) for exchange in own)
        self._recall.learn(own)
        for exchange in self._log.judgements(self.plan.trial):
            self._replays[exchange.id] = exchange
            judge = judges.get(exchange.arm or "")
            answered = exchange.attempts[-1] if exchange.attempts else None
            if judge is None or answered is None:
                continue
            if (answered.endpoint, answered.model) == (judge.endpoint, judge.model):
                self._recall.learn([exchange])
        answers = {one.item for one in own if one.outcome == "ok"}
        open_items = [name for name in self._items if name in answers and name not in self.outcomes]
        found = sum(self._recalls(name) for name in open_items)
        if found:
            say(f"{found} replays were found in the log and are not paid again")
        return len(open_items) - found

    def _recalls(self, item: str) -> bool:
        return self._recall.find(self.plan.settings.candidate, item) is not None

    def purse(self, cap: int | None, arm: Arm, route: Route) -> Purse:
        """Counts what earlier runs of this trial spent; what nobody knows is booked at the item's upper bound."""
        bound = self._bound(arm, route)
        spent = unknown = 0
        for exchange in self._replays.values():
            cost = cost_of(exchange)
            item = self._items.get(exchange.item or "")
            if cost is None:
                unknown += 1
                cost = (bound(item) if item is not None else None) or exchange.held_nanousd or 0
            spent += cost
        return Purse(cap, spent, unknown)

    def _bound(self, arm: Arm, route: Route) -> Callable[[Item], int | None]:
        longest = max((item.output_tokens or 0 for item in self._items.values()), default=0)
        added = len((arm.system_prompt or "").encode())

        def bound(item: Item) -> int | None:
            if self._recalls(item.id):
                return 0
            return bound_nanousd(item, output_bound(item, route.max_tokens_default, longest), arm.price, added)

        return bound

    # --- asking -------------------------------------------------------------------------------------------------------

    async def judge(self, item: Item, answer: Answer) -> Scores:
        row = self._graders.of(item.slice)
        body = self._log.body(item.request)
        if row is None or not isinstance(body, bytes):
            raise BodyGone(item.id)
        question = question_of(body)
        if isinstance(row.grader, JudgeGrader):
            incumbent = self._log.body(item.response)
            if not isinstance(incumbent, bytes):
                raise BodyGone(item.id)
            assert self._panel is not None  # noqa: S101 (`replay` made it)
            return await self._panel.compare(row.grader, item.id, question, answer_of(incumbent), answer)
        if row.slow:
            graded = await asyncio.to_thread(grade, row, answer, item.reference, question)
        else:
            graded = grade(row, answer, item.reference, question)
        return Scores(incumbent=item.incumbent, candidate=graded.score, note=graded.note)

    def _judges(self, sends: Mapping[str, GatewaySend], judges: Mapping[str, Arm]) -> dict[str, Judge]:
        made = {}
        for name, arm in judges.items():

            async def ask(key: str, body: bytes, name: str = name) -> Sent:
                return await self._recall.ask(name, key, lambda: sends[name].ask(key, body))

            def bound(key: str, body: bytes, arm: Arm = arm) -> int | None:
                if self._recall.find(arm.name, key) is not None:
                    return 0
                return call_bound_nanousd(
                    len(body), JUDGE_TOKENS_MAX, arm.price, len((arm.system_prompt or "").encode())
                )

            made[name] = Judge(arm=name, ask=ask, bound=bound)
        return made

    async def replay(
        self,
        send: GatewaySend,
        judge_sends: Mapping[str, GatewaySend],
        judges: Mapping[str, Arm],
        purse: Purse,
        arm: Arm,
        route: Route,
        options: Options,
        show: Callable[[Progress], None],
    ) -> tuple[Stopped, str]:
        poll = _Poll(self._log, self.plan.trial, self._replays, purse)
        self._panel = Panel(route.name, self._judges(judge_sends, judges), purse)

        async def ask(item: Item) -> Sent:
            return await self._recall.ask(arm.name, item.id, lambda: send(item))

        async with AsyncExitStack() as stack:
            for one in (send, *judge_sends.values()):
                await stack.enter_async_context(one)

            async def carried() -> tuple[Stopped, str]:
                replayer = Replayer(
                    self.walk, self._items, self.outcomes, ask, self.judge, purse, self._bound(arm, route),
                    Pace(options.concurrency), self._journal.add, poll, show,
                )  # fmt: skip
                return await replayer.run(), replayer.last_broken

            await self._take_recalled()
            stopped, last_broken = await carried()
            if self.walk.unjudged and stopped in ("decided", "exhausted"):
                # Once more for what failed: an outage of minutes should not cost the slice its verdict.
                self._forget_failures()
                stopped, last_broken = await carried()
            await self._caught_up(poll)
        return stopped, last_broken

    async def _take_recalled(self) -> None:
        """Grade answers that are known already, before anything is asked: they may decide what would else be paid for.

        A panel's slices wait for their turn: its questions may still cost something.
        """
        for item in self._items.values():
            row = self._graders.of(item.slice)
            sent = self._recall.find(self.plan.settings.candidate, item.id)
            if item.id in self.outcomes or sent is None or row is None or isinstance(row.grader, JudgeGrader):
                continue
            reading = read(sent)
            outcome: Outcome
            if isinstance(reading, Answered):
                try:
                    scores = await self.judge(item, reading.answer)
                except BodyGone:
                    outcome = Gone(item=item.id)
                else:
                    outcome = Scored(
                        item=item.id, replay=sent.exchange, incumbent=scores.incumbent, candidate=scores.candidate,
                        note=scores.note, cost_nanousd=sent.cost_nanousd,
                    )  # fmt: skip
            elif isinstance(reading, NoAnswer):
                outcome = Scored(
                    item=item.id, replay=sent.exchange, incumbent=item.incumbent, candidate=0.0,
                    failure=reading.failure, cost_nanousd=sent.cost_nanousd,
                )  # fmt: skip
            else:
                continue
            self.outcomes[item.id] = outcome
            self._journal.add(outcome)

    def _forget_failures(self) -> None:
        for name in [name for name, outcome in self.outcomes.items() if isinstance(outcome, Unjudged)]:
            del self.outcomes[name]
        self.walk = Walk(self.plan)

    async def _caught_up(self, poll: "_Poll") -> None:
        """Wait until the log shows every replay: those that become evidence, and those that only cost money."""
        asked = [one.replay for one in self.outcomes.values() if isinstance(one, Scored | Unjudged)]
        wanted = {replay for replay in asked if replay is not None and replay not in self._recall.used}
        end = time.monotonic() + LOG_S_MAX
        while not wanted <= self._replays.keys() and time.monotonic() < end:
            poll.now()
            await asyncio.sleep(0.02)

    # --- concluding ---------------------------------------------------------------------------------------------------

    def conclude(
        self, control: ControlClient, arm: Arm, who: Profile, stopped: Stopped, last_broken: str, paid_again: int
    ) -> Ended:
        """Store evidence, finding and verdict, in this order: whatever is named is there."""
        finding = license_finding(arm, time.strftime("%Y-%m-%d", time.gmtime()), who)
        cost = total_cost(self._replays.values())
        evidence, verdict = conclude(
            self.walk,
            self._items,
            {**self._recall.used, **self._replays},
            finding,
            stopped,
            last_broken,
            cost,
            time.time_ns(),
        )
        name = label(self.plan.settings)
        evidence_row = _put(control, "evidence", name, evidence)
        finding_row = _put(control, "finding", arm.name, finding)
        verdict = msgspec.structs.replace(verdict, evidence=evidence_row.digest, findings=(finding_row.digest,))
        return Ended(
            verdict=verdict,
            digest=_put(control, "verdict", name, verdict).digest,
            evidence=evidence,
            stopped=stopped,
            complete=self.walk.finished and not self.walk.unjudged,
            paid_again=paid_again,
        )


def _put(control: ControlClient, kind: ObjectKind, name: str, record: Evidence | Finding | Verdict) -> ObjectRow:
    return control.call(PutObject(kind=kind, label=name, body=canonical(record)), ObjectRow)


class _Poll:
    """Hears from the log what replays cost. Called often, looks seldom."""

    def __init__(self, log: TrialLog, trial: str, replays: dict[str, Exchange], purse: Purse) -> None:
        self._follower = log.follower()
        self._trial, self._replays, self._purse = trial, replays, purse
        self._at = 0.0

    def __call__(self) -> None:
        if time.monotonic() - self._at >= POLL_EVERY_S:
            self.now()

    def now(self) -> None:
        self._at = time.monotonic()
        for exchange in self._follower.poll():
            if exchange.trial == self._trial and exchange.purpose in ("trial", "judge"):
                self._replays[exchange.id] = exchange
                self._purse.hear(exchange)


def spent_line(progress: Progress) -> str:
    """Money for people; says when some of it is an upper bound."""
    text = usd(progress.spent_nanousd)
    if progress.unknown_costs:
        return f"{text} known, {progress.unknown_costs} replays of unknown cost"
    return text
