"""`weighbridge trial aa`."""

import sys
from typing import Annotated

import typer

from weighbridge.app import gateway_of
from weighbridge.cli.options import DEFAULT_CONFIG, ConfigFile, Json
from weighbridge.cli.outside import outside
from weighbridge.cli.trial_machines import GatewayUrl, GradingProcesses, RayAddress, machines_for
from weighbridge.cli.trial_progress import shown_progress, usd_of
from weighbridge.cli.verdict_output import print_rerun
from weighbridge.config import load
from weighbridge.errors import ExitCode, UsageError
from weighbridge.records.canonical import canonical
from weighbridge.records.usage import usd
from weighbridge.stats.bets import check_alpha, check_margin
from weighbridge.trials.aa import LiveRerun, run_aa
from weighbridge.trials.plan import Settings
from weighbridge.trials.prepare import route_named
from weighbridge.trials.run import Options


def aa(
    route: Annotated[str, typer.Option("--route", metavar="NAME", help="The route (or an alias of it).")],
    slice_name: Annotated[
        str | None, typer.Option("--slice", metavar="NAME", help="Look at this slice only, e.g. task=refund.")
    ] = None,
    sample: Annotated[
        int, typer.Option("--sample", metavar="N", min=2, help="Ask about N requests again (whole conversations).")
    ] = 200,
    margin: Annotated[
        float, typer.Option("--margin", help="The margin of the trial that is planned, in score (0.03: three points).")
    ] = 0.03,
    alpha: Annotated[float, typer.Option("--alpha", help="The error level of the check and of that trial.")] = 0.05,
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
    """Ask the incumbent again: how noisy is the grader, and does it favour one run over the other (A/A)?

    The second answers are graded beside the captured ones. Their variance says how many pairs a verdict takes; a
    difference of an arm to itself says that no verdict of this grader can be believed. Nothing is judged. The result is
    kept and stands in the report. It costs the incumbent's price: 100 requests give a useful variance.
    """
    loaded = load(config)
    section = route_named(loaded, route)
    try:
        margin, alpha = check_margin(margin), check_alpha(alpha)
    except ValueError as error:
        raise UsageError(str(error)) from None
    asked = Settings(
        route=section.name, candidate=section.incumbent, margin=margin, alpha=alpha, seed=seed, only_slice=slice_name,
        sample=sample,
    )  # fmt: skip
    money = usd_of(max_usd)
    with shown_progress() as (show, say), machines_for(workers, ray, gateway_url, say) as machines:
        options = Options(max_usd=money, concurrency=concurrency, timeout_s=timeout, machines=machines)
        with gateway_of(loaded) as gateway:
            at = gateway_url or gateway.base_url
            made = run_aa(loaded, gateway.control, at, asked, options, show=show, say=say)
    if json:
        sys.stdout.write(outside(canonical(made).decode()) + "\n")
    else:
        _print(made)
    clean = made.found.even_handed and made.stopped == "exhausted" and not made.unjudged
    raise typer.Exit(ExitCode.DONE if clean else ExitCode.UNDECIDED)


def _print(made: LiveRerun) -> None:
    print_rerun(f"{made.route}, {made.arm} ({made.identity})", made.found)
    if made.left_out:
        print(outside(f"Fewer than two units were graded in: {', '.join(made.left_out)}."))
    if made.unjudged:
        print(f"{made.unjudged:,} replays could not be judged and are in no figure.")
    cost = None if made.cost_usd is None else round(made.cost_usd * 1e9)
    print(f"Trial {made.trial}, cost {usd(cost)}; stopped: {made.stopped}.")
