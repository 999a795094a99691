"""How an answer can end, and what then reaches the client, the log and the books: the table that the contract tests
check in every pair of dialects, and that docs/reference/dialects.md shows.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final, Literal, NamedTuple

from tests.fakes.provider import Script
from weighbridge.records.frames import Outcome
from weighbridge.wire.conversation import Dialect

Booked = Literal["usage", "nothing", "bound", "unknown"]
"""`usage`: what the provider says that it used; `nothing`: the provider does not bill it; `bound`: the most that it can
have been, marked; `unknown`: no cost is stated, and a budget is charged what was held."""
BOOKED_WORDS: Final[dict[Booked, str]] = {
    "usage": "from usage",
    "nothing": "0",
    "bound": "upper bound, marked",
    "unknown": "unknown, what was held",
}

PLAIN = Script(text="Rain in Bonn, sun in Rome.", cache_read=40, cache_write=8, reasoned=5, reasoning="Two cities.")
CALLS = (("weather", '{"city": "Bonn"}'), ("weather", '{"city": "Rome"}'))
HEADERS = (("retry-after", "7"), ("x-ratelimit-remaining-requests", "0"), ("x-request-id", "up-1"))
OVERLOADED = {"type": "overloaded_error", "code": "server_error", "message": "the fake is overloaded"}


class Whole(NamedTuple):
    """An answer that its provider ended."""

    name: str
    what: str
    client: str
    """What the client reads, in words."""
    script: Script
    stop: Literal["stop", "length", "calls", "refusal"]
    text: str = PLAIN.text
    calls: bool = False


WHOLE: Final = (
    Whole("complete", "the answer is complete", "`stop`, `end_turn`, `completed`", PLAIN, "stop"),
    Whole(
        "length", "the limit of tokens is reached", "`length`, `max_tokens`, `incomplete`",
        replace(PLAIN, finish="length"), "length",
    ),
    Whole(
        "calls", "several tools are called", "each call whole, in order; `tool_calls`, `tool_use`, `function_call`",
        replace(PLAIN, tool_calls=CALLS, text_with_calls=True), "calls", calls=True,
    ),
    Whole(
        "refusal", "the model refuses", "the refusal in the field made for it, else as text with `refusal`",
        replace(PLAIN, refusal="I will not."), "refusal", "I will not.",
    ),
    Whole(
        "filter", "the provider's filter stops it", "`content_filter`, `refusal`, `incomplete`",
        replace(PLAIN, finish="content_filter"), "refusal",
    ),
    Whole(
        "empty", "the model says nothing", "an answer without a word, and not an error",
        Script(text="", cache_read=40), "stop", "",
    ),
)  # fmt: skip


def _overloaded(upstream: Dialect) -> Script:
    return Script(status=529 if upstream == "anthropic" else 503, headers=HEADERS)


def inside(upstream: Dialect) -> Script:
    """A 200 whose body is an error."""
    bodies: dict[Dialect, bytes] = {
        "openai": b'{"error":{"message":"the fake is overloaded","type":"server_error","code":"529"}}',
        "anthropic": b'{"type":"error","error":{"type":"overloaded_error","message":"the fake is overloaded"}}',
        "openai-responses": b'{"id":"r","object":"response","created_at":1,"model":"m","status":"failed","output":[],'
        b'"error":{"code":"server_error","message":"the fake is overloaded"}}',
    }
    return Script(body=bodies[upstream])


class Failed(NamedTuple):
    """An error in place of an answer."""

    name: str
    what: str
    client: str
    script: Callable[[Dialect], Script]
    error: str
    """The class of the exception that an official client raises, in both libraries."""
    outcome: Outcome
    booked: Booked
    says: str = "the fake"
    passed: bool = True
    """The provider's retry, rate-limit and request-id headers reach the client."""


FAILED: Final = (
    Failed(
        "bad request", "status 400", "400 with its message", lambda _: Script(status=400, headers=HEADERS),
        "BadRequestError", "upstream_error", "nothing",
    ),
    Failed(
        "rate limit", "status 429", "429 with its message, `retry-after` and limits",
        lambda _: Script(status=429, headers=HEADERS), "RateLimitError", "upstream_error", "nothing",
    ),
    Failed(
        "server error", "status 500", "500 with its message", lambda _: Script(status=500, headers=HEADERS),
        "InternalServerError", "upstream_error", "unknown",
    ),
    Failed(
        "overloaded", "status 503, or Anthropic's 529", "as it came, translated: 529 to messages, 503 to the others",
        _overloaded, "InternalServerError", "upstream_error", "unknown",
    ),
    Failed(
        "not let in", "status 401 or 403", "502 in our words: the client's own key was right",
        lambda _: Script(status=401, headers=HEADERS), "InternalServerError", "upstream_error", "nothing",
        "refused the gateway itself", passed=False,
    ),
    Failed(
        "no HTTP", "no HTTP answer", "502 in our words", lambda _: Script(raw=b"SSH-2.0-x\r\n"), "InternalServerError",
        "upstream_error", "unknown", "not valid HTTP", passed=False,
    ),
)  # fmt: skip


class Broken(NamedTuple):
    """An answer that began, or should have, and has no good end."""

    name: str
    what: str
    json: str | None
    """What the client gets where it asked for JSON, in words; `None`: it cannot happen there."""
    stream: str | None
    outcome: Outcome
    booked: Booked


INSIDE: Final = Broken(
    "error inside a 200", "an error as the body of a 200", "it; translated, an error status", None, "upstream_error",
    "unknown",
)  # fmt: skip
IN_STREAM: Final = Broken(
    "error in a stream", "an error as an event of a stream", None, "the error event of its dialect, no clean end",
    "upstream_error", "unknown",
)  # fmt: skip
CUT: Final = Broken(
    "cut", "it breaks off", "502 `upstream_cut`", "whole events, an error event, no clean end", "upstream_cut", "bound"
)
STALL: Final = Broken(
    "stall", "it goes silent", "504 `upstream_timeout`", "whole events, an error event, no clean end", "timeout",
    "bound",
)  # fmt: skip
LEAVES: Final = Broken(
    "client leaves", "the client leaves", "nobody; the provider is cancelled", "nobody; the provider is cancelled",
    "client_gone", "bound",
)  # fmt: skip
BROKEN: Final = (INSIDE, IN_STREAM, CUT, STALL, LEAVES)


def rows() -> list[tuple[str, str, str, str, str]]:
    """For the page: what happens upstream; what a client gets of JSON and of a stream; outcome; what is booked."""
    found = [(row.what, row.client, "the same", "ok", BOOKED_WORDS["usage"]) for row in WHOLE]
    found += [(row.what, row.client, "the same", row.outcome, BOOKED_WORDS[row.booked]) for row in FAILED]
    for row in BROKEN:
        booked = BOOKED_WORDS[row.booked]
        if row is IN_STREAM:
            booked += "; at Anthropic's endpoints, whose streams begin with some usage, " + BOOKED_WORDS["bound"]
        found.append((row.what, row.json or "", row.stream or "", row.outcome, booked))
    return found
