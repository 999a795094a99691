"""`weighbridge verdict`."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from weighbridge.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from weighbridge.records.evidence import Verdict

# Only the gate tells "inferior" from "undecided" by its exit code: a build that must fail differently for the two.
INFERIOR = 3


class Format(StrEnum):
    TEXT = "text"
    MARKDOWN = "markdown"
    JSON = "json"


def verdict(
    pairs: Annotated[
        Path,
        typer.Option("--pairs", metavar="FILE", help="Scores of both models, a row a pair: jsonl, csv or parquet."),
    ],
    margin: Annotated[
        float,
        typer.Option("--margin", help="How much worse the candidate may be on average, in score (0.03: three points)."),
    ] = 0.03,
    alpha: Annotated[
        float, typer.Option("--alpha", help="The error level: how often a false certificate may happen.")
    ] = 0.05,
    slice_column: Annotated[
        str | None, typer.Option("--slice", metavar="COLUMN", help="The column of slices.", show_default="slice")
    ] = None,
    cluster_column: Annotated[
        str | None,
        typer.Option(
            "--cluster",
            metavar="COLUMN",
            help="The column of clusters: rows of one conversation, task or repeated run.",
            show_default="cluster",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", min=0, help="Seed of the shuffle.", show_default="0")
    ] = None,
    no_shuffle: Annotated[
        bool,
        typer.Option(
            "--no-shuffle", help="Keep the order of the file. Where quality drifts along it, verdicts can be wrong."
        ),
    ] = False,
    gate: Annotated[
        bool,
        typer.Option("--gate", help="For CI: exit 0 only if non-inferior throughout, 3 inferior, 2 undecided."),
    ] = False,
    aa: Annotated[
        bool,
        typer.Option(
            "--aa", help="`candidate` is the incumbent's own second run: how noisy and even-handed is the grader?"
        ),
    ] = False,
    form: Annotated[
        Format | None,
        typer.Option(
            "--format", help="text for people, markdown for a pull request, json for programs.", show_default="text"
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document to standard output, and nothing else.")
    ] = False,
) -> None:
    """Say from existing results whether a candidate is as good as the incumbent, slice by slice.

    Needs no configuration. The file has a row a pair with the columns `incumbent` and `candidate`: scores from 0 to 1
    by any grader. More columns are understood: `slice`, `cluster`, `weight` (the slice's share of the traffic), and for
    answers that a judge scored `incumbent_judge`, `candidate_judge`, `incumbent_human`, `candidate_human` (empty where
    nobody labelled), `label_probability`. A judge without human labels never certifies.

    Whole clusters are shuffled by the seed. The verdict holds however many rows there are and however often they are
    looked at; slices are decided as one family.

    With `--aa` nothing is judged: both columns are runs of the incumbent, and the output says how noisy the grader is,
    how many pairs a verdict takes at that noise, and whether one side is favoured (exit code 2).

    Exit codes: 0 decided, 2 undecided, 1 the file is broken, 64 usage. With `--gate`: 0 only if the whole and every
    slice are non-inferior, 3 if anything is inferior, else 2.

    Example: `weighbridge verdict --pairs results.csv --margin 0.02 --slice task --gate`
    """
    from weighbridge.records.canonical import canonical
    from weighbridge.stats.bets import check_alpha, check_margin
    from weighbridge.trials.pairs.conclude import conclude
    from weighbridge.trials.pairs.read import read

    if as_json and form not in (None, Format.JSON):
        raise UsageError(f"--json and --format {form.value if form else ''}: allowed is one of them")
    if no_shuffle and seed is not None:
        raise UsageError("--seed and --no-shuffle: allowed is one of them, because without a shuffle no seed is used")
    try:
        margin, alpha = check_margin(margin), check_alpha(alpha)
    except ValueError as error:
        raise UsageError(f"--{error}") from None
    if aa:
        if gate or form is Format.MARKDOWN:
            raise UsageError("--aa with --gate or --format markdown: an A/A check is no verdict; allowed is --json")
        _rerun(pairs, slice_column, cluster_column, margin, alpha, None if no_shuffle else seed or 0, as_json or form)
    conclusion = conclude(read(pairs, slice_column, cluster_column), margin, alpha, None if no_shuffle else seed or 0)
    if as_json or form is Format.JSON:
        print(canonical(conclusion.verdict).decode())
    else:
        # Loaded last: the tests of a million pairs need the memory first.
        from weighbridge.cli.verdict_output import print_markdown, print_text

        (print_markdown if form is Format.MARKDOWN else print_text)(pairs.name, conclusion, gate=gate)
    raise typer.Exit(exit_code(conclusion.verdict, gate=gate))


def _rerun(
    file: Path, slices: str | None, clusters: str | None, margin: float, alpha: float, seed: int | None, json: object
) -> NoReturn:
    """The A/A check instead of a verdict."""
    from weighbridge.records.canonical import canonical
    from weighbridge.trials.pairs.read import read
    from weighbridge.trials.pairs.rerun import rerun

    found = rerun(read(file, slices, clusters).pairs, margin, alpha, seed)
    if json is True or json is Format.JSON:
        print(canonical(found).decode())
    else:
        from weighbridge.cli.verdict_output import print_rerun

        print_rerun(file.name, found)
    raise typer.Exit(ExitCode.DONE if found.even_handed else ExitCode.UNDECIDED)


def exit_code(verdict: "Verdict", *, gate: bool) -> int:
    """What a shell is told: see the command's help."""
    found = {row.verdict for row in (*verdict.verdicts, verdict.overall)}
    if gate and "inferior" in found:
        return INFERIOR
    return ExitCode.UNDECIDED if "undecided" in found else ExitCode.DONE
