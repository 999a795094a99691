"""A gateway for the length of one command: a supervisor without admin pages on a free loopback port.

It ends when the process that started it closes its socket or dies, but not under the feet of others: while another
command is connected to its keeper, it goes on.
"""

import argparse
import asyncio
import contextlib
import signal
import socket
import sys

import msgspec

from weighbridge.app.addresses import Reservation, reserve
from weighbridge.app.reach import Serving
from weighbridge.app.supervisor import Settings, Supervisor
from weighbridge.config import load
from weighbridge.config.logs import log_to_stderr
from weighbridge.errors import ExitCode, WeighbridgeError
from weighbridge.keeper.parent import Ready, Refused

OTHERS_EVERY_S = 0.5


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m weighbridge.app.temporary", description=__doc__)
    parser.add_argument("--config", required=True)
    parser.add_argument("--parent-fd", type=int, required=True)
    given = parser.parse_args(arguments)
    log_to_stderr(quiet=True)
    parent = socket.socket(fileno=given.parent_fd)
    try:
        loaded = load(given.config)
        listen = reserve(loaded, "server.listen", "127.0.0.1:0")
        settings = Settings(loaded, listen, workers=1, client_keys="present", quiet=True, plain=True)
        try:
            asyncio.run(_live(settings, parent, listen))
        finally:
            listen.close()
    except WeighbridgeError as error:
        locked = getattr(error, "locked", False)
        _tell(parent, Refused(message=str(error), exit_code=error.exit_code, locked=locked))
        return error.exit_code
    return ExitCode.DONE


async def _live(settings: Settings, parent: socket.socket, listen: Reservation) -> None:
    supervisor = Supervisor(settings)
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    loop.add_reader(parent, _watch, parent, gone)
    loop.add_signal_handler(signal.SIGTERM, gone.set)
    ready: Ready = await supervisor.start()
    await supervisor.stay_connected()
    _tell(parent, Serving(listen=listen.listen, warnings=ready.warnings))
    running = asyncio.create_task(supervisor.run())
    await gone.wait()
    while await supervisor.others():  # noqa: ASYNC110 (it is about other processes, which set no event of ours)
        await asyncio.sleep(OTHERS_EVERY_S)
    # From here on no command finds this gateway; one that found it in this very moment is still waited for.
    await supervisor.hide()
    while await supervisor.others():  # noqa: ASYNC110 (as above)
        await asyncio.sleep(OTHERS_EVERY_S)
    supervisor.stop()
    await running


def _watch(parent: socket.socket, gone: asyncio.Event) -> None:
    if not parent.recv(4096):
        asyncio.get_running_loop().remove_reader(parent)
        gone.set()


def _tell(parent: socket.socket, said: Serving | Refused) -> None:
    with contextlib.suppress(OSError):  # the parent is gone; the end of its socket says so too
        parent.sendall(msgspec.json.encode(said) + b"\n")


if __name__ == "__main__":
    sys.exit(main())
