"""`scripts/demo`: the whole main job on this machine, with a real open-weight model behind a real gateway.

    python -m weighbridge.cli.demo_live [--incumbent URL MODEL | --openai] [--out DIR]

Traffic goes through the gateway to the incumbent, is captured, replayed to the candidate through the same gateway,
graded, decided, and reported. Everything it starts ends with it.
"""

import argparse
import os
import secrets
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import resources
from pathlib import Path

from weighbridge.app import Gateway, gateway_of
from weighbridge.cli.demo_output import WIDTH, print_place, print_verdicts
from weighbridge.config import Loaded, load
from weighbridge.errors import ExitCode, UsageError, WeighbridgeError
from weighbridge.grading.gold import read_gold, store_gold
from weighbridge.reports.build import build
from weighbridge.reports.model import Report
from weighbridge.reports.write import Written, write
from weighbridge.samples.demo_config import (
    ALPHA,
    CANDIDATE,
    HAND_WRITTEN_NOTE,
    KEY_VARIABLE,
    MARGIN,
    ROUTE,
    SAMPLE_NOTE,
    SEED,
    Incumbent,
    demo_config,
)
from weighbridge.samples.items import sample_file, support_items
from weighbridge.samples.local_model import SMOLLM2, LocalServer, fetch_weights
from weighbridge.samples.sample_provider import SampleProvider, tokens
from weighbridge.samples.traffic import send_sample
from weighbridge.store.layout import Layout
from weighbridge.trials.carry import Ended
from weighbridge.trials.plan import Settings
from weighbridge.trials.replay import Progress
from weighbridge.trials.run import Options, run_trial

OPENAI_URL, OPENAI_MODEL = "https://api.openai.com/v1", "gpt-4o-mini"
OPENAI_KEY = "OPENAI_API_KEY"
MARK = ".weighbridge-demo"
"""In a folder that the demonstration made, and may therefore make again."""
STEPS = 5
MODEL_SLOTS = 4
TICK_S = 5.0


class Steps:
    """What is going on, one line a step on standard error, with the seconds since the start."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._step = 0
        self._told = 0.0
        self._terminal = sys.stderr.isatty()

    def step(self, what: str) -> None:
        self._step += 1
        self._told = 0.0
        self._write(f"[{self._step}/{STEPS}] {what}")

    def note(self, what: str) -> None:
        self._write(f"      {what}")

    def tick(self, what: str) -> None:
        """Progress within a step: rewritten in place on a terminal, a line every few seconds elsewhere."""
        if self._terminal:
            sys.stderr.write(f"\r\x1b[K{time.monotonic() - self._began:4.0f} s        {what[: WIDTH - 14]}")
            sys.stderr.flush()
        elif time.monotonic() - self._told >= TICK_S:
            self._told = time.monotonic()
            self._write(f"      {what}")

    def _write(self, line: str) -> None:
        clear = "\r\x1b[K" if self._terminal else ""
        sys.stderr.write(f"{clear}{time.monotonic() - self._began:4.0f} s  {line}\n")
        sys.stderr.flush()


def fresh(folder: Path) -> None:
    """An empty folder of ours. Raises `UsageError` for one with other things in it: nothing of anybody's is removed."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARK).is_file():
            raise UsageError(
                f"{folder} is there and was not made by the demonstration; move it, or name another with --out"
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).write_text("Made by the demonstration of Weighbridge, which makes it anew each time.\n")


def chosen_incumbent(options: argparse.Namespace) -> Incumbent | None:
    """The real incumbent that was asked for; `None` for the hand-written answers."""
    key = OPENAI_KEY if os.environ.get(OPENAI_KEY) else None
    if options.incumbent is not None:
        url, model = options.incumbent
        return Incumbent(url.rstrip("/"), model, key)
    if options.openai:
        if key is None:
            raise UsageError(f"--openai needs {OPENAI_KEY} in the environment")
        return Incumbent(OPENAI_URL, OPENAI_MODEL, key)
    if key is not None and _agreed(f"{OPENAI_KEY} is set. Ask {OPENAI_MODEL}, about {_size():,} tokens in all?"):
        return Incumbent(OPENAI_URL, OPENAI_MODEL, key)
    return None


def _size() -> int:
    """Tokens of the whole sample, estimated: prompts, and answers as long as they may be."""
    return sum(tokens(item.system) + tokens(item.text) + item.max_tokens for item in support_items())


def _agreed(question: str) -> bool:
    """Money is only spent when somebody says so: without a terminal, `--openai` does."""
    if not sys.stdin.isatty():
        sys.stderr.write(
            f"      {OPENAI_KEY} is set; --openai asks {OPENAI_MODEL} instead of the hand-written answers\n"
        )
        return False
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


@contextmanager
def candidate(steps: Steps, cache: Path, threads: int) -> Iterator[LocalServer]:
    """The open-weight model, served by llama.cpp on loopback."""
    steps.step(f"the candidate: {SMOLLM2.model}, {SMOLLM2.license}, on llama.cpp")
    weights = fetch_weights(cache, progress=steps.note)
    with LocalServer(weights, threads=threads, parallel=MODEL_SLOTS) as server:
        steps.note(f"answers at {server.base_url}")
        yield server


def set_up(folder: Path, incumbent: Incumbent, candidate_url: str) -> Loaded:
    """The configuration and its schema file in the folder, read back as anybody's would be."""
    os.environ[KEY_VARIABLE] = secrets.token_urlsafe(24)
    (folder / "weighbridge.toml").write_text(demo_config(incumbent, candidate_url))
    with resources.as_file(sample_file("extract.schema.json")) as schema:
        shutil.copyfile(schema, folder / "extract.schema.json")
    with resources.as_file(sample_file("gold.jsonl")) as gold:
        shutil.copyfile(gold, folder / "gold.jsonl")
    return load(folder / "weighbridge.toml")


def send(steps: Steps, gateway: Gateway, incumbent: Incumbent) -> None:
    items = support_items()
    steps.step(f"{len(items)} requests of the sample through the gateway to {incumbent.arm}")
    send_sample(
        gateway.base_url,
        os.environ[KEY_VARIABLE],
        ROUTE,
        items,
        hand_written=incumbent.hand_written,
        progress=lambda done: steps.tick(f"{done} of {len(items)} answered"),
    )


def try_candidate(steps: Steps, loaded: Loaded, gateway: Gateway, folder: Path) -> Ended:
    steps.step("gold answers imported, then the trial: the same requests to the candidate")
    gold = folder / "gold.jsonl"
    store_gold(gateway.control, gold.name, read_gold(str(gold), gold.read_bytes().splitlines()))
    settings = Settings(route=ROUTE, candidate=CANDIDATE, margin=MARGIN, alpha=ALPHA, seed=SEED)

    def show(now: Progress) -> None:
        steps.tick(
            f"{now.pairs} pairs compared, {now.decided} of {now.slices} slices decided, {now.in_flight} in flight"
        )

    options = Options(concurrency=MODEL_SLOTS)
    return run_trial(loaded, gateway.control, gateway.base_url, settings, options, show=show, say=steps.note)


def report_on(steps: Steps, loaded: Loaded, folder: Path) -> tuple[Report, Written]:
    steps.step("the report")
    made = build(Layout(loaded.store_path), loaded, time.time_ns())
    return made, write(made, folder / "report")


def run(options: argparse.Namespace) -> int:
    steps = Steps()
    folder: Path = options.out / "live"
    print(textwrap.fill(SAMPLE_NOTE, WIDTH))
    asked = chosen_incumbent(options)
    fresh(folder)
    with ExitStack() as stack:
        server = stack.enter_context(candidate(steps, options.cache, options.threads))
        incumbent = asked or Incumbent(stack.enter_context(SampleProvider()).base_url)
        loaded = set_up(folder, incumbent, server.base_url)
        steps.step(f"the gateway, from {folder / 'weighbridge.toml'}")
        gateway = stack.enter_context(gateway_of(loaded))
        steps.note(f"answers at {gateway.base_url}")
        send(steps, gateway, incumbent)
        ended = try_candidate(steps, loaded, gateway, folder)
        report, written = report_on(steps, loaded, folder)
    if incumbent.hand_written:
        print(f"\n{textwrap.fill(HAND_WRITTEN_NOTE, WIDTH)}")
    print(f"\nMargin {100 * MARGIN:g} points, alpha {100 * ALPHA:g} %, {len(ended.evidence.pairs)} pairs compared:\n")
    print_verdicts(report)
    print_place(written.html)
    return ExitCode.DONE


def parser() -> argparse.ArgumentParser:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "weighbridge" / "models"
    made = argparse.ArgumentParser(
        prog="scripts/demo", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    made.add_argument("--incumbent", nargs=2, metavar=("URL", "MODEL"),
                      help=f"ask a real incumbent, with {OPENAI_KEY} as its key if that is set")  # fmt: skip
    made.add_argument("--openai", action="store_true", help=f"ask {OPENAI_MODEL} at OpenAI, with {OPENAI_KEY}")
    made.add_argument(
        "--out", type=Path, default=Path("weighbridge-demo"), help="where it works (default: %(default)s)"
    )
    made.add_argument("--cache", type=Path, default=cache, help="where the weights are kept (default: %(default)s)")
    made.add_argument("--threads", type=int, default=1, help="threads of llama.cpp (default: %(default)s)")
    return made


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        return run(options)
    except WeighbridgeError as error:
        sys.stderr.write(f"\ndemo: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("\ndemo: stopped; all that it had started is stopped too. Run it again whenever you like.\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
