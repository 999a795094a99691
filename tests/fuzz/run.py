"""Fuzz one target with atheris: `python -m tests.fuzz.run NAME SECONDS FOLDER`.

Finds, in FOLDER, are inputs that broke something: feed one to `tests.fuzz.targets.TARGETS[NAME]` to see it again. The
last line of standard output is `{"runs": N}`.
"""

import json
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["weighbridge"]):
    from tests.fuzz.seeds import SEEDS
    from tests.fuzz.targets import TARGETS


def main() -> None:
    name, seconds, folder = sys.argv[1:4]
    corpus = Path(folder) / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[name]):
        (corpus / f"seed-{number}").write_bytes(seed)
    runs = 0

    def one(data: bytes) -> None:
        nonlocal runs
        runs += 1
        TARGETS[name](data)
        if runs % 1000 == 0:
            print(json.dumps({"runs": runs}), flush=True)

    options = [f"-max_total_time={seconds}", "-max_len=4096", "-timeout=20", f"-artifact_prefix={folder}/", str(corpus)]
    atheris.Setup([sys.argv[0], *options], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
