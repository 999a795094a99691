"""`weighbridge ramp`."""

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from weighbridge.app import keeper_of
from weighbridge.cli.options import DEFAULT_CONFIG, ConfigFile, Json
from weighbridge.cli.outside import outside
from weighbridge.cli.ramp_drill import drill
from weighbridge.cli.ramp_output import past_lines, status_lines
from weighbridge.cli.ramp_proposals import show_proposals
from weighbridge.config import Loaded, load, secret
from weighbridge.errors import ControlError, ExitCode, UsageError, WeighbridgeError
from weighbridge.records.ramp import STAGES, RampPast, RampStatus, Stage
from weighbridge.store.control import RampAct, RampAction, RampAnswer, RampShow
from weighbridge.store.layout import Layout

app = typer.Typer(
    add_completion=False,
    help="Move a route's traffic in stages, and back.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

Route = Annotated[str, typer.Argument(metavar="ROUTE", help="A [[route]] by name.")]
Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="Recorded with it, for whoever reads the history.")]
Token = Annotated[
    str | None,
    typer.Option("--token", metavar="REF", help="An approver's token, `env:NAME` or `file:PATH`, never itself."),
]


class RampsShown(msgspec.Struct, frozen=True, kw_only=True):
    """The documented JSON shape of `ramp status --json` and of every command that moves a ramp."""

    ramps: tuple[RampStatus, ...]
    notes: tuple[str, ...]


@app.callback()
def ramp() -> None:
    """Move a route's traffic in stages, and back."""


def _print(answer: RampAnswer, *, as_json: bool) -> None:
    if as_json:
        shown = RampsShown(ramps=answer.ramps, notes=answer.notes)
        sys.stdout.write(outside(msgspec.json.encode(shown).decode()) + "\n")
        return
    for line in status_lines(answer):
        print(outside(line))


def _act(loaded: Loaded, asked: RampAct) -> RampAnswer:
    with keeper_of(loaded) as control:
        return control.call(asked, RampAnswer)


def _asked(
    loaded: Loaded, action: RampAction, route: str, why: str, token: str | None, *, up_to: Stage | None = None,
    accepts: tuple[str, ...] = (), candidate: str | None = None, verdict: str | None = None,
) -> RampAct:  # fmt: skip
    said = None
    if token is not None:
        try:
            said = secret(token, loaded.folder)
        except (LookupError, ValueError) as error:
            raise UsageError(f"--token {token}: {error.args[0]}") from None
    return RampAct(
        action=action, route=route, why=why, token=said, up_to=up_to, accepts=accepts, candidate=candidate,
        verdict=verdict,
    )  # fmt: skip


def _step(action: RampAction, route: str, why: str, token: str | None, config: Path, *, as_json: bool) -> None:
    """What a command does that names an action and nothing else about it."""
    loaded = load(config)
    _print(_act(loaded, _asked(loaded, action, route, why, token)), as_json=as_json)


@app.command()
def status(
    route: Annotated[str | None, typer.Argument(metavar="ROUTE", help="Only this route.")] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """Show where each ramp stands, what it waits for, its evidence, and what would be seen before an alarm.

    Exit code 2 where a ramp was taken back, is paused, or waits for somebody.
    """
    with keeper_of(load(config)) as control:
        answer = control.call(RampShow(route=route), RampAnswer)
    _print(answer, as_json=json)
    if any(row.state.stage in ("paused", "rolled_back") or row.override for row in answer.ramps):
        raise typer.Exit(ExitCode.UNDECIDED)


@app.command()
def propose(
    route: Route,
    verdict: Annotated[
        str, typer.Option("--verdict", metavar="NAME", help="A trial, a verdict's digest, or `latest`.")
    ] = "latest",
    why: Why = "",
    token: Token = None,
    config: ConfigFile = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """Propose a ramp that a verdict allows. Nothing moves: it shows the plan, the gates and the expected exposure."""
    from weighbridge.records.canonical import digest
    from weighbridge.trials.stored import stored_verdict

    loaded = load(config)
    with keeper_of(loaded) as control:
        found, stored = stored_verdict(control, Layout(loaded.store_path), verdict)
        asked = _asked(
            loaded, "propose", route, why, token, candidate=found.candidate, verdict=digest(stored)
        )  # fmt: skip
        answer = control.call(asked, RampAnswer)
    _print(answer, as_json=json)


@app.command()
def approve(
    route: Route,
    up_to: Annotated[
        str | None,
        typer.Option("--up-to", metavar="STAGE", help="Approve every step up to this stage; default the next."),
    ] = None,
    accept: Annotated[
        list[str] | None,
        typer.Option("--accept", metavar="GATE", help="Take a gate's unknown answer upon yourself, e.g. `headroom`."),
    ] = None,
    why: Why = "",
    token: Token = None,
    config: ConfigFile = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """Approve steps of a ramp. It takes them by itself once time, evidence and gates allow."""
    loaded = load(config)
    stage = next((name for name in STAGES if name == up_to), None)
    if up_to is not None and stage is None:
        raise UsageError(f"--up-to {up_to}: allowed are {', '.join(STAGES)}")
    asked = _asked(loaded, "approve", route, why, token, up_to=stage, accepts=tuple(accept or ()))
    _print(_act(loaded, asked), as_json=json)


@app.command()
def start(
    route: Route, why: Why = "", token: Token = None, config: ConfigFile = DEFAULT_CONFIG, json: Json = False
) -> None:
    """Start an approved ramp: copies of requests go to the candidate, users see nothing of it yet."""
    _step("start", route, why, token, config, as_json=json)


@app.command()
def advance(
    route: Route, why: Why = "", token: Token = None, config: ConfigFile = DEFAULT_CONFIG, json: Json = False
) -> None:
    """Take the next step now. It needs the same as the step that a ramp takes by itself, and says what is missing."""
    _step("advance", route, why, token, config, as_json=json)


@app.command()
def pause(
    route: Route, why: Why = "", token: Token = None, config: ConfigFile = DEFAULT_CONFIG, json: Json = False
) -> None:
    """Stay at the present share: no further step, but an alarm still takes everything back."""
    _step("pause", route, why, token, config, as_json=json)


@app.command()
def resume(
    route: Route, why: Why = "", token: Token = None, config: ConfigFile = DEFAULT_CONFIG, json: Json = False
) -> None:
    """Go on after a pause, in the stage that it paused."""
    _step("resume", route, why, token, config, as_json=json)


@app.command()
def reject(
    route: Route, why: Why = "", token: Token = None, config: ConfigFile = DEFAULT_CONFIG, json: Json = False
) -> None:
    """Give up a ramp before users were on the candidate."""
    _step("reject", route, why, token, config, as_json=json)


@app.command()
def rollback(
    route: Route, why: Why = "", token: Token = None, config: ConfigFile = DEFAULT_CONFIG, json: Json = False
) -> None:
    """Take a route back to its incumbent now. Works whatever state anything is in, also without the database.

    Where no keeper can be had, the route table is written by this command and workers take it within five seconds.
    """
    loaded = load(config)
    asked = _asked(loaded, "rollback", route, why, token)
    try:
        answer = _act(loaded, asked)
    except ControlError:
        raise  # a keeper answered
    except WeighbridgeError as error:  # none could be started on this store
        from weighbridge.app.override import hold_at_incumbent

        number = hold_at_incumbent(loaded, route)
        raise WeighbridgeError(
            f"no keeper can be had ({error}), so the route table was written without one: table {number} holds "
            f"{route} at its incumbent. Mend the store, then `weighbridge ramp rollback {route}` again records it"
        ) from None
    _print(answer, as_json=json)


app.command()(drill)
app.command("proposals")(show_proposals)


@app.command()
def history(route: Route, config: ConfigFile = DEFAULT_CONFIG, json: Json = False) -> None:
    """Tell what happened to a route's ramps, oldest first, from the signed log: who, when, why."""
    from weighbridge.ramp.custody import past_of

    loaded = load(config)
    with keeper_of(loaded) as control:
        answer = control.call(RampShow(route=route), RampAnswer)
    if not answer.ramps:
        raise ControlError(f"route {route!r} has no ramp; `weighbridge ramp propose {route}` makes one")
    past = past_of(Layout(loaded.store_path), answer.ramps[0].state)
    if json:
        shape = RampPast(route=route, changes=past)
        sys.stdout.write(outside(msgspec.json.encode(shape).decode()) + "\n")
        return
    for line in past_lines(past):
        print(outside(line))
