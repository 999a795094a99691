"""Captured requests in any dialect, for people to read and for slices to be found in."""

from weighbridge.records.frames import Asked
from weighbridge.wire.conversation import Call, Conversation, Image, Part, Reasoning, Refusal, Result, Text, Turn
from weighbridge.wire.dialects import DIALECTS, read_request
from weighbridge.wire.refusal import BadRequest


def conversation_of(body: bytes, asked: Asked) -> Conversation | None:
    """What was asked; `None` where it is no conversation, or not readable as one."""
    dialect = next((one for one in DIALECTS if one == asked), None)
    if dialect is None:
        return None
    try:
        return read_request(dialect, body)
    except (BadRequest, RecursionError):
        return None


def said(turn: Turn) -> str:
    """A turn as text: what is no text is named by its kind, calls of tools by name and arguments. Reasoning is left
    out: nobody said it."""
    return "\n".join(text for part in turn.parts if (text := _text(part)))


def _text(part: Part) -> str:
    match part:
        case Text() | Refusal():
            return part.text
        case Reasoning():
            return ""
        case Call():
            return f"[{part.name} {part.arguments}]"
        case Result():
            return "\n".join(("[result]", *(_text(one) for one in part.content)))
        case Image():
            return "[image]"
        case _:
            return f"[document {part.name or part.media_type or ''}]".replace(" ]", "]")
