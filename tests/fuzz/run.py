"""Fuzz one target with atheris: `python -m tests.fuzz.run NAME CPU_SECONDS FOLDER`.

`FOLDER/corpus` is taken up and grows. Finds, in FOLDER, are inputs that broke something: feed one to
`tests.fuzz.targets.TARGETS[NAME]` to see it again. The last line of standard output is a `Said`, as JSON.
"""

import os
import sys
import time
from pathlib import Path

import atheris
import msgspec

with atheris.instrument_imports(include=["weighbridge"]):
    from tests.fuzz.seeds import SEEDS
    from tests.fuzz.targets import TARGETS

WALL_S_MAX = 24 * 3600
INPUT_BYTES_MAX = 4096
ONE_INPUT_S_MAX = 20
"""An input that takes longer is a find: nothing of a stranger may hold up the loop."""


class Said(msgspec.Struct):
    runs: int
    cpu_s: float


def main() -> None:
    name, seconds, folder = sys.argv[1], float(sys.argv[2]), Path(sys.argv[3])
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[name]):
        (corpus / f"seed-{number}").write_bytes(seed)
    runs, target = 0, TARGETS[name]

    def one(data: bytes) -> None:
        nonlocal runs
        runs += 1
        target(data)
        if runs % 256 == 0 and time.process_time() > seconds:
            # libFuzzer counts wall time only, and a busy machine gives little of that.
            sys.stdout.write(msgspec.json.encode(Said(runs, time.process_time())).decode() + "\n")
            sys.stdout.flush()
            os._exit(0)

    options = [
        f"-max_total_time={WALL_S_MAX}", f"-max_len={INPUT_BYTES_MAX}", f"-timeout={ONE_INPUT_S_MAX}",
        f"-artifact_prefix={folder}/", str(corpus),
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *options], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
