"""`weighbridge trial quote | run | sweep | tune | aa | show | slices | split`."""

import sys
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import msgspec
import typer

from weighbridge.app import gateway_of, keeper_of
from weighbridge.cli.options import DEFAULT_CONFIG, ConfigFile, Json
from weighbridge.cli.outside import outside
from weighbridge.cli.sweep_output import print_sweep
from weighbridge.cli.trial_aa import aa
from weighbridge.cli.trial_machines import GatewayUrl, GradingProcesses, RayAddress, machines_for
from weighbridge.cli.trial_output import print_quote, print_slices, print_verdict
from weighbridge.cli.trial_progress import shown_progress, usd_of
from weighbridge.cli.trial_tune import tune
from weighbridge.config import Loaded, load
from weighbridge.errors import ExitCode, UsageError
from weighbridge.grading.book import GraderBook
from weighbridge.grading.drift import drift
from weighbridge.grading.gold import load_gold
from weighbridge.records.canonical import canonical
from weighbridge.records.evidence import Evidence, Verdict
from weighbridge.records.trial import split_of
from weighbridge.stats.bets import check_alpha, check_margin
from weighbridge.store.layout import Layout
from weighbridge.trials.discover import discover
from weighbridge.trials.log import TrialLog
from weighbridge.trials.plan import Settings, read_object
from weighbridge.trials.prepare import route_named, route_of
from weighbridge.trials.prompts import prompts_of
from weighbridge.trials.quote import make_quote
from weighbridge.trials.run import Options, run_trial
from weighbridge.trials.stored import LATEST, stored_verdict
from weighbridge.trials.sweep.run import run_sweep

GAP_MAX_S = 5.0
"""Of `--keep-order`. Longer than a pause between the calls of an agent, shorter than one between two turns of a person:
whoever wants those kept, too, pays for them in time."""


class Which(StrEnum):
    a = "a"
    b = "b"


app = typer.Typer(
    add_completion=False,
    help="Ask a candidate the captured requests, grade both answers, and decide.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

app.command()(tune)
app.command()(aa)

EPILOG = (
    "Example: `weighbridge trial run --route assistant --candidate qwen-72b --margin 0.03 --max-usd 5`. "
    "Exit code 0: every slice and the whole decided; 2: something is undecided (the reasons say what is missing); "
    "1: failed."
)

Route = Annotated[str, typer.Option("--route", metavar="NAME", help="The route (or an alias of it).")]
Candidate = Annotated[str, typer.Option("--candidate", metavar="ARM", help="The candidate arm of the route.")]
Slice = Annotated[
    str | None, typer.Option("--slice", metavar="NAME", help="Look at this slice only, e.g. task=refund.")
]
Sample = Annotated[
    int | None, typer.Option("--sample", metavar="N", min=1, help="Use about N requests (whole conversations).")
]
Margin = Annotated[
    float,
    typer.Option("--margin", help="How much worse the candidate may be on average, in score (0.03: three points)."),
]
Alpha = Annotated[float, typer.Option("--alpha", help="The error level: how often a false certificate may happen.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of the order; the same seed gives the same order.")]
NoShuffle = Annotated[
    bool, typer.Option("--no-shuffle", help="Keep the order of the log. Where quality drifts, verdicts can be wrong.")
]
Concurrency = Annotated[
    int, typer.Option("--concurrency", metavar="N", min=1, max=512, help="Replays at once, at most; it adapts below.")
]


def _settings(
    route: str,
    candidate: str,
    margin: float,
    alpha: float,
    seed: int,
    no_shuffle: bool,
    only: str | None,
    sample: int | None,
) -> Settings:
    try:
        margin, alpha = check_margin(margin), check_alpha(alpha)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return Settings(
        route=route,
        candidate=candidate,
        margin=margin,
        alpha=alpha,
        seed=seed,
        shuffle=not no_shuffle,
        only_slice=only,
        sample=sample,
    )


@app.command(epilog=EPILOG)
def run(
    route: Route,
    candidate: Candidate,
    slice_name: Slice = None,
    sample: Sample = None,
    margin: Margin = 0.03,
    alpha: Alpha = 0.05,
    max_usd: Annotated[
        str | None, typer.Option("--max-usd", metavar="USD", help="Never spend more than this on the whole trial.")
    ] = None,
    seed: Seed = 0,
    no_shuffle: NoShuffle = False,
    keep_order: Annotated[
        bool,
        typer.Option(
            "--keep-order",
            help="Send everything planned as it came (turns in sequence, gaps kept), to measure the candidate's cache.",
        ),
    ] = False,
    gap_max: Annotated[
        float | None,
        typer.Option(
            "--gap-max",
            metavar="SECONDS",
            min=0.0,
            max=3600.0,
            help=f"With --keep-order: longer gaps between requests are cut to this.  [default: {GAP_MAX_S:g}]",
        ),
    ] = None,
    concurrency: Concurrency = 16,
    timeout: Annotated[float, typer.Option("--timeout", min=1.0, help="Seconds to wait for one answer.")] = 600.0,
    workers: GradingProcesses = None,
    ray: RayAddress = None,
    gateway_url: GatewayUrl = None,
    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="Start a new trial on all traffic instead of going on with an unfinished one."),
    ] = False,
    reuse: Annotated[
        bool,
        typer.Option("--reuse", help="Take answers that earlier trials got from the same arm, do not pay again."),
    ] = False,
    json: Json = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Replay captured requests to a candidate and say whether it is as good as the incumbent, slice by slice.

    The replays go through the gateway, the running one or one that is started for the purpose. The incumbent's
    captured answers are graded, not asked for again. The trial stops as soon as every slice has decided (with
    --keep-order when all that is planned was sent: --sample and --max-usd limit it). Interrupt it at any time: the same
    command goes on where it was, and nothing is paid twice.
    """
    loaded = load(config)
    settings = _settings(route, candidate, margin, alpha, seed, no_shuffle, slice_name, sample)
    if keep_order and reuse:
        raise UsageError("--keep-order measures the candidate's cache on its own calls; leave --reuse out")
    if gap_max is not None and not keep_order:
        raise UsageError(
            f"--gap-max {gap_max:g}: it is the limit of the gaps that --keep-order keeps; add --keep-order"
        )
    if keep_order:
        settings = msgspec.structs.replace(settings, gap_max_s=GAP_MAX_S if gap_max is None else gap_max)
    # What is wrong with the question is said before any process is started for it.
    section = route_of(loaded, route, candidate)
    money = usd_of(max_usd)
    with shown_progress() as (show, say), machines_for(workers, ray, gateway_url, say) as machines:
        GraderBook(loaded, section.name, machines.workers)
        options = Options(
            max_usd=money, concurrency=concurrency, timeout_s=timeout, fresh=fresh, reuse=reuse, machines=machines
        )
        with gateway_of(loaded) as gateway:
            for warning in gateway.warnings:
                if repr(candidate) in warning:
                    say(warning)
            at = gateway_url or gateway.base_url
            ended = run_trial(loaded, gateway.control, at, settings, options, show=show, say=say)
    print_verdict(ended.verdict, canonical(ended.verdict), json)
    raise typer.Exit(_code(ended.verdict))


@app.command(
    epilog="Exit code 0: every candidate has lost on the whole or is decided throughout; 2: something is undecided."
)
def sweep(
    route: Route,
    candidates: Annotated[
        list[str] | None,
        typer.Option("--candidate", metavar="ARM", help="An arm of the route; repeat it. None: all candidates."),
    ] = None,
    slice_name: Slice = None,
    sample: Sample = None,
    margin: Margin = 0.03,
    alpha: Alpha = 0.05,
    max_usd: Annotated[
        str | None, typer.Option("--max-usd", metavar="USD", help="Never spend more than this on the whole sweep.")
    ] = None,
    seed: Seed = 0,
    concurrency: Concurrency = 16,
    timeout: Annotated[float, typer.Option("--timeout", min=1.0, help="Seconds to wait for one answer.")] = 600.0,
    workers: GradingProcesses = None,
    ray: RayAddress = None,
    gateway_url: GatewayUrl = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start a new sweep on all traffic.")] = False,
    reuse: Annotated[
        bool, typer.Option("--reuse", help="Take answers that earlier trials got from the same arms, do not pay again.")
    ] = False,
    json: Json = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Compare all candidates of a route (models, hosts, prompts) on the same requests, as one family.

    Certificates hold at alpha over slices times candidates, so the best of many is no lucky one. A candidate that is
    proved worse is not asked further. Each keeps its own evidence and verdict; the table ranks them by verdict and by
    measured cost on the same rows. Interrupt it at any time: the same command goes on where it was.
    """
    loaded = load(config)
    section = route_named(loaded, route)
    names = tuple(dict.fromkeys(candidates or section.candidates))
    if not names:
        raise UsageError(f"route {section.name} has no candidates: add some to `candidates` of its [[route]]")
    for name in names:
        route_of(loaded, route, name)
    asked = _settings(section.name, names[0], margin, alpha, seed, False, slice_name, sample)
    money = usd_of(max_usd)
    with shown_progress() as (show, say), machines_for(workers, ray, gateway_url, say) as machines:
        GraderBook(loaded, section.name, machines.workers)
        options = Options(
            max_usd=money, concurrency=concurrency, timeout_s=timeout, fresh=fresh, reuse=reuse, machines=machines
        )
        with gateway_of(loaded) as gateway:
            at = gateway_url or gateway.base_url
            swept = run_sweep(loaded, gateway.control, at, asked, names, options, show=show, say=say)
    if json:
        sys.stdout.write(outside(canonical(swept.sweep).decode()) + "\n")
    else:
        print_sweep(swept.sweep)
    # A loser's slices may stay open: it was halted because the whole was enough to lose on.
    undecided = any(
        "undecided" in (row.overall, *(() if row.overall == "inferior" else row.slices.values()))
        for row in swept.sweep.rows
    )
    raise typer.Exit(ExitCode.UNDECIDED if undecided or swept.sweep.not_asked else ExitCode.DONE)


@app.command()
def quote(
    route: Route,
    candidate: Candidate,
    slice_name: Slice = None,
    sample: Sample = None,
    margin: Margin = 0.03,
    alpha: Alpha = 0.05,
    concurrency: Concurrency = 16,
    json: Json = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Say what a trial would take, before anything is spent: pairs, dollars, minutes, share of spend decided."""
    loaded = load(config)
    settings = _settings(route, candidate, margin, alpha, 0, False, slice_name, sample)
    GraderBook(loaded, route_of(loaded, route, candidate).name)
    with keeper_of(loaded) as control:
        log = TrialLog(loaded)
        gold, _ = load_gold(control, log.layout)
        made = make_quote(loaded, control, log, gold, settings, concurrency=concurrency, now=datetime.now(UTC))
    if json:
        sys.stdout.write(msgspec.json.encode(made).decode() + "\n")
    else:
        print_quote(made)
    raise typer.Exit(ExitCode.DONE if made.replays else ExitCode.UNDECIDED)


@app.command()
def show(
    trial: Annotated[str, typer.Argument(help="A trial (t-...), the digest of a verdict, or `latest`.")] = LATEST,
    json: Json = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Print a stored verdict again, exactly as it was stored, and warn where traffic has moved away from it since."""
    loaded: Loaded = load(config)
    layout = Layout(loaded.store_path)
    with keeper_of(loaded) as control:
        verdict, stored = stored_verdict(control, layout, trial)
    print_verdict(verdict, stored, json)
    if verdict.evidence is not None and verdict.route is not None:
        evidence = read_object(layout, verdict.evidence, Evidence)
        moved = drift(evidence, TrialLog(loaded).users_since(verdict.route, evidence.span.last_time_ns))
        for warning in () if moved is None else moved.warnings:
            if json or warning not in verdict.moved:
                print(outside(warning), file=sys.stderr)
    raise typer.Exit(_code(verdict))


@app.command()
def slices(
    route: Annotated[str, typer.Argument(help="The route (or an alias of it).")],
    json: Json = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Find slices in the captured prompts of a route: template, tools, schema, language, and what texts are about.

    Scores and answers are never looked at. Ids are those of the rules and stay. To judge a slice by itself, send its
    name or id as a tag (`x-weighbridge-tag: kind=...`) and add `tag:kind` to the route's `slice_by`.
    """
    loaded = load(config)
    name = route_named(loaded, route).name
    with keeper_of(loaded):
        read = list(prompts_of(TrialLog(loaded), name))
    found = discover([one for one in read if one is not None])
    unreadable = len(read) - found.prompts if found.prompts < 20_000 else sum(one is None for one in read)
    if json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    else:
        print_slices(found, unreadable)
    raise typer.Exit(ExitCode.DONE if found.prompts else ExitCode.UNDECIDED)


@app.command()
def split(
    route: Annotated[str, typer.Argument(help="The route (or an alias of it).")],
    which: Annotated[Which, typer.Option("--split", help="`a`: to tune on; `b`: for verdicts.")] = Which.a,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """List the exchanges of one half of a route's traffic, one id a line: look at half A only when you tune a prompt.

    Conversations belong to a half by their hash. Say `tuned_on = "a"` for an arm whose prompt was written this way: its
    verdicts then come from half B only, the evidence records it, and `weighbridge verify` checks it.
    """
    loaded = load(config)
    name = route_named(loaded, route).name
    for exchange in TrialLog(loaded).users(name):
        if exchange.outcome == "ok" and split_of(exchange.conversation) == which:
            print(exchange.id)


def _code(verdict: Verdict) -> ExitCode:
    rows = (*verdict.verdicts, verdict.overall)
    return ExitCode.UNDECIDED if any(row.verdict == "undecided" for row in rows) else ExitCode.DONE
