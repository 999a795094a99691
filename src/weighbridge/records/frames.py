"""What a worker writes to the exchange log: four kinds of frame, one life, and what was said of it afterwards.

    held -> attempted -> posted -> ... -> finished        told (any time later, by any worker)

`held` before anything is sent, `attempted` before each upstream call, `posted` after it (one per attempt), `finished`
once per request. Bodies are never in frames: a frame holds a commitment, the body lies encrypted elsewhere.
Frames are MessagePack arrays with a leading tag; fields are only ever added at the end, with a default.
"""

from typing import Literal

import msgspec

from weighbridge.records.usage import Usage

Purpose = Literal["user", "trial", "shadow", "judge", "drill"]

Asked = Literal[
    "openai", "anthropic", "openai-responses",  # a conversation, in this dialect
    "anthropic-count-tokens", "openai-embeddings", "openai-completions",
    "other",  # files, batches, audio and whatever else passes through
]  # fmt: skip
"""What a request asked for, by its path. Only conversations can be tried on another arm."""

Outcome = Literal[
    "ok",
    "refused",  # we answered with an error before anything was sent
    "upstream_error",  # the provider answered with an error status, or could not be reached
    "upstream_cut",  # the provider's answer broke off after its first byte
    "timeout",
    "client_gone",
    "replayed",  # answered with what the first request of this idempotency key got; nothing was sent
    "lost",  # never finished: the worker died. Only the reader says so, no worker writes it
]


class BodyRef(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where a captured body lies and what it was, without saying what it says."""

    day: str
    """UTC day of capture, `2026-11-25`; with `team` it names the object group and its encryption key."""
    team: str
    commitment: bytes
    """SHA-256 of a random key and the body; the key, 32 bytes, is stored (and erased) with the body."""
    size: int


class Held(msgspec.Struct, frozen=True, array_like=True, tag=1, gc=False):
    id: str
    time_ns: int
    purpose: Purpose
    route: str
    table: int
    key: str
    team: str | None
    user: str | None
    tags: tuple[tuple[str, str], ...]
    slice: str
    conversation: str
    """Cluster id: hash of the conversation header, else of key and first user turn."""
    stream: bool
    request_bytes: int
    max_tokens: int | None
    held_nanousd: int | None
    request: BodyRef | None
    trial: str | None = None
    item: str | None = None
    """In a trial: the id of the exchange that is replayed."""
    redacted: bool = False
    """Redaction changed the captured request: what lies on disk is not what was sent."""
    leases: tuple[int | str, ...] = ()
    """What `held_nanousd` is held of: the leases of all budgets of this request, by id. A name stands for a budget that
    no lease could be had of (`on_ledger_loss = "open"`)."""
    traceparent: str | None = None
    """The client's W3C trace context, where it sent a valid one."""
    asked: Asked = "openai"


class Attempted(msgspec.Struct, frozen=True, array_like=True, tag=2, gc=False):
    id: str
    attempt: int
    time_ns: int
    arm: str
    endpoint: str
    model: str
    edits: tuple[str, ...]
    """Declared edits of the request, e.g. `("model", "stream_options")`. `dialect` is a translation; what it could not
    carry is named behind it, `lost:FEATURE`."""
    fallback: bool = False
    held_nanousd: int | None = None
    """What is held for the whole request from this attempt on, where that is not what its `held` frame says."""


class Posted(msgspec.Struct, frozen=True, array_like=True, tag=3, gc=False):
    id: str
    attempt: int
    status: int | None
    """Upstream HTTP status; `None` where no answer came."""
    usage: Usage | None
    usage_raw: bytes | None
    """The provider's own usage block, byte for byte."""
    cost_nanousd: int | None
    price_version: str | None
    duration_ns: int
    first_byte_ns: int | None
    error: str | None = None
    estimated: bool = False
    """The stream was cut: the provider never said what it used. The cost is unknown or an upper bound, never 0."""
    finish_reason: str | None = None


class Finished(msgspec.Struct, frozen=True, array_like=True, tag=4, gc=False):
    id: str
    time_ns: int
    outcome: Outcome
    status: int
    """The HTTP status that the client got."""
    attempts: int
    duration_ns: int
    first_byte_ns: int | None
    response_bytes: int
    response: BodyRef | None
    cost_nanousd: int | None
    error: str | None = None
    charged_nanousd: int | None = None
    """What its budgets were charged where nobody knows the cost: all that was held. `None`: the cost itself."""
    parts: tuple[tuple[int | str, int], ...] = ()
    """Of `Held.leases`, those that were charged something else: of arms that made a part of the attempts."""


class Told(msgspec.Struct, frozen=True, array_like=True, tag=5, gc=False):
    """An outcome that the application told us of, for an exchange of its own key. It stands by itself: whoever reads it
    needs not find the exchange."""

    id: str
    """The exchange; with `route` and `conversation` it names the task."""
    time_ns: int
    key: str
    route: str
    conversation: str
    slice: str
    arm: str | None
    """That answered the exchange; `None` where the log does not say."""
    name: str
    """What kind of outcome, e.g. `resolved`."""
    score: float
    """0 (failed) to 1 (as wished)."""


Frame = Held | Attempted | Posted | Finished | Told
