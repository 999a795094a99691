"""`weighbridge serve`: the supervisor's process, from the first check to the last line."""

import asyncio
import logging
import signal
from importlib.util import find_spec
from typing import TYPE_CHECKING

from weighbridge.app.addresses import Reservation, reserve
from weighbridge.app.admin_child import AdminChild, missing
from weighbridge.app.banner import banner
from weighbridge.app.supervisor import Settings, Supervisor
from weighbridge.config import Loaded
from weighbridge.config.logs import log_to_stderr
from weighbridge.errors import ConfigError, ControlError, ExitCode, StoreError
from weighbridge.store.control import ControlClient, Ping, Pong
from weighbridge.store.layout import Layout

if TYPE_CHECKING:
    from weighbridge.app.metrics import Series

log = logging.getLogger("serve")

SCRAPE_S_MAX = 1.0


def serve(loaded: Loaded) -> int:
    """Serve until SIGTERM or SIGINT, then drain; SIGHUP reloads. Returns the exit code.

    Raises `WeighbridgeError` where it cannot start: bad configuration, address in use, a second keeper, a store that
    cannot be written, missing secrets of client keys.
    """
    log_to_stderr(loaded.config.server.log_format)
    if loaded.config.traces is not None and not _has_sdk():
        raise ConfigError(loaded.file, "traces", "needs the extra [otel]: pip install 'weighbridge[otel]'")
    _refuse_second(loaded)
    listen = reserve(loaded, "server.listen", loaded.config.server.listen)
    try:
        admin = reserve(loaded, "server.admin_listen", loaded.config.server.admin_listen)
        try:
            asyncio.run(_live(loaded, listen, admin))
        finally:
            admin.close()
    finally:
        listen.close()
    return ExitCode.DONE


def _has_sdk() -> bool:
    try:
        return find_spec("opentelemetry.sdk.trace") is not None
    except ModuleNotFoundError:
        return False


def _refuse_second(loaded: Loaded) -> None:
    """The lock would find it too; this says it before the address in use does, and says where."""
    try:
        with ControlClient(Layout(loaded.store_path), timeout_s=5.0) as control:
            pong = control.call(Ping(), Pong)
    except ControlError:
        return
    if pong.listen is not None:
        raise StoreError(
            f"weighbridge already serves the store {loaded.store_path} on {pong.listen} (keeper pid {pong.pid}). "
            "Stop that one first, or give this one another store.path and server.listen."
        )


async def _live(loaded: Loaded, listen: Reservation, admin: Reservation) -> None:
    lacking = missing()
    at = admin.listen if lacking is None else None
    supervisor = Supervisor(Settings(loaded, listen, loaded.config.server.workers, admin=at))
    loop = asyncio.get_running_loop()
    starting = asyncio.create_task(supervisor.start())
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop, supervisor, starting)
    try:
        ready = await starting
    except asyncio.CancelledError:
        log.info("stopped before it was ready")
        return
    reloads: set[asyncio.Task[None]] = set()

    def reload() -> None:
        task = loop.create_task(supervisor.reload())
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    loop.add_signal_handler(signal.SIGHUP, reload)
    pages = _Child(supervisor, loaded, admin) if lacking is None else _Pages(supervisor, admin, loop)
    for line in banner(
        loaded, Layout(loaded.store_path), listen.listen, f"{admin.host}:{pages.port}", ready.warnings, lacking
    ):
        log.info("%s", line)
    try:
        await supervisor.run()
    finally:
        await pages.close()
    log.info("stopped")


def _stop(supervisor: Supervisor, starting: "asyncio.Task[object]") -> None:
    if starting.done():
        supervisor.stop()
    else:
        starting.cancel()


class _Child:
    """The admin process."""

    def __init__(self, supervisor: Supervisor, loaded: Loaded, admin: Reservation) -> None:
        self.port = admin.port

        async def series() -> "dict[Series, float]":
            await supervisor.refresh(SCRAPE_S_MAX)
            return supervisor.series()

        self._child = AdminChild(loaded, admin, series, supervisor.health)
        self._child.start()

    async def close(self) -> None:
        await self._child.close()


class _Pages:
    """Only /metrics and /healthz, in a thread: the extra is not installed."""

    def __init__(self, supervisor: Supervisor, admin: Reservation, loop: asyncio.AbstractEventLoop) -> None:
        from weighbridge.app.admin import AdminPages  # here, so that workers start before the metrics library is loaded

        def series() -> "dict[Series, float]":
            asyncio.run_coroutine_threadsafe(supervisor.refresh(SCRAPE_S_MAX), loop).result(2 * SCRAPE_S_MAX)
            return supervisor.series()

        admin.close()
        self._pages = AdminPages(admin.host, admin.port, series, supervisor.health)
        self.port = self._pages.port

    async def close(self) -> None:
        await asyncio.to_thread(self._pages.close)
