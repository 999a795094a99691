"""`--workers`, `--ray` and `--gateway` of the commands that replay: where their work is done."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from weighbridge.errors import UsageError
from weighbridge.grading.children import PROCESSES_MAX
from weighbridge.trials.cluster import cluster
from weighbridge.trials.machines import Here, Machines
from weighbridge.upstream import BaseUrl

GradingProcesses = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        min=1,
        max=PROCESSES_MAX,
        help="Grading processes at once, at most, for patterns, SQL, code and functions of your own.  "
        "[default: one a core]",
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Grade and replay on a Ray cluster: `auto`, HOST:PORT of its head, or `local`. Needs the extra `ray`.",
    ),
]
GatewayUrl = Annotated[
    str | None,
    typer.Option(
        "--gateway",
        metavar="URL",
        help="With --ray: where the cluster's machines reach the gateway, e.g. http://10.0.0.5:8400/v1. Without it, "
        "replays are sent from this machine where the gateway is heard here alone.",
    ),
]


@contextmanager
def machines_for(
    workers: int | None, ray: str | None, gateway_url: str | None, say: Callable[[str], None]
) -> Iterator[Machines]:
    """What the options ask for. Raises `UsageError` where they contradict each other."""
    if ray is None:
        if gateway_url is not None:
            raise UsageError(f"--gateway {gateway_url}: it is for the machines of a cluster; add --ray ADDRESS")
        yield Here(workers)
        return
    if workers is not None:
        raise UsageError(
            f"--workers {workers}: a Ray cluster grades with all of its cores; leave --workers or --ray out"
        )
    if gateway_url is not None:
        try:
            BaseUrl.parse(gateway_url)
        except ValueError as error:
            raise UsageError(f"--gateway: {error}") from None
    with cluster(ray) as found:
        say(f"Ray cluster: {found.machines} machines, {found.cores} cores grade")
        yield found
