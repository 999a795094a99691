"""One client request with its outcome, as people and other rooms see it."""

from typing import Literal

import msgspec

from weighbridge.records.frames import Asked, BodyRef, Outcome, Purpose
from weighbridge.records.usage import Usage


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One upstream call made for an exchange."""

    attempt: int
    arm: str
    endpoint: str
    model: str
    edits: tuple[str, ...] = ()
    fallback: bool = False
    status: int | None = None
    usage: Usage | None = None
    cost_nanousd: int | None = None
    price_version: str | None = None
    duration_ns: int | None = None
    first_byte_ns: int | None = None
    error: str | None = None
    estimated: bool = False
    finish_reason: str | None = None
    time_ns: int | None = None
    """When it was begun, wall clock."""


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """All that the log knows of one request. `request` and `response` say where the bodies lie, not what they say."""

    id: str
    time_ns: int
    purpose: Purpose
    route: str
    arm: str | None
    key: str
    team: str | None
    user: str | None
    tags: tuple[tuple[str, str], ...]
    slice: str
    conversation: str
    table: int
    stream: bool
    outcome: Outcome
    status: int | None
    attempts: tuple[Attempt, ...]
    """In the order of their ends, which is that of their numbers but where one was hedged: the last one answered."""
    usage: Usage | None
    cost_nanousd: int | None
    """Sum over the attempts; `None` as soon as one is unknown."""
    price_version: str | None
    duration_ns: int | None
    first_byte_ns: int | None
    request_bytes: int
    response_bytes: int
    max_tokens: int | None
    held_nanousd: int | None
    request: BodyRef | None
    response: BodyRef | None
    trial: str | None
    item: str | None
    error: str | None
    digest: str
    """SHA-256 over the stored bytes of all its frames in log order, 64 hex digits."""
    redacted: bool = False
    """Redaction changed the captured request, so a replay of it would not ask what the user asked."""
    traceparent: str | None = None
    asked: Asked = "openai"
    """Path and dialect of request and response, whatever the endpoint speaks."""


BodyState = Literal["erased"] | bytes | None
"""A body as read back: its bytes, `"erased"`, or `None` where it was never captured."""
