"""Bytes from strangers, on every surface, under atheris: ten minutes of CPU for each target.

    scripts/bench fuzz                        some two hours of one core
    scripts/bench fuzz --cpu-s 20             a look at each
    scripts/bench fuzz --only http redaction  two of them
    scripts/bench fuzz --only streams         10,000 streams of each dialect in any pieces, through a gateway
    scripts/bench fuzz --write                also docs/evidence/fuzz.md; with --only the rows of these anew

What was learnt about a target stays in `.cache/fuzz` and is where its next run begins. An input that breaks something
stops its target and stays there too; `tests/fuzz/found.py` is where it goes once it is mended.
"""

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import msgspec

from tests.fakes.provider import FakeProvider
from tests.fuzz.found import FOUND
from tests.fuzz.targets import TARGETS
from tests.gateway import test_promises as chat
from tests.gateway import test_same_bytes as others
from tests.gateway.running import Running, table

ROOT = Path(__file__).resolve().parent.parent
EVIDENCE = ROOT / "docs" / "evidence" / "fuzz.md"
CACHE = ROOT / ".cache" / "fuzz"

STREAMS = 10_000

_COVERED = re.compile(r"cov: (\d+)")


class Row(msgspec.Struct, frozen=True):
    """A run of one target."""

    target: str
    cpu_s: float
    runs: int
    covered: int
    """Edges of the instrumented code that some input has reached, as libFuzzer counts them."""
    inputs: int
    """Inputs that reach something which no other one of them does."""
    finds: list[str]
    """Files with inputs that broke something."""


class _Said(msgspec.Struct):
    runs: int
    cpu_s: float


def fuzzed(name: str, cpu_s: float, folder: Path) -> Row:
    """Fuzz one target for so many seconds of CPU. Raises `RuntimeError` where it ends without a find or a result."""
    corpus = folder / "corpus"
    folder.mkdir(parents=True, exist_ok=True)
    ran = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.run", name, f"{cpu_s:g}", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    finds = sorted(str(path) for path in folder.iterdir() if path.is_file())
    if ran.returncode and not finds:
        raise RuntimeError(f"fuzzing {name!r} ended with {ran.returncode}: {ran.stderr[-4000:]}")
    covered = max(map(int, _COVERED.findall(ran.stderr)), default=0)
    said = _Said(0, 0.0) if ran.returncode else msgspec.json.decode(ran.stdout.splitlines()[-1], type=_Said)
    return Row(name, said.cpu_s, said.runs, covered, sum(1 for _ in corpus.iterdir()), finds)


class Hashed(msgspec.Struct, frozen=True):
    """Streams of one dialect that came through a gateway as their provider wrote them."""

    path: str
    streams: int
    bytes: int


def hashed(streams: int) -> list[Hashed]:
    """Raises `AssertionError` at the first stream whose hash is another one than the provider's."""
    rows = []
    with FakeProvider() as provider:
        with tempfile.TemporaryDirectory() as folder, Running(Path(folder), table(provider.url)) as gateway:
            rows.append(Hashed("/v1/chat/completions", streams, chat.equal_hashes(gateway, provider, streams, 21)))
        for dialect in others.DIALECTS:
            with tempfile.TemporaryDirectory() as folder, others.serving(Path(folder), provider) as gateway:
                size = others.equal_hashes(gateway, provider, dialect, streams, 23)
                rows.append(Hashed(others.PATHS[dialect], streams, size))
    return rows


def page(rows: list[Row], streams: list[Hashed], before: str) -> str:
    """`before`: the page as it is, for the rows that this run did not make."""
    kept = {line.split("`")[1]: line for line in before.splitlines() if line.startswith("| `")}
    kept |= {row.target: _line(row) for row in rows}
    kept |= {row.path: f"| `{row.path}` | {row.streams:,} | {row.bytes:,} | all equal |" for row in streams}
    lines = "\n".join(kept[name] for name in TARGETS if name in kept)
    missing = [f"`{name}`" for name in TARGETS if name not in kept]
    left_out = f"\nNot run yet: {', '.join(missing)}.\n" if missing else ""
    paths = "\n".join(line for name, line in kept.items() if name.startswith("/"))
    through = f"\n{_THROUGH}{paths}\n" if paths else ""
    return f"""# What was found by feeding it anything

Written by `scripts/bench fuzz --write` with atheris {version("atheris")} on Python {platform.python_version()}, on
{os.cpu_count()} cores shared with other work. A row stands here because its run ended without a find. The targets are
functions of `tests/fuzz/targets.py`, whose docstrings say what each must hold to. *Mended*: inputs that broke something
in earlier runs, kept in `tests/fuzz/found.py` and fed again with every test run.

| target | what must hold | CPU | executions | edges covered | inputs kept | mended |
|---|---|---|---|---|---|---|
{lines}
{left_out}{through}"""


_THROUGH = """Streams of any text, calls and comments, cut anywhere, through a gateway in the dialect of their provider:
SHA-256 of what the client got beside that of what the provider wrote (usage that only the gateway asked for left out).

| path | streams | bytes | hashes |
|---|---|---|---|
"""


def _line(row: Row) -> str:
    said = " ".join((TARGETS[row.target].__doc__ or "").split("\n\n")[0].split())
    return (
        f"| `{row.target}` | {said} | {row.cpu_s / 60:.1f} min | {row.runs:,} | {row.covered:,} | {row.inputs:,} | "
        f"{len(FOUND.get(row.target, ()))} |"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpu-s", type=float, default=600, help="seconds of CPU for each target")
    parser.add_argument("--write", action="store_true")
    names = [*TARGETS, "streams"]
    parser.add_argument("--only", help="only these", choices=names, nargs="+", default=names)
    given = parser.parse_args()
    rows, streams, broken = [], [], 0
    for name in given.only:
        if name == "streams":
            streams = hashed(STREAMS)
            print(f"streams: {len(streams)} x {STREAMS:,}, all hashes equal", file=sys.stderr)
        else:
            row = fuzzed(name, given.cpu_s, CACHE / name)
            broken += len(row.finds)
            for find in row.finds:
                print(f"{name}: broken by the bytes in {find}", file=sys.stderr)
            if row.finds:
                continue
            rows.append(row)
            print(f"{name}: {row.runs:,} executions in {row.cpu_s:.0f} s of CPU", file=sys.stderr)
        if given.write:
            EVIDENCE.write_text(page(rows, streams, EVIDENCE.read_text() if EVIDENCE.exists() else ""))
    print(page(rows, streams, ""))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
