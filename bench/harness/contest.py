"""Who is measured, and how: rounds in which proxies take turns, so that whatever else runs hits them all."""

import statistics
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bench.harness.load import Front, Target, held_streams_mb, open_loop, running_streams, saturated
from bench.harness.ours import On, gateway, served
from bench.harness.peers import PEERS, Peer, answers, peer_running
from bench.harness.processes import NotMeasuredError, cpu_ns, free_port, rss_mb
from bench.harness.providers import mock_json, mock_streams, nginx_proxy
from tests.upstream.tls import Authority

Upstream = Literal["json", "stream", "tls"]
NGINX, BARE, UNKEPT, FULL, WHOLE = (
    "nginx `proxy_pass`",
    "weighbridge, bare",
    "weighbridge, everything on but bodies",
    "weighbridge, everything on",
    "`weighbridge serve`, everything on",
)
COMPILED = ", compiled"
DIRECT = "without a proxy"
RATES = (500.0, 250.0, 100.0, 50.0, 20.0)
"""Requests per second; each proxy is shown at the first one that it keeps."""
STREAMS = (1_000, 5_000)


@dataclass(frozen=True)
class Provider:
    """A mock provider that runs."""

    port: int
    streams: bool
    trusted: Path | None = None


@dataclass(frozen=True)
class Contestant:
    title: str
    start: Callable[[Path, Provider], AbstractContextManager[Target]]
    """(an empty folder of its own, the provider)"""
    groups: frozenset[str] = frozenset({"request", "chunk", "rate", "memory"})


@dataclass(frozen=True)
class Column:
    """One figure that all contestants of a group are measured by, in CPU microseconds for each request or chunk."""

    name: str
    upstream: Upstream
    measure: Callable[[Target, float], float]


@dataclass
class Results:
    """Figures of each round by (contestant, column), or why there are none."""

    rounds: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    missing: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, who: str, column: str, figure: float) -> None:
        self.rounds.setdefault((who, column), []).append(figure)

    def lost(self, who: str, column: str, why: object) -> None:
        self.missing[who, column] = str(why)
        self.rounds.pop((who, column), None)
        print(f"{who}: {column}: {why}", file=sys.stderr)

    def median(self, who: str, column: str) -> float | None:
        found = self.rounds.get((who, column))
        return None if not found else statistics.median(found)

    def ratios(self, who: str, column: str, base: str = NGINX) -> list[float]:
        """To another contestant, round by round; empty where one of them has no figure."""
        mine, theirs = self.rounds.get((who, column), []), self.rounds.get((base, column), [])
        return [one / other for one, other in zip(mine, theirs, strict=False)]

    def ratio(self, who: str, column: str, base: str = NGINX) -> float | None:
        found = self.ratios(who, column, base)
        return statistics.median(found) if found else None


# --- who --------------------------------------------------------------------------------------------------------------


@contextmanager
def _nginx(folder: Path, provider: Provider) -> Iterator[Target]:
    port = free_port()
    with nginx_proxy(folder, provider.port, port, streams=provider.streams, trusted=provider.trusted) as process:
        yield Target(process.pid, port, Front({}))


def _ours(on: On, source: Path | None = None) -> Callable[[Path, Provider], AbstractContextManager[Target]]:
    return lambda folder, provider: gateway(
        folder / "store", provider.port, on, trusted=provider.trusted, source=source
    )


def _peer(peer: Peer) -> Callable[[Path, Provider], AbstractContextManager[Target]]:
    def start(folder: Path, provider: Provider) -> AbstractContextManager[Target]:
        return peer_running(
            peer, folder, provider.port, trusted=provider.trusted,
            ready=lambda target: answers(target, stream=provider.streams),
        )  # fmt: skip

    return start


ALL_GROUPS = frozenset({"request", "chunk", "rate", "memory", "start"})


def contestants(peers: Sequence[str], compiled: Path | None, folder: Path) -> list[Contestant]:
    """nginx, this gateway (source, and the wheel `compiled`), and the peers whose names contain one of these words."""
    whole = On()
    found = [
        Contestant(NGINX, _nginx, ALL_GROUPS),
        Contestant(BARE, _ours(On(routing=False, budgets=False, bodies=False)), frozenset({"request", "chunk"})),
        Contestant(UNKEPT, _ours(On(bodies=False)), frozenset({"request"})),
        Contestant(FULL, _ours(whole)),
    ]
    if compiled is not None:
        source = folder / "compiled"
        with zipfile.ZipFile(compiled) as wheel:
            wheel.extractall(source)
        found += [
            Contestant(UNKEPT + COMPILED, _ours(On(bodies=False), source), frozenset({"request"})),
            Contestant(FULL + COMPILED, _ours(whole, source)),
        ]
    serve = Contestant(WHOLE, lambda folder, provider: served(folder, provider.port), frozenset({"memory", "start"}))
    chosen = [one for one in PEERS if any(word.lower() in one.name.lower() for word in peers)]
    return [*found, serve, *(Contestant(one.title, _peer(one), ALL_GROUPS) for one in chosen)]


# --- providers --------------------------------------------------------------------------------------------------------


class Stage:
    """The mock providers of a run, each started when it is first asked for, and a folder that goes away."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._providers: dict[Upstream, Provider] = {}
        self._started = 0

    def __enter__(self) -> "Stage":
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="weighbridge-bench-")))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def provider(self, upstream: Upstream) -> Provider:
        if upstream not in self._providers:
            port = free_port()
            if upstream == "json":
                self._stack.enter_context(mock_json(self.folder / "json", port))
                self._providers[upstream] = Provider(port, streams=False)
            elif upstream == "stream":
                self._stack.enter_context(mock_streams(port))
                self._providers[upstream] = Provider(port, streams=True)
            else:
                authority = Authority(self.folder, "bench")
                self._stack.enter_context(mock_streams(port, authority.issue("localhost")))
                self._providers[upstream] = Provider(port, streams=True, trusted=authority.file)
        return self._providers[upstream]

    def start(self, who: Contestant, upstream: Upstream) -> AbstractContextManager[Target]:
        self._started += 1
        folder = self.folder / f"run-{self._started}"
        folder.mkdir()
        return who.start(folder, self.provider(upstream))


# --- CPU --------------------------------------------------------------------------------------------------------------


def request_columns(folder: Path) -> list[Column]:
    return [
        Column("1.4 KB, 32 connections", "json", lambda at, s: saturated(at, folder, 1_400, 32, s).us),
        Column("200 KB, 8 connections", "json", lambda at, s: saturated(at, folder, 200_000, 8, s).us),
    ]


def chunk_columns() -> list[Column]:
    def column(name: str, streams: int, every_ms: int, *, usage: bool = False, tls: bool = False) -> Column:
        return Column(
            name, "tls" if tls else "stream",
            lambda at, s: running_streams(at, streams, every_ms, s, usage=usage).us,
        )  # fmt: skip

    return [
        column("64 streams, 10 ms", 64, 10),
        column("the same, usage asked for", 64, 10, usage=True),
        column("64 streams, 100 ms", 64, 100),
        column("1,000 streams, 100 ms", 1_000, 100),
        column("64 streams, 10 ms, TLS", 64, 10, tls=True),
    ]


def cpu_rounds(
    stage: Stage, who: Sequence[Contestant], columns: Sequence[Column], rounds: int, seconds: float, results: Results
) -> None:
    """All contestants, in turns, column by column."""
    for column in columns:
        with ExitStack() as stack:
            targets: dict[str, Target] = {}
            for one in who:
                try:
                    targets[one.title] = stack.enter_context(stage.start(one, column.upstream))
                    column.measure(targets[one.title], 1.0)  # warm: connections made, keys of the day there
                except (NotMeasuredError, OSError) as error:
                    results.lost(one.title, column.name, error)
                    targets.pop(one.title, None)
            for number in range(rounds):
                for title, target in list(targets.items()):
                    try:
                        figure = column.measure(target, seconds)
                    except (NotMeasuredError, OSError) as error:
                        results.lost(title, column.name, error)
                        del targets[title]
                        continue
                    results.add(title, column.name, figure)
                    said = f"{number + 1}/{rounds}  {column.name:<28} {title:<42} {figure:9.1f} us"
                    print(said, file=sys.stderr)


# --- an even rate -----------------------------------------------------------------------------------------------------


def percentiles(seconds: Sequence[float]) -> tuple[float, float, float]:
    """p50, p95, p99 in milliseconds."""
    cuts = statistics.quantiles(seconds, n=100)
    return cuts[49] * 1000, cuts[94] * 1000, cuts[98] * 1000


RATE_PARTS = ("CPU", "p50", "p95", "p99")
SIZE = 1_400


def at(rate: float, part: str) -> str:
    """The column of one figure at a rate."""
    return f"{part} at {rate:g}/s"


def rate_rounds(stage: Stage, who: Sequence[Contestant], rounds: int, seconds: float, results: Results) -> None:
    """CPU per request, and percentiles less those of the provider alone in the same round, in milliseconds.

    Who cannot keep 500 requests a second is measured at the highest of `RATES` that it keeps, beside the provider
    alone at the same rate.
    """
    provider = Target(0, stage.provider("json").port, Front({}))
    with ExitStack() as stack:
        targets: dict[str, tuple[Target, float]] = {}
        for one in who:
            try:
                target = stack.enter_context(stage.start(one, "json"))
            except NotMeasuredError as error:
                results.lost(one.title, at(RATES[0], "CPU"), error)
                continue
            rate = _kept(target)
            if rate is None:
                results.lost(one.title, at(RATES[0], "CPU"), f"it does not keep {RATES[-1]:g} requests/s")
            else:
                targets[one.title] = target, rate
        for number in range(rounds):
            alone = {}
            for rate in sorted({rate for _, rate in targets.values()}):
                open_loop(provider, rate, 0.3, size=SIZE)
                alone[rate] = percentiles(open_loop(provider, rate, seconds, size=SIZE)[0])
                for part, ms in zip(RATE_PARTS[1:], alone[rate], strict=True):
                    results.add(DIRECT, at(rate, part), ms)
            for title, (target, rate) in list(targets.items()):
                try:
                    open_loop(target, rate, 0.3, size=SIZE)
                    found, spent = open_loop(target, rate, seconds, size=SIZE)
                except (NotMeasuredError, OSError) as error:
                    results.lost(title, at(rate, "CPU"), error)
                    del targets[title]
                    continue
                results.add(title, at(rate, "CPU"), spent.us)
                added = [one - other for one, other in zip(percentiles(found), alone[rate], strict=True)]
                for part, ms in zip(RATE_PARTS[1:], added, strict=True):
                    results.add(title, at(rate, part), ms)
                told = " / ".join(f"{ms:.2f}" for ms in added)
                print(f"{number + 1}/{rounds}  {rate:g}/s  {title:<42} {spent.us:9.1f} us, +{told} ms", file=sys.stderr)


def _kept(target: Target) -> float | None:
    for rate in RATES:
        try:
            open_loop(target, rate, 2.0, size=SIZE)
        except (NotMeasuredError, OSError):
            time.sleep(1)  # until it has caught up
            continue
        return rate
    return None


# --- memory and start -------------------------------------------------------------------------------------------------

IDLE, FIRST_ANSWER, START_CPU = "idle", "first answer", "CPU until then"


def open_streams(count: int) -> str:
    return f"{count:,} streams"


def memory(stage: Stage, who: Sequence[Contestant], results: Results) -> None:
    """Resident MB of each, started anew: after one answer, and with streams open that have had one chunk."""
    for one in who:
        try:
            with stage.start(one, "stream") as target:
                answers(target, stream=True)
                time.sleep(1)
                results.add(one.title, IDLE, rss_mb(target.pid))
                for count, found in zip(STREAMS, held_streams_mb(target, STREAMS), strict=True):
                    if isinstance(found, str):
                        results.lost(one.title, open_streams(count), found)
                    else:
                        results.add(one.title, open_streams(count), found)
        except NotMeasuredError as error:
            results.lost(one.title, IDLE, error)
        said = [results.median(one.title, name) for name in (IDLE, *map(open_streams, STREAMS))]
        print(
            f"memory  {one.title:<42} {' / '.join('-' if mb is None else f'{mb:.1f}' for mb in said)} MB",
            file=sys.stderr,
        )


def starts(stage: Stage, who: Sequence[Contestant], times: int, results: Results) -> None:
    """Seconds from the start of the process to its first answer, and CPU seconds of the tree by then."""
    for _ in range(times):
        for one in who:
            began = time.perf_counter()
            try:
                with stage.start(one, "json") as target:
                    until = time.perf_counter() + 60
                    while not answers(target, stream=False):
                        if time.perf_counter() > until:
                            raise NotMeasuredError("no answer within a minute")
                        time.sleep(0.005)
                    results.add(one.title, FIRST_ANSWER, time.perf_counter() - began)
                    results.add(one.title, START_CPU, cpu_ns(target.pid) / 1e9)
            except NotMeasuredError as error:
                results.lost(one.title, FIRST_ANSWER, error)
                continue
            print(f"start  {one.title:<42} {time.perf_counter() - began:6.2f} s", file=sys.stderr)
