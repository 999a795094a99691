"""A conversation and its answer in no dialect: what a request asks and an answer says, whoever wrote it.

Dialects read their bytes into these records and write them out of these records (`weighbridge.wire.dialects`). Texts,
schemas and arguments are the client's own, never reworded. What a dialect has no place for becomes a `Loss`.
"""

from typing import Literal

import msgspec

from weighbridge.records.usage import Usage

Role = Literal["system", "user", "assistant"]
CallKind = Literal["function", "custom"]
Dialect = Literal["openai", "anthropic", "openai-responses"]
"""As in the configuration: `openai` is chat completions."""


class Loss(msgspec.Struct, frozen=True):
    """One thing that did not make it across. `feature` is a row of `weighbridge.wire.carried`, `at` the place in the
    request or answer, as `messages[2].content[0]`."""

    feature: str
    at: str

    def __str__(self) -> str:
        return f"{self.feature}@{self.at}" if self.at else self.feature


class Cache(msgspec.Struct, frozen=True):
    """A marker: everything up to here is worth caching. `ttl` as written: `5m`, `1h` (Anthropic), `30m`, `12h`."""

    ttl: str | None = None


class Text(msgspec.Struct, frozen=True):
    text: str
    cache: Cache | None = None


class Image(msgspec.Struct, frozen=True):
    """Either `data` (base64) with its `media_type`, or a `url`."""

    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    detail: str | None = None
    cache: Cache | None = None


class Document(msgspec.Struct, frozen=True):
    """Either `data` (base64) with its `media_type`, or a `url`."""

    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    name: str | None = None
    cache: Cache | None = None


class Refusal(msgspec.Struct, frozen=True):
    """What a model wrote in place of an answer, in the field made for it."""

    text: str


class Reasoning(msgspec.Struct, frozen=True):
    """Reasoning of a model, with what its maker needs to take it back.

    `source` is who wrote it and how it must be sent back: `anthropic` (`signature`, or `data` where it is redacted),
    `responses` (`id`, `data` encrypted), or the field of a chat message: `reasoning_content`, `reasoning`, or
    `reasoning_details` (whose rows, as JSON, are in `data`).
    """

    text: str
    source: str
    signature: str | None = None
    data: str | None = None
    id: str | None = None


class Call(msgspec.Struct, frozen=True):
    """`arguments` is the text that the model wrote: for a function usually a JSON object, not checked."""

    id: str
    name: str
    arguments: str
    kind: CallKind = "function"
    cache: Cache | None = None


class Result(msgspec.Struct, frozen=True):
    call_id: str
    content: tuple[Text | Image | Document, ...]
    is_error: bool = False
    kind: CallKind = "function"
    cache: Cache | None = None


Part = Text | Image | Document | Refusal | Reasoning | Call | Result
Said = Text | Refusal | Reasoning | Call
"""What an answer is made of."""


class Turn(msgspec.Struct, frozen=True):
    """Tool results stand in a user turn, reasoning and calls in an assistant turn."""

    role: Role
    parts: tuple[Part, ...]


class Tool(msgspec.Struct, frozen=True):
    name: str
    description: str | None = None
    schema: msgspec.Raw | None = None
    """JSON schema of the arguments, byte for byte."""
    strict: bool | None = None
    kind: CallKind = "function"
    grammar: tuple[str, str] | None = None
    """Syntax and definition; only for the kind `custom`."""
    cache: Cache | None = None


class ToolChoice(msgspec.Struct, frozen=True):
    """`named` goes with `name`; `allowed` restricts `auto` and `required` to some of the tools."""

    mode: Literal["auto", "none", "required", "named"]
    name: str | None = None
    kind: CallKind = "function"
    allowed: tuple[str, ...] | None = None


class Format(msgspec.Struct, frozen=True):
    """Structured output. Without a `schema`: any JSON object."""

    schema: msgspec.Raw | None = None
    name: str | None = None
    description: str | None = None
    strict: bool | None = None


class Thinking(msgspec.Struct, frozen=True):
    """`budget` in tokens."""

    mode: Literal["off", "on", "auto"]
    budget: int | None = None


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """A request. `None` is: the client does not say."""

    model: str
    turns: tuple[Turn, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_calls: bool | None = None
    format: Format | None = None
    max_tokens: int | None = None
    temperature: float | int | None = None
    top_p: float | int | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    stream: bool = False
    wants_usage: bool = True
    """False: a chat stream whose client did not ask for usage."""
    effort: str | None = None
    thinking: Thinking | None = None
    verbosity: str | None = None
    user: str | None = None
    metadata: msgspec.Raw | None = None
    store: bool | None = None
    service_tier: str | None = None
    cache_key: str | None = None
    cache: Cache | None = None
    """Cache up to the last part that can be cached."""
    echo: tuple[tuple[str, msgspec.Raw], ...] = ()
    """Request fields that an answer in the client's dialect repeats."""
    losses: tuple[Loss, ...] = ()
    """What the request says that no other dialect has a place for."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What an endpoint takes beyond or short of its dialect. The defaults suit any host of the dialect."""

    model: str
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """Chat only. OpenAI's reasoning models take only the second, many hosts only the first."""
    max_tokens: int = 8192
    """Anthropic demands a limit; this is sent, and named, where the client set none."""
    cache_markers: Literal["cache_control", "prompt_cache_breakpoint"] | None = None
    """Chat only: how content parts are marked (`cache_control`: OpenRouter, Qwen)."""
    reasoning_field: Literal["reasoning_content", "reasoning"] | None = None
    """Chat only: the host wants reasoning back here on every assistant turn with tool calls, were it empty or of
    another model (DeepSeek, Kimi, MiniMax). `None`: only its own reasoning goes back, as it came."""
    thinking_switch: Literal["thinking", "reasoning_effort"] | None = None
    """Chat only: how thinking is turned off (DeepSeek, Z.ai, Kimi: `thinking`)."""
    flat_text: bool = False
    """Chat only: the host takes content as one string, not as a list of text parts."""
    top_k: bool = False
    """Chat only: the host takes `top_k`."""


FinishReason = Literal["stop", "stop_sequence", "length", "context", "calls", "filter", "pause"]


class Finish(msgspec.Struct, frozen=True):
    reason: FinishReason
    sequence: str | None = None
    """The stop sequence that was met."""
    explanation: str | None = None
    """Why the provider refused, where it says so apart from the answer."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    parts: tuple[Said, ...]
    finish: Finish | None
    usage: Usage | None
    id: str | None = None
    model: str | None = None
    losses: tuple[Loss, ...] = ()


class Envelope(msgspec.Struct, frozen=True):
    """What an answer needs besides what was said. `id` is used where the provider gave none."""

    id: str
    created_s: int


FailureKind = Literal[
    "invalid_request", "authentication", "billing", "permission", "not_found", "conflict", "too_large", "rate_limit",
    "timeout", "overloaded", "server",
]  # fmt: skip


class Failure(msgspec.Struct, frozen=True):
    """An error in no dialect. `code` and `param` as the provider wrote them; `status` is HTTP's."""

    kind: FailureKind
    message: str
    status: int
    code: str | None = None
    param: str | None = None
    request_id: str | None = None


class BadAnswer(ValueError):  # noqa: N818 (named for what it is, like `BadRequest`)
    """An answer that is not what its dialect says. `str(error)` is the sentence for the client."""
