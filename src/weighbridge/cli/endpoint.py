"""`weighbridge endpoint`."""

import asyncio
import json
import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated

import msgspec
import typer

from weighbridge.app import gateway_of
from weighbridge.cli.options import DEFAULT_CONFIG, ConfigFile, Json
from weighbridge.cli.outside import outside
from weighbridge.config import Loaded, load
from weighbridge.errors import ExitCode, UsageError
from weighbridge.ledger.prices import PriceFound, compile_price
from weighbridge.records.usage import NANOUSD, Price
from weighbridge.trials.conformance.against import Comparison, Rate
from weighbridge.trials.conformance.run import Checked, Plan, check, host_of, plan

app = typer.Typer(add_completion=False, help="Where models are called.", no_args_is_help=True)

_MARKS = {"yes": "yes    ", "partly": "partly ", "no": "no     ", "unknown": "unknown"}


@app.callback()
def endpoint() -> None:
    """Where models are called."""


def _price_of(loaded: Loaded, now: datetime, arm: str) -> Price | None:
    row = next(row for row in loaded.config.arm if row.name == arm)
    at = next(each for each in loaded.config.endpoint if each.name == row.endpoint)
    found = compile_price(row, at, now)
    return found.price if isinstance(found, PriceFound) else None


@app.command("check")
def check_(
    name: Annotated[str, typer.Argument(help="The [[endpoint]] to check.")],
    against: Annotated[
        str | None, typer.Option(metavar="NAME", help="Another endpoint of the same model: do they answer alike?")
    ] = None,
    arm: Annotated[str | None, typer.Option(help="The arm to ask through, where the endpoint has several.")] = None,
    against_arm: Annotated[str | None, typer.Option(help="The same for --against.")] = None,
    max_usd: Annotated[
        str | None, typer.Option("--max-usd", metavar="USD", help="Spend at most this; enforced by the gateway.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before spending.")] = False,
    context_max: Annotated[
        int, typer.Option("--context-max", min=1_000, help="Longest prompt to try, in tokens.")
    ] = 8_000,
    samples: Annotated[int, typer.Option(min=1, max=200, help="Streams for the time to first token.")] = 20,
    as_json: Json = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Find out what a host really does: tools, schemas, usage, context, stop sequences, seeds, limits, latency.

    Sends fixed probes (nothing of your users) through the gateway, past the send gate, recorded with purpose `trial`.
    Says first what that may cost. Exit code 2 if something is missing or differs.
    """
    loaded, now = load(config), datetime.now(UTC)
    host = host_of(loaded.config, name, arm, lambda each: _price_of(loaded, now, each))
    other = None
    if against is not None:
        other = host_of(loaded.config, against, against_arm, lambda each: _price_of(loaded, now, each))
    planned = plan(host, other, context_max=context_max, samples=samples)
    budget = _budget(planned, max_usd, yes=yes)
    trial = f"endpoint-check-{now:%Y%m%dT%H%M%S}"
    with gateway_of(loaded) as gateway:
        checked = asyncio.run(
            check(planned, gateway.base_url, gateway.control, trial=trial, budget_nanousd=budget, say=_progress)
        )
    if as_json:
        print(outside(json.dumps(msgspec.to_builtins(checked), indent=2), lines=True))
    else:
        _print(checked)
    differs = checked.comparison is not None and checked.comparison.finding != "alike"
    if differs or any(row.status in ("no", "partly") for row in checked.rows):
        raise typer.Exit(ExitCode.UNDECIDED)


def _progress(what: str) -> None:
    if sys.stderr.isatty():
        print(outside(f"  asking: {what}"), file=sys.stderr)


def _budget(planned: Plan, max_usd: str | None, *, yes: bool) -> int | None:
    """The cap in nano-dollars, `None` for none. Asks where nobody has said yes yet; raises `UsageError`."""
    bound, requests = planned.bound_nanousd(), len(planned.asked())
    if max_usd is not None:
        try:
            cap = int(Decimal(max_usd) * NANOUSD)
        except (ArithmeticError, ValueError):
            cap = -1
        if cap < 0:
            raise UsageError(f"--max-usd {max_usd!r} is not an amount; write US dollars, e.g. 0.50")
        if bound is None:
            raise UsageError(
                "--max-usd cannot be kept: the price of an arm is unknown. Give it one in [arm.price], or use --yes "
                "without --max-usd"
            )
        return cap
    may = f"at most ${_usd(bound)}" if bound is not None else "an unknown amount (an arm has no price)"
    if bound == 0 or yes:
        return bound
    if not sys.stdin.isatty():
        raise UsageError(f"the check sends up to {requests} requests for {may}; agree with --yes, or --max-usd AMOUNT")
    typer.confirm(f"Up to {requests} requests, {may}. Go on?", abort=True, err=True)
    return bound


def _usd(nanousd: int) -> str:
    return f"{Decimal(nanousd) / NANOUSD:.4f}"


def _print(checked: Checked) -> None:
    print(outside(f"{checked.endpoint}: {checked.model}, asked as arm {checked.arm} of route {checked.route}"))
    width = max(len(row.check) for row in checked.rows)
    for row in checked.rows:
        print(outside(f"  {_MARKS[row.status]}  {row.check.ljust(width)}  {row.says}"))
    if checked.comparison is not None:
        _print_comparison(checked.comparison)
    unknown = checked.requests_of_unknown_cost
    beside = f", and {unknown} whose cost is not known" if unknown else ""
    print(f"  {checked.requests} requests, ${_usd(checked.spent_nanousd)}{beside}; in the log as trial {checked.trial}")
    print("  requests and answers behind each line: --json")


def _print_comparison(found: Comparison) -> None:
    print(outside(f"  against {found.against}: {found.finding}. {found.says}"))
    rows = (
        ("answers alike", (found.agreement,)),
        (f"{found.host} with itself", (found.self_agreement,)),
        ("prompt tokens counted alike", (found.same_prompt_tokens,)),
        ("refusals", found.refusals),
        ("valid tool calls", found.valid_tool_calls),
    )
    for what, rates in rows:
        print(outside(f"    {what}: {'; '.join(_rate(each) for each in rates)}"))
    counts = " and ".join("unknown" if each is None else f"{each:.1f}" for each in found.completion_tokens)
    print(f"    completion tokens in the mean: {counts}")


def _rate(rate: Rate) -> str:
    return f"{rate.count} of {rate.n} [{rate.low:.2f}, {rate.high:.2f}]"
