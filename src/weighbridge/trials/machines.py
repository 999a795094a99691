"""Where a trial's work is done: by this machine, or by a cluster's (`cluster`). Either way the trial is the same.

Whoever carries the trial out keeps what must be exact in one place: plan, purse, pace, journal, evidence. What may be
anywhere is waiting: for an answer that was asked for (`Poster`), for a grader that needs a process (`Workers`).
"""

from collections.abc import Sequence
from typing import Protocol

from weighbridge.grading.children import Children, Workers
from weighbridge.upstream import Client, Reply


class Poster(Protocol):
    """Carries requests to a gateway. Raises as `upstream.Client.post` does."""

    async def post(self, path: str, headers: Sequence[tuple[bytes, bytes]], body: bytes, timeout_s: float) -> Reply: ...

    async def aclose(self) -> None: ...


class Machines(Protocol):
    """One trial's, for as long as its command runs."""

    @property
    def workers(self) -> Workers:
        """Where graders that need a process have their work done."""
        ...

    def poster(self, base_url: str, connections_max: int) -> Poster:
        """Where replays are sent from. Called on a running event loop."""
        ...


class Here:
    """This machine: grading processes beside this one, replays from this process."""

    def __init__(self, grading_processes: int | None = None) -> None:
        """grading_processes: at most so many at once; as many as there are cores where nothing is said."""
        self.workers: Workers = Children(grading_processes)

    def poster(self, base_url: str, connections_max: int) -> Poster:
        return gateway_client(base_url, connections_max)


def gateway_client(base_url: str, connections_max: int) -> Client:
    """A client to one's own gateway: its address is found or given by its operator, so that it may be a private one."""
    return Client(base_url, address_is_own=True, connections_max=connections_max)
