"""A Ray cluster as the `Machines` of a trial: answers are graded, and replays sent, by any of its machines.

A machine of the cluster grades with grading processes of its own, as this one would: same limits, same deadlines,
same sandbox. Replays go from one sender on each machine to the gateway, which books and logs them as ever. Nothing that
has to be exact leaves the program that carries the trial out: it holds the money before a sender hears of a request.

Grading again is harmless, so a lost machine's jobs are done by another. A request is never sent again by Ray: what was
on its way when a machine was lost may have been paid for, and counts so (`Broken`).
"""

import functools
import os
import platform
import socket
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from importlib.metadata import version
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal

import msgspec

import weighbridge.grading
from weighbridge import __version__
from weighbridge.errors import UsageError, WeighbridgeError
from weighbridge.grading.children import Children, OverTime, Workers
from weighbridge.grading.jobs import Done, Failed, Job
from weighbridge.trials.machines import Poster, gateway_client
from weighbridge.upstream import BaseUrl, Broken, Client, Reply, Unreachable
from weighbridge.upstream.dialer import Why

ADDRESSES = (
    "`auto` (the cluster that this machine is part of), HOST:PORT (of its head) or `local` (one that ends with the "
    "command, on this machine)"
)
REACH_S_MAX = 5.0
LOCAL_TRIES = 3
"""Ray gives up a machine of its own that is not up within 15 seconds, which is short for one that is busy."""
GRADING_RETRIES = 3
"""A job is given to another machine so often where its machine is lost."""


class Build(msgspec.Struct, frozen=True):
    """What grades: two machines that grade one trial must be equal in this."""

    weighbridge: str
    grading: str
    """A digest over the sources of the grading room: two checkouts of one version are not the same."""
    python: str
    duckdb: str

    def __str__(self) -> str:
        return f"weighbridge {self.weighbridge} ({self.grading}), Python {self.python}, duckdb {self.duckdb}"


@functools.cache
def build() -> Build:
    """What this process would grade with."""
    folder = Path(weighbridge.grading.__file__).parent
    sources = b"".join(file.read_bytes() for file in sorted(folder.glob("*.py")))
    return Build(__version__, sha256(sources).hexdigest()[:12], platform.python_version(), version("duckdb"))


def _built() -> Build:
    """`build`, as Ray takes it: a plain function."""
    return build()


def connection_problem(address: str) -> str | None:
    """Why this is no address of a cluster; `None` where it may be one."""
    if address in ("auto", "local"):
        return None
    host, _, port = address.rpartition(":")
    if host and port.isdigit() and "/" not in address:
        return None
    why = " (a Ray Client address: run the command on a machine of the cluster instead)" if "://" in address else ""
    return f"--ray {address}: is no address{why}; allowed is {ADDRESSES}"


@contextmanager
def cluster(address: str) -> Iterator["Cluster"]:
    """The cluster at an address, for one command. Raises `WeighbridgeError` where it cannot be had or does not fit."""
    problem = connection_problem(address)
    if problem is not None:
        raise UsageError(problem)
    try:
        import ray
    except ImportError:
        raise WeighbridgeError(
            "--ray needs the extra `ray`, which is not installed here: pip install 'weighbridge[ray]'. Without it, "
            "--workers N grades with N processes of this machine."
        ) from None
    _reached(address)
    # Ray tells its makers about each cluster that it starts; a trial's machine tells nobody anything.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    for tried in range(LOCAL_TRIES, 0, -1):
        try:
            ray.init(
                address=address, namespace="weighbridge", log_to_driver=False, logging_level="ERROR",
                **({"include_dashboard": False} if address == "local" else {}),
            )  # fmt: skip
            break
        # Ray raises plain `Exception` too, for one of its own that does not start in time.
        except Exception as error:  # noqa: BLE001
            ray.shutdown()
            if address != "local" or tried == 1:
                raise _no_cluster(address, _line(error)) from None
    try:
        yield Cluster(ray)
    finally:
        ray.shutdown()


def _reached(address: str) -> None:
    """Ray tries for minutes where nobody listens; a person hears of it at once. Raises `WeighbridgeError`."""
    host, _, port = address.rpartition(":")
    if not host:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_S_MAX).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, getattr(error, "strerror", None) or str(error)) from None


def _no_cluster(address: str, why: str) -> WeighbridgeError:
    return WeighbridgeError(
        f"--ray {address}: no cluster answers there ({why}). Start one with `ray start --head`; allowed is {ADDRESSES}"
    )


class Cluster:
    """A connected cluster whose machines all grade as this one does."""

    def __init__(self, ray: Any) -> None:
        """Raises `WeighbridgeError` naming the machine that has something else installed, or none that can work."""
        self._ray = ray
        self._here = str(ray.get_runtime_context().get_node_id())
        self._nodes = sorted(str(node["NodeID"]) for node in ray.nodes() if node["Alive"])
        self.cores = int(ray.cluster_resources().get("CPU", 0))
        if self.cores < 1:
            raise WeighbridgeError("the Ray cluster has no CPU to work with; add a machine with `ray start --address`")
        for node, found in self._builds():
            if found != build():
                raise WeighbridgeError(
                    f"a machine of the Ray cluster ({node}) would grade with {found}, this one with {build()}; install "
                    "the same on all, so that a score does not depend on where it was made"
                )
        self.workers: Workers = _RayWorkers(ray, self.cores)

    @property
    def machines(self) -> int:
        return len(self._nodes)

    def poster(self, base_url: str, connections_max: int) -> Poster:
        """One sender on each machine; only here where the gateway is heard on this machine alone."""
        nodes = [self._here] if _heard_here_only(base_url) else self._nodes
        return _RayPoster(self._ray, nodes, base_url, connections_max)

    def _builds(self) -> Iterator[tuple[str, Build | str]]:
        ray = self._ray
        told = {node: ray.remote(_built).options(num_cpus=0, **_on(node)).remote() for node in self._nodes}
        for node, reference in told.items():
            try:
                yield node, ray.get(reference)
            except ray.exceptions.RayError as error:
                # Where the package is missing, the function that asks cannot even be read there.
                yield node, f"something else ({str(error).strip().splitlines()[-1]})"


def _line(error: Exception) -> str:
    """What Ray says, without its pages."""
    said = str(error).strip().splitlines()
    return said[0] if said else type(error).__name__


def _heard_here_only(base_url: str) -> bool:
    host = BaseUrl.parse(base_url).host
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _on(node: str) -> dict[str, object]:
    """Options that place a task or actor on this machine and no other."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}


# --- grading ----------------------------------------------------------------------------------------------------------


@functools.cache
def _process() -> Children:
    """Of one Ray worker: the grading process beside it, kept between jobs."""
    return Children(1)


def _job(job: Job, limit_s: float, wanted: Build) -> Done | None:
    """Runs on the cluster. `None`: it was still going on at its deadline."""
    if build() != wanted:  # a machine that joined later
        return Failed(reason=f"machine {platform.node()} has {build()}; the trial is graded with {wanted}")
    try:
        return _process().do(job, limit_s)
    except OverTime:
        return None


class _RayWorkers:
    """A `Workers` of a core for each job; its deadline runs from when a machine takes it."""

    def __init__(self, ray: Any, cores: int) -> None:
        self._ray, self.width = ray, cores
        self._job = ray.remote(num_cpus=1, max_retries=GRADING_RETRIES)(_job)

    def do(self, job: Job, limit_s: float) -> Done:
        try:
            done: Done | None = self._ray.get(self._job.remote(job, limit_s, build()))
        except self._ray.exceptions.RayError as error:
            return Failed(reason=f"the Ray cluster lost it: {_line(error)}")
        if done is None:
            raise OverTime
        return done


# --- sending ----------------------------------------------------------------------------------------------------------


class _NoReply(msgspec.Struct, frozen=True):
    """What went wrong at a sender. Ray would turn exceptions into its own."""

    kind: Literal["unreachable", "broken", "timeout"]
    text: str = ""
    why: Why = "connect"
    """Where it is unreachable."""


class _Sender:
    """Runs on the cluster: one HTTP client."""

    def __init__(self, base_url: str, connections_max: int) -> None:
        self._base_url, self._connections_max = base_url, connections_max
        self._client: Client | None = None

    async def post(
        self, path: str, headers: Sequence[tuple[bytes, bytes]], body: bytes, timeout_s: float
    ) -> Reply | _NoReply:
        if self._client is None:  # made on the loop that it is used on
            self._client = gateway_client(self._base_url, self._connections_max)
        try:
            return await self._client.post(path, headers, body, timeout_s)
        except Unreachable as error:
            return _NoReply("unreachable", str(error), error.why)
        except Broken as error:
            return _NoReply("broken", str(error))
        except TimeoutError:
            return _NoReply("timeout")


class _RayPoster:
    """Requests go to the senders in turn; each is sent once."""

    def __init__(self, ray: Any, nodes: Sequence[str], base_url: str, connections_max: int) -> None:
        self._ray = ray
        actor = ray.remote(num_cpus=0, max_restarts=0, max_task_retries=0)(_Sender)
        self._senders = deque(
            actor.options(max_concurrency=connections_max + 1, **_on(node)).remote(base_url, connections_max)
            for node in nodes
        )

    async def post(self, path: str, headers: Sequence[tuple[bytes, bytes]], body: bytes, timeout_s: float) -> Reply:
        if not self._senders:
            raise Unreachable("connect", "no machine of the cluster is left to send from")
        sender = self._senders[0]
        self._senders.rotate(-1)
        reference = sender.post.remote(path, headers, body, timeout_s)
        try:
            said: Reply | _NoReply = await reference
        except self._ray.exceptions.RayError as error:
            if sender in self._senders:
                self._senders.remove(sender)
            raise Broken(f"a machine of the cluster was lost: {_line(error)}") from None
        except BaseException:
            self._ray.cancel(reference)
            raise
        if isinstance(said, Reply):
            return said
        if said.kind == "timeout":
            raise TimeoutError
        raise Unreachable(said.why, said.text) if said.kind == "unreachable" else Broken(said.text)

    async def aclose(self) -> None:
        for sender in self._senders:
            self._ray.kill(sender)
