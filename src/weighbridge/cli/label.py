"""`weighbridge label serve | show | export`."""

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from weighbridge.app import keeper_of
from weighbridge.app.looking import can_sign_in
from weighbridge.cli.dashboard import open_pages
from weighbridge.cli.options import DEFAULT_CONFIG, ConfigFile, Json
from weighbridge.cli.outside import outside
from weighbridge.config import Loaded, load
from weighbridge.errors import ExitCode, UsageError, WeighbridgeError
from weighbridge.records.people import Role
from weighbridge.store.layout import Layout
from weighbridge.trials.labelled import LabelledTrial, PairTexts, labelled_trial, sample_of
from weighbridge.trials.labels import Agreement, Calibration, agreement, calibrate, pair_rows, to_label
from weighbridge.trials.log import TrialLog
from weighbridge.trials.stored import LATEST

app = typer.Typer(
    add_completion=False,
    help="Let people label pairs that a panel judged, and correct the panel by them.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

Trial = Annotated[str, typer.Argument(help="A trial (t-...), the digest of a verdict, or `latest`.")]
SHOW_SCHEMA = "labels/1"


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """The documented JSON shape of `label show --json`."""

    schema: str
    trial: str
    slices: tuple[Calibration, ...]
    people: dict[str, int]
    """Name -> pairs labelled."""
    agreement: Agreement


def _trial(loaded: Loaded, name: str) -> LabelledTrial:
    with keeper_of(loaded) as control:
        return labelled_trial(control, Layout(loaded.store_path), name)


@app.command()
def serve(
    trial: Trial = LATEST,
    labeller: Annotated[
        list[str] | None,
        typer.Option("--labeller", metavar="NAME", help="Let this user in to label, made now if need be; repeat."),
    ] = None,
    labels: Annotated[
        int, typer.Option("--labels", metavar="N", min=1, help="About how many conversations to draw, all slices.")
    ] = 300,
    listen: Annotated[
        str,
        typer.Option(
            "--listen", metavar="HOST:PORT", help="Where the pages are, if nothing serves; port 0 takes a free one."
        ),
    ] = "127.0.0.1:0",
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Serve a page on which people compare two answers without knowing whose they are.

    Which pairs they see is drawn once per trial, with a known probability per slice, most dollars first. People sign in
    as users of the store: who has no password yet gets a link to choose one, printed here once. Where `weighbridge
    serve` runs, this says where its pages are; else it serves them until Ctrl-C, and goes on another day.
    """
    names = labeller or []
    if len(set(names)) < len(names):
        raise UsageError(f"--labeller {names}: each name once; labels are counted by it")
    loaded = load(config)
    with keeper_of(loaded) as control:
        if not names and not can_sign_in(control, "labeller"):
            raise UsageError("nobody may label yet; `--labeller NAME` lets somebody in")
        found = labelled_trial(control, Layout(loaded.store_path), trial)
        pairs = to_label(sample_of(found, TrialLog(loaded), labels), found.evidence)
        print(f"{len(pairs)} pairs of trial {found.plan.trial} are drawn.")
        people: list[tuple[str, Role]] = [(name, "labeller") for name in names]
        open_pages(loaded, control, listen, people, f"labels/{found.plan.trial}")


@app.command()
def show(trial: Trial = LATEST, json: Json = False, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Say how far labelling is, how well people agree, and how the panel does beside them, slice by slice."""
    found = _trial(load(config), trial)
    sample = found.book.sample()
    if sample is None:
        raise WeighbridgeError(f"nothing is drawn for trial {found.plan.trial} yet; `weighbridge label serve` does it")
    labels = found.book.labels()
    people: dict[str, int] = {}
    for said in labels.values():
        for name in said:
            people[name] = people.get(name, 0) + 1
    shown = Shown(
        schema=SHOW_SCHEMA,
        trial=found.plan.trial,
        slices=tuple(calibrate(sample, found.plan, found.evidence, labels)),
        people=dict(sorted(people.items())),
        agreement=agreement(labels),
    )
    complete = all(row.labelled >= row.drawn for row in shown.slices)
    if json:
        sys.stdout.write(msgspec.json.encode(shown).decode() + "\n")
    else:
        _print(shown)
    raise typer.Exit(ExitCode.DONE if complete else ExitCode.UNDECIDED)


def _print(shown: Shown) -> None:
    console = Console(highlight=False, markup=False, emoji=False)
    table = Table(box=None, pad_edge=False)
    table.add_column("slice", overflow="fold")
    for name in ("drawn", "labelled", "probability", "panel", "bias", "correlation"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in shown.slices:
        table.add_row(
            outside(row.slice), f"{row.drawn:,}", f"{row.labelled:,}", f"{row.probability:.3f}",
            f"{100 * row.judge_mean:+.1f}", "" if row.bias is None else f"{100 * row.bias:+.1f}",
            "" if row.correlation is None else f"{row.correlation:+.2f}",
        )  # fmt: skip
    console.print(table)
    for name, count in shown.people.items():
        console.print(f"{outside(name)}: {count:,} pairs", soft_wrap=True)
    both = shown.agreement
    if both.equal is None:
        console.print("agreement between people: no pair has two labels yet", soft_wrap=True)
    else:
        alpha = "cannot be computed" if both.alpha is None else f"{both.alpha:.2f}"
        console.print(
            f"agreement between people: the same word on {both.equal:.0%} of {both.pairs:,} pairs, Krippendorff's "
            f"alpha {alpha}",
            soft_wrap=True,
        )


@app.command()
def export(
    trial: Trial = LATEST,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The file to write, JSON Lines; standard output else.")
    ] = None,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Write the pairs of a trial with the panel's scores and people's, for `weighbridge verdict --no-shuffle`.

    Rows are in the trial's order, which was shuffled before anything was sent. A slice ends before its first drawn
    conversation that nobody has labelled. Rows hold ids of conversations and scores, no text.
    """
    loaded = load(config)
    found = _trial(loaded, trial)
    sample, labels = found.book.sample(), found.book.labels()
    gone: set[str] = set()
    if sample is not None:
        open_pairs = [pair for pair in to_label(sample, found.evidence) if not labels.get(pair.item)]
        texts = PairTexts(TrialLog(loaded), found.evidence.route, open_pairs)
        gone = {pair.item for pair in open_pairs if texts(pair) is None}
    rows = pair_rows(sample, found.plan, found.evidence, labels, gone)
    body = b"".join(msgspec.json.encode(row) + b"\n" for row in rows.rows)
    if out is None:
        sys.stdout.write(body.decode())
    else:
        out.write_bytes(body)
    if rows.erased:
        print(f"{rows.erased:,} pairs were erased before anybody labelled them and are left out", file=sys.stderr)
    for name, count in rows.waiting.items():
        print(outside(f"{name}: {count:,} pairs wait behind a conversation that is not labelled yet"), file=sys.stderr)
    if out is not None:
        settings = found.plan.settings
        print(
            f"{len(rows.rows):,} pairs. Decide with: weighbridge verdict --pairs {out} --margin {settings.margin:g} "
            f"--alpha {settings.alpha:g} --no-shuffle",
            file=sys.stderr,
        )
