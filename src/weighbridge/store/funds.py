"""What workers and the keeper say to each other about money: leases asked for, granted, called back, given back.

Amounts granted and given back are differences, so it does not matter in which order two of them are applied. A worker
that connects says what it has (`Holding`); what it does not know of was never received, and is free again.
"""

import msgspec

from weighbridge.records.budget import WindowKind


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where a budget, or one user of it, stands in the window that is open now."""

    budget: str
    subject: str
    span: str
    """The window and its time zone, e.g. `month Europe/Berlin`."""
    hard: bool
    configured: bool
    """False where the configuration does not know it any more, or counts it over another window."""
    limit_nanousd: int | None
    spent_nanousd: int = 0
    leased_nanousd: int = 0
    """Held by running requests, or in the hands of workers for the next ones."""
    left_nanousd: int | None = None
    """Neither spent nor leased; `None` where there is no limit."""
    bound_nanousd: int = 0
    """Of what is spent: booked at its upper bound, because nobody knows what it cost."""
    excess_nanousd: int = 0
    """What requests cost above what was held for them."""
    requests: int = 0
    orphans: int = 0
    """Requests whose worker died before their end."""
    leases: int = 0
    start_ns: int | None = None
    """`None` where nothing was charged in this window yet."""
    end_ns: int | None = None
    """When it starts anew; `None`: never, or not begun."""


class Want(msgspec.Struct, frozen=True, array_like=True):
    """One account that a request is charged to: a budget, or one user of it."""

    budget: str
    subject: str
    """Empty for the budget itself; else the end user, or the digest of a trial token."""
    span: str
    window: WindowKind
    time_zone: str
    limit_nanousd: int | None
    """The cap; `None` where spending is only counted."""
    lease: int
    """The lease that the worker has, 0 if none."""
    room_nanousd: int
    """What is left of that lease."""


class Ask(msgspec.Struct, frozen=True, array_like=True):
    """Room for up to `count` requests of up to `nanousd` each, on all of these accounts together."""

    wants: tuple[Want, ...]
    nanousd: int
    count: int


class Grant(msgspec.Struct, frozen=True, array_like=True):
    budget: str
    subject: str
    lease: int
    added_nanousd: int
    """On top of what this lease had before; 0 on an account that is only counted."""
    ends_in_ns: int | None
    """When the window ends, counted from when this was asked for; `None`: never."""


class Short(msgspec.Struct, frozen=True, array_like=True):
    """Why not all of the requests were given room: the account with the least left."""

    budget: str
    subject: str
    left_nanousd: int
    limit_nanousd: int
    span: str
    ends_ns: int | None


class Given(msgspec.Struct, frozen=True, array_like=True):
    """The answer to one `Ask`."""

    count: int
    """How many of its requests fit now."""
    grants: tuple[Grant, ...]
    short: Short | None
