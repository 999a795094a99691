"""`weighbridge trial tune`."""

import sys
from enum import StrEnum
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from weighbridge.app import gateway_of
from weighbridge.cli.options import DEFAULT_CONFIG, ConfigFile, Json
from weighbridge.cli.outside import outside
from weighbridge.cli.trial_machines import GatewayUrl, GradingProcesses, RayAddress, machines_for
from weighbridge.cli.trial_progress import shown_progress, usd_of
from weighbridge.config import load
from weighbridge.errors import ExitCode
from weighbridge.grading.book import GraderBook
from weighbridge.trials.plan import Settings
from weighbridge.trials.prepare import route_of
from weighbridge.trials.run import Options
from weighbridge.trials.tune import Tuning, run_tuning


class TuneOn(StrEnum):
    a = "a"


def tune(
    route: Annotated[str, typer.Option("--route", metavar="NAME", help="The route (or an alias of it).")],
    arm: Annotated[str, typer.Option("--arm", metavar="ARM", help="The candidate arm whose prompt is written.")],
    split: Annotated[
        TuneOn,
        typer.Option("--split", case_sensitive=False, help="The half to look at: `a`, as verdicts need the other."),
    ] = TuneOn.a,
    sample: Annotated[
        int, typer.Option("--sample", metavar="N", min=1, help="Use about N requests (whole conversations).")
    ] = 200,
    losses: Annotated[int, typer.Option("--losses", metavar="N", min=0, help="Show the N worst requests.")] = 10,
    max_usd: Annotated[str | None, typer.Option("--max-usd", metavar="USD", help="Never spend more than this.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the sample.")] = 0,
    concurrency: Annotated[
        int, typer.Option("--concurrency", metavar="N", min=1, max=512, help="Replays at once, at most.")
    ] = 16,
    timeout: Annotated[float, typer.Option("--timeout", min=1.0, help="Seconds to wait for one answer.")] = 600.0,
    workers: GradingProcesses = None,
    ray: RayAddress = None,
    gateway_url: GatewayUrl = None,
    json: Json = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Try an arm's prompt on half A of the traffic: mean scores, and the requests that it does worse on.

    Change `system_prompt_file` of the arm, reload, run it again. Nothing of half B is read. From the first run on,
    every arm of the route that carries its own prompt is judged on half B only; the evidence records it, and
    `weighbridge verify` checks it. What is printed is no verdict.
    """
    loaded = load(config)
    name = route_of(loaded, route, arm).name
    asked = Settings(route=name, candidate=arm, margin=0.03, alpha=0.05, seed=seed, sample=sample, split=split.value)
    money = usd_of(max_usd)
    with shown_progress() as (show, say), machines_for(workers, ray, gateway_url, say) as machines:
        GraderBook(loaded, name, machines.workers)
        options = Options(max_usd=money, concurrency=concurrency, timeout_s=timeout, machines=machines)
        with gateway_of(loaded) as gateway:
            at = gateway_url or gateway.base_url
            found = run_tuning(loaded, gateway.control, at, asked, options, show=show, say=say)
    if json:
        sys.stdout.write(outside(msgspec.json.encode(found).decode()) + "\n")
    else:
        _print(found, losses)
    done = found.stopped == "exhausted" and not found.unjudged
    raise typer.Exit(ExitCode.DONE if done else ExitCode.UNDECIDED)


def _print(found: Tuning, most: int) -> None:
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(outside(f"{found.route}: {found.arm} ({found.identity}) on split A"), soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    table.add_column("slice", overflow="fold")
    for name in ("pairs", "incumbent", "candidate", "points"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in found.slices:
        points = f"{100 * (row.candidate - row.incumbent):+.1f}"
        table.add_row(outside(row.slice), f"{row.pairs:,}", f"{row.incumbent:.3f}", f"{row.candidate:.3f}", points)
    console.print(table)
    for loss in found.losses[:most]:
        note = f": {loss.note}" if loss.note else ""
        console.print(
            outside(f"  {loss.item} ({loss.slice}) {loss.incumbent:g} -> {loss.candidate:g}{note}"), soft_wrap=True
        )
    if len(found.losses) > most:
        console.print(f"  and {len(found.losses) - most:,} more losses (--losses, --json)")
    if found.unjudged:
        console.print(f"{found.unjudged:,} replays could not be judged")
    console.print(found.note, soft_wrap=True)
