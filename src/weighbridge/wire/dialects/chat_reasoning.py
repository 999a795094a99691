"""Where chat messages carry reasoning, in requests, answers and stream deltas alike."""

import msgspec

from weighbridge.wire.conversation import Reasoning
from weighbridge.wire.dialects.fields import Fields, encode
from weighbridge.wire.dialects.reasoning import unsealed


class Detail(msgspec.Struct, omit_defaults=True):
    """A row of `reasoning_details`, OpenRouter's form (MiniMax uses the first kind)."""

    type: str = "reasoning.text"
    text: str | None = None
    signature: str | None = None
    summary: str | None = None
    data: str | None = None
    id: str | None = None
    format: str | None = None
    index: int | None = None


_details = msgspec.json.Decoder(list[Detail]).decode
SEALED_FORMAT = "weighbridge-v1"


def reasoning_of(message: Fields) -> list[Reasoning]:
    """The reasoning of an assistant message. Rows of `reasoning_details` say more than the text beside them."""
    rows = message.raw("reasoning_details")
    texts = {name: message.text(name) for name in ("reasoning_content", "reasoning")}
    if rows is not None:
        found = from_details(bytes(rows))
        if found:
            return found
    for name, text in texts.items():
        if text is not None:
            return [Reasoning(text, name)]
    return []


def from_details(rows: bytes) -> list[Reasoning]:
    """Rows that are ours, or Anthropic's or OpenAI's by their format, are told apart; else all rows go back as they
    came."""
    try:
        details = _details(rows)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return []
    if not details:
        return []
    if all(row.format == SEALED_FORMAT for row in details):
        whole = [unsealed(row.text or "", row.data) for row in details]
        return [one for one in whole if one is not None]
    text = "".join(row.text or row.summary or "" for row in details)
    return [Reasoning(text, "reasoning_details", data=rows.decode())]


def to_details(reasoning: Reasoning, index: int, sealed: str) -> dict[str, object]:
    """The row in which a chat client keeps reasoning that needs more than its text to go back."""
    return {"type": "reasoning.text", "text": reasoning.text, "data": sealed, "format": SEALED_FORMAT, "index": index}


def merged(rows: list[Detail]) -> str:
    """Stream pieces of details as whole rows: pieces of one kind and place are joined."""
    whole: list[Detail] = []
    for row in rows:
        last = whole[-1] if whole else None
        if last is not None and (last.type, last.index) == (row.type, row.index) and row.id in (None, last.id):
            for name in ("text", "summary", "data", "signature"):
                piece = getattr(row, name)
                if piece is not None:
                    setattr(last, name, (getattr(last, name) or "") + piece)
            last.format = last.format or row.format
        else:
            whole.append(row)
    return encode(whole).decode()
