"""The paths that clients call, and what each means: dialect, how a request is read, and how errors look there."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from weighbridge.records.frames import Asked
from weighbridge.wire import openai
from weighbridge.wire.chat import NOTHING_SAID, AnswerFacts, ChatRequest, Turns
from weighbridge.wire.conversation import Dialect, Failure
from weighbridge.wire.dialects import surface
from weighbridge.wire.dialects.failures import kind_of, write_failure
from weighbridge.wire.raw import RawObject

ANTHROPIC_VERSION, ANTHROPIC_BETA = b"anthropic-version", b"anthropic-beta"
OPENAI_BETA = b"openai-beta"
_PLAIN_WORDS = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._=, \-]{0,511}")

Edited = tuple[bytes, tuple[str, ...]]


class Door:
    """One path. Everything about it that does not change per request."""

    __slots__ = (
        "asked", "dialect", "edited", "first_user_of", "free", "line", "moves", "no_output", "parse", "path",
        "read_answer", "schema_of", "tail", "tools_of", "translates", "turns_of",
    )  # fmt: skip

    def __init__(
        self,
        path: bytes,
        asked: Asked,
        dialect: Dialect,
        *,
        moves: bool = True,
        translates: bool = True,
        free: bool = False,
        no_output: bool = False,
        parse: Callable[[bytes], ChatRequest] | None = None,
    ) -> None:
        self.path, self.asked, self.dialect = path, asked, dialect
        self.line = b"POST %b HTTP/1.1\r\n" % path
        self.tail = path.removeprefix(b"/v1").decode()
        """Below an endpoint's base URL."""
        self.moves = moves
        """Whether another arm than the incumbent may answer."""
        self.translates = translates
        self.free = free
        """The provider charges nothing for it."""
        self.no_output = no_output
        """It has no output tokens."""
        self.parse: Callable[[bytes], ChatRequest]
        self.turns_of: Callable[[ChatRequest], Turns]
        self.first_user_of: Callable[[ChatRequest], bytes]
        self.tools_of: Callable[[ChatRequest], bytes | None]
        self.schema_of: Callable[[ChatRequest], bytes | None]
        self.edited: Callable[[ChatRequest, str, bytes, str | None], Edited]
        self.read_answer: Callable[[bytes], AnswerFacts]
        if dialect == "openai":
            self.parse, self.turns_of = openai.parse_request, openai.turns_of
            self.first_user_of = openai.first_user_of
            self.tools_of, self.schema_of = openai.tools_of, openai.response_schema
            self.edited, self.read_answer = openai.edited, openai.read_answer
        else:
            self.parse, self.turns_of = partial(surface.parse_request, dialect), partial(surface.turns_of, dialect)
            self.first_user_of = partial(surface.first_user_of, dialect)
            self.tools_of, self.schema_of = surface.tools_of, partial(surface.response_schema, dialect)
            self.edited, self.read_answer = partial(surface.edited, dialect), partial(surface.read_answer, dialect)
        if parse is not None:
            self.parse = parse


def own_lines(door: Door, headers: Mapping[bytes, bytes]) -> bytes:
    """The client's words for its form of the dialect, as header lines. Anything that is no such word is left out.

    Of what passes unread these are the words of every dialect: `passed_lines` takes those of the endpoint's.
    """
    names: tuple[bytes, ...] = (ANTHROPIC_VERSION, ANTHROPIC_BETA)
    if door is OTHER:
        names = (*names, OPENAI_BETA)
    elif door.dialect != "anthropic":
        return b""
    lines = b""
    for name in names:
        value = headers.get(name)
        if value is not None and _PLAIN_WORDS.fullmatch(value):
            lines += b"%b: %b\r\n" % (name, value)
    return lines


def passed_lines(own: bytes, upstream: Dialect) -> bytes:
    """Some paths are there only for who says so: Anthropic's files, OpenAI's vector stores."""
    prefix = b"anthropic-" if upstream == "anthropic" else b"openai-"
    return b"".join(line for line in own.splitlines(keepends=True) if line.startswith(prefix))


def _embedding(body: bytes) -> ChatRequest:
    request = openai.parse_request(body)
    request.turns = Turns(None, bytes(request.raw.fields.get("input", b"")))
    return request


def _completion(body: bytes) -> ChatRequest:
    request = openai.parse_request(body)
    request.turns = Turns(None, bytes(request.raw.fields.get("prompt", b"")))
    return request


def _nothing(_: bytes) -> ChatRequest:
    return ChatRequest(RawObject(b"{}"), "", False, True, None, 1, None)


CHAT: Final = Door(b"/v1/chat/completions", "openai", "openai")
MESSAGES: Final = Door(b"/v1/messages", "anthropic", "anthropic")
RESPONSES: Final = Door(b"/v1/responses", "openai-responses", "openai-responses")
COUNT: Final = Door(
    b"/v1/messages/count_tokens", "anthropic-count-tokens", "anthropic", translates=False, free=True, no_output=True
)
EMBEDDINGS: Final = Door(
    b"/v1/embeddings", "openai-embeddings", "openai", moves=False, translates=False, no_output=True, parse=_embedding
)
COMPLETIONS: Final = Door(b"/v1/completions", "openai-completions", "openai", translates=False, parse=_completion)
OTHER: Final = Door(b"/v1/", "other", "openai", moves=False, translates=False, parse=_nothing)
"""Whatever else stands under `/v1/`: it passes through to the incumbent, unread."""
OTHER.read_answer = lambda _: NOTHING_SAID

DOORS: Final = {door.path: door for door in (CHAT, MESSAGES, RESPONSES, COUNT, EMBEDDINGS, COMPLETIONS)}


def dialect_at(path: bytes, anthropic: bool) -> Dialect:
    """Whose errors a client expects that calls this path, were there nothing behind it. `anthropic`: its headers say
    that it is a client of that dialect."""
    if path.startswith(b"/v1/messages"):
        return "anthropic"
    door = DOORS.get(path)
    if door is not None:
        return door.dialect
    return "anthropic" if anthropic else "openai"


def error_body(
    dialect: Dialect, status: int, message: str, kind: str, code: str, param: str | None, request_id: str
) -> bytes:
    """An error of ours, as a client of the dialect reads it."""
    if dialect != "anthropic":
        return openai.error_body(message, kind, code, param)
    return write_failure("anthropic", Failure(kind_of(status), message, status, code, param, request_id))
