"""What `serve` says when it is ready: where to point a client, what goes where, what is kept."""

from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from weighbridge.app.addresses import reachable
from weighbridge.config import Loaded
from weighbridge.records.canonical import parse
from weighbridge.records.permission import arm_refusal
from weighbridge.records.table import Route, RouteTable
from weighbridge.store.layout import Layout


def base_url(listen: str, *, tls: bool = False) -> str:
    """What a client sets as OPENAI_BASE_URL for a gateway on HOST:PORT."""
    return f"{'https' if tls else 'http'}://{reachable(listen)}/v1"


def banner(
    loaded: Loaded, layout: Layout, listen: str, admin: str, warnings: Sequence[str], lacking: str | None
) -> Iterator[str]:
    """lacking: the package for want of which there is no dashboard; `None`: there is one."""
    from weighbridge.exchanges.chain import fingerprint, public_key  # here: it loads cryptography, and workers wait

    table = parse(layout.table.read_bytes(), RouteTable)
    count, tls = loaded.config.server.workers, loaded.config.server.tls_cert is not None
    yield f"ready on {listen} with {count} worker{'s' if count > 1 else ''}, route table {table.number}"
    yield f"point clients here: OPENAI_BASE_URL={base_url(listen, tls=tls)} and OPENAI_API_KEY=<one of the client keys>"
    for route in table.routes:
        yield _route(table, route)
    yield f"client keys: {', '.join(key.name for key in table.keys) or 'none'}"
    yield _captured(loaded)
    yield f"metrics and health: http://{reachable(admin)}/metrics and /healthz; store: {layout.root}"
    if lacking is None:
        url = loaded.config.admin.url or f"http://{reachable(admin)}/"
        yield f"dashboard and admin API: {url} (`weighbridge user create NAME --role admin` makes the first user)"
    else:
        yield f"no dashboard: it needs {lacking}, which is not installed (pip install 'weighbridge[admin]')"
    yield f"the log is signed with key {fingerprint(public_key(layout))}; `weighbridge verify` names it too"
    for warning in warnings:
        yield f"note: {warning}"


def _route(table: RouteTable, route: Route) -> str:
    arm = table.arm(route.incumbent)
    host = urlsplit(table.endpoint(arm.endpoint).base_url).netloc
    names = ", ".join((route.name, *route.aliases))
    permitted = [name for name in route.candidates if arm_refusal(table, route, name) is None]
    rest = f"; trials may ask {', '.join(permitted)}" if permitted else ""
    return f"route {names}: to {arm.name} ({arm.model} at {host}){rest}"


def _captured(loaded: Loaded) -> str:
    capture = loaded.config.capture
    if not capture.bodies:
        return "captured: metadata, tokens and cost; no prompts and no answers"
    share = "" if capture.sample == 1 else f" of {capture.sample:.0%} of requests"
    redacted = f", {' and '.join(capture.redact)} redacted" if capture.redact else ""
    key = "a key in the store (keys/master.key)" if capture.encrypt_key is None else f"the key {capture.encrypt_key}"
    return (
        f"captured: prompts and answers{share} for {capture.purpose!r}, approved by {capture.approved_by}{redacted}, "
        f"kept {capture.keep_days} days, encrypted under {key}"
    )
