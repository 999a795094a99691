"""What is read of an answer in OpenAI's chat dialect, as msgspec decodes it. `wire.openai` says what it means."""

import msgspec

ABSENT = msgspec.Raw(b"")


class Choice(msgspec.Struct, gc=False):
    finish_reason: str | None = None


class Answer(msgspec.Struct, gc=False):
    usage: msgspec.Raw = ABSENT
    choices: list[Choice] | None = None
    error: msgspec.Raw = ABSENT
    service_tier: msgspec.Raw = ABSENT


class Loose(msgspec.Struct, gc=False):
    usage: msgspec.Raw = ABSENT
    error: msgspec.Raw = ABSENT
    service_tier: msgspec.Raw = ABSENT


class ErrorSaid(msgspec.Struct, gc=False):
    code: str | int | float | None = None
    type: str | None = None


answer_of = msgspec.json.Decoder(Answer).decode
loose_of = msgspec.json.Decoder(Loose).decode
error_of = msgspec.json.Decoder(ErrorSaid).decode
