"""This gateway for benchmarks: one worker alone, bare or with everything on, and the whole of `weighbridge serve`."""

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from hashlib import blake2b, sha256
from pathlib import Path

from bench.harness.load import KEY, OURS, Front, Target
from bench.harness.processes import NotMeasuredError, end, environment_with_bytecode
from weighbridge.app.children import WORKER_ENVIRONMENT
from weighbridge.records.budget import Budget
from weighbridge.records.canonical import canonical
from weighbridge.records.table import SCHEMA, Arm, Capture, Endpoint, Key, Limits, Route, RouteTable, Share
from weighbridge.records.usage import Price
from weighbridge.store.layout import Layout

BARE_FRONT = Front({"Authorization": f"Bearer {KEY}"})
CHAIN = (
    Budget(name="company", limit_nanousd=10**16, hard=True),
    Budget(name="division", limit_nanousd=10**16, hard=True, parent="company"),
    Budget(name="support", limit_nanousd=10**16, hard=True, parent="division"),
)
PRICE = Price(input=2_500_000_000, output=10_000_000_000, cache_read=1_250_000_000)


@dataclass(frozen=True)
class On:
    """What is switched on beside what always is: HTTP checks, a key, the exchange log, usage, cost, limits, metrics."""

    routing: bool = True
    """1,000 keys, two arms with sticky shares of 90 % and 10 %, tags and slices; without it one key and one arm."""
    budgets: bool = True
    """Every request is held under three hard budgets."""
    bodies: bool = True
    """Both bodies redacted, encrypted and kept."""


def route_table(upstream: int, on: On, trusted: Path | None = None) -> RouteTable:
    """For a mock provider at a port. `trusted`: it speaks TLS, and this file says whom to trust."""
    shares = (Share(arm="closed", basis_points=9_000), Share(arm="open", basis_points=1_000))
    return RouteTable(
        schema=SCHEMA,
        number=1,
        created_ns=0,
        config_digest="0" * 64,
        trial_key="0" * 64,
        durability="process",
        capture=Capture(bodies=on.bodies, redact=("secrets",), purpose="bench", approved_by="bench"),
        limits=Limits(client_connections_max=20_000, upstream_connections_max=20_000),
        endpoints=(
            Endpoint(
                name="mock",
                dialect="openai",
                base_url=f"{'http' if trusted is None else 'https'}://127.0.0.1:{upstream}/v1",
                loopback=True,
                address_is_own=True,
                ca_file=None if trusted is None else str(trusted),
                tls_digest="" if trusted is None else sha256(trusted.read_bytes()).hexdigest(),
            ),
        ),
        arms=(
            Arm(name="closed", endpoint="mock", model="mock-2024-08-06", price=PRICE, price_version="bench"),
            Arm(name="open", endpoint="mock", model="Mock-72B", price=PRICE, price_version="bench"),
        )[: 2 if on.routing else 1],
        routes=(
            Route(
                name="assistant",
                incumbent="closed",
                candidates=("open",) if on.routing else (),
                shares=shares if on.routing else (),
                slice_by=("tag:task",) if on.routing else (),
            ),
        ),
        keys=tuple(
            Key(
                name=f"key-{number:04d}",
                digest=blake2b(f"sk-bench-{number:04d}".encode(), digest_size=32).hexdigest(),
                team="support",
                routes=("assistant",),
                budget="support" if on.budgets else None,
            )
            for number in (range(1000) if on.routing else (500,))
        ),
        budgets=CHAIN if on.budgets else (),
    )


@contextmanager
def gateway(
    folder: Path, upstream: int, on: On, *, trusted: Path | None = None, source: Path | None = None
) -> Iterator[Target]:
    """One worker. `source`: the folder whose package is run, in place of this repository's."""
    layout = Layout(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    layout.create()
    layout.table.write_bytes(canonical(route_table(upstream, on, trusted)))
    front = OURS if on.routing else BARE_FRONT
    with _funder(folder) if on.budgets else nullcontext(), _worker(folder, source) as (pid, port):
        yield Target(pid, port, front)


@contextmanager
def _funder(folder: Path) -> Iterator[None]:
    """The bank of a keeper, in a process of its own: its CPU is not the worker's."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.harness.funder", str(folder)], stdout=subprocess.PIPE, text=True
    )
    try:
        if process.stdout is None or process.stdout.readline() != "ready\n":
            raise NotMeasuredError("the bank did not start")
        yield
    finally:
        process.kill()
        process.wait()


@contextmanager
def _worker(folder: Path, source: Path | None) -> Iterator[tuple[int, int]]:
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(
        [
            sys.executable, "-m", "weighbridge.gateway.worker", "--store", str(folder), "--folder", str(folder),
            "--listen", "127.0.0.1:0", "--index", "0", "--supervisor-fd", str(theirs.fileno()),
        ],
        pass_fds=(theirs.fileno(),),
        env={
            **environment_with_bytecode(), **WORKER_ENVIRONMENT,
            **({} if source is None else {"PYTHONPATH": str(source)}),
        },
    )  # fmt: skip
    theirs.close()
    try:
        said = json.loads(ours.makefile("rb").readline())
        yield process.pid, int(said["listen"].rpartition(":")[2])
    finally:
        ours.close()
        process.wait(20)


# --- the whole of it --------------------------------------------------------------------------------------------------

_SERVE = """
[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
[capture]
bodies = true
purpose = "bench"
approved_by = "bench"
[limits]
client_connections_max = 20000
upstream_connections_max = 20000
[[endpoint]]
name = "mock"
base_url = "http://127.0.0.1:{upstream}/v1"
{arms}
[[route]]
name = "assistant"
incumbent = "closed"
candidates = ["open"]
slice_by = ["tag:task"]
[[budget]]
name = "company"
limit_usd = "10000000"
hard = true
[[budget]]
name = "support"
limit_usd = "10000000"
hard = true
parent = "company"
[[key]]
name = "bench"
secret = "env:BENCH_KEY"
budget = "support"
"""
_ARM = """
[[arm]]
name = "{name}"
endpoint = "mock"
model = "{model}"
price = {{ input = "2.5", output = "10", cache_read = "1.25" }}
"""


def serve_config(upstream: int) -> str:
    """A configuration with everything on, as somebody would write it."""
    arms = "".join(
        _ARM.format(name=name, model=model) for name, model in (("closed", "mock-2024-08-06"), ("open", "Mock-72B"))
    )
    return _SERVE.format(upstream=upstream, arms=arms)


@contextmanager
def served(folder: Path, upstream: int) -> Iterator[Target]:
    """`weighbridge serve`: supervisor, keeper and one worker, with everything on. Raises `NotMeasuredError`."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "weighbridge.toml"
    file.write_text(serve_config(upstream))
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "weighbridge", "serve", "--config", str(file)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.PIPE,
            env={**environment_with_bytecode(), "BENCH_KEY": KEY},
        )  # fmt: skip
        try:
            said = []
            assert process.stderr is not None
            for raw in process.stderr:
                said.append(raw.decode(errors="replace").strip())
                if ready := re.search(r"serve: ready on \S+:(\d+) with", said[-1]):
                    yield Target(process.pid, int(ready[1]), OURS)
                    break
            else:
                raise NotMeasuredError(f"it did not start: {said[-1] if said else 'it said nothing'}")
        finally:
            process.stderr.close() if process.stderr is not None else None
            end(process)
