"""`trial run`: prepare, replay, conclude, store."""

import asyncio
from collections.abc import Callable, Sequence
from decimal import Decimal

import msgspec

from weighbridge.config import Loaded
from weighbridge.errors import UsageError, WeighbridgeError
from weighbridge.grading.book import GraderBook
from weighbridge.licenses import profile as license_profile
from weighbridge.records.permission import arm_refusal
from weighbridge.records.table import Arm, Route, RouteTable
from weighbridge.records.usage import NANOUSD, usd
from weighbridge.store.control import ControlClient
from weighbridge.store.layout import Layout
from weighbridge.trials.carry import Carry, Ended
from weighbridge.trials.journal import Journal
from weighbridge.trials.log import TrialLog
from weighbridge.trials.machines import Here, Machines
from weighbridge.trials.plan import Settings, earlier_trials
from weighbridge.trials.prepare import prepare, route_of
from weighbridge.trials.replay import Progress
from weighbridge.trials.send import Line

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
    machines: Machines | None = None
    """Where answers are graded and replays sent from; `None`: this machine."""

    def line(self, base_url: str, control: ControlClient) -> Line:
        return Line(
            base_url=base_url,
            control=control,
            concurrency=self.concurrency,
            timeout_s=self.timeout_s,
            machines=self.machines or Here(),
        )


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
    table, route, arm = permitted(loaded, log.layout, settings)
    judges = permitted_judges(loaded, table, route)
    cap = cap_nanousd(options.max_usd, (arm, *judges.values()))
    line = options.line(base_url, control)
    graders = GraderBook(loaded, route.name, line.machines.workers)
    prepared = prepare(loaded, control, log, settings, table.number, graders=graders, fresh=options.fresh)
    for note in prepared.said:
        say(note)
    plan = prepared.plan
    with Journal(log.layout.trial(plan.trial), plan) as journal:
        run = Carry(log, prepared, graders, journal)
        earlier = earlier_trials(control, log.layout, plan) if options.reuse else []
        paid_again = run.resume(earlier, judges, say)
        purse = run.purse(cap, arm, route)
        known = f", {len(run.outcomes)} of them known already" if run.outcomes else ""
        say(f"trial {plan.trial}: {plan.items} items of {len(plan.judged)} slices are planned{known}")
        stopped, last_broken = asyncio.run(run.replay(line, judges, purse, arm, route, show))
        ended = run.conclude(control, arm, organization, stopped, last_broken, paid_again)
        if ended.complete:
            journal.finish()
        return ended


def permitted(loaded: Loaded, layout: Layout, settings: Settings) -> tuple[RouteTable, Route, Arm]:
    """The published table, and that the send gate lets this candidate be asked at all."""
    section = route_of(loaded, settings.route, settings.candidate)
    table = table_of(layout)
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


def table_of(layout: Layout) -> RouteTable:
    """The published route table. Raises `WeighbridgeError`."""
    try:
        return msgspec.json.decode(layout.table.read_bytes(), type=RouteTable)
    except (OSError, msgspec.MsgspecError) as error:
        raise WeighbridgeError(f"the published route table {layout.table} cannot be read: {error}") from None


def permitted_judges(loaded: Loaded, table: RouteTable, route: Route) -> dict[str, Arm]:
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


def cap_nanousd(max_usd: Decimal | None, arms: Sequence[Arm]) -> int | None:
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


def spent_line(progress: Progress) -> str:
    """Money for people; says when some of it is an upper bound."""
    text = usd(progress.spent_nanousd)
    if progress.unknown_costs:
        return f"{text} known, {progress.unknown_costs} replays of unknown cost"
    return text
