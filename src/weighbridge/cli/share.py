"""`weighbridge budget share`: how much of everyday traffic runs on open weights."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from weighbridge.cli.options import DEFAULT_CONFIG, ConfigFile, Json
from weighbridge.cli.outside import outside
from weighbridge.config import load
from weighbridge.errors import ExitCode
from weighbridge.store.layout import Layout

if TYPE_CHECKING:
    from weighbridge.ledger.share import Share

TITLES = {
    "requests": "requests",
    "tokens": "normalised tokens",
    "dollars": "dollars",
    "accepted_tasks": "accepted tasks",
}


def share(
    by: Annotated[
        Literal["all", "route", "team"], typer.Option("--by", help="One line for all, for each route, or each team.")
    ] = "all",
    over: Annotated[
        Literal["all", "day", "week", "month"], typer.Option("--over", help="One span, or a line for each.")
    ] = "all",
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: Json = False,
) -> None:
    """Show how much of everyday traffic runs on open weights: by requests, normalised tokens and dollars.

    Only what users asked counts. Tokens are as the route's incumbent counts text, by the ratios that trials measured.
    What cannot be compared is named, with the next step. Accepted tasks by arm are in `weighbridge outcomes show`.
    Published figures of others are said below, for comparison. Exit code 2 where one of the three is not known, or
    leaves something out.
    """
    from weighbridge.cli.budget import told
    from weighbridge.ledger.daily import daily
    from weighbridge.ledger.market import market
    from weighbridge.ledger.share import OpenShare

    loaded = load(config)
    with daily(Layout(loaded.store_path)) as sums:
        share = OpenShare(sums)
        found = share.shares(loaded, share.used(), by=by, period=None if over == "all" else over)
    if as_json:
        told(found, "shares")
    else:
        for one in found:
            who = "" if by == "all" else f" {one.name or f'no {by}'}"
            print(outside(f"{one.since} to {one.until}{who}: {'; '.join(map(_said, one.measures))}"))
        for why in dict.fromkeys(m.why_unknown for one in found for m in one.measures if m.why_unknown):
            print(outside(f"  left out: {why}"))
        if not found:
            print("no user request was answered yet")
        elif by == over == "all":
            for other in market():
                low = "" if other.low == other.high else f"{other.low:.0%} to "
                print(outside(f"  elsewhere: {low}{other.high:.0%} of {other.of}, {other.when} ({other.source})"))
    decided = [m for one in found for m in one.measures if m.measure != "accepted_tasks"]
    if not found or any(m.share is None or m.why_unknown for m in decided):
        raise typer.Exit(ExitCode.UNDECIDED)


def _said(one: "Share") -> str:
    if one.share is None:
        return f"{TITLES[one.measure]} unknown"
    part = "" if not one.unknown else f" (of the {one.known:.0%} that can be compared)"
    return f"{one.share:.1%} of {TITLES[one.measure]}{part}"
