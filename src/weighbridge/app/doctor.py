"""`weighbridge doctor`: is everything there that a gateway and a trial need? Each check says what to do next."""

import asyncio
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

from weighbridge.app.check import Check, Diagnosis, Status
from weighbridge.app.doctor_endpoints import calls, reached
from weighbridge.app.reach import keeper_of
from weighbridge.config import Loaded, load, secret
from weighbridge.errors import ConfigError, ControlError, StoreError, WeighbridgeError
from weighbridge.keeper.compile import ClientKeys, Compiled, World, compile_table, fallback_problems
from weighbridge.keeper.plausible import implausible_prices
from weighbridge.ledger.prices import PriceFound, compile_price
from weighbridge.records.alerts import BY_NAME, FREE_BYTES_LOW
from weighbridge.records.permission import arm_refusal
from weighbridge.records.table import RouteTable
from weighbridge.store.alerts import read_alerts, still_raised
from weighbridge.store.control import ControlClient, KeyList, ListKeys, Ping, Pong
from weighbridge.store.database import damage, sqlite_problem, sqlite_version
from weighbridge.store.layout import Layout

SPACE_FAIL = 256 << 20


CONFIGURATION = "configuration"
"""The first check; where it fails there is no other."""


def examine(file: str | Path, *, reach: bool = True) -> Diagnosis:
    """Look at everything; never raises for what it looks at. `reach=False` asks no endpoint."""
    checks = tuple(_checks(file, reach))
    worst: Status = "fail" if any(c.status == "fail" for c in checks) else "ok"
    if worst == "ok" and any(c.status == "warn" for c in checks):
        worst = "warn"
    return Diagnosis(status=worst, checks=checks)


def _checks(file: str | Path, reach: bool) -> Iterator[Check]:
    try:
        loaded = load(file)
    except ConfigError as error:
        mend = "mend that line of the file, or name another one by --config"
        yield Check(name=CONFIGURATION, status="fail", says=str(error), next_step=mend)
        return
    yield Check(name=CONFIGURATION, status="ok", says=f"{loaded.file} is well formed")
    yield _sqlite()
    yield from _store(loaded)
    compiled = None
    try:
        made = _made_keys(loaded)
        compiled = _compiled(loaded, "present" if made else "all")
    except WeighbridgeError as error:
        yield Check(
            name="route table", status="fail", says=str(error), next_step="`serve` would refuse for this reason"
        )
    else:
        count, keys = len(compiled.table.routes), len(compiled.table.keys) + made
        yield Check(name="route table", status="ok", says=f"{count} route(s) and {keys} client key(s)")
        yield from _candidates(compiled.table)
    yield from _prices(loaded, {} if compiled is None else implausible_prices(compiled.table))
    yield _capture(loaded)
    yield from _traces(loaded)
    table = None if compiled is None else compiled.table
    if table is not None:
        yield from calls(loaded, table)
    yield from asyncio.run(reached(loaded, table, reach))


def _sqlite() -> Check:
    version = sqlite_version()
    problem = sqlite_problem(version)
    if problem:
        return Check(name="SQLite", status="fail", says=problem, next_step="upgrade the package `apsw`")
    return Check(name="SQLite", status="ok", says=f"{version}, brought by apsw")


def _store(loaded: Loaded) -> Iterator[Check]:
    layout = Layout(loaded.store_path)
    if not layout.root.exists():
        parent = next(folder for folder in layout.root.parents if folder.exists())
        if os.access(parent, os.W_OK):
            yield Check(name="store", status="ok", says=f"{layout.root} is not there yet; `serve` makes it")
        else:
            yield _store_failed(layout, f"{parent} cannot be written")
        return
    if not os.access(layout.root, os.R_OK | os.W_OK | os.X_OK):
        yield _store_failed(layout, "this user may not read and write it")
        return
    yield from _privacy(layout)
    yield _space(layout)
    yield _keeper(layout)
    yield from _alerts(loaded, layout)


def _store_failed(layout: Layout, why: str) -> Check:
    return Check(
        name="store", status="fail", says=f"{layout.root}: {why}", next_step="set store.path to a folder of this user"
    )


def _privacy(layout: Layout) -> Iterator[Check]:
    open_to_others = [
        path
        for path in (layout.root, layout.signing_key, layout.master_key)
        if path.exists() and path.stat().st_mode & 0o077
    ]
    if open_to_others:
        names = ", ".join(str(path) for path in open_to_others)
        yield Check(
            name="privacy", status="fail", says=f"other users may get at {names}", next_step=f"chmod go= {names}"
        )
    else:
        yield Check(name="privacy", status="ok", says="the store and its keys are this user's alone")


def _space(layout: Layout) -> Check:
    free = shutil.disk_usage(layout.root).free
    says = f"{free / (1 << 30):.1f} GiB free for {layout.root}"
    if free < SPACE_FAIL:
        return Check(
            name="space", status="fail", says=says, next_step="free space: the gateway refuses when it runs out"
        )
    if free < FREE_BYTES_LOW:
        return Check(name="space", status="warn", says=says, next_step="watch it, or shorten capture.keep_days")
    return Check(name="space", status="ok", says=says)


def _keeper(layout: Layout) -> Check:
    """A running keeper answers; without one the database must open."""
    try:
        with ControlClient(layout, timeout_s=5.0) as control:
            pong = control.call(Ping(), Pong)
    except ControlError:
        pass
    else:
        serving = f"{pong.workers} worker(s) on {pong.listen}" if pong.listen else "no worker"
        return Check(name="keeper", status="ok", says=f"running (pid {pong.pid}), route table {pong.table}, {serving}")
    if not layout.database.exists():
        return Check(name="keeper", status="ok", says="not running; there is no database yet")
    try:
        found = damage(layout.database)
    except StoreError as error:
        found = str(error)
    if found is not None:
        return Check(
            name="keeper",
            status="fail",
            says=f"{layout.database} is damaged: {found}",
            next_step="move it away and start again; it is rebuilt, and no exchange is lost",
        )
    return Check(name="keeper", status="ok", says="not running; its database opens and is sound")


def _alerts(loaded: Loaded, layout: Layout) -> Iterator[Check]:
    """What is raised now, and whether anybody is told."""
    for event in still_raised(read_alerts(layout)):
        kind = BY_NAME[event.alert]
        status: Status = "fail" if kind.severity == "page" else "warn"
        step = f"weighbridge alerts {kind.name}: what to do"
        yield Check(name=f"alert {kind.name}", status=status, says=event.subject, next_step=step)
    told = loaded.config.alerts
    if told.webhook is None and not told.email_to:
        says = "go to the log and to `weighbridge alerts` only"
        yield Check(name="alerts", status="ok", says=says, next_step="set alerts.webhook or alerts.email_to")
    else:
        yield Check(name="alerts", status="ok", says="go to the webhook or the mail addresses of [alerts] as well")


def _made_keys(loaded: Loaded) -> int:
    """Keys of `weighbridge key create` that let somebody in; asked for only where the configuration has none."""
    if loaded.config.key or not Layout(loaded.store_path).database.exists():
        return 0
    with keeper_of(loaded) as control:
        rows = control.call(ListKeys(), KeyList).rows
    return sum(bool(row.live) for row in rows)


def _compiled(loaded: Loaded, client_keys: ClientKeys) -> Compiled:
    world = World(
        secret=lambda reference: secret(reference, loaded.folder),
        text=lambda path: loaded.path(path).read_text(encoding="utf-8"),
        price=lambda arm, endpoint: compile_price(arm, endpoint, datetime.now(UTC)),
    )
    return compile_table(loaded, number=1, now_ns=0, trial_key="", world=world, client_keys=client_keys)


def _candidates(table: RouteTable) -> Iterator[Check]:
    for route in table.routes:
        if not route.candidates:
            yield Check(
                name=f"route {route.name}",
                status="ok",
                says="has no candidates, so there is nothing to try yet",
                next_step="name arms in `candidates` to try them on captured traffic",
            )
        for problem in fallback_problems(table, route):
            step = "state the fact, widen the route's allow_*, or set retries_max"
            yield Check(name=f"fallbacks {route.name}", status="warn", says=problem, next_step=step)
        for candidate in route.candidates:
            refused = arm_refusal(table, route, candidate)
            name = f"send gate {route.name}/{candidate}"
            if refused:
                yield Check(
                    name=name, status="warn", says=refused, next_step="state the fact, or widen the route's allow_*"
                )
            else:
                yield Check(name=name, status="ok", says="may get prompts of this route in trials")


def _prices(loaded: Loaded, odd: dict[str, str]) -> Iterator[Check]:
    endpoints = {row.name: row for row in loaded.config.endpoint}
    for arm in loaded.config.arm:
        answer = compile_price(arm, endpoints[arm.endpoint], datetime.now(UTC))
        if arm.name in odd:
            step = "say it per million tokens: in the arm's `price`, or with `weighbridge price set`"
            yield Check(name=f"price {arm.name}", status="warn", says=odd[arm.name], next_step=step)
        elif isinstance(answer, PriceFound):
            yield Check(name=f"price {arm.name}", status="ok", says=answer.version)
        else:
            yield Check(
                name=f"price {arm.name}",
                status="warn",
                says=answer.why,
                next_step="without a price the cost is unknown, and a trial with --max-usd refuses",
            )


def _capture(loaded: Loaded) -> Check:
    capture = loaded.config.capture
    if not capture.bodies:
        return Check(
            name="capture",
            status="warn",
            says="prompts and answers are not kept, so nothing can be tried on them",
            next_step="set capture.bodies = true with a purpose and approved_by",
        )
    if capture.encrypt_key is not None:
        try:
            secret(capture.encrypt_key, loaded.folder)
        except LookupError as error:
            return Check(
                name="capture", status="fail", says=str(error.args[0]), next_step="set it, or remove encrypt_key"
            )
    return Check(name="capture", status="ok", says=f"for {capture.purpose!r}, approved by {capture.approved_by}")


def _traces(loaded: Loaded) -> Iterator[Check]:
    traces = loaded.config.traces
    if traces is None:
        return
    try:
        found = find_spec("opentelemetry.sdk.trace") is not None
    except ModuleNotFoundError:
        found = False
    if not found:
        yield Check(
            name="traces",
            status="fail",
            says="the extra [otel] is not installed, so `serve` refuses to start",
            next_step="pip install 'weighbridge[otel]', or remove [traces]",
        )
        return
    try:
        if traces.headers is not None:
            secret(traces.headers, loaded.folder)
    except LookupError as error:
        yield Check(name="traces", status="fail", says=str(error.args[0]), next_step="set it, or no span is exported")
        return
    yield Check(name="traces", status="ok", says=f"exported to {traces.otlp}; no prompt or answer is in them")
