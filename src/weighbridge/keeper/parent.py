"""What a keeper says to the process that started it, over an inherited socket: one JSON line, once.

The end of that socket is the other half: when the parent closes it or dies, the keeper ends.
"""

import msgspec


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag="ready", tag_field="op"):
    """The control socket answers. `table` is 0 where none was asked for and none is there."""

    table: int
    warnings: tuple[str, ...]


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag="refused", tag_field="op"):
    """The keeper could not start; it exits with `exit_code`."""

    message: str
    exit_code: int
    locked: bool = False
    """Another keeper has the store: it may answer on the control socket in a moment."""


Start = Ready | Refused
