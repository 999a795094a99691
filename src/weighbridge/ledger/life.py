"""The life of a hold, as a table, and what each of its ends is charged.

    held --post--> held --settle--> settled        what was used, booked once
      |               '---expire--> expired        its worker died: the upper bound, marked so, never 0
      '-----void----------------------> void       nothing was sent

Each request has one hold, each attempt one posting, each hold one end. The worker (`gateway.purse`) and the projection
of the log (`ledger.projection`) charge by the same function, so that what a worker counted and what is read of its log
are the same number.
"""

from typing import Final, Literal

State = Literal["held", "settled", "void", "expired"]
Event = Literal["post", "settle", "void", "expire"]

LIFE: Final[dict[tuple[State, Event], State]] = {
    ("held", "post"): "held",
    ("held", "settle"): "settled",
    ("held", "void"): "void",
    ("held", "expire"): "expired",
}
"""What is not in it cannot happen: a hold that has ended takes no event any more."""


def after(state: State, event: Event) -> State:
    """Raises `ValueError` where the hold has ended already."""
    found = LIFE.get((state, event))
    if found is None:
        raise ValueError(f"a hold that is {state} cannot {event}; it ended once and for all")
    return found


def charge(held_nanousd: int | None, cost_nanousd: int | None) -> int:
    """What a hold that was settled is charged: its cost; where that is unknown, what was held."""
    if cost_nanousd is not None:
        return cost_nanousd
    return held_nanousd or 0


def bound(held_nanousd: int | None, posted_nanousd: int) -> int:
    """What a hold whose worker died is charged: what was held, and no less than what was posted already.

    Also where no attempt is in the log: one may have been sent in the last moment before a power cut.
    """
    return max(held_nanousd or 0, posted_nanousd)
