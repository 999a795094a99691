"""How a command reaches the keeper or a gateway: the running one, or a temporary one under the same lock."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import msgspec

from weighbridge.app import children
from weighbridge.app.banner import base_url
from weighbridge.app.children import Child, ChildRefusedError
from weighbridge.config import Loaded
from weighbridge.errors import ControlError, StoreError
from weighbridge.keeper.parent import Refused
from weighbridge.store.control import ControlClient, Ping, Pong
from weighbridge.store.layout import Layout

CALL_S_MAX = 600.0
"""Sealing or erasing a large store takes a while."""
OTHER_S_MAX = 30.0
"""How long a command waits for another one that holds the store but does not answer (it is starting, or ending)."""
GATEWAY_START_S_MAX = 60.0
STOP_S_MAX = 120.0


class Serving(msgspec.Struct, frozen=True, kw_only=True, tag="serving", tag_field="op"):
    """Said once by a temporary gateway over the parent's socket: the gateway answers on HOST:PORT."""

    listen: str
    warnings: tuple[str, ...]


_SAID: msgspec.json.Decoder[Serving | Refused] = msgspec.json.Decoder(Serving | Refused)


T = TypeVar("T")


class Gateway(msgspec.Struct, frozen=True):
    """A gateway that answers, and the control client to its keeper."""

    base_url: str
    """Ends in `/v1`, as OPENAI_BASE_URL does."""
    control: ControlClient
    temporary: bool
    """True where it was started for this command and ends with it."""
    warnings: tuple[str, ...] = ()
    """What its route table could not do as written; empty for a gateway that was running already."""


@contextmanager
def keeper_of(loaded: Loaded) -> Iterator[ControlClient]:
    """A control client to the keeper of this store. A temporary keeper is stopped again, whatever happens.

    A temporary keeper publishes no route table. Raises `WeighbridgeError` where no keeper can be had.
    """
    control, child = _first(lambda: _running(loaded), lambda: _temporary_keeper(loaded))
    try:
        with control:
            yield control
    finally:
        if child is not None:
            child.stop(STOP_S_MAX)


@contextmanager
def gateway_of(loaded: Loaded) -> Iterator[Gateway]:
    """A gateway that serves this store: the running one, or one worker on a free loopback port for as long as needed.

    A temporary gateway publishes the configuration as it is now, without client keys whose secrets are missing (trials
    need none). Raises `WeighbridgeError` where none can be had.
    """
    gateway, child = _first(lambda: _running_gateway(loaded), lambda: _temporary_gateway(loaded))
    try:
        with gateway.control:
            yield gateway
    finally:
        if child is not None:
            child.stop(STOP_S_MAX)


def _first(running: Callable[[], T | None], start: Callable[[], tuple[T, Child]]) -> tuple[T, Child | None]:
    """The running one if there is one, else a new one; if somebody else is just starting or ending, try both again."""
    waited_s = 0.0
    while True:
        found = running()
        if found is not None:
            return found, None
        try:
            return start()
        except ChildRefusedError as error:
            if not error.locked or waited_s >= OTHER_S_MAX:
                raise
        time.sleep(0.1)
        waited_s += 0.1


def _running(loaded: Loaded) -> ControlClient | None:
    layout = Layout(loaded.store_path)
    if not layout.control.exists():
        return None
    try:
        control = ControlClient(layout, timeout_s=CALL_S_MAX)
    except ControlError:
        return None  # a stale socket: the next keeper replaces it
    try:
        control.call(Ping(), Pong)  # one that is just ending lets us in but does not answer
    except ControlError:
        control.close()
        return None
    except BaseException:
        control.close()
        raise
    return control


def _temporary_keeper(loaded: Loaded) -> tuple[ControlClient, Child]:
    child = children.keeper(loaded.file, for_command=True, quiet=True)
    try:
        children.keeper_ready(child)
        return ControlClient(Layout(loaded.store_path), timeout_s=CALL_S_MAX), child
    except BaseException:
        child.stop(STOP_S_MAX)
        raise


def _running_gateway(loaded: Loaded) -> Gateway | None:
    control = _running(loaded)
    if control is None:
        return None
    try:
        pong = control.call(Ping(), Pong)
        if pong.listen is not None:
            return Gateway(base_url(pong.local or pong.listen), control, temporary=False)
    except ControlError:
        pass  # it went away between the two steps
    except BaseException:
        control.close()
        raise
    control.close()
    return None


def _temporary_gateway(loaded: Loaded) -> tuple[Gateway, Child]:
    child = children.spawn(["-m", "weighbridge.app.temporary", "--config", loaded.file], "--parent-fd")
    try:
        serving = _serving(child)
        control = ControlClient(Layout(loaded.store_path), timeout_s=CALL_S_MAX)
        return Gateway(base_url(serving.listen), control, temporary=True, warnings=serving.warnings), child
    except BaseException:
        child.stop(STOP_S_MAX)
        raise


def _serving(child: Child) -> Serving:
    try:
        line = children.first_line(child, GATEWAY_START_S_MAX)
    except TimeoutError:
        raise StoreError(f"a temporary gateway was not ready within {GATEWAY_START_S_MAX:.0f} seconds") from None
    if not line:
        raise StoreError("a temporary gateway could not be started; its own message is above")
    said = _SAID.decode(line)
    if isinstance(said, Refused):
        raise ChildRefusedError(said.message, said.exit_code, locked=said.locked)
    return said
