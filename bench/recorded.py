"""Verdicts on recorded answers of real models, beside the truth: the whole product against known outcomes.

    scripts/bench recorded                the whole run, about half an hour on two cores
    scripts/bench recorded --items 300    fewer prompts of each task
    scripts/bench recorded --write        also docs/evidence/recorded.md

All recorded GSM8K, CRUX and MATH prompts go through a real gateway to the recorded `gpt-4o-2024-08-06` with the
official `openai` client (half sync, half async, half of each streamed); gold answers are imported; then trials run
against recorded open-weight models, and one that answers "banana" to everything, each through the command line as a
user would.

The truth of a cell is the mean difference over *all* recorded answers that both models have, once with the product's
own graders and once from the labels that came with the recordings. A verdict contradicts it if it certifies a candidate
that is worse by the margin or more, or calls inferior one that is not. Only sums are printed: no prompt, no answer.

Needs the recorded answers (`--shared`, default: a folder `shared` beside the repository).
"""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import msgspec

from bench.recording.answers import (
    ALPHA,
    BANANA,
    INCUMBENT,
    LISTED,
    MARGIN,
    SEED,
    TASKS,
    Recorded,
    agreement,
    cells,
    read,
    shuffled,
    truths,
)  # fmt: skip
from bench.recording.page import Run, page
from bench.recording.setting import bill_of, listed_price, recorded_provider, serving, weighbridge, write_config
from bench.recording.traffic import Told, ledgers, mismatches, send
from weighbridge.records.evidence import Verdict
from weighbridge.samples.sample_provider import SampleProvider

REPOSITORY = Path(__file__).resolve().parent.parent
EVIDENCE = REPOSITORY / "docs" / "evidence" / "recorded.md"


def run_trials(config: Path, recorded: Recorded, say: Callable[[str], None]) -> dict[str, list[Verdict]]:
    """One trial per candidate where it was recorded on every task, else one per task that it was recorded on."""
    found: dict[str, list[Verdict]] = {}
    for candidate in (*LISTED, BANANA):
        present = [task for task in TASKS if candidate == BANANA or recorded.has(candidate, task)]
        parts = [None] if len(present) == len(TASKS) else present
        for task in parts:
            began = time.monotonic()
            arguments = [
                "--route",
                "benchmark",
                "--candidate",
                candidate,
                "--margin",
                str(MARGIN),
                "--alpha",
                str(ALPHA),
            ]
            arguments += ["--seed", str(SEED), "--json"] + ([] if task is None else ["--slice", f"task={task}"])
            verdict = msgspec.json.decode(weighbridge(config, "trial", "run", *arguments, allowed=(0, 2)), type=Verdict)
            found.setdefault(candidate, []).append(verdict)
            words = ", ".join(f"{one.slice} {one.verdict} at {one.n}" for one in verdict.verdicts)
            say(f"{candidate}: {words} ({time.monotonic() - began:.0f} s)")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=REPOSITORY.parent / "shared")
    parser.add_argument("--items", type=int, default=None, help="prompts per task (default: all)")
    parser.add_argument("--orders", type=int, default=100, help="orders in which every cell is decided again")
    parser.add_argument(
        "--keep", type=Path, default=None, help="a folder for the store, config and report, kept afterwards"
    )
    parser.add_argument("--write", action="store_true", help=f"write {EVIDENCE.relative_to(REPOSITORY)}")
    options = parser.parse_args()
    data = options.shared / "data" / "zeroeval"
    if not (data / "outputs.parquet").is_file():
        print(f"recorded: there are no recorded answers in {data}; --shared names the folder", file=sys.stderr)
        return 64
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"[{time.monotonic() - began:6.0f} s] {line}", file=sys.stderr, flush=True)

    recorded = read(data, options.items)
    say(f"{len(recorded.items):,} prompts, {len(recorded.answers):,} recorded answers of {1 + len(LISTED)} models")
    book = {name: listed_price(*where) for name, where in LISTED.items()}
    book[INCUMBENT] = listed_price("openai", INCUMBENT)
    os.environ["RECORDED_BENCH_KEY"] = key = os.urandom(16).hex()
    told = Told()
    with ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="weighbridge-recorded-")))
        if folder.exists() and options.keep is not None:
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        address = stack.enter_context(recorded_provider(options.shared))
        banana = stack.enter_context(SampleProvider(BANANA))
        config = write_config(folder, f"http://{address}/v1", banana.base_url, book)
        gold = folder / "gold.jsonl"
        gold.write_text(
            "".join(json.dumps({"prompt": i.prompt, "answer": i.gold}) + "\n" for i in recorded.items.values())
        )
        base_url = stack.enter_context(serving(config, folder / "serve.log"))
        say(f"gateway on {base_url}")
        every = max(1, len(recorded.items) // 10)
        send(
            base_url,
            key,
            list(recorded.items.values()),
            told,
            lambda n: say(f"{n:,} requests sent") if n % every == 0 else None,
        )
        weighbridge(config, "gold", "import", str(gold))
        verdicts = run_trials(config, recorded, say)
        log = ledgers(
            weighbridge(config, "exchanges", "export", "--format", "jsonl"), {k: v.price for k, v in book.items()}
        )
        bill = bill_of(address)
        with urllib.request.urlopen(banana.bill_url) as response:  # noqa: S310 (loopback, ours)
            said = json.load(response)
        renamed = {"prompt_tokens": "input_tokens", "completion_tokens": "output_tokens"}
        bill[BANANA] = {renamed.get(name, name): number for name, number in said.items()}
        verified = "; ".join(weighbridge(config, "verify").strip().splitlines())
        weighbridge(config, "report", "--out", str(folder / "report"))
        truth = truths(recorded, config)
        same = agreement(recorded, config)
    say("deciding every cell again in other orders")
    again = shuffled(truth, options.orders)
    minutes = (time.monotonic() - began) / 60
    run = Run(cells(verdicts, recorded, truth), log, bill, book, told, same, again, options.orders, verified, minutes)
    text = page(run)
    print(text)
    if options.write:
        EVIDENCE.parent.mkdir(parents=True, exist_ok=True)
        EVIDENCE.write_text(text)
    return judge(run, say)


def judge(run: Run, say: Callable[[str], None]) -> int:
    """0 where everything holds that this run is for; says what does not."""
    problems = mismatches(run.log, run.bill, run.told)
    decided = [row for row in run.cells if row.verdict != "undecided"]
    wrong = sum(row.contradicts(row.truth) for row in run.cells)
    if wrong > ALPHA * len(decided):
        problems.append(f"{wrong} of {len(decided)} verdicts contradict the truth, more than alpha")
    missed = [f"{row.candidate} on {row.task}" for row in run.cells if row.missed]
    if len(missed) > 2 * ALPHA * len(run.cells):
        problems.append(f"{len(missed)} of {len(run.cells)} intervals miss the truth: {', '.join(missed)}")
    for row in run.cells:
        if row.candidate in (BANANA, "gemma-2-2b-it") and row.verdict != "inferior":
            problems.append(f"{row.candidate} on {row.task} is hopeless and came out {row.verdict}")
    if not any(row.verdict == "non_inferior" for row in run.cells):
        problems.append("no candidate was certified anywhere")
    for problem in problems:
        say(f"DOES NOT HOLD: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
