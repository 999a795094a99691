"""`endpoint check`: which arm stands for an endpoint, what the check may cost, and the check itself."""

import asyncio
from collections.abc import Callable

import msgspec

from weighbridge.config import Config
from weighbridge.errors import UsageError
from weighbridge.records.usage import Price
from weighbridge.store.control import ControlClient, IssueToken, TokenText
from weighbridge.trials.conformance.against import Answers, Comparison, compare, questions, tool_questions
from weighbridge.trials.conformance.ask import Asker, bound_nanousd
from weighbridge.trials.conformance.heard import Asked, Heard, Row
from weighbridge.trials.conformance.judge import rate_limits
from weighbridge.trials.conformance.probes import Probe, cancelling, context, features, latency

TOKEN_S = 3 * 3600


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint as it is asked: through an arm of a route."""

    endpoint: str
    route: str
    arm: str
    model: str
    price: Price | None
    """`None`: what the check costs cannot be bounded."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    host: Host
    probes: tuple[Probe, ...]
    against: Host | None = None

    def asked(self) -> list[tuple[Host, Asked]]:
        """Everything that may be asked, and where."""
        rows = [(self.host, asked) for probe in self.probes for asked in probe.asked]
        if self.against is not None:
            for host, times in ((self.host, 2), (self.against, 1)):
                rows += [(host, asked) for asked in questions(host.route) * times + tool_questions(host.route)]
        return rows

    def bound_nanousd(self) -> int | None:
        """The most that it can cost; `None` where a price is unknown."""
        bounds = [bound_nanousd([asked], host.price) for host, asked in self.asked()]
        known = [bound for bound in bounds if bound is not None]
        return sum(known) if len(known) == len(bounds) else None


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """The JSON of `endpoint check --json`."""

    endpoint: str
    arm: str
    route: str
    model: str
    rows: tuple[Row, ...]
    comparison: Comparison | None
    requests: int
    spent_nanousd: int
    """What is known to be spent, from the answers' usage."""
    requests_of_unknown_cost: int
    bound_nanousd: int | None
    trial: str
    """Every request is in the log under it, with purpose `trial`."""


def host_of(config: Config, endpoint: str, arm: str | None, price: Callable[[str], Price | None]) -> Host:
    """The arm that an endpoint is asked through. Raises `UsageError` where no route has one."""
    if endpoint not in [row.name for row in config.endpoint]:
        known = ", ".join(row.name for row in config.endpoint) or "none"
        raise UsageError(f"the configuration has no endpoint {endpoint!r}; it has: {known}")
    arms = {row.name: row for row in config.arm if row.endpoint == endpoint and arm in (None, row.name)}
    for route in config.route:
        for name in (route.incumbent, *route.candidates):
            if name in arms:
                return Host(endpoint=endpoint, route=route.name, arm=name, model=arms[name].model, price=price(name))
    what = f"arm {arm!r} at endpoint {endpoint!r}" if arm is not None else f"arm at endpoint {endpoint!r}"
    raise UsageError(
        f"no route has an {what}. No prompt leaves but past a route's send gate, so make it the incumbent or a "
        "candidate of one: that sends no user's traffic there"
    )


def plan(host: Host, against: Host | None, *, context_max: int, samples: int) -> Plan:
    model = host.route
    probes = (*features(model), context(model, context_max), latency(model, samples), cancelling(model))
    return Plan(host=host, probes=probes, against=against)


async def check(
    plan: Plan,
    base_url: str,
    control: ControlClient,
    *,
    trial: str,
    budget_nanousd: int | None,
    say: Callable[[str], None] = lambda _: None,
) -> Checked:
    """Ask everything. Each host has the whole budget as the cap of its token; what the first spent is taken off."""
    host = plan.host
    comparison: Comparison | None = None
    async with _asker(base_url, control, host, trial, budget_nanousd) as asker:
        rows: list[Row] = []
        for probe in plan.probes:
            say(probe.name)
            rows.append(probe.judge(await asker.probe(probe)))
        rows.append(rate_limits(asker.heard))
        spent, unpriced, requests = asker.spent_nanousd, asker.unpriced, len(asker.heard)
        if plan.against is not None:
            left = None if budget_nanousd is None else max(0, budget_nanousd - spent)
            async with _asker(base_url, control, plan.against, trial, left) as other:
                say(f"the same questions to {host.endpoint} and {plan.against.endpoint}")
                comparison = await _compared(asker, host, other, plan.against)
                spent, unpriced = asker.spent_nanousd + other.spent_nanousd, asker.unpriced + other.unpriced
                requests = len(asker.heard) + len(other.heard)
    return Checked(
        endpoint=host.endpoint,
        arm=host.arm,
        route=host.route,
        model=host.model,
        rows=tuple(rows),
        comparison=comparison,
        requests=requests,
        spent_nanousd=spent,
        requests_of_unknown_cost=unpriced,
        bound_nanousd=plan.bound_nanousd(),
        trial=trial,
    )


def _asker(base_url: str, control: ControlClient, host: Host, trial: str, budget_nanousd: int | None) -> Asker:
    """Raises `ControlError` where the send gate of the route does not permit the endpoint."""
    asked = IssueToken(trial=trial, route=host.route, arm=host.arm, budget_nanousd=budget_nanousd, ttl_s=TOKEN_S)
    return Asker(base_url, control.call(asked, TokenText).text, host.price)


async def _compared(mine: Asker, host: Host, theirs: Asker, against: Host) -> Comparison:
    """Both hosts at the same time, each one request after the other."""

    async def first() -> tuple[Answers, list[Heard]]:
        said = [await mine.ask(asked) for asked in questions(host.route)]
        again = [await mine.ask(asked) for asked in questions(host.route)]
        tools = [await mine.ask(asked) for asked in tool_questions(host.route)]
        return Answers(host.endpoint, said, tools), again

    async def second() -> Answers:
        said = [await theirs.ask(asked) for asked in questions(against.route)]
        tools = [await theirs.ask(asked) for asked in tool_questions(against.route)]
        return Answers(against.endpoint, said, tools)

    (answers, again), other = await asyncio.gather(first(), second())
    return compare(answers, again, other)
