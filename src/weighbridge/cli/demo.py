"""`weighbridge demo`."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder for the report.")] = Path(
        "weighbridge-demo"
    ),
) -> None:
    """Decide a shipped sample of recorded answers, in seconds: no model, no key, no network.

    The sample is invented support traffic; the incumbent's answers were written by hand, the candidate's were recorded
    from a very small open-weight model. The verdicts are real and say nothing about your own traffic. `scripts/demo` in
    the repository runs the whole thing with the model and the gateway.
    """
    import textwrap
    import time

    from weighbridge.cli.demo_output import WIDTH, print_place, print_verdicts
    from weighbridge.reports.write import write
    from weighbridge.samples.demo_config import ALPHA, HAND_WRITTEN_NOTE, MARGIN, SAMPLE_NOTE
    from weighbridge.samples.recorded_demo import decide

    decided = decide(time.time_ns())
    print(textwrap.fill(f"{SAMPLE_NOTE} {HAND_WRITTEN_NOTE}", WIDTH))
    facts = (
        f"Candidate: {decided.candidate} on {decided.engine}, recorded on {decided.recorded_on}. Margin "
        f"{100 * MARGIN:g} points, alpha {100 * ALPHA:g} %. The tests needed {decided.compared} "
        f"of {decided.pairs} pairs."
    )
    print(f"\n{textwrap.fill(facts, WIDTH)}\n")
    print_verdicts(decided.report)
    print_place(write(decided.report, out).html)
