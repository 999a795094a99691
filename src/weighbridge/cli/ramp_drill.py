"""`weighbridge ramp drill`."""

import re
import sys
import time
from typing import Annotated

import msgspec
import typer

from weighbridge.app import keeper_of
from weighbridge.cli.options import DEFAULT_CONFIG, ConfigFile, Json
from weighbridge.cli.outside import outside
from weighbridge.config import Loaded, load, secret
from weighbridge.errors import ExitCode, UsageError
from weighbridge.records.drill import DrillSide, DrillView
from weighbridge.store.control import DrillAct, DrillAnswer, DrillShow

LOOK_S = 1.0
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600}


class DrillsShown(msgspec.Struct, frozen=True, kw_only=True):
    """The documented JSON shape of `ramp drill --json`."""

    drills: tuple[DrillView, ...]


def drill(
    route: Annotated[str, typer.Argument(metavar="ROUTE", help="A [[route]] by name.")],
    share: Annotated[float, typer.Option("--share", metavar="PERCENT", help="Of users' conversations.")] = 5.0,
    lasts: Annotated[
        str, typer.Option("--for", metavar="TIME", help="5s to 1h; then all go back by themselves.")
    ] = "60s",
    arm: Annotated[
        str | None,
        typer.Option("--arm", metavar="ARM", help="Default: the route's first fallback, or the way back of its ramp."),
    ] = None,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="Recorded and announced with it.")] = "",
    token: Annotated[
        str | None,
        typer.Option("--token", metavar="REF", help="An approver's token, `env:NAME` or `file:PATH`, never itself."),
    ] = None,
    stop: Annotated[bool, typer.Option("--stop", help="End the one that runs.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Start nothing: tell of the last ones.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Until it is over, and tell what it showed.")] = False,
    config: ConfigFile = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """Send a short, announced share of users to the fallback, up to 100%: could it carry them, at this hour?

    It reports how often the arm was at its limit, failed or was stood in for, latency and quality beside the others' of
    the same minutes. It ends by itself, and early where a quarter fails. Exit code 2: the arm could not carry it.
    """
    loaded = load(config)
    if sum((stop, show)) > 1:
        raise UsageError("--stop and --show do not go together")
    with keeper_of(loaded) as control:
        if show:
            answer = control.call(DrillShow(route=route), DrillAnswer)
        else:
            answer = control.call(_asked(loaded, route, share, lasts, arm, why, token, stop=stop), DrillAnswer)
            while wait and answer.drills and answer.drills[0].report is None:
                time.sleep(LOOK_S)
                answer = control.call(DrillShow(route=route), DrillAnswer)
    rows = answer.drills if show else answer.drills[:1]
    if json:
        sys.stdout.write(outside(msgspec.json.encode(DrillsShown(drills=rows)).decode()) + "\n")
    else:
        print(outside("\n\n".join(map(_words, rows)) or f"no drill of route {route} yet"))
    if rows and rows[0].report is not None and not carried(rows[0]):
        raise typer.Exit(ExitCode.UNDECIDED)


def _asked(
    loaded: Loaded, route: str, share: float, lasts: str, arm: str | None, why: str, token: str | None, *, stop: bool
) -> DrillAct:
    said = None
    if token is not None:
        try:
            said = secret(token, loaded.folder)
        except (LookupError, ValueError) as error:
            raise UsageError(f"--token {token}: {error.args[0]}") from None
    if stop:
        return DrillAct(action="stop", route=route, why=why, token=said)
    return DrillAct(
        action="start", route=route, arm=arm, basis_points=round(share * 100), seconds=_seconds(lasts), why=why,
        token=said,
    )  # fmt: skip


def _seconds(text: str) -> int:
    found = re.fullmatch(r"(\d{1,6})(s|m|min|h)", text.strip())
    if found is None:
        raise UsageError(f"--for {text}: write a whole number of s, m or h, e.g. 90s or 10m")
    return int(found[1]) * _UNITS[found[2]]


def carried(row: DrillView) -> bool:
    """Did the arm answer everything that it was asked?"""
    report = row.report
    return report is not None and report.ended_by != "failing" and not (report.drilled.limited or report.drilled.failed)


def _words(row: DrillView) -> str:
    one, report = row.drill, row.report
    lines = [
        f"{one.route}: {one.basis_points / 100:g}% of users to {one.arm} for "
        f"{(one.until_ns - one.from_ns) / 1e9:.0f} s, by {one.by}: {one.why}"
    ]
    if report is None:
        return "\n".join((*lines, "  it runs, or ended a moment ago; it goes back by itself"))
    ends = {"time": "its time was over", "person": "somebody stopped it", "failing": "too much of it failed"}
    busiest = "" if report.per_minute is None else f", {report.per_minute:,.0f} requests in its busiest minute"
    lines += [
        f"  ended because {ends[report.ended_by]}{busiest}",
        f"  {one.arm}: {_side(report.drilled)}",
        f"  others: {_side(report.others)}",
    ]
    if report.not_judged is not None:
        lines.append(f"  quality was not seen: {report.not_judged}")
    return "\n".join(lines)


def _side(side: DrillSide) -> str:
    parts = [f"{side.requests:,} requests, {side.ok:,} answered there"]
    parts += [
        f"{count:,} {what}"
        for count, what in (
            (side.limited, "at its limit (429, 503)"), (side.failed, "failed"),
            (side.stood_in, "answered by another arm"), (side.unanswered, "not answered"),
        )
        if count
    ]  # fmt: skip
    if side.latency_ms is not None:
        parts.append("p50 {:,.0f} ms, p90 {:,.0f} ms, p99 {:,.0f} ms".format(*side.latency_ms))
    if side.score is not None:
        parts.append(f"score {side.score:.3f} of {side.judged:,} judged")
    parts.append("cost unknown" if side.cost_nanousd is None else f"${side.cost_nanousd / 1e9:.4f}")
    return ", ".join(parts)
