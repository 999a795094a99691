"""What a line on the control socket is."""

import msgspec


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="op"):
    """Base of every line."""
