"""A real keeper that is killed by the kernel (SIGKILL) at one chosen moment of its next change of a ramp.

`python -m tests.faults.ramp_child SEAM before|after --config FILE ...`; SEAM is `log` (the change goes into the signed
log), `database` (state and, where shares change, route table: one transaction) or `file` (the table that workers read).
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from weighbridge.exchanges import chain
from weighbridge.keeper import chores
from weighbridge.keeper.main import main
from weighbridge.keeper.publish import Publisher
from weighbridge.ramp.office import RampOffice
from weighbridge.store.database import Database

P = ParamSpec("P")
R = TypeVar("R")


def dying(real: Callable[P, R], *, after: bool, when: Callable[P, bool]) -> Callable[P, R]:
    def die(*given: P.args, **named: P.kwargs) -> R:
        chosen = when(*given, **named)
        if chosen and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        made = real(*given, **named)
        if chosen:
            os.kill(os.getpid(), signal.SIGKILL)
        return made

    return die


def arm(seam: str, *, after: bool) -> None:
    """The first table of a keeper is no change of a ramp: it is let through."""
    if seam == "log":
        put = dying(chain.put_object, after=after, when=lambda *given, **_: given[3] == "ramp")
        chores.put_object = put  # type: ignore[attr-defined]  # where the keeper has it from `chain`
    elif seam == "database":
        ramps = lambda *given, **_: len(given) > 5 and given[5] is not None  # noqa: E731 (a predicate)
        Database.publish = dying(Database.publish, after=after, when=ramps)  # type: ignore[method-assign]
        always = lambda *_, **__: True  # noqa: E731 (a predicate)
        Database.swap_ramp = dying(Database.swap_ramp, after=after, when=always)  # type: ignore[method-assign]
    else:

        def later(self: Publisher, body: bytes) -> bool:
            return self.current is not None

        Publisher._write = dying(Publisher._write, after=after, when=later)  # type: ignore[method-assign]


if __name__ == "__main__":
    seam, moment = sys.argv[1:3]
    arm(seam, after=moment == "after")
    sys.exit(main(RampOffice, sys.argv[3:]))
