"""One replay: send the captured request, read what came back. What counts as an answer, a retry or a failure."""

import random
import re
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from time import time

import msgspec

from weighbridge.grading.answers import Answer, answer_of
from weighbridge.trials.frame import Item
from weighbridge.trials.outcome import Failure

RETRY_AFTER_S_MAX = 300.0
BACKOFF_S_MAX = 60.0
# Statuses worth another try, and those that say "not so fast".
AGAIN_STATUSES = frozenset((408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529))
THROTTLED_STATUSES = frozenset((429, 503, 529))
TIMEOUT_STATUSES = frozenset((408, 504, 524))
NOT_CARRIED = "not_carried"
"""The gateway's word: the dialect of the arm's endpoint has no place for what is asked."""
# Error codes by which a host says that the model will not or cannot answer this request.
REFUSAL_CODES = frozenset(
    (
        "content_filter", "content_policy_violation", "responsible_ai_policy_violation", "context_length_exceeded",
        "string_above_max_length", "max_tokens_exceeded", "request_too_large", "unsupported_image", "image_parse_error",
        "exceed_context_size_error", NOT_CARRIED,
    )
)  # fmt: skip
_TOO_LONG = re.compile(
    r"maximum context length|exceeds the available context size|prompt is too long|context (?:window|length) exceeded",
    re.IGNORECASE,
)
"""How hosts that have no code for it (vLLM, llama.cpp, Anthropic) say that a prompt is longer than the model reads."""
FINAL_CODES = frozenset(("insufficient_quota", "upstream_auth", "upstream_redirect"))
"""Of errors that a later try meets again, whatever their status."""


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What came back from the gateway for one replay."""

    status: int
    body: bytes
    exchange: str | None
    """The replay's own exchange id."""
    cost_nanousd: int | None = None
    retry_after: str | None = None
    error: str | None = None
    """The code of an error of the gateway's own: not every dialect has a place for one in its body."""


Send = Callable[[Item], Awaitable[Sent]]
"""Send the captured request of an item unchanged. Raises `TimeoutError`, or `NotSent`, `Lost`, `BodyGone` below."""


class NotSent(Exception):  # noqa: N818 (what happened, in the words of this room)
    """The gateway could not be reached; nothing was paid."""


class Lost(Exception):  # noqa: N818
    """The request went out and its answer did not come back whole."""


class NotJudged(Exception):  # noqa: N818
    """A judge could not be asked; the pair stays unjudged."""


class BodyGone(Exception):  # noqa: N818
    """The captured request was erased after the plan was made."""


class Answered(msgspec.Struct, frozen=True):
    answer: Answer


class Again(msgspec.Struct, frozen=True, kw_only=True):
    """Worth another try. If no try is left: `timeout` scores 0, everything else keeps the slice undecided."""

    reason: str
    timeout: bool = False
    throttled: bool = False
    after_s: float | None = None


class NoAnswer(msgspec.Struct, frozen=True):
    """The candidate's own no: its score is 0."""

    failure: Failure


class Broke(msgspec.Struct, frozen=True):
    """No use to try again, and not the candidate's answer: wrong model name, wrong key, a refused budget."""

    reason: str
    code: str | None = None


Reading = Answered | Again | NoAnswer | Broke


class _Error(msgspec.Struct):
    message: str | None = None
    code: str | int | None = None
    type: str | None = None


class _ErrorBody(msgspec.Struct):
    error: _Error | str | None = None
    message: str | None = None
    """Beside no `error`: vLLM's older form."""


def read(sent: Sent) -> Reading:
    """What a reply means."""
    if sent.status == 200:
        try:
            answer = answer_of(sent.body)
        except ValueError as error:
            return Again(reason=str(error))
        return NoAnswer("refusal") if answer.refusal and not answer.text else Answered(answer)
    code, message = _said(sent.body)
    code = sent.error or code
    reason = f"HTTP {sent.status}" + (f" {code}" if code else "") + (f": {message}" if message else "")
    if sent.status in (400, 403, 413, 422) and (code in REFUSAL_CODES or _TOO_LONG.search(message)):
        return NoAnswer("refusal")
    if sent.status in AGAIN_STATUSES and code not in FINAL_CODES:
        return Again(
            reason=reason,
            timeout=sent.status in TIMEOUT_STATUSES,
            throttled=sent.status in THROTTLED_STATUSES,
            after_s=retry_after_s(sent.retry_after, time()),
        )
    return Broke(reason, code)


def _said(body: bytes) -> tuple[str | None, str]:
    """Code and first line of an error in OpenAI's shape; providers put prompts into messages, so it is kept short."""
    try:
        said = msgspec.json.decode(body, type=_ErrorBody)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None, ""
    error = said.error
    if isinstance(error, str):
        return None, _line(error)
    if error is None:
        return None, _line(said.message or "")
    code = error.code if isinstance(error.code, str) else None
    return code or error.type, _line(error.message or "")


def _line(text: str) -> str:
    line = text.strip().splitlines()[0] if text.strip() else ""
    return line if len(line) <= 160 else line[:157] + "..."


def retry_after_s(value: str | None, now_s: float) -> float | None:
    """Seconds of a `Retry-After` (a number or a date), at most `RETRY_AFTER_S_MAX`; `None` where there is none."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - now_s
        except ValueError:
            return None
    return min(max(seconds, 0.0), RETRY_AFTER_S_MAX) if seconds == seconds else None


def backoff_s(attempt: int, after_s: float | None) -> float:
    """The host's own wish, else half a second doubling, spread so that calls do not come back together."""
    if after_s is not None:
        return after_s + random.uniform(0.0, 0.25)  # noqa: S311 (spreads load)
    return min(BACKOFF_S_MAX, 0.5 * 2.0 ** (attempt - 1)) * random.uniform(0.75, 1.25)  # noqa: S311
