"""Rows of a log that somebody else wrote, as exchanges to be: what was asked, what was answered, when.

A row is one JSON object a line. The request and the answer are OpenAI-style bodies, as objects or as JSON texts, under
one of the names below; `exchanges export`, Helicone's export and plain request/response logs use them. Nothing here
raises for a bad row: it becomes a `Refused` with its reason, and the file goes on.
"""

import gzip
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path

import msgspec

from weighbridge.errors import UsageError
from weighbridge.wire.chat import ChatRequest
from weighbridge.wire.openai import parse_request, read_answer
from weighbridge.wire.refusal import BadRequest

LINE_BYTES_MAX = 64 << 20
_REQUEST = ("request", "request_body", "proxy_server_request", "body")
_ANSWER = ("response", "response_body", "answer")
_TIME = ("time", "timestamp", "request_created_at", "startTime", "created_at")
_NANO = 1_000_000_000


class Incoming(msgspec.Struct, frozen=True, kw_only=True):
    """A row that can become an exchange."""

    line: int
    request: bytes
    answer: bytes
    parsed: ChatRequest
    models: tuple[str, ...]
    """What the request asked for, then what the answer says that ran."""
    time_ns: int
    duration_ns: int | None
    user: str | None
    team: str | None
    tags: tuple[tuple[str, str], ...]
    mark: str
    """Equal for equal rows: 32 hex digits over time, request and answer."""


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """A row that cannot, as it is written aside."""

    line: int
    reason: str
    row: str


class _Choice(msgspec.Struct, frozen=True):
    message: dict[str, msgspec.Raw]


class _Answer(msgspec.Struct, frozen=True):
    choices: list[_Choice]
    model: str | None = None
    created: float | None = None


class _Logged(msgspec.Struct, frozen=True):
    user: str | None = None
    team: str | None = None
    end_user: str | None = None
    request_user_id: str | None = None
    team_id: str | None = None
    tags: dict[str, str | list[str]] | None = None
    latency_ms: float | None = None
    delay_ms: float | None = None


_row = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_logged = msgspec.json.Decoder(_Logged).decode
_answer = msgspec.json.Decoder(_Answer).decode
_text = msgspec.json.Decoder(str).decode
_when = msgspec.json.Decoder(str | float).decode


class _BadRowError(ValueError):
    """Why a row cannot be used; its text is the reason."""


def incoming(path: Path, now: datetime) -> Iterator[Incoming | Refused]:
    """Every row of a file, gzip or not, in its order. Raises `UsageError` where it is no text file at all."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    with gzip.open(path) if packed else path.open("rb") as lines:
        line = 0
        while True:
            try:
                text = lines.readline(LINE_BYTES_MAX)
            except (EOFError, gzip.BadGzipFile) as error:
                raise UsageError(f"{path}: cannot be unpacked past line {line}: {error}. Export it again.") from None
            if not text:
                return
            line += 1
            if not text.strip():
                continue
            if len(text) == LINE_BYTES_MAX and not text.endswith(b"\n"):
                yield Refused(line=line, reason=f"longer than {LINE_BYTES_MAX >> 20} MiB", row=_shown(text[:1000]))
                while (more := lines.readline(LINE_BYTES_MAX)) and not more.endswith(b"\n"):
                    pass
                continue
            try:
                yield _read(line, text, now)
            except _BadRowError as error:
                yield Refused(line=line, reason=str(error), row=_shown(text))


def _shown(text: bytes) -> str:
    return text.decode(errors="replace").rstrip("\r\n")


def _read(line: int, text: bytes, now: datetime) -> Incoming:
    try:
        row = _row(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise _BadRowError("not a JSON object") from None
    try:
        said = _logged(text)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise _BadRowError("user, team or latency is not text or a number, or tags no object of texts") from None
    request = _body(row, _REQUEST)
    if request is None and "messages" in row:
        # A request with its answer beside it.
        request = msgspec.json.encode({key: value for key, value in row.items() if key not in (*_ANSWER, *_TIME)})
    if request is None:
        raise _BadRowError(f"no request: none of {', '.join(_REQUEST)} holds one, and there are no messages")
    answer = _body(row, _ANSWER)
    if answer is None:
        raise _BadRowError(f"no answer: none of {', '.join(_ANSWER)} holds one")
    parsed = _request(request)
    ran = _chat(answer)
    time_ns = _time(row, ran, now)
    latency = said.latency_ms if said.latency_ms is not None else said.delay_ms
    mark = blake2b(b"%d\0%b\0%b" % (time_ns, _plain(request), _plain(answer)), digest_size=16).hexdigest()
    return Incoming(
        line=line,
        request=request,
        answer=answer,
        parsed=parsed,
        models=tuple(name for name in (parsed.model, ran.model) if name),
        time_ns=time_ns,
        duration_ns=round(latency * 1e6) if latency is not None and 0 <= latency < 1e9 else None,
        user=said.end_user or said.request_user_id or said.user or parsed.user,
        team=said.team or said.team_id,
        tags=tuple(
            (name, value)
            for name, values in (said.tags or {}).items()
            for value in ([values] if isinstance(values, str) else values)
        ),
        mark=mark,
    )


def _body(row: dict[str, msgspec.Raw], names: tuple[str, ...]) -> bytes | None:
    """The first of some fields that holds a JSON object, or the text of one."""
    for name in names:
        raw = bytes(row.get(name, msgspec.Raw(b"null")))
        if raw[:1] == b'"':
            raw = _text(raw).encode(errors="replace")
        if raw.lstrip()[:1] == b"{":
            # LiteLLM wraps the request once more.
            inner = _row(raw).get("body") if name == "proxy_server_request" else None
            return raw if inner is None else bytes(inner)
    return None


def _request(body: bytes) -> ChatRequest:
    try:
        parsed = parse_request(body)
    except BadRequest as error:
        raise _BadRowError(f"the request is no chat completion: {error}") from None
    if "messages" not in parsed.raw.fields:
        raise _BadRowError("the request has no messages")
    return parsed


def _chat(body: bytes) -> _Answer:
    try:
        found = _answer(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        error = read_answer(body).error
        raise _BadRowError(
            f"the answer is an error ({error})" if error else "the answer is no chat completion"
        ) from None
    if not found.choices:
        raise _BadRowError("the answer has no choices")
    return found


def _time(row: dict[str, msgspec.Raw], ran: _Answer, now: datetime) -> int:
    name = next((name for name in _TIME if bytes(row.get(name, msgspec.Raw(b"null"))) != b"null"), None)
    try:
        said = ran.created if name is None else _when(row[name])
    except msgspec.MsgspecError:
        raise _BadRowError(f"{name} is neither a text nor a number") from None
    if said is None:
        raise _BadRowError(f"no time: none of {', '.join(_TIME)}, and the answer says no `created`")
    try:
        moment = datetime.fromisoformat(said) if isinstance(said, str) else _epoch(said)
        moment = moment.replace(tzinfo=moment.tzinfo or UTC)
    except (ValueError, OverflowError, OSError):
        raise _BadRowError(f"{name or 'created'} is no time: {str(said)[:40]}") from None
    if not datetime(2015, 1, 1, tzinfo=UTC) <= moment <= now:
        raise _BadRowError(f"its time lies before 2015 or in the future: {moment.isoformat()}")
    return round(moment.timestamp() * 1_000_000) * 1000


def _epoch(seconds: float) -> datetime:
    """Seconds, or milliseconds."""
    return datetime.fromtimestamp(seconds / 1000 if seconds > 1e11 else seconds, UTC)


def _plain(body: bytes) -> bytes:
    """The same bytes for the same JSON, however it is spaced."""
    try:
        return msgspec.json.format(body, indent=-1)
    except (msgspec.MsgspecError, RecursionError):
        return body
