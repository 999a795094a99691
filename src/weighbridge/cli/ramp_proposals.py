"""`weighbridge ramp proposals`."""

import sys
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer

from weighbridge.app import keeper_of
from weighbridge.cli.options import DEFAULT_CONFIG, ConfigFile, Json
from weighbridge.cli.outside import outside
from weighbridge.config import Loaded, load
from weighbridge.errors import ExitCode, WeighbridgeError
from weighbridge.ramp.proposals import Proposal, proposals
from weighbridge.store.control import ControlClient
from weighbridge.store.layout import Layout

CONCURRENCY = 16
MARGIN, ALPHA = 0.03, 0.05
"""As `trial quote` takes them where nobody says."""


class Quoted(msgspec.Struct, frozen=True, kw_only=True):
    """What its trial would take. `None` is unknown, never 0."""

    replays: int
    usd: float | None
    minutes: float
    note: str


class ProposalShown(msgspec.Struct, frozen=True, kw_only=True):
    proposal: Proposal
    quote: Quoted | None
    """`None` where no arm is configured for it, or there is no traffic to quote from; `not_quoted` says which."""
    not_quoted: str


class ProposalsShown(msgspec.Struct, frozen=True, kw_only=True):
    """The documented JSON shape of `ramp proposals --json`."""

    proposals: tuple[ProposalShown, ...]


def show_proposals(
    route: Annotated[str | None, typer.Argument(metavar="ROUTE", help="Only this route.")] = None,
    quotes: Annotated[bool, typer.Option("--quotes/--no-quotes", help="Say what each trial would take.")] = True,
    config: ConfigFile = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """Say which trials would be worth it now, why, and what each would take. Nothing is started.

    A new open model, a candidate that was never tried as it is, a price that changed since the last verdict, an
    announced rise or retirement of the incumbent (`retires_on` of an `[[arm]]`, or the price book). Exit code 2: there
    are some.
    """
    loaded = load(config)
    layout = Layout(loaded.store_path)
    now = datetime.now(UTC)
    with keeper_of(loaded) as control:
        rows = [row for row in proposals(loaded, layout, now) if route in (None, row.route)]
        known: dict[tuple[str, str], Quoted | str] = {}
        shown = tuple(_shown(loaded, control, row, known, now, quotes=quotes) for row in rows)
    if json:
        sys.stdout.write(outside(msgspec.json.encode(ProposalsShown(proposals=shown)).decode()) + "\n")
    else:
        print(outside("\n".join(map(_words, shown)) or "nothing has changed that a trial would have to answer"))
    if shown:
        raise typer.Exit(ExitCode.UNDECIDED)


def _shown(
    loaded: Loaded, control: ControlClient, row: Proposal, known: dict[tuple[str, str], Quoted | str], now: datetime,
    *, quotes: bool,
) -> ProposalShown:  # fmt: skip
    if row.candidate is None:
        return ProposalShown(proposal=row, quote=None, not_quoted="no arm is configured for it")
    if not quotes:
        return ProposalShown(proposal=row, quote=None, not_quoted="not asked for")
    key = (row.route, row.candidate)
    if key not in known:
        known[key] = _quoted(loaded, control, row.route, row.candidate, now)
    found = known[key]
    if isinstance(found, str):
        return ProposalShown(proposal=row, quote=None, not_quoted=found)
    return ProposalShown(proposal=row, quote=found, not_quoted="")


def _quoted(loaded: Loaded, control: ControlClient, route: str, candidate: str, now: datetime) -> Quoted | str:
    from weighbridge.grading.gold import load_gold
    from weighbridge.trials.log import TrialLog
    from weighbridge.trials.plan import Settings
    from weighbridge.trials.quote import make_quote

    try:
        log = TrialLog(loaded)
        gold, _ = load_gold(control, log.layout)
        settings = Settings(route=route, candidate=candidate, margin=MARGIN, alpha=ALPHA)
        made = make_quote(loaded, control, log, gold, settings, concurrency=CONCURRENCY, now=now)
    except WeighbridgeError as error:
        return str(error)
    return Quoted(replays=made.replays, usd=made.usd, minutes=made.minutes, note=made.note)


def _words(shown: ProposalShown) -> str:
    row, quote = shown.proposal, shown.quote
    lines = [f"{row.route}: {row.said}"]
    if row.slices:
        lines.append(f"  slices not certified yet: {', '.join(row.slices)}")
    if quote is not None:
        money = "cost unknown" if quote.usd is None else f"${quote.usd:.2f}"
        lines.append(f"  its trial: at most {quote.replays:,} replays, {money}, {quote.minutes:.0f} min")
        if quote.note:
            lines.append(f"  {quote.note}")
    elif row.candidate is not None and shown.not_quoted != "not asked for":
        lines.append(f"  not quoted: {shown.not_quoted}")
    return "\n".join((*lines, f"  next: {row.command}"))
