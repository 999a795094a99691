"""The configuration of the run, and its processes: the recorded provider, the gateway, commands as a user runs them."""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from bench.recording.answers import BANANA, INCUMBENT, LISTED, TERMS
from weighbridge.config.tree import ArmSection, EndpointSection
from weighbridge.ledger.prices import PriceFound, compile_price


def listed_price(provider: str, model: str) -> PriceFound:
    """A list price out of the price book, so that no figure is typed in here."""
    endpoint = EndpointSection(name="listed", base_url="https://example.invalid/v1", provider=provider)
    found = compile_price(ArmSection(name="listed", endpoint="listed", model=model), endpoint, datetime.now(UTC))
    if not isinstance(found, PriceFound):
        raise SystemExit(f"recorded: the price book has no price for {provider}/{model}: {found.why}")
    return found


def toml(text: str) -> str:
    return json.dumps(text)


def usd(nanousd_per_million: int) -> str:
    return f"{nanousd_per_million / 1e9:.9f}".rstrip("0").rstrip(".")


def _price(found: PriceFound | None) -> str:
    if found is None:
        return ""
    return f'price = {{ input = "{usd(found.price.input)}", output = "{usd(found.price.output)}" }}\n'


def write_config(folder: Path, recorded_url: str, banana_url: str, prices: dict[str, PriceFound]) -> Path:
    arms = [
        f"""[[arm]]
name = {toml(name)}
endpoint = {toml(BANANA if name == BANANA else "recorded")}
model = {toml(name)}
weights = "{"closed" if name == INCUMBENT else "open"}"
"""
        + (f"terms = {toml(TERMS[name])}\n" if name in TERMS else "")
        + (
            f'price = {{ input = "{usd(p.price.input)}", output = "{usd(p.price.output)}" }}\n'
            if (p := prices.get(name))
            else ""
        )
        for name in (INCUMBENT, *LISTED, BANANA)
    ]
    path = folder / "weighbridge.toml"
    path.write_text(
        f"""[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"

[capture]
bodies = true
purpose = "trials on recorded benchmark answers"
approved_by = "bench/recorded.py"

[[endpoint]]
name = "recorded"
base_url = {toml(recorded_url)}

[[endpoint]]
name = "{BANANA}"
base_url = {toml(banana_url)}

{"".join(arms)}
[[route]]
name = "benchmark"
aliases = [{toml(INCUMBENT)}]
incumbent = {toml(INCUMBENT)}
candidates = [{", ".join(toml(name) for name in (*LISTED, BANANA))}]
slice_by = ["tag:task"]

[[grader]]
route = "benchmark"
slice = "task=gsm"
kind = "number"
extract = "json:answer"

[[grader]]
route = "benchmark"
slice = "task=crux"
kind = "normalised"
extract = "json:answer"

[[grader]]
route = "benchmark"
slice = "task=math-l5"
kind = "normalised"
extract = "json:answer"

[[key]]
name = "bench"
secret = "env:RECORDED_BENCH_KEY"
"""
    )
    return path


@contextmanager
def recorded_provider(shared: Path, *options: str) -> Iterator[str]:
    """The provider of recorded answers on a free port; yields its address."""
    script = shared / "tools" / "recorded_provider.py"
    process = subprocess.Popen(
        [sys.executable, str(script), "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        line = process.stdout.readline() if process.stdout is not None else ""
        if "http://" not in line:
            raise SystemExit(f"recorded: {script} did not start")
        yield line.split("http://")[1].split("/v1")[0]
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def serving(config: Path, log: Path) -> Iterator[str]:
    """`weighbridge serve`; yields the base URL that it prints."""
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "weighbridge", "serve", "--config", str(config)], stdout=sink, stderr=sink
        )
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and process.poll() is None:
            said = log.read_text(errors="replace")
            if "OPENAI_BASE_URL=" in said:
                url = said.split("OPENAI_BASE_URL=")[1].split()[0]
                with_health = url.removesuffix("/v1") + "/readyz"
                if _answers(with_health):
                    yield url
                    return
            time.sleep(0.1)
        raise SystemExit(f"recorded: the gateway did not start:\n{log.read_text(errors='replace')}")
    finally:
        process.terminate()
        process.wait(60)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310 (loopback, ours)
            return int(response.status) == 200
    except OSError:
        return False


def weighbridge(config: Path, *arguments: str, allowed: Sequence[int] = (0,)) -> str:
    """Run a command as a user would; returns its standard output."""
    done = subprocess.run(
        [sys.executable, "-m", "weighbridge", *arguments, "--config", str(config)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in allowed:
        raise SystemExit(
            f"recorded: weighbridge {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr[-3000:]}"
        )
    return done.stdout


def bill_of(address: str) -> dict[str, dict[str, int]]:
    with urllib.request.urlopen(f"http://{address}/_bill") as response:
        return dict(json.load(response))
