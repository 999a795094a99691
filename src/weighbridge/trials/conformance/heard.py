"""One probe's request, and what was heard."""

import re
from typing import Literal

import msgspec

from weighbridge.wire.openai import assemble

EXCERPT_CHARS = 400
STATUSES = ("yes", "partly", "no", "unknown")
Status = Literal["yes", "partly", "no", "unknown"]

_RATE_LIMIT = re.compile(rb"(?:x-)?ratelimit-.+|anthropic-ratelimit-.+|retry-after")


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request of a probe; the model's name is put in when it is sent."""

    body: bytes
    """JSON with the model's name."""
    max_tokens: int
    stream: bool = False
    cancel: bool = False
    """Leave at the first piece of the answer."""


class Function(msgspec.Struct, frozen=True):
    name: str | None = None
    arguments: str | None = None

    def parsed(self) -> dict[str, msgspec.Raw] | None:
        """The arguments, where they are a JSON object."""
        try:
            return msgspec.json.decode(self.arguments or "", type=dict[str, msgspec.Raw])
        except msgspec.MsgspecError:
            return None


class ToolCall(msgspec.Struct, frozen=True):
    id: str | None = None
    function: Function = Function()


class Message(msgspec.Struct, frozen=True):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: tuple[ToolCall, ...] | None = None


class Choice(msgspec.Struct, frozen=True):
    message: Message = Message()
    finish_reason: str | None = None
    logprobs: object = None
    """Only whether there are any is looked at."""


class Details(msgspec.Struct, frozen=True):
    reasoning_tokens: int | None = None
    cached_tokens: int | None = None


class UsageSaid(msgspec.Struct, frozen=True):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    completion_tokens_details: Details | None = None
    prompt_tokens_details: Details | None = None


class Said(msgspec.Struct, frozen=True):
    choices: tuple[Choice, ...]
    usage: UsageSaid | None = None
    system_fingerprint: str | None = None


class ErrorBody(msgspec.Struct, frozen=True):
    message: str = ""
    code: str | int | None = None


class ErrorSaid(msgspec.Struct, frozen=True):
    error: ErrorBody = ErrorBody()


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    asked: Asked
    status: int
    """0: no whole answer came."""
    body: bytes = b""
    said: Said | None = None
    problem: str | None = None
    """Why there is no answer to judge."""
    code: str | None = None
    """Of an error, in the gateway's or the host's words."""
    exchange: str | None = None
    cost_nanousd: int | None = None
    first_s: float | None = None
    """Until the first piece of text or tool call of a stream."""
    total_s: float = 0.0
    limits: tuple[tuple[str, str], ...] = ()
    """Rate-limit headers."""

    @property
    def ok(self) -> bool:
        return self.said is not None

    @property
    def text(self) -> str:
        return "" if self.said is None else (self.choice.message.content or "")

    @property
    def choice(self) -> Choice:
        return Choice() if self.said is None else self.said.choices[0]

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        return self.choice.message.tool_calls or ()

    @property
    def usage(self) -> UsageSaid:
        return UsageSaid() if self.said is None or self.said.usage is None else self.said.usage


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    exchange: str | None
    """In the log: `weighbridge exchanges show` has the whole of it."""
    status: int
    request: str
    answer: str


class Row(msgspec.Struct, frozen=True, kw_only=True):
    check: str
    status: Status
    says: str
    evidence: tuple[Evidence, ...] = ()


def evidence(heard: Heard) -> Evidence:
    return Evidence(
        exchange=heard.exchange,
        status=heard.status,
        request=_excerpt(heard.asked.body),
        answer=_excerpt(heard.body) or heard.problem or "",
    )


def _excerpt(body: bytes) -> str:
    text = body.decode(errors="replace")
    return text if len(text) <= EXCERPT_CHARS else f"{text[:EXCERPT_CHARS]}… ({len(body):,} bytes)"


def read(asked: Asked, status: int, body: bytes) -> tuple[Said | None, str | None, str | None]:
    """(what was said, else why not, and the error's code)."""
    if status != 200:
        try:
            error = msgspec.json.decode(body, type=ErrorSaid).error
        except msgspec.MsgspecError:
            return None, f"HTTP {status}, and no error in OpenAI's form", None
        return None, f"HTTP {status}: {error.message}", None if error.code is None else str(error.code)
    try:
        tree = assemble(body) if asked.stream else msgspec.json.decode(body)
        said = msgspec.convert(tree, Said)
    except (msgspec.MsgspecError, ValueError, RecursionError) as failed:
        return None, f"the answer is not a chat completion: {failed}", None
    return (said, None, None) if said.choices else (None, "the answer has no choices", None)


def limits_of(headers: list[tuple[bytes, bytes]]) -> tuple[tuple[str, str], ...]:
    return tuple((name.decode(), value.decode("latin-1")) for name, value in headers if _RATE_LIMIT.fullmatch(name))
