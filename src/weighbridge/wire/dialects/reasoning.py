"""Reasoning that must find its way back to the model that wrote it, through clients of another dialect.

Hosts differ in what they want back with a tool turn: Anthropic a signature, OpenAI an encrypted item, DeepSeek, Kimi
and MiniMax the text in the field it came in. A client of another dialect has one opaque string to keep (`signature` of
a thinking block, `encrypted_content` of a reasoning item). What is needed is put there, behind a mark of ours, so that
it is told apart from a signature of Anthropic's or OpenAI's own and is never sent to somebody who would refuse it.
"""

import base64
import binascii

import msgspec

from weighbridge.wire.conversation import Reasoning

MARK = "weighbridge.1."


class _Kept(msgspec.Struct, omit_defaults=True):
    source: str
    signature: str | None = None
    data: str | None = None
    id: str | None = None


_decode = msgspec.json.Decoder(_Kept).decode


def sealed(reasoning: Reasoning) -> str:
    """All but the text, as one string that a client keeps without looking at it."""
    kept = _Kept(reasoning.source, reasoning.signature, reasoning.data, reasoning.id)
    return MARK + base64.urlsafe_b64encode(msgspec.json.encode(kept)).decode()


def unsealed(text: str, seal: str | None) -> Reasoning | None:
    """The reasoning that was sealed; `None` where the string is not ours."""
    if seal is None or not seal.startswith(MARK):
        return None
    try:
        kept = _decode(base64.urlsafe_b64decode(seal[len(MARK) :]))
    except (msgspec.MsgspecError, binascii.Error, ValueError):
        return None
    return Reasoning(text, kept.source, kept.signature, kept.data, kept.id)
